/* The C library's posix_spawn, for comparison. It has no words for most operations (plan.h says
 * which it can run) and does not tell which step failed. */
#include "core.h"

#include <errno.h>
#include <spawn.h>
#include <unistd.h>

#ifndef POSIX_SPAWN_SETSID
#define POSIX_SPAWN_SETSID 0x80
#endif

/* glibc 2.34; absent from older ones and from musl. */
extern int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *, int)
    __attribute__((weak));

static void to_sigset(uint64_t bits, sigset_t *set)
{
    sigemptyset(set);
    for (int signal = 1; signal <= SK_SIGNALS; signal++)
        if (bits >> (signal - 1) & 1)
            sigaddset(set, signal); /* refuses the C library's own two, which it never blocks */
}

static int add_close_range(posix_spawn_file_actions_t *actions, uint64_t first, uint64_t last)
{
    int error = 0;

    if (last >= INT32_MAX) {
        if (!posix_spawn_file_actions_addclosefrom_np)
            return ENOTSUP;
        error = posix_spawn_file_actions_addclosefrom_np(actions, (int)first);
        return error == EBADF ? EMFILE : error; /* its word for "above RLIMIT_NOFILE" */
    }
    for (uint64_t fd = first; fd <= last && !error; fd++)
        error = posix_spawn_file_actions_addclose(actions, (int)fd);
    return error;
}

static int translate(const struct sk_op *op, posix_spawn_file_actions_t *actions,
                     posix_spawnattr_t *attributes, short *flags)
{
    sigset_t set;

    switch (op->code) {
    case SK_OP_EXECVP: /* `spawn` does it so, whether asked or not */
        return 0;
    case SK_OP_SETSID:
        *flags |= POSIX_SPAWN_SETSID;
        return 0;
    case SK_OP_SETPGID:
        *flags |= POSIX_SPAWN_SETPGROUP;
        return posix_spawnattr_setpgroup(attributes, op->a);
    case SK_OP_DUP:
    case SK_OP_PARK: /* the name as a number: it has no other, and all that is not named is closed */
        return posix_spawn_file_actions_adddup2(actions, op->a, op->b);
    case SK_OP_KEEP:
        return posix_spawn_file_actions_adddup2(actions, op->a, op->a);
    case SK_OP_CLOSE:
        return posix_spawn_file_actions_addclose(actions, op->a);
    case SK_OP_CLOSE_RANGE:
        return add_close_range(actions, op->x, op->y);
    case SK_OP_SIG_DEFAULT:
        *flags |= POSIX_SPAWN_SETSIGDEF;
        to_sigset(op->x, &set);
        return posix_spawnattr_setsigdefault(attributes, &set);
    case SK_OP_SIG_MASK:
        *flags |= POSIX_SPAWN_SETSIGMASK;
        to_sigset(op->x, &set);
        return posix_spawnattr_setsigmask(attributes, &set);
    }
    return ENOTSUP;
}

static int spawn(sk_child *child, const struct sk_launch *launch,
                 posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes)
{
    short flags = 0;
    int error = launch->plan->exec_fd >= 0 ? ENOTSUP : 0; /* it takes a path only */

    for (uint32_t i = 0; i < launch->plan->op_count && !error; i++) {
        error = translate(&launch->ops[i], actions, attributes, &flags);
        child->index = (int)i;
    }
    if (!error)
        error = posix_spawnattr_setflags(attributes, flags);
    child->index = 0;
    for (uint32_t i = 0; i < launch->plan->path_count && !error; i++) {
        error = posix_spawn(&child->pid, launch->paths[i], actions, attributes, launch->argv,
                            launch->envp);
        if (error != ENOENT && error != ENOTDIR && error != EACCES)
            break;
        if (i + 1 < launch->plan->path_count)
            error = 0;
    }
    return error;
}

int sk__posix_start(sk_child *child, struct sk_launch *launch, int want_pidfd)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error;

    child->stage = SK_AT_SPAWN;
    error = posix_spawn_file_actions_init(&actions);
    if (!error) {
        error = posix_spawnattr_init(&attributes);
        if (!error) {
            error = spawn(child, launch, &actions, &attributes);
            posix_spawnattr_destroy(&attributes);
        }
        posix_spawn_file_actions_destroy(&actions);
    }
    sk__launch_give(launch);
    if (error) {
        child->pid = 0;
        return -error;
    }
    if (want_pidfd) {
        int pidfd = sys_pidfd_open(child->pid, 0);

        child->pidfd = pidfd < 0 ? -1 : pidfd;
    }
    child->engine = SK_POSIX_SPAWN;
    child->stage = SK_AT_EXEC;
    child->state = SK_RUNNING;
    return 0;
}
