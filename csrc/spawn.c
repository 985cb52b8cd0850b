/* The parent's side of a spawn: check, choose an engine, start.
 *
 * The engine is chosen before anything is changed. Operations say which engines may run them
 * (plan.h); a request for an engine that cannot is refused by the caller, who knows the names. */
#include "core.h"
#include "guard.h"

#include <errno.h>
#include <string.h>

/* glibc 2.32; elsewhere every process counts as having threads. */
extern char __libc_single_threaded __attribute__((weak));

static const struct {
    const char *name, *stage;
    unsigned engines;
} operations[SK_OP_COUNT] = {
#define SK_ROW(code, name, stage, engines) [SK_OP_##code] = {name, stage, engines},
    SK_OPERATIONS(SK_ROW)
#undef SK_ROW
};

const char *sk_stage_name(int stage)
{
    if (stage > SK_OP_NONE && stage < SK_OP_COUNT)
        return operations[stage].stage;
    switch (stage) {
    case SK_AT_PLAN:
        return "plan";
    case SK_AT_MEMORY:
        return "memory";
    case SK_AT_THREAD:
        return "thread";
    case SK_AT_CLONE:
        return "clone";
    case SK_AT_PIPE:
        return "pipe";
    case SK_AT_START:
        return "start";
    case SK_AT_EXEC:
        return "exec";
    case SK_AT_SPAWN:
        return "posix_spawn";
    }
    return "unknown";
}

int sk_operation_code(const char *name)
{
    for (int code = SK_OP_NONE + 1; code < SK_OP_COUNT; code++)
        if (strcmp(operations[code].name, name) == 0)
            return code;
    return -1;
}

int sk_operation_on(int code, int engine)
{
    return code > SK_OP_NONE && code < SK_OP_COUNT && (operations[code].engines >> engine & 1);
}

int sk_operation_text(int code)
{
    return code > SK_OP_NONE && code < SK_OP_COUNT && SK_HAS_TEXT(code);
}

static int choose(int wanted, struct sk_launch *launch)
{
    if (wanted == SK_FORK || wanted == SK_POSIX_SPAWN)
        return wanted;
    if (!sk__memory_is_shared(launch))
        return SK_FORK;
    return wanted == SK_CHOOSE ? SK_VFORK : wanted;
}

static int start(sk_child *child, struct sk_launch *launch, int want_pidfd)
{
    switch (child->engine) {
    case SK_FORK:
        return sk__fork_start(child, launch, want_pidfd);
    case SK_POSIX_SPAWN:
        return sk__posix_start(child, launch, want_pidfd);
    }
    return sk__vfork_start(child, launch, child->engine, want_pidfd);
}

/* Can somebody else wait for our child? Then its pid may come to mean another child of ours before
 * we look, and only a pidfd tells them apart. */
static int could_be_stolen(void)
{
    struct sk_sigaction action;

    if (SK_KNOWN(status_stolen) > 0 || !&__libc_single_threaded || !__libc_single_threaded)
        return 1;
    return sys_sigaction(SIGCHLD, 0, &action) < 0 || action.handler != SIG_DFL ||
           (action.flags & SA_NOCLDWAIT);
}

/* Inside the spawners' side of the write lock. */
static int spawn(sk_child *child, const void *plan, size_t size, int engine, int flags)
{
    struct sk_launch *launch;
    int want_pidfd = flags & SK_PIDFD;
    uint64_t codes;
    int result;

    if (sk__plan_check(plan, size, &codes) < 0) {
        child->stage = SK_AT_PLAN;
        return -EINVAL;
    }
    if (flags & SK_PIDFD_IF_NEEDED)
        want_pidfd = could_be_stolen() || (sk__main_thread() && !sk__guard_works())
                         ? SK_IF_IT_CAN_BE_HAD
                         : 0;
    launch = sk__launch_take(plan, codes);
    if (!launch) {
        child->stage = SK_AT_MEMORY;
        return -ENOMEM;
    }
    child->stage = SK_AT_START;
    child->state = SK_SETUP;
    child->started = sk__now();
    child->engine = choose(engine, launch);
    result = start(child, launch, want_pidfd);
    if (result < 0)
        child->state = SK_NEW;
    return result;
}

static void prepare(sk_child *child)
{
    child->pidfd = child->channel = -1;
    child->generation = sk__generation();
}

static int finish(int result)
{
    if (result == 0 && sk__main_thread() && sk__guard_works())
        sk__guard_arm(); /* the caller looks for signals on its way to sk_wait */
    return result;
}

int sk_spawn(sk_child *child, const void *plan, size_t size, int engine, int flags)
{
    int result;

    prepare(child);
    if (!sk__spawner_enter())
        return SK_LOCKED;
    result = spawn(child, plan, size, engine, flags);
    sk__spawner_leave();
    return finish(result);
}

int sk_spawn_in_turn(sk_child *child, const void *plan, size_t size, int engine, int flags,
                     sk_turn *turn, int64_t deadline)
{
    int result;

    prepare(child);
    result = sk__spawner_wait(turn, deadline);
    if (result)
        return result;
    result = spawn(child, plan, size, engine, flags);
    sk_turn_end(turn);
    return finish(result);
}
