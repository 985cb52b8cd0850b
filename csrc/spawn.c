/* The parent's side of a spawn: check, choose an engine, start.
 *
 * The engine is chosen before anything is changed. Operations say which engines may run them
 * (plan.h); a request for an engine that cannot is refused by the caller, who knows the names. */
#include "core.h"

#include <errno.h>
#include <string.h>

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
    case SK_AT_CLONE:
        return "clone";
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

static int choose(int wanted, struct sk_launch *launch)
{
    if (wanted == SK_FORK || wanted == SK_POSIX_SPAWN)
        return wanted;
    if (!sk__memory_is_shared(launch))
        return SK_FORK;
    return wanted == SK_CHOOSE ? SK_VFORK : wanted;
}

int sk_spawn(sk_child *child, const void *plan, size_t size, int engine, int flags)
{
    struct sk_launch *launch;
    int want_pidfd = flags & SK_PIDFD;

    child->pidfd = child->channel = -1;
    child->generation = sk__generation();
    if (sk__plan_check(plan, size) < 0) {
        child->stage = SK_AT_PLAN;
        return -EINVAL;
    }
    if (flags & SK_PIDFD_IF_MAIN)
        want_pidfd = sk__main_thread() || SK_KNOWN(status_stolen) > 0;
    launch = sk__launch_take(plan);
    if (!launch) {
        child->stage = SK_AT_MEMORY;
        return -ENOMEM;
    }
    child->stage = SK_AT_START;
    child->state = SK_SETUP;
    child->started = sk__now();
    child->engine = choose(engine, launch);
    {
        int result = child->engine == SK_FORK          ? sk__fork_start(child, launch, want_pidfd)
                     : child->engine == SK_POSIX_SPAWN ? sk__posix_start(child, launch, want_pidfd)
                                                       : sk__vfork_start(child, launch,
                                                                         child->engine, want_pidfd);

        if (result < 0)
            child->state = SK_NEW;
        return result;
    }
}
