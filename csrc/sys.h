/* The system calls behind names: raw, no errno, no cancellation points. Each returns what the
 * kernel does: a result, or a negative errno.
 *
 * Raw because the child shares the caller's thread-local storage (a C library call would write the
 * caller's errno), and because this is the one seam where tests can make a call fail. The C
 * library's versions of setrlimit, setsid and friends also take locks a vforked child must not. */
#ifndef SK_SYS_H
#define SK_SYS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#if defined(__x86_64__) && defined(__LP64__)
#include "arch_x86_64.h"
#elif defined(__aarch64__) && defined(__LP64__)
#include "arch_aarch64.h"
#else
#error "spawnkit's core knows x86-64 and aarch64 Linux; add an arch_*.h beside these for another"
#endif

/* Numbers are the same on every architecture since Linux 5.1; older headers lack the names. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#ifndef O_PATH
#define O_PATH 010000000
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

#include "fault.h"

#define SK_SIGNALS 64 /* the kernel's count; a signal set is one 64-bit word */

struct sk_sigaction { /* the kernel's, which is not the C library's */
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

struct sk_rlimit {
    uint64_t soft;
    uint64_t hard;
};

#define SK_INLINE static inline __attribute__((always_inline, unused))
#define SK_SYS(number, a, b, c, d, e) \
    sys_call((number), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

SK_INLINE long sys_call(long number, long a, long b, long c, long d, long e, long f)
{
    long fault = SK_FAULT(number);

    return fault ? fault : sk_syscall(number, a, b, c, d, e, f);
}
SK_INLINE int sys_close(int fd)
{
    /* Whatever close(2) returns, the descriptor is closed. So it is when a test makes it fail. */
    int result = (int)sk_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
    int fault = (int)SK_FAULT(SYS_close);

    return fault ? fault : result;
}
SK_INLINE int sys_open(const char *path, int flags)
{
    return (int)SK_SYS(SYS_openat, AT_FDCWD, path, flags, 0, 0);
}
SK_INLINE int sys_open_in(int directory, const char *name, int flags)
{
    return (int)SK_SYS(SYS_openat, directory, name, flags, 0, 0);
}
SK_INLINE int sys_create(const char *path, int flags, int mode)
{
    return (int)SK_SYS(SYS_openat, AT_FDCWD, path, flags, mode, 0);
}
SK_INLINE int sys_eventfd(unsigned value, int flags)
{
    return (int)SK_SYS(SYS_eventfd2, value, flags, 0, 0, 0);
}
SK_INLINE long sys_read(int fd, void *data, size_t size)
{
    return SK_SYS(SYS_read, fd, data, size, 0, 0);
}
SK_INLINE long sys_write(int fd, const void *data, size_t size)
{
    return SK_SYS(SYS_write, fd, data, size, 0, 0);
}
/* Of an eventfd. It takes every write but one that would overflow, and then it has been rung: this has
 * no failure that a test could ask for. */
SK_INLINE void sys_ring(int fd)
{
    const uint64_t one = 1;

    sk_syscall(SYS_write, fd, (long)&one, sizeof one, 0, 0, 0);
}
SK_INLINE int sys_pipe(int32_t ends[2], int flags)
{
    return (int)SK_SYS(SYS_pipe2, ends, flags, 0, 0, 0);
}
SK_INLINE int sys_memfd(const char *name, unsigned flags)
{
    return (int)SK_SYS(SYS_memfd_create, name, flags, 0, 0, 0);
}
SK_INLINE long sys_pread(int fd, void *data, size_t size, size_t offset)
{
    return SK_SYS(SYS_pread64, fd, data, size, offset, 0);
}
SK_INLINE int sys_socket(int domain, int type)
{
    return (int)SK_SYS(SYS_socket, domain, type, 0, 0, 0);
}
SK_INLINE int sys_setsockopt(int fd, int option, int value)
{
    return (int)SK_SYS(SYS_setsockopt, fd, SOL_SOCKET, option, &value, sizeof value);
}
SK_INLINE int sys_bind(int fd, const void *address, unsigned size)
{
    return (int)SK_SYS(SYS_bind, fd, address, size, 0, 0);
}
SK_INLINE int sys_connect(int fd, const void *address, unsigned size)
{
    return (int)SK_SYS(SYS_connect, fd, address, size, 0, 0);
}
SK_INLINE int sys_shutdown(int fd, int how) { return (int)SK_SYS(SYS_shutdown, fd, how, 0, 0, 0); }
SK_INLINE long sys_recvmsg(int fd, struct msghdr *message, int flags)
{
    return SK_SYS(SYS_recvmsg, fd, message, flags, 0, 0);
}
SK_INLINE int sys_dup3(int from, int to, int flags)
{
    return (int)SK_SYS(SYS_dup3, from, to, flags, 0, 0);
}
SK_INLINE int sys_fcntl(int fd, int command, long argument)
{
    return (int)SK_SYS(SYS_fcntl, fd, command, argument, 0, 0);
}
SK_INLINE int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
    return (int)SK_SYS(SYS_close_range, first, last, flags, 0, 0);
}
SK_INLINE long sys_rewind(int fd) { return SK_SYS(SYS_lseek, fd, 0, 0, 0, 0); }
SK_INLINE long sys_getdents(int fd, void *data, size_t size)
{
    return SK_SYS(SYS_getdents64, fd, data, size, 0, 0);
}
SK_INLINE int sys_poll(struct pollfd *fds, unsigned count, const struct timespec *timeout)
{
    return (int)SK_SYS(SYS_ppoll, fds, count, timeout, 0, 8);
}
SK_INLINE int sys_sched_getaffinity(int pid, size_t size, unsigned long *mask)
{
    return (int)SK_SYS(SYS_sched_getaffinity, pid, size, mask, 0, 0);
}
SK_INLINE int sys_sched_getscheduler(int pid)
{
    return (int)SK_SYS(SYS_sched_getscheduler, pid, 0, 0, 0, 0);
}
SK_INLINE int sys_sched_yield(void) { return (int)SK_SYS(SYS_sched_yield, 0, 0, 0, 0, 0); }
SK_INLINE int sys_chdir(const char *path) { return (int)SK_SYS(SYS_chdir, path, 0, 0, 0, 0); }
SK_INLINE int sys_umask(int mask) { return (int)SK_SYS(SYS_umask, mask, 0, 0, 0, 0); }
SK_INLINE int sys_setsid(void) { return (int)SK_SYS(SYS_setsid, 0, 0, 0, 0, 0); }
SK_INLINE int sys_getpgid(int pid) { return (int)SK_SYS(SYS_getpgid, pid, 0, 0, 0, 0); }
SK_INLINE int sys_setpgid(int pid, int group)
{
    return (int)SK_SYS(SYS_setpgid, pid, group, 0, 0, 0);
}
SK_INLINE int sys_rlimit(int resource, const struct sk_rlimit *to, struct sk_rlimit *from)
{
    return (int)SK_SYS(SYS_prlimit64, 0, resource, to, from, 0);
}
SK_INLINE int sys_sigaction(int signal, const struct sk_sigaction *to, struct sk_sigaction *from)
{
    return (int)SK_SYS(SYS_rt_sigaction, signal, to, from, 8, 0);
}
SK_INLINE int sys_sigmask(int how, const uint64_t *to, uint64_t *from)
{
    return (int)SK_SYS(SYS_rt_sigprocmask, how, to, from, 8, 0);
}
SK_INLINE int sys_sigpending(uint64_t *set)
{
    return (int)SK_SYS(SYS_rt_sigpending, set, 8, 0, 0, 0);
}
SK_INLINE int sys_sigtake(const uint64_t *set, const struct timespec *timeout)
{
    return (int)SK_SYS(SYS_rt_sigtimedwait, set, 0, timeout, 8, 0);
}
SK_INLINE int sys_execve(const char *path, char *const *argv, char *const *envp)
{
    return (int)SK_SYS(SYS_execve, path, argv, envp, 0, 0);
}
SK_INLINE int sys_execveat(int fd, const char *path, char *const *argv, char *const *envp,
                           int flags)
{
    return (int)SK_SYS(SYS_execveat, fd, path, argv, envp, flags);
}
SK_INLINE void sys_exit(int code)
{
    for (;;)
        SK_SYS(SYS_exit_group, code, 0, 0, 0, 0);
}
SK_INLINE int sys_getppid(void) { return (int)SK_SYS(SYS_getppid, 0, 0, 0, 0, 0); }
SK_INLINE int sys_getpid(void) { return (int)SK_SYS(SYS_getpid, 0, 0, 0, 0, 0); }
SK_INLINE int sys_gettid(void) { return (int)SK_SYS(SYS_gettid, 0, 0, 0, 0, 0); }
SK_INLINE int sys_kill(int pid, int signal) { return (int)SK_SYS(SYS_kill, pid, signal, 0, 0, 0); }
SK_INLINE int sys_prctl(int option, long a) { return (int)SK_SYS(SYS_prctl, option, a, 0, 0, 0); }
SK_INLINE int sys_wait4(int pid, int *status, int options, void *rusage)
{
    return (int)SK_SYS(SYS_wait4, pid, status, options, rusage, 0);
}
SK_INLINE int sys_waitid(int type, int id, siginfo_t *info, int options, void *rusage)
{
    return (int)SK_SYS(SYS_waitid, type, id, info, options, rusage);
}
SK_INLINE int sys_pidfd_open(int pid, unsigned flags)
{
    return (int)SK_SYS(SYS_pidfd_open, pid, flags, 0, 0, 0);
}
SK_INLINE int sys_pidfd_signal(int pidfd, int signal)
{
    return (int)SK_SYS(SYS_pidfd_send_signal, pidfd, signal, 0, 0, 0);
}
SK_INLINE int sys_ioctl(int fd, unsigned long request, void *argument)
{
    return (int)SK_SYS(SYS_ioctl, fd, request, argument, 0, 0);
}
SK_INLINE int sys_futex_wait(const uint32_t *word, uint32_t value, const struct timespec *timeout)
{
    return (int)SK_SYS(SYS_futex, word, 0 /* FUTEX_WAIT, shared: so is the kernel's wake */, value,
                       timeout, 0);
}
/* Of a word of ours. It has no failure either, and whoever sleeps would sleep for ever. */
SK_INLINE void sys_futex_wake(const uint32_t *word, int count)
{
    sk_syscall(SYS_futex, (long)word, 1 /* FUTEX_WAKE, shared as the wait */, count, 0, 0, 0);
}
SK_INLINE int sys_stat(const char *path, struct stat *status)
{
    long fault = SK_FAULT(SYS_newfstatat);

    return fault ? (int)fault : stat(path, status) < 0 ? -errno : 0;
}
SK_INLINE int sys_fstat(int fd, struct stat *status)
{
    long fault = SK_FAULT(SYS_fstat);

    return fault ? (int)fault : fstat(fd, status) < 0 ? -errno : 0;
}
/* No system call, but it fails as one does. */
SK_INLINE void *sys_realloc(void *memory, size_t size)
{
    return SK_FAULT(SK_FAULT_MEMORY) ? NULL : realloc(memory, size);
}
SK_INLINE void *sys_mmap(size_t size, int protection, int flags)
{
    return (void *)sys_call(SYS_mmap, 0, (long)size, protection, flags, -1, 0);
}
/* Of a file, to be read. Private: before Linux 6.7 a shared mapping of a file that was opened for
 * writing counts as a writer, and a sealed file has none. The pages are the file's own all the same. */
SK_INLINE void *sys_map_file(int fd, size_t size)
{
    return (void *)sys_call(SYS_mmap, 0, (long)size, PROT_READ, MAP_PRIVATE, fd, 0);
}
SK_INLINE int sys_mprotect(void *address, size_t size, int protection)
{
    return (int)SK_SYS(SYS_mprotect, address, size, protection, 0, 0);
}
SK_INLINE int sys_munmap(void *address, size_t size)
{
    return (int)SK_SYS(SYS_munmap, address, size, 0, 0, 0);
}

#endif
