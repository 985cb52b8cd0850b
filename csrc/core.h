/* What the parts of the core share with each other and nobody else. */
#ifndef SK_CORE_H
#define SK_CORE_H

#include "sys.h" /* first: it asks for the GNU names of the system headers */

#include "launch.h"
#include "spawnkit.h"

/* A fork of this process makes every handle, lock and cached answer about threads someone else's:
 * the number tells handles made before from handles made after. */
uint32_t sk__generation(void);

/* Is this the thread the interpreter runs signal handlers on: the first one of the process? */
int sk__main_thread(void);

int64_t sk__now(void); /* CLOCK_MONOTONIC, nanoseconds */

/* 1: there is something left of `deadline`. *left: for how long one call may block, on the main thread
 * never longer than SK_SLICE: a signal that arrives just before the system call does not interrupt
 * it, and its handler would have to wait for the child. */
#define SK_SLICE 100000000 /* 0.1 s */
int sk__time_left(int64_t deadline, struct timespec *left);

void sk__lock_word(uint32_t *lock);
void sk__unlock_word(uint32_t *lock);
void sk__lock(sk_child *child);
void sk__unlock(sk_child *child);

/* Around everything that uses the pidfd: the last thread out closes it. SK_OK or SK_STALE; `leave`
 * passes a result through. They nest. */
int sk__enter(sk_child *child);
int sk__leave(sk_child *child, int result);
/* The spawners' side of the write lock (writelock.c). 0: a writer has it or waits for it. */
int sk__spawner_enter(void);
void sk__spawner_leave(void);
/* SK_OK: inside, until sk_turn_end. SK_AGAIN, SK_TIMEOUT, SK_OWN_LOCK, or a negative errno. */
int sk__spawner_wait(sk_turn *turn, int64_t deadline);
void sk__write_lock_forked(void);

/* A pidfd that is wanted only against strangers' waits: no descriptor left is no reason to fail. */
#define SK_IF_IT_CAN_BE_HAD 2

/* Makes a child in sk__child_main on `launch`, by the best means this kernel allows, in the thread
 * that its plan needs. `engine` is one of ours. Fills pid and pidfd; or returns a negative errno, no
 * child was made, and stage and index say what for. */
int sk__clone(sk_child *child, struct sk_launch *launch, int engine, int want_pidfd);
int sk__clone_here(sk_child *child, struct sk_launch *launch, int engine, int want_pidfd);

/* The same in a thread that lives as long as the process (home.c). First sk__home, which makes it: 0, or
 * a negative errno where it cannot be had. */
int sk__home(void);
int sk__clone_at_home(sk_child *child, struct sk_launch *launch, int engine, int want_pidfd);
void sk__home_forked(void);

/* The operation that CLONE_INTO_CGROUP can do in the child's place; NULL: there is none. */
const struct sk_op *sk__birthplace(const struct sk_launch *launch);

/* Its cgroup, opened for clone, which is for the caller to close; negative: the child moves itself. */
int sk__open_birthplace(const struct sk_launch *launch);

/* 1: a CLONE_VM child writes into our memory. Probed once. */
int sk__memory_is_shared(struct sk_launch *launch);

/* One engine each: 0 and a child, or a negative errno with child->stage set and no child. Where the
 * child does not live in `launch`, the engine has given it back. */
int sk__vfork_start(sk_child *child, struct sk_launch *launch, int engine, int want_pidfd);
int sk__fork_start(sk_child *child, struct sk_launch *launch, int want_pidfd);
int sk__posix_start(sk_child *child, struct sk_launch *launch, int want_pidfd);

/* The fork engine's half of sk_settle: reads the report pipe. SK_OK when it has ended. */
int sk__fork_listen(sk_child *child, int64_t deadline);

extern sk_features sk__features; /* relaxed atomics; -1: not asked yet */
extern int sk__first_way;        /* of making a process: those before it were refused (clone.c) */
#define SK_KNOW(feature, value) __atomic_store_n(&sk__features.feature, (value), __ATOMIC_RELAXED)
#define SK_KNOWN(feature) __atomic_load_n(&sk__features.feature, __ATOMIC_RELAXED)

#endif
