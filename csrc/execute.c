/* Replaces the calling process by the program of a plan.
 *
 * What a child does to itself we do to ourselves here, and there is a way back: a program that is
 * not there leaves the caller as it was. Hence only operations that can be undone are taken:
 * dispositions, the calling thread's mask, and close-on-exec of the program's own descriptor. The
 * other threads run on until execve ends them, so each change is as late as it can be. */
#include "core.h"

#include <errno.h>
#include <pthread.h>

/* One caller at a time, from the first change to the last one undone:
 *   1. A saves "SIGPIPE is ignored", and makes it default;
 *   2. B saves "default";
 *   3. A's program is not there: ignored again;
 *   4. nor is B's: default, and a write to a broken pipe ends the process ever after. */
static uint32_t changing;

/* Who holds it does not exist in the new process. */
static void forked(void) { changing = 0; }
static void watch(void) { pthread_atfork(NULL, NULL, forked); }

struct saved {
    uint64_t changed; /* bit n-1: actions[n] is what signal n had */
    struct sk_sigaction actions[SK_SIGNALS + 1];
    int has_mask;
    uint64_t mask;
    int fd_flags; /* -1: not changed */
};

static int can_be_undone(const struct sk_plan *plan, const struct sk_op *op)
{
    switch (op->code) {
    case SK_OP_SIG_DEFAULT:
    case SK_OP_SIG_IGNORE:
    case SK_OP_SIG_MASK:
        return 1;
    case SK_OP_KEEP:
        return op->a == plan->exec_fd;
    }
    return 0;
}

/* What is blocked waits even if it is ignored, so a signal that was never to come through would:
 *   1. SIGPIPE is ignored, blocked, and a write to a broken pipe has left one that waits;
 *   2. it becomes default;
 *   3. nothing is blocked any more: it ends the process, and had the program not been found we
 *      should have gone on.
 * To ignore a signal discards what waits, in every thread (sigaction(2) of POSIX). */
static int set_disposition(int signal, const struct sk_sigaction *to, struct sk_sigaction *from)
{
    int result = sys_sigaction(signal, 0, from);

    if (result == 0 && from->handler == SIG_IGN)
        result = sys_sigaction(signal, from, 0);
    return result < 0 ? result : sys_sigaction(signal, to, 0);
}

static int set_dispositions(uint64_t set, void (*handler)(int), struct saved *saved)
{
    const struct sk_sigaction action = {handler, 0, 0, 0};

    for (int signal = 1; signal <= SK_SIGNALS; signal++) {
        uint64_t bit = UINT64_C(1) << (signal - 1);
        struct sk_sigaction old;
        int result;

        if (!(set & bit) || signal == SIGKILL || signal == SIGSTOP)
            continue;
        result = set_disposition(signal, &action, &old);
        if (result < 0)
            return result;
        if (!(saved->changed & bit))
            saved->actions[signal] = old;
        saved->changed |= bit;
    }
    return 0;
}

static int apply(const struct sk_op *op, struct saved *saved)
{
    int result;

    switch (op->code) {
    case SK_OP_SIG_DEFAULT:
        return set_dispositions(op->x, SIG_DFL, saved);
    case SK_OP_SIG_IGNORE:
        return set_dispositions(op->x, SIG_IGN, saved);
    case SK_OP_SIG_MASK:
        result = sys_sigmask(SIG_SETMASK, &op->x, &saved->mask);
        saved->has_mask = result == 0;
        return result;
    }
    result = sys_fcntl(op->a, F_GETFD, 0); /* SK_OP_KEEP */
    if (result < 0)
        return result;
    if (saved->fd_flags < 0)
        saved->fd_flags = result;
    return sys_fcntl(op->a, F_SETFD, 0);
}

/* The mask first: what it held back before may not meet a disposition that was never its own. */
static void undo(const struct sk_plan *plan, const struct saved *saved)
{
    if (saved->has_mask)
        sys_sigmask(SIG_SETMASK, &saved->mask, 0);
    for (int signal = 1; signal <= SK_SIGNALS; signal++)
        if (saved->changed >> (signal - 1) & 1)
            sys_sigaction(signal, &saved->actions[signal], 0);
    if (saved->fd_flags >= 0)
        sys_fcntl(plan->exec_fd, F_SETFD, saved->fd_flags);
}

static int execute(sk_child *report, const struct sk_plan *plan, const struct sk_launch *launch)
{
    struct saved saved = {.changed = 0, .has_mask = 0, .fd_flags = -1};
    const struct sk_op *ops = (const struct sk_op *)(plan + 1);
    int result = 0;

    for (uint32_t i = 0; i < plan->op_count && result == 0; i++) {
        report->stage = ops[i].code;
        report->index = (int)i;
        result = apply(&ops[i], &saved);
    }
    if (result == 0) {
        report->stage = SK_AT_EXEC;
        report->index = 0;
        if (plan->exec_fd >= 0)
            result = sys_execveat(plan->exec_fd, "", launch->argv, launch->envp, AT_EMPTY_PATH);
        else
            result = sys_execve(launch->paths[0], launch->argv, launch->envp);
    }
    undo(plan, &saved);
    return result;
}

int sk_execute(sk_child *report, const void *data, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct sk_plan *plan = data;
    const struct sk_op *ops = (const struct sk_op *)(plan + 1);
    struct sk_launch *launch;
    uint64_t codes;
    int result;

    report->stage = SK_AT_PLAN;
    if (sk__plan_check(data, size, &codes) < 0 || plan->path_count != 1)
        return -EINVAL;
    for (uint32_t i = 0; i < plan->op_count; i++)
        if (!can_be_undone(plan, &ops[i]))
            return -EINVAL;
    report->stage = SK_AT_MEMORY;
    launch = sk__launch_take(plan, codes); /* for the vectors that execve wants */
    if (!launch)
        return -ENOMEM;
    pthread_once(&once, watch);
    sk__lock_word(&changing);
    result = execute(report, plan, launch);
    sk__unlock_word(&changing);
    sk__launch_give(launch);
    return result;
}
