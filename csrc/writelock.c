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

/* Turns in use, by which a thread finds its own. */
static sk_turn *turns;
static uint32_t turns_lock;

enum { UNUSED, LISTED, WAITING, HELD }; /* sk_turn.state */

static uint64_t waiting(uint64_t now, int group) { return now / WAITER(group) & COUNT; }

static int may_join(uint64_t now, int group)
{
    int inside = now & WRITERS_INSIDE ? WRITERS : SPAWNERS;

    return !(now & COUNT) || (inside == group && !waiting(now, !group));
}

static uint64_t joined(uint64_t now, int group)
{
    return (group == WRITERS ? now | WRITERS_INSIDE : now & ~WRITERS_INSIDE) + 1;
}

/* Sequentially consistent, as is every access to `state` and `bells`: a waiter reads its bell, then
 * the state; whoever lets it in writes the state, then rings. */
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
    uint64_t now = look();

    do {
        if (!may_join(now, SPAWNERS))
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

/* The calling thread's turn in that group and state. What is found stays so: nobody else changes
 * it. */
static sk_turn *own_turn(int group, int in_state)
{
    sk_turn *turn;

    sk__lock_word(&turns_lock);
    for (turn = turns; turn; turn = turn->next)
        if (turn->owner == this_thread() && turn->group == group && turn->state == in_state)
            break;
    sk__unlock_word(&turns_lock);
    return turn;
}

/* 0: it is in use, by another thread or for something else. */
static int put_on_list(sk_turn *turn, int group)
{
    uint32_t generation = sk__generation();
    int is_ours;

    sk__lock_word(&turns_lock);
    if (turn->state == UNUSED || turn->generation != generation) {
        turn->owner = this_thread();
        turn->group = group;
        turn->generation = generation;
        turn->state = LISTED;
        turn->next = turns;
        turns = turn;
    }
    is_ours = turn->owner == this_thread() && turn->group == group && turn->state != HELD;
    sk__unlock_word(&turns_lock);
    return is_ours;
}

static void take_off_list(sk_turn *turn)
{
    sk_turn **at = &turns;

    sk__lock_word(&turns_lock);
    while (*at && *at != turn)
        at = &(*at)->next;
    if (*at)
        *at = turn->next;
    turn->state = UNUSED;
    sk__unlock_word(&turns_lock);
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
        ring(!group); /* nobody keeps them from joining their own any more: see is_in */
}

/* Joins, or gets in line. A thread that is inside joins even if others wait: they wait for it. */
static void get_in_line(sk_turn *turn)
{
    int group = turn->group, joins;
    int again = group == WRITERS && own_turn(WRITERS, HELD);
    uint64_t now = look();

    do
        joins = again || may_join(now, group);
    while (!change(&now, joins ? joined(now, group) : now + WAITER(group)));
    turn->round = round_of(now, group);
    turn->state = joins ? HELD : WAITING;
}

static int is_in(sk_turn *turn)
{
    int group = turn->group;
    uint64_t now = look();

    if (turn->state == HELD)
        return 1;
    do {
        if (round_of(now, group) != turn->round)
            break;
        if (!may_join(now, group))
            return 0;
    } while (!change(&now, joined(now, group) - WAITER(group)));
    turn->state = HELD;
    return 1;
}

/* A handler that the interpreter runs in the middle of a wait may want the other group:
 *   1. the main thread waits to spawn, and comes back for a signal with its place in line kept;
 *   2. the last writer leaves and counts it in;
 *   3. the handler wants the write lock, and waits for the spawner it has interrupted.
 * So what the handler interrupted steps aside, and gets in line anew afterwards. */
static void step_aside(int group)
{
    sk_turn *turn;

    while ((turn = own_turn(group, WAITING)))
        sk_turn_end(turn);
}

static int take(sk_turn *turn, int group, int64_t deadline)
{
    if (!put_on_list(turn, group))
        return -EBUSY;
    if (turn->state == LISTED) {
        step_aside(!group);
        get_in_line(turn);
    }
    for (;;) {
        uint32_t bell = __atomic_load_n(&bells[group], __ATOMIC_SEQ_CST);
        struct timespec left;
        int some_left, result;

        if (is_in(turn))
            return SK_OK;
        some_left = sk__time_left(deadline, &left);
        result = some_left ? sys_futex_wait(&bells[group], bell, &left) : -ETIME;
        if (result == -EINTR || (result == -ETIMEDOUT && sk__main_thread()))
            return SK_AGAIN;
        if (result < 0 && result != -EAGAIN && result != -ETIMEDOUT) {
            sk_turn_end(turn);
            return result == -ETIME ? SK_TIMEOUT : result;
        }
    }
}

int sk_write_lock(sk_turn *turn, int64_t deadline) { return take(turn, WRITERS, deadline); }

int sk__spawner_wait(sk_turn *turn, int64_t deadline)
{
    return own_turn(WRITERS, HELD) ? SK_OWN_LOCK : take(turn, SPAWNERS, deadline);
}

void sk_turn_end(sk_turn *turn)
{
    int was = turn->state;

    if (was == UNUSED || turn->generation != sk__generation()) {
        turn->state = UNUSED;
        return;
    }
    take_off_list(turn);
    if (was == HELD)
        leave(turn->group);
    else if (was == WAITING)
        withdraw(turn);
}

/* None of the threads that were inside or in line exists in the new process. */
void sk__write_lock_forked(void)
{
    state = 0;
    turns = NULL;
    turns_lock = 0;
}
