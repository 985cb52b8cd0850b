/* Feeds a child's stdin and gathers what it writes, in one resumable loop, until all has been said
 * and the child is reaped. */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 8192
#define LARGEST_READ (1u << 20)

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

/* One read of an output that has something to say. Closes it at its end. */
static int gather(sk_pump *pump, int stream)
{
    sk_buffer *buffer = &pump->output[stream - 1];
    size_t room;
    long length;

    if (make_room(buffer) < 0)
        return -ENOMEM;
    room = buffer->room - buffer->length;
    length = sys_read(pump->ours[stream], buffer->data + buffer->length,
                      room < LARGEST_READ ? room : LARGEST_READ);
    if (length == -EINTR || length == -EAGAIN)
        return 0;
    if (length < 0)
        return (int)length;
    buffer->length += (size_t)length;
    if (length == 0)
        close_fd(&pump->ours[stream]);
    return 0;
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
    if (length == -EPIPE) {
        pump->broken = 1; /* a program may exit without reading its input: no error */
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

/* Waits until a stream is ready, or not at all, and serves what is. 0: nothing is open or ready. */
static int serve(sk_pump *pump, const struct timespec *timeout)
{
    struct pollfd fds[3];
    int stream[3];
    unsigned count = 0;
    int ready;

    for (int i = 0; i < 3; i++)
        if (pump->ours[i] >= 0) {
            fds[count] = (struct pollfd){pump->ours[i], i ? POLLIN : POLLOUT, 0};
            stream[count++] = i;
        }
    if (!count)
        return 0;
    ready = sys_poll(fds, count, timeout);
    if (ready <= 0)
        return ready;
    for (unsigned i = 0; i < count; i++)
        if (fds[i].revents) {
            int result = stream[i] ? gather(pump, stream[i]) : feed(pump);

            if (result < 0)
                return result;
        }
    return ready;
}

int sk_pump_run(sk_pump *pump, sk_child *child, int64_t deadline)
{
    int result;

    /* The child has its own copies; while ours are open the streams could not end. */
    for (int i = 0; i < 3; i++)
        close_fd(&pump->theirs[i]);
    if (child->channel >= 0) {
        /* Its reports go through a pipe too, which must not fill up while we wait elsewhere. */
        result = sk_settle(child, deadline);
        if (result != SK_OK)
            return result;
    }
    while (pump->ours[0] >= 0 || pump->ours[1] >= 0 || pump->ours[2] >= 0) {
        struct timespec left;
        int kind = sk__time_left(deadline, &left);

        result = serve(pump, kind == 2 ? NULL : &left);
        if (result == -EINTR)
            return SK_AGAIN;
        if (result < 0)
            return result;
        if (result == 0)
            return kind == 0 || (deadline >= 0 && sk__now() >= deadline) ? SK_TIMEOUT : SK_AGAIN;
    }
    return sk_wait(child, deadline);
}

int sk_pump_drain(sk_pump *pump)
{
    const struct timespec now = {0, 0};
    int result;

    close_fd(&pump->ours[0]);
    do
        result = serve(pump, &now);
    while (result > 0 || result == -EINTR);
    return result;
}

void sk_pump_close(sk_pump *pump)
{
    for (int i = 0; i < 3; i++) {
        close_fd(&pump->ours[i]);
        close_fd(&pump->theirs[i]);
    }
    for (int i = 0; i < 2; i++) {
        free(pump->output[i].data);
        pump->output[i] = (sk_buffer){NULL, 0, 0};
    }
}
