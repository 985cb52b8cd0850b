/* Making the process itself: one table of ways, from the newest kernel's to the oldest's.
 *
 * A way that is refused (old kernel, a filter, an emulator) is remembered, and the next one is
 * tried at once; any other error is the caller's answer. Nothing exists yet when a way fails, so
 * trying again is safe. */
#include "core.h"

#include "child.h"

#include <errno.h>
#include <sched.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ull
#endif

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ull
#endif

struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    uint64_t set_tid, set_tid_size, cgroup; /* since Linux 5.5 and 5.7; before, E2BIG */
};
#define WITHOUT_CGROUP offsetof(struct clone3_args, set_tid)

static const struct way {
    int8_t clone3;      /* and with it CLONE_CLEAR_SIGHAND: Linux 5.5 */
    int8_t clone_pidfd; /* Linux 5.2; else pidfd_open afterwards, safe while it is not reaped */
    int8_t overlapped;  /* CLONE_VM without CLONE_VFORK, which qemu-user refuses */
} ways[] = {
    {1, 1, 1}, {0, 1, 1}, {0, 0, 1}, {0, 1, 0}, {0, 0, 0},
};
#define WAYS (int)(sizeof ways / sizeof *ways)

int sk__first_way;

static int refused(int result)
{
    return result == -ENOSYS || result == -EPERM || result == -EINVAL || result == -E2BIG;
}

static long make(long number, long a, long b, long c, long d, long e, void (*entry)(void *),
                 void *argument)
{
    long fault = SK_FAULT(number);

    return fault ? fault : sk_clone_call(number, a, b, c, d, e, entry, argument);
}

/* A move between cgroups takes a lock that every fork and exit of the machine reads, and waits for an
 * RCU grace period: 8 ms where few are made. To be born there takes 20 µs. Whatever is against it,
 * the move is tried too: it has the same reasons to fail, and says which at its own stage. */
static int clone_into(int cgroup, struct clone3_args *arguments, struct sk_launch *launch)
{
    int result;

    arguments->flags |= CLONE_INTO_CGROUP;
    arguments->cgroup = (uint64_t)cgroup;
    launch->placed = sk__birthplace(launch);
    result = (int)make(SYS_clone3, (long)arguments, sizeof *arguments, 0, 0, 0, sk__child_main,
                       launch);
    if (result > 0) {
        SK_KNOW(into_cgroup, 1);
        return result;
    }
    if (refused(result) && !SK_ASKS(launch, SK_OP_NAMESPACES))
        SK_KNOW(into_cgroup, 0); /* it was this that was refused, and no namespace */
    arguments->flags &= ~CLONE_INTO_CGROUP;
    launch->placed = NULL;
    return result;
}

static int clone_new(uint64_t flags, sk_child *child, struct sk_launch *launch, int shared,
                     int cgroup)
{
    struct clone3_args arguments = {
        .flags = flags | CLONE_CLEAR_SIGHAND,
        .pidfd = (uintptr_t)&child->pidfd,
        .child_tid = (uintptr_t)&launch->word,
        .exit_signal = SIGCHLD,
    };

    if (shared) {
        arguments.stack = (uintptr_t)launch->stack_top - SK_STACK;
        arguments.stack_size = SK_STACK;
    }
    launch->clear_handlers = 0;
    if (cgroup >= 0) {
        int result = clone_into(cgroup, &arguments, launch);

        if (result > 0)
            return result;
    }
    return (int)make(SYS_clone3, (long)&arguments, WITHOUT_CGROUP, 0, 0, 0, sk__child_main, launch);
}

/* Here the kernel leaves the caller's handlers in the child, so no signal may arrive before the
 * child has reset them: all are blocked around the clone, and the child's mask is set by its plan. */
static int clone_old(uint64_t flags, sk_child *child, struct sk_launch *launch, int shared)
{
    const uint64_t all = ~UINT64_C(0);
    uint64_t mask;
    int result;

    launch->clear_handlers = 1;
    sys_sigmask(SIG_SETMASK, &all, &mask);
    result = (int)make(SYS_clone,
                       SK_CLONE_ARGS((long)(flags | SIGCHLD), shared ? (long)launch->stack_top : 0,
                                     (long)&child->pidfd, (long)&launch->word),
                       sk__child_main, launch);
    sys_sigmask(SIG_SETMASK, &mask, 0);
    return result;
}

static int try_way(const struct way *way, sk_child *child, struct sk_launch *launch, int engine,
                   int want_pidfd, int cgroup)
{
    const struct sk_op *namespaces = sk__next_op(launch, SK_OP_NAMESPACES, NULL);
    int shared = engine != SK_FORK;
    uint64_t flags = namespaces ? namespaces->x : 0;
    int result;

    if (shared)
        flags |= CLONE_VM | CLONE_CHILD_CLEARTID;
    if (shared && (engine == SK_VFORK_WAITING || !way->overlapped))
        flags |= CLONE_VFORK;
    if (want_pidfd && way->clone_pidfd)
        flags |= CLONE_PIDFD;
    child->pidfd = -1;
    result = way->clone3 ? clone_new(flags, child, launch, shared, cgroup)
                         : clone_old(flags, child, launch, shared);
    if (result <= 0) {
        child->pidfd = -1;
        return result ? result : -ECHILD; /* a pid is never 0 here; 0 must not pass for one */
    }
    child->pid = result;
    child->engine = flags & CLONE_VFORK ? SK_VFORK_WAITING : engine;
    if (want_pidfd && !way->clone_pidfd) {
        int pidfd = sys_pidfd_open(result, 0);

        child->pidfd = pidfd < 0 ? -1 : pidfd; /* signals then go by pid, and only while unreaped */
    }
    return 0;
}

/* Not of an older way that got through for a child with namespaces: EPERM and EINVAL also mean that
 * those cannot be had (and another thread may just have given us the right). */
static void remember(const struct sk_child *child, int first, int i, int engine, int want_pidfd)
{
    if (i != first)
        __atomic_store_n(&sk__first_way, i, __ATOMIC_RELAXED);
    SK_KNOW(clone3, ways[i].clone3);
    if (want_pidfd)
        SK_KNOW(clone_pidfd, ways[i].clone_pidfd && child->pidfd >= 0);
    if (engine == SK_VFORK)
        SK_KNOW(overlapped, ways[i].overlapped);
}

static int climb(sk_child *child, struct sk_launch *launch, int engine, int want_pidfd, int cgroup)
{
    int first = __atomic_load_n(&sk__first_way, __ATOMIC_RELAXED);
    int result = -ENOSYS;

    for (int i = first; i < WAYS; i++) {
        result = try_way(&ways[i], child, launch, engine, want_pidfd, cgroup);
        if (result == 0) {
            if (i == first || !SK_ASKS(launch, SK_OP_NAMESPACES))
                remember(child, first, i, engine, want_pidfd);
            return 0;
        }
        if (want_pidfd == SK_IF_IT_CAN_BE_HAD && (result == -EMFILE || result == -ENFILE)) {
            want_pidfd = 0;
            i--;
        } else if (!refused(result)) {
            break;
        }
    }
    return result;
}

int sk__clone_here(sk_child *child, struct sk_launch *launch, int engine, int want_pidfd)
{
    int cgroup = sk__open_birthplace(launch);
    int result = climb(child, launch, engine, want_pidfd, cgroup);

    if (cgroup >= 0)
        sys_close(cgroup);
    return result;
}

/* The signal of PDEATHSIG comes when the thread ends that made the child. The first thread of a
 * process lives as long as the process (unless it calls pthread_exit, which no interpreter does);
 * any other has the child made by one that does. */
static int needs_home(const struct sk_launch *launch)
{
    return SK_ASKS(launch, SK_OP_PDEATHSIG) && !sk__main_thread();
}

/* Which step a clone failed in that was to make namespaces, too: "not permitted" (EPERM), "not in this
 * kernel" (EINVAL) and "too many" (ENOSPC; EUSERS before Linux 4.9) are of these. */
static void blame(sk_child *child, const struct sk_launch *launch, int error)
{
    const struct sk_op *namespaces = sk__next_op(launch, SK_OP_NAMESPACES, NULL);

    child->stage = SK_AT_CLONE;
    if (namespaces &&
        (error == -EPERM || error == -EINVAL || error == -ENOSPC || error == -EUSERS)) {
        child->stage = SK_OP_NAMESPACES;
        child->index = (int32_t)(namespaces - launch->ops);
    }
}

int sk__clone(sk_child *child, struct sk_launch *launch, int engine, int want_pidfd)
{
    int at_home = needs_home(launch);
    int result = at_home ? sk__home() : 0;

    if (result < 0) {
        child->stage = SK_AT_THREAD; /* EINVAL says nothing of namespaces then */
        return result;
    }
    result = (at_home ? sk__clone_at_home : sk__clone_here)(child, launch, engine, want_pidfd);
    if (result < 0)
        blame(child, launch, result);
    return result;
}

/* Has this thread a PID namespace for its children in which nobody is yet (unshare(2), setns(2))? It
 * ends with its first process. Before that has been made the link leads nowhere. */
static int makes_process_1(void)
{
    const char *path = "/proc/thread-self/ns/pid_for_children";
    int link = sys_open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), namespace;

    if (link < 0)
        return 0; /* no /proc, or Linux before 4.12 */
    sys_close(link);
    namespace = sys_open(path, O_RDONLY | O_CLOEXEC);
    if (namespace >= 0)
        sys_close(namespace);
    return namespace == -ENOENT;
}

int sk__memory_is_shared(struct sk_launch *launch)
{
    const uint64_t all = ~UINT64_C(0);
    volatile uint32_t *word = (volatile uint32_t *)&launch->report.err;
    int known = SK_KNOWN(shared_memory);
    uint64_t mask;
    int pid, status = -1;

    if (known >= 0)
        return known;
    /* 1. The probe becomes process 1 of a new namespace, and ends;
     * 2. the namespace ends with it: no program can be started there any more (ENOMEM). */
    if (makes_process_1())
        return 0;
    /* clone() with CLONE_VFORK: valgrind and qemu-user run it as a fork, and abort on other forms.
     * Exit signal 0, so that nobody's SIGCHLD handler hears of it. */
    sys_sigmask(SIG_SETMASK, &all, &mask);
    pid = (int)make(SYS_clone, SK_CLONE_ARGS(CLONE_VM | CLONE_VFORK, (long)launch->stack_top, 0, 0),
                    sk__child_probe, (void *)(uintptr_t)word);
    sys_sigmask(SIG_SETMASK, &mask, 0);
    if (pid > 0)
        while (sys_wait4(pid, &status, 0x40000000 /* __WALL */, 0) == -EINTR)
            ; /* it has left already: CLONE_VFORK returned */
    known = pid > 0 && *word == SK_PROBE_MARK;
    *word = 0;
    /* No process to be had, or one that was killed first: an answer for now, not for good. */
    if (known || (pid > 0 && status == 0) || refused(pid))
        SK_KNOW(shared_memory, known);
    return known;
}
