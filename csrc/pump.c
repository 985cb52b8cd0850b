/* Feeds a child's stdin and gathers what it writes, in one resumable loop, until all has been said
 * and the child is reaped. */
#include "spin.h"
#include "streams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Most programs say a line or nothing, and there may be a thousand of them. */
#define SMALL_ROOM 512
#define FIRST_ROOM 8192
#define LEAST_READ 4096
#define LARGEST_READ (1u << 20)

/* Forgets the middle of a stream of which only the ends are wanted. */
static void forget_middle(sk_buffer *buffer)
{
    size_t surplus = buffer->length - 2 * buffer->ends;

    memmove(buffer->data + buffer->ends, buffer->data + buffer->ends + surplus, buffer->ends);
    buffer->dropped += surplus;
    buffer->length -= surplus;
}

/* 0; SK_FULL if it has to be taken first; -ENOMEM. */
static int make_room(sk_pump *pump, int stream)
{
    sk_buffer *buffer = &pump->output[stream - 1];
    size_t left = buffer->room - buffer->length;
    size_t room = buffer->room * 2;
    char *data;

    if (left >= LEAST_READ || (left && buffer->room == SMALL_ROOM))
        return 0;
    if (room < FIRST_ROOM)
        room = buffer->room ? FIRST_ROOM : SMALL_ROOM;
    if (buffer->room >= SK_WIDE + 2 * buffer->ends && !pump->draining) {
        sk__widen(pump, stream);
        if (!buffer->ends)
            return SK_FULL;
        forget_middle(buffer);
        return 0;
    }
    data = sys_realloc(buffer->data, room);
    if (!data)
        return -ENOMEM;
    buffer->data = data;
    buffer->room = room;
    return 0;
}

/* For a caller who wants to know when something was heard last, or when it was too much. */
static int heed(sk_pump *pump, int stream, size_t length)
{
    sk_buffer *buffer = &pump->output[stream - 1];
    size_t before = buffer->total;

    pump->heard = sk__now();
    buffer->total += length;
    return buffer->limit && before <= buffer->limit && buffer->total > buffer->limit ? SK_OVER : 0;
}

/* What a read of an output gave: bytes to keep, or its end. */
static int keep(sk_pump *pump, int stream, long length)
{
    if (length == -EINTR || length == -EAGAIN)
        return 0;
    if (length < 0)
        return (int)length;
    pump->output[stream - 1].length += (size_t)length;
    if (length == 0)
        sk__close_fd(&pump->ours[stream]);
    return pump->attentive ? heed(pump, stream, (size_t)length) : 0;
}

static char *room_in(sk_buffer *buffer, size_t *room)
{
    *room = buffer->room - buffer->length;
    if (*room > LARGEST_READ)
        *room = LARGEST_READ;
    return buffer->data + buffer->length;
}

/* One read of an output that has something to say. Closes it at its end. */
static int gather(sk_pump *pump, int stream)
{
    sk_buffer *buffer = &pump->output[stream - 1];
    size_t room;
    char *data;
    int result;

    if (pump->ordered)
        return sk__receive(pump);
    result = make_room(pump, stream);
    if (result)
        return result;
    data = room_in(buffer, &room);
    return keep(pump, stream, sys_read(pump->ours[stream], data, room));
}

/* A write into a pipe nobody reads raises SIGPIPE, which the process may have set to kill it. It is
 * directed at this thread: block it, and take it back if the write caused it. */
long sk__write_quietly(int fd, const void *data, size_t size)
{
    const uint64_t pipe_signal = UINT64_C(1) << (SIGPIPE - 1);
    const struct timespec now = {0, 0};
    uint64_t mask, pending = 0;
    long length;

    sys_sigmask(SIG_BLOCK, &pipe_signal, &mask);
    if (mask & pipe_signal) /* one from before is not ours to take */
        sys_sigpending(&pending);
    length = sys_write(fd, data, size);
    if (length == -EPIPE && !(pending & pipe_signal))
        sys_sigtake(&pipe_signal, &now);
    if (!(mask & pipe_signal))
        sys_sigmask(SIG_SETMASK, &mask, 0);
    return length;
}

static int feed(sk_pump *pump)
{
    size_t left = pump->input_length - pump->input_done;
    long length = left ? sk__write_quietly(pump->ours[0], pump->input + pump->input_done, left) : 0;

    if (length == -EINTR || length == -EAGAIN)
        return 0;
    if (length == -EPIPE) { /* a program may exit without reading its input: no error */
        pump->refused = 1;
        sk__close_fd(&pump->ours[0]);
        return 0;
    }
    if (length < 0)
        return (int)length;
    pump->input_done += (size_t)length;
    if (pump->input_done >= SK_WIDE)
        sk__widen(pump, 0);
    if (pump->input_done == pump->input_length)
        sk__close_fd(&pump->ours[0]);
    return 0;
}

/* The number of a held end is not even looked at: its holder may be closing it in another thread. */
int sk__is_ours(const sk_pump *pump, int i) { return !(pump->held >> i & 1) && pump->ours[i] >= 0; }

int sk__streams_open(const sk_pump *pump)
{
    return sk__is_ours(pump, 0) || sk__is_ours(pump, 1) || sk__is_ours(pump, 2);
}

enum { BELL = 3, END = 4 };

/* Fills in what poll is to watch; returns how many. what[i] is which one fds[i] is: a stream, the
 * bell, or the child's end. */
static unsigned watch(const sk_pump *pump, const sk_child *child, struct pollfd fds[5], int what[5])
{
    unsigned count = 0;

    for (int i = 0; i < 3; i++)
        if (sk__is_ours(pump, i)) {
            fds[count] = (struct pollfd){pump->ours[i], i ? POLLIN : POLLOUT, 0};
            what[count++] = i;
        }
    if (pump->bell >= 0) {
        fds[count] = (struct pollfd){pump->bell, POLLIN, 0};
        what[count++] = BELL;
        if (!pump->exited && child->pidfd >= 0) {
            fds[count] = (struct pollfd){child->pidfd, POLLIN, 0};
            what[count++] = END;
        }
    }
    return count;
}

int sk__answer_bell(const sk_pump *pump)
{
    uint64_t rung;
    long length = sys_read(pump->bell, &rung, sizeof rung);

    /* One that cannot be silenced would keep everything else from being served. */
    return length < 0 && length != -EAGAIN && length != -EINTR ? (int)length : SK_WOKEN;
}

int sk__serve(sk_pump *pump, int stream) { return stream ? gather(pump, stream) : feed(pump); }

/* The streams first: what came before the bell or the end is not to be lost. */
static int serve(sk_pump *pump, sk_child *child, const struct pollfd *fds, const int *what,
                 unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (fds[i].revents) {
            int result = 0;

            if (what[i] == BELL)
                return sk__answer_bell(pump);
            if (what[i] == END) {
                result = sk_wait(child, 0);
                if (result == SK_TIMEOUT || result == SK_AGAIN) {
                    const struct timespec moment = {0, 1000000};

                    sys_poll(NULL, 0, &moment); /* a tracer has yet to let it go */
                    continue;
                }
                pump->exited = result >= 0;
                return result == SK_OK && sk__streams_open(pump) ? SK_EXITED : result;
            }
            result = sk__serve(pump, what[i]);
            if (result)
                return result;
        }
    return SK_OK;
}

/* One stream to read and no deadline: no need to ask poll first. */
static int block_on_one(sk_pump *pump, int stream)
{
    sk_buffer *buffer = &pump->output[stream - 1];
    size_t room;
    char *data;
    long length = make_room(pump, stream);

    if (length)
        return (int)length;
    data = room_in(buffer, &room);
    length = sk__block(&pump->interrupted, SYS_read, pump->ours[stream], (long)data, (long)room, 0,
                       0);
    if (length == -EINTR || length == -ENOTSUP)
        return (int)length;
    return keep(pump, stream, length);
}

/* With a bell but no pidfd (Linux before 5.3, or forbidden) the child's end shows only to those who
 * ask: every 10 ms. So does the end of those who still have a sender, after that of the child. */
#define ASK_AFTER INT64_C(10000000)

static int may_have_senders(const sk_pump *pump) { return pump->ordered && sk__is_ours(pump, 1); }

static int has_to_ask(const sk_pump *pump, const sk_child *child)
{
    return pump->bell >= 0 && (pump->exited ? may_have_senders(pump) : child->pidfd < 0);
}

int64_t sk__until_asking(int64_t deadline)
{
    int64_t next = sk__now() + ASK_AFTER;

    return deadline < 0 || next < deadline ? next : deadline;
}

static int64_t until_asking(const sk_pump *pump, const sk_child *child, int64_t deadline)
{
    return has_to_ask(pump, child) ? sk__until_asking(deadline) : deadline;
}

static int ask_for_end(sk_pump *pump, sk_child *child)
{
    const struct pollfd end = {-1, 0, POLLIN};
    const int what = END;

    if (pump->exited)
        return SK_OK; /* `run` asks for senders, each time it comes round */
    return serve(pump, child, &end, &what, 1);
}

struct polled {
    struct pollfd *fds;
    unsigned count;
};

static int poll_now(void *what)
{
    const struct polled *polled = what;
    const struct timespec now = {0, 0};

    return sys_poll(polled->fds, polled->count, &now);
}

int sk__spin_on(const sk_child *child, int64_t deadline, struct pollfd *fds, unsigned count)
{
    struct polled polled = {fds, count};

    return sk__spin(SK_SPIN_END, child->started, deadline, poll_now, &polled);
}

/* Waits until something is ready and serves it. SK_OK, or what sk_pump_run returns. */
static int pump_once(sk_pump *pump, sk_child *child, int64_t deadline)
{
    struct pollfd fds[5];
    struct timespec left;
    int what[5], ready;
    unsigned count = watch(pump, child, fds, what);
    int64_t until = until_asking(pump, child, deadline);

    ready = sk__spin_on(child, deadline, fds, count);
    if (ready)
        return ready < 0 ? SK_AGAIN : serve(pump, child, fds, what, count);
    ready = -ENOTSUP;
    if (until < 0 && count == 1 && what[0] && what[0] < BELL) {
        ready = block_on_one(pump, what[0]);
        if (ready >= 0)
            return ready;
    } else if (until < 0) {
        ready = (int)sk__block(&pump->interrupted, SYS_ppoll, (long)fds, count, 0, 0, 8);
    }
    if (ready == -ENOTSUP) {
        int some_left = sk__time_left(until, &left);

        ready = sys_poll(fds, count, &left);
        if ((ready == 0 || ready == -EINTR) && has_to_ask(pump, child)) {
            int asked = ask_for_end(pump, child);

            if (asked != SK_OK || (pump->exited && !may_have_senders(pump)))
                return asked;
            some_left = deadline < 0 || sk__now() < deadline;
        }
        if (ready == 0)
            return some_left ? SK_AGAIN : SK_TIMEOUT;
    }
    if (ready == -EINTR)
        return SK_AGAIN;
    return ready < 0 ? ready : serve(pump, child, fds, what, count);
}

int sk__look_up(int64_t deadline)
{
    if (deadline >= 0 && sk__now() >= deadline)
        return SK_TIMEOUT;
    return sk__main_thread() ? SK_AGAIN : SK_OK;
}

/* A stream that is always ready never lets a poll wait, and only those are cut short. So now and then
 * the clock, the child and the caller have their turn without one. */
static int have_a_look(sk_pump *pump, sk_child *child, int64_t deadline)
{
    int result = SK_OK;

    if (++pump->rounds % SK_ROUNDS)
        return SK_OK;
    if (has_to_ask(pump, child))
        result = ask_for_end(pump, child);
    return result == SK_OK ? sk__look_up(deadline) : result;
}

static int run(sk_pump *pump, sk_child *child, int64_t deadline)
{
    int result;

    if (child->channel >= 0) {
        /* Its reports go through a pipe too, which must not fill up while we wait elsewhere. */
        result = sk_settle(child, deadline);
        if (result != SK_OK)
            return result;
    }
    while (sk__streams_open(pump) || (pump->bell >= 0 && !pump->exited)) {
        int look;

        if (pump->exited && may_have_senders(pump)) {
            result = sk__look_for_senders(pump);
            if (result != SK_OK)
                return result;
            if (!sk__is_ours(pump, 1))
                continue;
        }
        result = pump_once(pump, child, deadline);
        if (result != SK_OK && result != SK_FULL)
            return result;
        look = have_a_look(pump, child, deadline);
        /* What is full stays so until the next call. */
        if (look != SK_OK && !(look == SK_AGAIN && result == SK_FULL))
            return look;
        if (result == SK_FULL)
            return SK_FULL;
    }
    return sk_wait(child, deadline);
}

int sk_pump_run(sk_pump *pump, sk_child *child, int64_t deadline)
{
    int result;

    sk_pump_started(pump);
    /* In here the pidfd is polled: another thread that reaps must not close it meanwhile. */
    result = sk__enter(child);
    return result ? result : sk__leave(child, run(pump, child, deadline));
}

int sk_pump_listen(sk_pump *pump, int feeding, int64_t deadline)
{
    int stdin_end = feeding ? __atomic_load_n(&pump->ours[0], __ATOMIC_SEQ_CST) : -1;
    struct pollfd fds[2] = {{pump->bell, POLLIN, 0}, {stdin_end, 0, 0}};
    struct timespec left;
    int some_left = sk__time_left(deadline, &left);
    int ready = sys_poll(fds, 2, &left);

    if (ready == 0)
        return some_left ? SK_AGAIN : SK_TIMEOUT;
    if (ready == -EINTR)
        return SK_AGAIN;
    if (ready < 0)
        return ready;
    if (fds[0].revents)
        return sk__answer_bell(pump);
    /* Closed by its holder meanwhile: what hung up may be another file of the same number. */
    return __atomic_load_n(&pump->ours[0], __ATOMIC_SEQ_CST) == stdin_end ? SK_DONE : SK_WOKEN;
}

int sk_pump_open_ends(const sk_pump *pump)
{
    int open = 0;

    for (int i = 1; i < 3; i++) {
        struct pollfd end = {sk__is_ours(pump, i) && !pump->ordered ? pump->ours[i] : -1, 0, 0};
        const struct timespec now = {0, 0};

        if (end.fd >= 0 && sys_poll(&end, 1, &now) == 0)
            open |= 1 << i;
    }
    return open;
}

int sk_pump_drain(sk_pump *pump)
{
    int first = 0;

    pump->draining = 1; /* nobody will take what is full */
    if (sk__is_ours(pump, 0))
        sk__close_fd(&pump->ours[0]);
    for (int i = 1; i < 3; i++) {
        const sk_buffer *buffer = &pump->output[i - 1];
        int left = 0, result;
        size_t end;

        if (!sk__is_ours(pump, i))
            continue;
        if (pump->ordered) {
            first = sk__drain_receiver(pump);
            continue;
        }
        result = sys_ioctl(pump->ours[i], FIONREAD, &left);
        end = buffer->length + buffer->dropped + (size_t)left;
        while (result >= 0 && pump->ours[i] >= 0 && buffer->length + buffer->dropped < end)
            result = gather(pump, i);
        if (result < 0 && first == 0)
            first = result; /* the other one still has something to say */
        sk__close_fd(&pump->ours[i]);
    }
    return first;
}
