#include "spin.h"

#include "core.h"
#include "guard.h"

#include <errno.h>
#include <sched.h>

/* So many in vain, one after the other: these children live longer, and from now on only one in
 * SELDOM is waited for awake, in case that has changed. */
#define PATIENCE 8
#define SELDOM 16

#define CROWDED_FOR INT64_C(10000000) /* 10 ms */

static int64_t longest = SK_SPIN;
static int64_t crowded_until;
static uint32_t busy;       /* a thread is in here */
static uint32_t in_vain[2]; /* of each kind, one after the other */

int64_t sk_set_spin(int64_t time) { return __atomic_exchange_n(&longest, time, __ATOMIC_RELAXED); }

static void leave(void) { __atomic_store_n(&busy, 0, __ATOMIC_RELEASE); }

static int is_worth_it(int kind)
{
    uint32_t count = __atomic_load_n(&in_vain[kind], __ATOMIC_RELAXED);

    if (count < PATIENCE)
        return 1;
    __atomic_store_n(&in_vain[kind], count == UINT32_MAX ? PATIENCE : count + 1, __ATOMIC_RELAXED);
    return count % SELDOM == 0;
}

/* Where it may run on one only, that one is busy with the child and has no time to halt. (To give it
 * up would not even be of use: under autogroup, sched(7), a child in a session of its own is not among
 * those who are next.) */
static int has_processors(void)
{
    unsigned long mask[1024 / (8 * sizeof(long))];
    int size = sys_sched_getaffinity(0, sizeof mask, mask), count = 0;

    for (int i = 0; i < size / (int)sizeof(long); i++)
        count += __builtin_popcountl(mask[i]);
    return size < 0 || count > 1; /* EINVAL: more than 1,024 */
}

/* To whom sched_yield(2) gives the processor is a matter of the policy (sched(7)). With a real-time one
 * only those of the same priority are let by, and not a child that begins as an ordinary process
 * (SCHED_RESET_ON_FORK). With SCHED_DEADLINE it gives up what is left of the period: each look takes
 * one. */
static int gives_way(void)
{
    int policy = sys_sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;

    return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

/* Both are asked each time: they are the thread's own, and may be changed from outside. */
static int may_stay_awake(void) { return gives_way() && has_processors(); }

static int may_enter(int kind, int64_t now)
{
    if (now < __atomic_load_n(&crowded_until, __ATOMIC_RELAXED) || !is_worth_it(kind))
        return 0;
    if (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&crowded_until, now + CROWDED_FOR, __ATOMIC_RELAXED);
        return 0;
    }
    if (may_stay_awake())
        return 1;
    leave();
    return 0;
}

/* On the main thread: what the caller sleeps in is not interrupted by a signal that came before it, and
 * its handler would wait for the end of a slice. */
static int let_handlers_run(void)
{
    if (sk__guard_works())
        sk__guard_arm();
    return -EINTR;
}

int sk__spin(int kind, int64_t started, int64_t deadline, int (*look)(void *), void *what)
{
    int64_t until = started + __atomic_load_n(&longest, __ATOMIC_RELAXED);
    int64_t now = sk__now();
    int found = 0, in_time, looked = 0;

    if (deadline >= 0 && deadline < until)
        until = deadline;
    if (now < started || now >= until || !may_enter(kind, now))
        return 0;
    while (found == 0 && now < until) {
        if (sys_sched_yield() < 0)
            break; /* refused by a seccomp filter: the child might not get a processor at all */
        found = look(what);
        looked = 1;
        now = sk__now();
    }
    /* Found too late is in vain: somebody else had the processor meanwhile, and to sleep would have
     * been no slower. */
    in_time = found > 0 && now < until;
    if (in_time)
        __atomic_store_n(&in_vain[kind], 0, __ATOMIC_RELAXED);
    else
        __atomic_add_fetch(&in_vain[kind], 1, __ATOMIC_RELAXED);
    leave();
    return looked && !in_time && sk__main_thread() ? let_handlers_run() : found > 0;
}

/* The thread that was in here is not in the new process. */
void sk__spin_forked(void) { busy = 0; }
