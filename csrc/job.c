/* One job: the processes of a pipeline and their streams, served in one loop until all is over. As
 * pump.c does it for one process; what it does with a stream that is ready is pump.c's.
 *
 * Every process is watched all the time, and reaped when it ends: one that is first and ends first
 * would otherwise be told a wall time as long as that of the last. */
#include "streams.h"

#include <errno.h>
#include <stddef.h>

_Static_assert(sizeof(sk_slot) == sizeof(struct pollfd) &&
                   offsetof(sk_slot, events) == offsetof(struct pollfd, events) &&
                   offsetof(sk_slot, revents) == offsetof(struct pollfd, revents),
               "a slot is a struct pollfd");

/* What a slot is for: four numbers for each process, its streams and its end; and the bell. */
enum { END = 3, EACH = 4, BELL = -1 };

static int is_over(const sk_child *child)
{
    return __atomic_load_n(&child->state, __ATOMIC_ACQUIRE) >= SK_ENDED;
}

static int some_run(const sk_job *job)
{
    for (int i = 0; i < job->count; i++)
        if (!is_over(job->children[i]))
            return 1;
    return 0;
}

static int some_open(const sk_job *job)
{
    for (int i = 0; i < job->count; i++)
        if (sk__streams_open(job->pumps[i]))
            return 1;
    return 0;
}

static unsigned add(const sk_job *job, unsigned count, int fd, int events, int what)
{
    job->slots[count] = (sk_slot){.fd = fd, .events = (int16_t)events};
    job->what[count] = what;
    return count + 1;
}

/* Fills in what poll is to watch, and returns how many: no more than are open, or it could be more than
 * poll takes (RLIMIT_NOFILE). */
static unsigned watch(const sk_job *job)
{
    unsigned count = 0;

    for (int i = 0; i < job->count; i++) {
        const sk_child *child = job->children[i];
        const sk_pump *pump = job->pumps[i];

        for (int s = 0; s < 3; s++)
            if (sk__is_ours(pump, s))
                count = add(job, count, pump->ours[s], s ? POLLIN : POLLOUT, i * EACH + s);
        if (!is_over(child) && child->pidfd >= 0)
            count = add(job, count, child->pidfd, POLLIN, i * EACH + END);
    }
    if (job->pumps[0]->bell >= 0)
        count = add(job, count, job->pumps[0]->bell, POLLIN, BELL);
    return count;
}

/* Without a pidfd an end shows only to those who ask. */
static int has_to_ask(const sk_child *child) { return !is_over(child) && child->pidfd < 0; }

static int some_have_to_ask(const sk_job *job)
{
    for (int i = 0; i < job->count; i++)
        if (has_to_ask(job->children[i]))
            return 1;
    return 0;
}

/* Takes the end of a process that may have one: 0, or a negative errno. A status that is lost is an
 * end too; who it was and why is asked of the handle. */
static int note_end(sk_child *child, int shows)
{
    const struct timespec moment = {0, 1000000};
    int result = sk_wait(child, 0);

    if (result == SK_TIMEOUT || result == SK_AGAIN) {
        if (shows)
            sys_poll(NULL, 0, &moment); /* a tracer has yet to let it go */
        return 0;
    }
    return result < 0 ? result : 0;
}

/* The streams first: what came before an end or the bell is not to be lost. */
static int serve(const sk_job *job, unsigned count)
{
    int result = SK_OK;

    for (unsigned n = 0; n < count && result == SK_OK; n++)
        if (job->slots[n].revents && job->what[n] != BELL && job->what[n] % EACH != END)
            result = sk__serve(job->pumps[job->what[n] / EACH], job->what[n] % EACH);
    for (unsigned n = 0; n < count && result == SK_OK; n++)
        if (job->slots[n].revents && job->what[n] != BELL && job->what[n] % EACH == END)
            result = note_end(job->children[job->what[n] / EACH], 1);
    for (int i = 0; i < job->count && result == SK_OK; i++)
        if (has_to_ask(job->children[i]))
            result = note_end(job->children[i], 0);
    if (result == SK_OK && count && job->what[count - 1] == BELL && job->slots[count - 1].revents)
        result = sk__answer_bell(job->pumps[0]);
    return result;
}

static int once(const sk_job *job, int64_t deadline)
{
    struct pollfd *slots = (struct pollfd *)job->slots;
    unsigned count = watch(job);
    int asking = some_have_to_ask(job);
    int64_t until = asking ? sk__until_asking(deadline) : deadline;
    struct timespec left;
    int ready;

    /* The youngest is the last one. */
    ready = sk__spin_on(job->children[job->count - 1], deadline, slots, count);
    if (ready)
        return ready < 0 ? SK_AGAIN : serve(job, count);
    ready = -ENOTSUP;
    if (until < 0)
        ready = (int)sk__block(&job->pumps[0]->interrupted, SYS_ppoll, (long)slots, count, 0, 0, 8);
    if (ready == -ENOTSUP) {
        int some_left = sk__time_left(until, &left);

        ready = sys_poll(slots, count, &left);
        if (ready == 0 && until == deadline)
            return some_left ? SK_AGAIN : SK_TIMEOUT;
    }
    if (ready == -EINTR || ready == 0) {
        /* Signals may come faster than it is ever time to ask. */
        ready = asking ? serve(job, count) : SK_OK;
        return ready == SK_OK ? SK_AGAIN : ready;
    }
    return ready < 0 ? ready : serve(job, count);
}

static int run(const sk_job *job, int64_t deadline)
{
    sk_pump *first = job->pumps[0];

    for (;;) {
        int open = some_open(job), result;

        if (!some_run(job)) {
            int news = !first->exited;

            first->exited = 1;
            if (!open)
                return SK_OK;
            if (news && first->bell >= 0)
                return SK_EXITED;
        }
        result = once(job, deadline);
        if (result == SK_OK && ++first->rounds % SK_ROUNDS == 0)
            result = sk__look_up(deadline);
        if (result != SK_OK)
            return result;
    }
}

int sk_job_run(const sk_job *job, int64_t deadline)
{
    int inside = 0, result = SK_OK;

    for (int i = 0; i < job->count; i++)
        sk_pump_started(job->pumps[i]);
    /* The pidfds are polled: another thread that reaps must not close one meanwhile. */
    while (inside < job->count && (result = sk__enter(job->children[inside])) == SK_OK)
        inside++;
    if (result == SK_OK)
        result = run(job, deadline);
    while (inside > 0)
        sk__leave(job->children[--inside], SK_OK);
    return result;
}

int sk_pump_join(sk_pump *from, sk_pump *to, int size)
{
    int32_t ends[2];
    int result;

    sk_pump_open(from, 0);
    sk_pump_open(to, 0);
    if (from->theirs[1] >= 0 || to->theirs[0] >= 0)
        return -EBUSY;
    result = sys_pipe(ends, O_CLOEXEC);
    if (result < 0)
        return result;
    from->theirs[1] = ends[1];
    to->theirs[0] = ends[0];
    if (size)
        sys_fcntl(ends[0], F_SETPIPE_SZ, size); /* refused: it stays as it is */
    return 0;
}
