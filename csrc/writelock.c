/* The write lock: who writes a program file keeps new children away. Go's syscall.ForkLock, for the
 * case that Go leaves to its users (golang.org/issue/22315):
 *
 *   1. thread A opens a file for writing, writes a program into it;
 *   2. thread B clones; its child has a copy of A's descriptor until it executes;
 *   3. A closes the file and executes it: ETXTBSY, the child of B has it open for writing.
 *
 * A group lock: spawners share it with each other, writers share it with each other, the groups
 * exclude each other. Once a writer has it no clone is in flight, and every child that there is was
 * made before the writer opened anything.
 *
 * A newcomer joins its group only while nobody of the other group waits; otherwise a group whose
 * members overlap would keep the other out for ever. The last one out lets in all that wait, of the
 * other group first: it counts them in while they still sleep, so that no newcomer is faster.
 *
 * Only a thread that is in here waits. One that returns for the signal handlers of its interpreter
 * leaves the line before: what is done there may wait for those behind it (kept_until).
 *
 * The state is one word: a spawner that meets no writer needs one compare-and-swap in and one out,
 * and makes no system call. */
#include "core.h"

#include <errno.h>
#include <limits.h>

enum group { SPAWNERS, WRITERS };

/* How many are inside, and how many of each group wait. 20 bits each: no process has a million
 * threads. Whoever waits, waits for somebody who is inside: if that count is 0 so are the others. */
#define COUNT UINT64_C(0xfffff)
#define WAITER(group) (UINT64_C(1) << (20 + 20 * (group)))
/* Which group is inside; meaningless while nobody is. */
#define WRITERS_INSIDE (UINT64_C(1) << 60)
/* Changes each time the waiters of a group are let in. One bit is enough: until the next time all
 * of them must have come and gone. */
#define ROUND(group) (UINT64_C(1) << (61 + (group)))

static uint64_t state;
static uint32_t bells[2]; /* what the waiters of a group sleep on; the value only ever changes */

/* No newcomer joins the other group before then: a thread of this one has left the line for a moment
 * and will be back. 0: none has, or it is back.
 *
 * It may not stay in line meanwhile:
 *   1. the main thread waits to spawn, and returns for a signal with its place in line kept;
 *   2. the last writer leaves and counts it in; another writer gets in line behind it;
 *   3. the handler spawns, or takes the lock, or joins the thread of that writer: none of them can
 *      go on before the main thread has spawned, and it cannot before the handler returns.
 *
 * And nobody may take advantage, or members that overlap keep it out for ever after all:
 *   1. A writes, for longer than a slice; the main thread waits to spawn, and B behind it to write;
 *   2. the main thread leaves the line, until it has the interpreter again: B joins A;
 *   3. A ends, comes again and waits behind the main thread: 2 once more, with A and B swapped.
 *
 * Hence a time instead of a place: who does not come back holds up nobody for longer than that.
 * Those inside come to an end, and let in the other group, or their own if the other was away just
 * then; the next time it has the same chance. */
static int64_t kept_until[2];

/* Turns in use, by which a thread finds its own. The lock guards what is in them as well: any thread
 * may end a turn, also while its owner is about to enter with it. */
static sk_turn *turns;
static uint32_t turns_lock;

enum { UNUSED, WAITING, HELD }; /* sk_turn.state */

static uint64_t waiting(uint64_t now, int group) { return now / WAITER(group) & COUNT; }

/* When the place that is kept from newcomers of the group becomes free; 0: none is. */
static int64_t kept_from(int group)
{
    int64_t until = __atomic_load_n(&kept_until[!group], __ATOMIC_SEQ_CST);

    return until && until > sk__now() ? until : 0;
}

static int may_join(uint64_t now, int group, int64_t kept)
{
    int inside = now & WRITERS_INSIDE ? WRITERS : SPAWNERS;

    return !(now & COUNT) || (inside == group && !waiting(now, !group) && !kept);
}

static uint64_t joined(uint64_t now, int group)
{
    return (group == WRITERS ? now | WRITERS_INSIDE : now & ~WRITERS_INSIDE) + 1;
}

/* Sequentially consistent, as is every access to `state`, `bells` and `kept_until`: a waiter reads its
 * bell, then the state; whoever lets it in writes the state, then rings. */
static int change(uint64_t *now, uint64_t to)
{
    return __atomic_compare_exchange_n(&state, now, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static uint64_t look(void) { return __atomic_load_n(&state, __ATOMIC_SEQ_CST); }

static void ring(int group)
{
    __atomic_add_fetch(&bells[group], 1, __ATOMIC_SEQ_CST);
    sys_futex_wake(&bells[group], INT_MAX);
}

static void leave(int group)
{
    uint64_t now = look(), then;
    int next;

    do {
        then = now - 1;
        next = -1;
        if (!(then & COUNT)) {
            next = waiting(then, !group) ? !group : waiting(then, group) ? group : -1;
            if (next >= 0) {
                uint64_t count = waiting(then, next);

                then = joined(then, next) + count - 1; /* all of them */
                then -= count * WAITER(next);
                then ^= ROUND(next);
            }
        }
    } while (!change(&now, then));
    if (next >= 0)
        ring(next);
}

int sk__spawner_enter(void)
{
    int64_t kept = kept_from(SPAWNERS);
    uint64_t now = look();

    do {
        if (!may_join(now, SPAWNERS, kept))
            return 0;
    } while (!change(&now, joined(now, SPAWNERS)));
    return 1;
}

void sk__spawner_leave(void) { leave(SPAWNERS); }

/* ---- turns: of writers, and of spawners that have to wait --------------------------------------- */

static int round_of(uint64_t now, int group) { return (now & ROUND(group)) != 0; }

static uintptr_t this_thread(void)
{
    static __thread char one;

    return (uintptr_t)&one;
}

/* All of these with `turns_lock` held, as far as `take`. */

static int is_writer(void)
{
    const sk_turn *turn = turns;

    while (turn && !(turn->owner == this_thread() && turn->group == WRITERS && turn->state == HELD))
        turn = turn->next;
    return turn != NULL;
}

/* Gives up a place among those who wait. */
static void withdraw(const sk_turn *turn)
{
    int group = turn->group;
    uint64_t now = look();

    do {
        if (round_of(now, group) != turn->round) { /* let in meanwhile */
            leave(group);
            return;
        }
    } while (!change(&now, now - WAITER(group)));
    now -= WAITER(group);
    if (!waiting(now, group) && waiting(now, !group))
        ring(!group); /* nobody in line keeps them from joining their own any more: see is_in */
}

static void end(sk_turn *turn)
{
    sk_turn **at = &turns;
    int was = turn->state;

    while (*at && *at != turn)
        at = &(*at)->next;
    if (*at)
        *at = turn->next;
    turn->state = UNUSED;
    if (was == HELD) {
        leave(turn->group);
        return;
    }
    withdraw(turn);
    if (turn->owner != this_thread())
        ring(turn->group); /* the owner sleeps on it */
}

/* Joins, or gets in line. A thread that is inside joins even if others wait: they wait for it. */
static void begin(sk_turn *turn, int group, uint32_t generation)
{
    int joins, again = group == WRITERS && is_writer();
    int64_t kept = kept_from(group);
    uint64_t now = look();

    do
        joins = again || may_join(now, group, kept);
    while (!change(&now, joins ? joined(now, group) : now + WAITER(group)));
    __atomic_store_n(&kept_until[group], 0, __ATOMIC_SEQ_CST);
    turn->owner = this_thread();
    turn->group = group;
    turn->generation = generation;
    turn->round = round_of(now, group);
    turn->state = joins ? HELD : WAITING;
    turn->next = turns;
    turns = turn;
}

static int is_in(sk_turn *turn, int64_t kept)
{
    int group = turn->group;
    uint64_t now = look();

    if (turn->state == HELD)
        return 1;
    do {
        if (round_of(now, group) != turn->round)
            break;
        if (!may_join(now, group, kept))
            return 0;
    } while (!change(&now, joined(now, group) - WAITER(group)));
    turn->state = HELD;
    return 1;
}

/* SK_OK: inside. If not: SK_LOCKED goes on waiting, any other `result` ends the turn. -ECANCELED:
 * somebody has ended it, and may have begun something else with it. */
static int check(sk_turn *turn, int64_t kept, int result)
{
    int is_ours;

    sk__lock_word(&turns_lock);
    is_ours = turn->state != UNUSED && turn->owner == this_thread();
    if (!is_ours)
        result = -ECANCELED;
    else if (is_in(turn, kept))
        result = SK_OK;
    else if (result != SK_LOCKED) {
        if (result == SK_AGAIN) /* before it leaves: nobody may see neither */
            __atomic_store_n(&kept_until[turn->group], sk__now() + SK_SLICE, __ATOMIC_SEQ_CST);
        end(turn);
    }
    sk__unlock_word(&turns_lock);
    return result;
}

/* Until the bell rings, at most until `kept`. -ETIME: the deadline has passed. */
static int sleep_on(const uint32_t *bell, uint32_t value, int64_t kept, int64_t deadline)
{
    int for_kept = kept && (deadline < 0 || kept < deadline);
    struct timespec left;

    if (!sk__time_left(for_kept ? kept : deadline, &left))
        return for_kept ? 0 : -ETIME;
    return sys_futex_wait(bell, value, &left);
}

static int take(sk_turn *turn, int group, int64_t deadline)
{
    uint32_t generation = sk__generation();
    int is_free;

    sk__lock_word(&turns_lock);
    is_free = turn->state == UNUSED || turn->generation != generation;
    if (is_free)
        begin(turn, group, generation);
    sk__unlock_word(&turns_lock);
    if (!is_free)
        return -EBUSY;
    for (;;) {
        uint32_t bell = __atomic_load_n(&bells[group], __ATOMIC_SEQ_CST);
        int64_t kept = kept_from(group); /* one answer for both: who sleeps on knows what for */
        int result = check(turn, kept, SK_LOCKED);

        if (result != SK_LOCKED)
            return result;
        result = sleep_on(&bells[group], bell, kept, deadline);
        if (result == -EINTR || (result == -ETIMEDOUT && sk__main_thread()))
            return check(turn, kept, SK_AGAIN);
        if (result == -ETIME)
            return check(turn, kept, SK_TIMEOUT);
        if (result < 0 && result != -EAGAIN && result != -ETIMEDOUT)
            return check(turn, kept, result);
    }
}

int sk_write_lock(sk_turn *turn, int64_t deadline) { return take(turn, WRITERS, deadline); }

int sk__spawner_wait(sk_turn *turn, int64_t deadline)
{
    int own_lock;

    sk__lock_word(&turns_lock);
    own_lock = is_writer();
    sk__unlock_word(&turns_lock);
    return own_lock ? SK_OWN_LOCK : take(turn, SPAWNERS, deadline);
}

void sk_turn_end(sk_turn *turn)
{
    uint32_t generation = sk__generation();

    sk__lock_word(&turns_lock);
    if (turn->state != UNUSED && turn->generation == generation)
        end(turn);
    turn->state = UNUSED;
    sk__unlock_word(&turns_lock);
}

/* None of the threads that were inside or in line exists in the new process. */
void sk__write_lock_forked(void)
{
    state = 0;
    kept_until[SPAWNERS] = kept_until[WRITERS] = 0;
    turns = NULL;
    turns_lock = 0;
}
