/* Feeds a child's stdin and gathers what it writes, in one resumable loop, until all has been said
 * and the child is reaped. */
#include "core.h"
#include "guard.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define SK_PUMP_NULL 8
#define FIRST_ROOM 8192
#define LARGEST_READ (1u << 20)
#define ROUNDS 64 /* of 64 KiB and less: a millisecond or two */

static void close_fd(int32_t *fd)
{
    if (*fd >= 0)
        sys_close(*fd);
    *fd = -1;
}

int sk_pump_open(sk_pump *pump, int which)
{
    int result = 0;

    for (int i = 0; i < 3; i++)
        pump->ours[i] = pump->theirs[i] = -1;
    pump->null = -1;
    pump->opened = 1; /* from here on the numbers mean descriptors */
    for (int i = 0; i < 3 && result >= 0; i++) {
        int32_t ends[2];

        if (!(which >> i & 1))
            continue;
        result = sys_pipe(ends, O_CLOEXEC);
        if (result < 0)
            break;
        pump->ours[i] = ends[i ? 0 : 1];
        pump->theirs[i] = ends[i ? 1 : 0];
        /* Only our end, which is a file description of its own: the child's stdin stays blocking. A
         * blocking write of ours could wait for a child that waits for us to read. */
        if (i == 0)
            result = sys_fcntl(pump->ours[0], F_SETFL, O_WRONLY | O_NONBLOCK);
    }
    if (result >= 0 && (which & SK_PUMP_NULL))
        result = pump->null = sys_open("/dev/null", O_RDWR | O_CLOEXEC);
    if (result < 0)
        sk_pump_close(pump);
    return result < 0 ? result : 0;
}

static int make_room(sk_buffer *buffer)
{
    size_t room = buffer->room ? buffer->room * 2 : FIRST_ROOM;
    char *data;

    if (buffer->room - buffer->length >= 4096)
        return 0;
    data = realloc(buffer->data, room);
    if (!data)
        return -ENOMEM;
    buffer->data = data;
    buffer->room = room;
    return 0;
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
        close_fd(&pump->ours[stream]);
    return 0;
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

    if (make_room(buffer) < 0)
        return -ENOMEM;
    data = room_in(buffer, &room);
    return keep(pump, stream, sys_read(pump->ours[stream], data, room));
}

/* A write into a pipe nobody reads raises SIGPIPE, which the process may have set to kill it. It is
 * directed at this thread: block it, and take it back if the write caused it. */
static long write_quietly(int fd, const char *data, size_t size)
{
    const uint64_t pipe_signal = UINT64_C(1) << (SIGPIPE - 1);
    const struct timespec now = {0, 0};
    uint64_t mask;
    long length;

    sys_sigmask(SIG_BLOCK, &pipe_signal, &mask);
    length = sys_write(fd, data, size);
    if (!(mask & pipe_signal)) {
        if (length == -EPIPE)
            sys_sigtake(&pipe_signal, &now);
        sys_sigmask(SIG_SETMASK, &mask, 0);
    }
    return length;
}

static int feed(sk_pump *pump)
{
    size_t left = pump->input_length - pump->input_done;
    long length = left ? write_quietly(pump->ours[0], pump->input + pump->input_done, left) : 0;

    if (length == -EINTR || length == -EAGAIN)
        return 0;
    if (length == -EPIPE) { /* a program may exit without reading its input: no error */
        close_fd(&pump->ours[0]);
        return 0;
    }
    if (length < 0)
        return (int)length;
    pump->input_done += (size_t)length;
    if (pump->input_done == pump->input_length)
        close_fd(&pump->ours[0]);
    return 0;
}

/* Fills in what poll is to watch; returns how many. stream[i] is which one fds[i] is. */
static unsigned watch(const sk_pump *pump, struct pollfd fds[3], int stream[3])
{
    unsigned count = 0;

    for (int i = 0; i < 3; i++)
        if (pump->ours[i] >= 0) {
            fds[count] = (struct pollfd){pump->ours[i], i ? POLLIN : POLLOUT, 0};
            stream[count++] = i;
        }
    return count;
}

static int serve(sk_pump *pump, const struct pollfd *fds, const int *stream, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (fds[i].revents) {
            int result = stream[i] ? gather(pump, stream[i]) : feed(pump);

            if (result < 0)
                return result;
        }
    return 0;
}

/* One stream to read and no deadline: no need to ask poll first. */
static int block_on_one(sk_pump *pump, int stream)
{
    sk_buffer *buffer = &pump->output[stream - 1];
    size_t room;
    char *data;
    long length;

    if (make_room(buffer) < 0)
        return -ENOMEM;
    data = room_in(buffer, &room);
    length = sk__block(&pump->interrupted, SYS_read, pump->ours[stream], (long)data, (long)room, 0,
                       0);
    if (length == -EINTR || length == -ENOTSUP)
        return (int)length;
    return keep(pump, stream, length);
}

/* Waits until a stream is ready and serves what is. SK_OK, SK_AGAIN, SK_TIMEOUT or an errno. */
static int pump_once(sk_pump *pump, int64_t deadline)
{
    struct pollfd fds[3];
    struct timespec left;
    int stream[3], ready;
    unsigned count = watch(pump, fds, stream);

    ready = -ENOTSUP;
    if (deadline < 0 && count == 1 && stream[0]) {
        ready = block_on_one(pump, stream[0]);
        if (ready == 0)
            return SK_OK;
    } else if (deadline < 0) {
        ready = (int)sk__block(&pump->interrupted, SYS_ppoll, (long)fds, count, 0, 0, 8);
    }
    if (ready == -ENOTSUP) {
        int some_left = sk__time_left(deadline, &left);

        ready = sys_poll(fds, count, &left);
        if (ready == 0)
            return some_left ? SK_AGAIN : SK_TIMEOUT;
    }
    if (ready == -EINTR)
        return SK_AGAIN;
    return ready < 0 ? ready : serve(pump, fds, stream, count);
}

int sk_pump_run(sk_pump *pump, sk_child *child, int64_t deadline)
{
    unsigned rounds = 0;
    int result;

    /* The child has its own copies; while ours are open the streams could not end. */
    for (int i = 0; i < 3; i++)
        close_fd(&pump->theirs[i]);
    close_fd(&pump->null);
    if (child->channel >= 0) {
        /* Its reports go through a pipe too, which must not fill up while we wait elsewhere. */
        result = sk_settle(child, deadline);
        if (result != SK_OK)
            return result;
    }
    while (pump->ours[0] >= 0 || pump->ours[1] >= 0 || pump->ours[2] >= 0) {
        result = pump_once(pump, deadline);
        if (result != SK_OK)
            return result;
        /* A stream that is always ready never lets a poll wait, and only those are cut short. */
        if (++rounds % ROUNDS == 0) {
            if (deadline >= 0 && sk__now() >= deadline)
                return SK_TIMEOUT;
            if (sk__main_thread())
                return SK_AGAIN;
        }
    }
    return sk_wait(child, deadline);
}

int sk_pump_drain(sk_pump *pump)
{
    close_fd(&pump->ours[0]);
    for (int i = 1; i < 3; i++) {
        const sk_buffer *buffer = &pump->output[i - 1];
        int left = 0, result = 0;

        if (pump->ours[i] >= 0)
            result = sys_ioctl(pump->ours[i], FIONREAD, &left);
        for (size_t end = buffer->length + (size_t)left; result == 0 && buffer->length < end;)
            result = gather(pump, i);
        if (result < 0)
            return result;
    }
    return 0;
}

void sk_pump_close(sk_pump *pump)
{
    if (!pump->opened)
        return;
    for (int i = 0; i < 3; i++) {
        close_fd(&pump->ours[i]);
        close_fd(&pump->theirs[i]);
    }
    close_fd(&pump->null);
    for (int i = 0; i < 2; i++) {
        free(pump->output[i].data);
        pump->output[i] = (sk_buffer){NULL, 0, 0};
    }
}
