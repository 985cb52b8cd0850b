/* Waiting awake, for a moment, before going to sleep.
 *
 * A small static program takes less time than it takes to wake a processor, a virtual one above all:
 *   1. the parent sleeps; its processor has nothing left to do, and halts;
 *   2. execve moves the child to the processor that was used least (sched_exec() in the kernel);
 *   3. the child ends there, and has to have its parent's processor woken.
 * So while the child is young the parent does not sleep. It gives its processor to whoever wants it,
 * the child above all, and looks, by turns.
 *
 * What that costs is bounded: only the first moments of a child; only one thread of a process at a
 * time, and none where several start commands side by side, as each is work enough for a processor;
 * never on a single processor, nor under a real-time policy, where the processor cannot be given to
 * whoever wants it; and hardly ever where children turn out to live longer. */
#ifndef SK_SPIN_H
#define SK_SPIN_H

#include "sys.h"

#define SK_SPIN INT64_C(300000) /* 0.3 ms of a child's life, in nanoseconds */

/* For what: each has patience of its own. A setup is always short, and says nothing of the end. */
enum { SK_SPIN_SETUP, SK_SPIN_END };

/* 1 as soon as `look(what)` returned more than 0, in the first moments of a child that was started at
 * `started` (sk__now) and before `deadline` (as for sk_wait). Else 0, and the caller goes to sleep; or
 * on the main thread -EINTR: back to the interpreter (SK_AGAIN), as a signal may have come meanwhile.
 * The guard (guard.h) is armed then. `look` returning less than 0 is for the call that sleeps to meet:
 * that knows what to do about it. */
int sk__spin(int kind, int64_t started, int64_t deadline, int (*look)(void *), void *what);

void sk__spin_forked(void);

#endif
