/* deny RULE[,RULE...] -- COMMAND...: run COMMAND where some system calls fail.
 *
 *     RULE       NAME[CONDITION]:ACTION
 *     CONDITION  [ARG&MASK]  or  [ARG&MASK=VALUE]    looks at the low 32 bits of argument ARG, or of
 *                                                    the address after the call where ARG is "ip"
 *     ACTION     an errno by name, "allow" or        the first rule that fits decides
 *                "hold"                              hold: ask a supervisor (library only)
 *
 *     deny clone3:ENOSYS,clone[0&0x1000]:EINVAL -- python -m spawnkit doctor
 *
 * Also built as a library: deny_install() puts the same filter on the calling process. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#else
#error "deny knows the system call numbers of x86-64 and aarch64"
#endif

struct name {
    const char *name;
    int number;
};

static const struct name calls[] = {
    {"chdir", SYS_chdir},
    {"clone", SYS_clone},
    {"clone3", SYS_clone3},
    {"close", SYS_close},
    {"close_range", SYS_close_range},
    {"dup", SYS_dup},
    {"dup3", SYS_dup3},
    {"execve", SYS_execve},
    {"execveat", SYS_execveat},
    {"faccessat2", SYS_faccessat2},
    {"fcntl", SYS_fcntl},
    {"futex", SYS_futex},
    {"getdents64", SYS_getdents64},
    {"getppid", SYS_getppid},
    {"ioctl", SYS_ioctl},
    {"memfd_create", SYS_memfd_create},
    {"mmap", SYS_mmap},
    {"mprotect", SYS_mprotect},
    {"openat", SYS_openat},
    {"pidfd_open", SYS_pidfd_open},
    {"pidfd_send_signal", SYS_pidfd_send_signal},
    {"pipe2", SYS_pipe2},
    {"ppoll", SYS_ppoll},
    {"prctl", SYS_prctl},
    {"prlimit64", SYS_prlimit64},
    {"rt_sigaction", SYS_rt_sigaction},
    {"rt_sigprocmask", SYS_rt_sigprocmask},
    {"sched_yield", SYS_sched_yield},
    {"setpgid", SYS_setpgid},
    {"setrlimit", SYS_setrlimit},
    {"setsid", SYS_setsid},
    {"setsockopt", SYS_setsockopt},
    {"socket", SYS_socket},
    {"umask", SYS_umask},
    {"wait4", SYS_wait4},
    {"waitid", SYS_waitid},
#ifdef __x86_64__
    {"dup2", SYS_dup2},
    {"fork", SYS_fork},
    {"poll", SYS_poll},
    {"vfork", SYS_vfork},
#endif
};

static const struct name errors[] = {
    {"E2BIG", E2BIG},   {"EACCES", EACCES}, {"EAGAIN", EAGAIN}, {"EBADF", EBADF},
    {"EBUSY", EBUSY},   {"ECHILD", ECHILD}, {"EINTR", EINTR},   {"EINVAL", EINVAL},
    {"EIO", EIO},       {"EMFILE", EMFILE}, {"ENFILE", ENFILE}, {"ENOENT", ENOENT},
    {"ENOMEM", ENOMEM}, {"ENOSYS", ENOSYS}, {"EPERM", EPERM},   {"ESRCH", ESRCH},
    {"ENOSPC", ENOSPC}, {"EUSERS", EUSERS},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int find(const struct name *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(table[i].name, name))
            return table[i].number;
    return -1;
}

struct filter {
    struct sock_filter code[512];
    unsigned short size;
    int holds;
};

static void emit(struct filter *filter, struct sock_filter instruction)
{
    filter->code[filter->size++] = instruction;
}

static void emit_load(struct filter *filter, size_t offset)
{
    emit(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset));
}

/* "[ARG&MASK=VALUE]" or "[ARG&MASK]"; the two jumps skip to the end of the rule, `after` away. */
static int emit_condition(struct filter *filter, const char *text)
{
    unsigned arg = 0, mask, value;
    char end;
    int is_address = !strncmp(text, "ip&", 3);
    int fields = is_address ? 1 + sscanf(text, "ip&%i=%i%c", (int *)&mask, (int *)&value, &end)
                            : sscanf(text, "%u&%i=%i%c", &arg, (int *)&mask, (int *)&value, &end);

    if ((fields != 2 && fields != 3) || arg > 5)
        return -1;
    if (is_address)
        emit_load(filter, offsetof(struct seccomp_data, instruction_pointer));
    else
        emit_load(filter, offsetof(struct seccomp_data, args) + 8 * arg);
    emit(filter, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
    if (fields == 3)
        emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
    else
        emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0));
    return 0;
}

static int emit_rule(struct filter *filter, char *rule)
{
    char *action = strrchr(rule, ':');
    char *condition = strchr(rule, '[');
    unsigned result;

    if (!action || filter->size + 8u > COUNT(filter->code))
        return -1;
    *action++ = 0;
    if (condition) {
        char *end = strchr(condition, ']');
        if (!end || end[1])
            return -1;
        *condition++ = *end = 0;
    }

    int call = find(calls, COUNT(calls), rule);
    int error = find(errors, COUNT(errors), action);
    if (!strcmp(action, "hold")) {
        filter->holds = 1;
        result = SECCOMP_RET_USER_NOTIF;
    } else if (!strcmp(action, "allow")) {
        result = SECCOMP_RET_ALLOW;
    } else {
        if (error < 0)
            return -1;
        result = SECCOMP_RET_ERRNO | (unsigned)error;
    }
    if (call < 0)
        return -1;

    emit_load(filter, offsetof(struct seccomp_data, nr));
    unsigned char length = condition ? 4 : 1;
    emit(filter,
         (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, length));
    if (condition && emit_condition(filter, condition) < 0)
        return -1;
    emit(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, result));
    return 0;
}

static int build(struct filter *filter, const char *rules)
{
    char text[4096];

    if (strlen(rules) >= sizeof text)
        return -1;
    strcpy(text, rules);
    emit_load(filter, offsetof(struct seccomp_data, arch));
    emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0));
    emit(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    for (char *rule = strtok(text, ","); rule; rule = strtok(NULL, ","))
        if (emit_rule(filter, rule) < 0)
            return -1;
    emit(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    return 0;
}

int deny_install(const char *rules); /* for ctypes: there is no header */

/* Returns 0, or the listener's descriptor where a rule says "hold", or -1 with errno set. */
int deny_install(const char *rules)
{
    struct filter filter = {.size = 0};
    struct sock_fprog program = {0, filter.code};

    if (build(&filter, rules) < 0) {
        errno = EINVAL;
        return -1;
    }
    program.len = filter.size;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        filter.holds ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0, &program);
}

int main(int argc, char **argv)
{
    if (argc < 4 || strcmp(argv[2], "--")) {
        fputs("usage: deny NAME:ERRNO[,NAME:ERRNO...] -- COMMAND...\n", stderr);
        return 125;
    }
    if (deny_install(argv[1]) != 0) {
        perror(argv[1]);
        return 124;
    }
    execvp(argv[3], argv + 3);
    perror(argv[3]);
    return 127;
}
