/* Start and wait in one call, for a caller that wants nothing in between. Each call gives up the
 * interpreter's lock and takes it back: with threads that compete for it, half as often. */
#include "core.h"

int sk_run(sk_child *child, sk_pump *pump, const void *plan, size_t size, int engine, int flags,
           int64_t deadline)
{
    int result = sk_spawn(child, plan, size, engine, flags);

    if (result)
        return result;
    child->sole = 1;
    /* A signal that came before sk_spawn armed the guard (guard.h) has done its work: the caller has
     * to look for it before it sleeps. Only the main thread runs handlers. */
    if (sk__main_thread())
        return SK_AGAIN;
    return pump ? sk_pump_run(pump, child, deadline) : sk_wait(child, deadline);
}
