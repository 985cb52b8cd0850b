/* What a child's streams are made of: pipes, files, and the two kinds of eventfd that wake whoever
 * waits for them. Moving the bytes is pump.c's. */
#include "streams.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* The number goes first: once it is closed, another thread's file may have it. */
void sk__close_fd(int32_t *fd)
{
    int number = __atomic_exchange_n(fd, -1, __ATOMIC_SEQ_CST);

    if (number >= 0)
        sys_close(number);
}

void sk__pump_begin(sk_pump *pump)
{
    if (pump->opened)
        return;
    for (int i = 0; i < 3; i++)
        pump->ours[i] = pump->theirs[i] = pump->stop[i] = -1;
    pump->null = pump->bell = pump->probe = -1;
    pump->opened = 1; /* from here on the numbers mean descriptors */
}

static int set_nonblocking(int fd)
{
    int flags = sys_fcntl(fd, F_GETFL, 0);

    return flags < 0 ? flags : sys_fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int make_pipe(sk_pump *pump, int i)
{
    int32_t ends[2];
    int result;

    if (pump->ours[i] >= 0 || pump->theirs[i] >= 0)
        return -EBUSY;
    result = sys_pipe(ends, O_CLOEXEC);
    if (result < 0)
        return result;
    pump->ours[i] = ends[i ? 0 : 1];
    pump->theirs[i] = ends[i ? 1 : 0];
    /* Only our end, which is a file description of its own: the child's stdin stays blocking. A
     * blocking write of ours could wait for a child that waits for us to read. */
    return i ? 0 : sys_fcntl(pump->ours[0], F_SETFL, O_WRONLY | O_NONBLOCK);
}

int sk_pump_open(sk_pump *pump, int parts)
{
    int result = 0;

    sk__pump_begin(pump);
    for (int i = 0; i < 3 && result >= 0; i++)
        if (parts >> i & 1)
            result = make_pipe(pump, i);
    if (result >= 0 && (parts & SK_PUMP_NULL))
        result = pump->null = sys_open("/dev/null", O_RDWR | O_CLOEXEC);
    if (result >= 0 && (parts & SK_PUMP_BELL))
        result = pump->bell = sys_eventfd(0, O_CLOEXEC | O_NONBLOCK);
    return result < 0 ? result : 0;
}

int sk_pump_borrow(sk_pump *pump, int stdin_end, int stdout_end, int stderr_end)
{
    const int ends[3] = {stdin_end, stdout_end, stderr_end};

    sk__pump_begin(pump);
    for (int i = 0; i < 3; i++) {
        int copy;

        if (ends[i] < 0)
            continue;
        copy = sys_fcntl(ends[i], F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            return copy;
        pump->ours[i] = copy;
    }
    return stdin_end < 0 ? 0 : set_nonblocking(stdin_end);
}

void sk__widen(sk_pump *pump, int stream)
{
    const int get = 1032 /* F_GETPIPE_SZ */, set = 1031;
    /* One word for all streams, and each may have a thread of its own. */
    int before = __atomic_fetch_or(&pump->widened, 1 << stream, __ATOMIC_RELAXED);

    /* The child may have made it wider than that. */
    if (!(before >> stream & 1) && sys_fcntl(pump->ours[stream], get, 0) < SK_WIDE)
        sys_fcntl(pump->ours[stream], set, SK_WIDE);
}

int sk_pump_path(sk_pump *pump, int stream, const char *path)
{
    /* O_NONBLOCK: nothing else keeps open(2) from waiting for a FIFO's other side or for a line's
     * carrier. It is taken back, because the child would inherit it. */
    int flags = (stream ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY) | O_NONBLOCK;
    struct stat status;
    int fd, result;

    sk__pump_begin(pump);
    /* Looked at first: even an open that does not wait would let a FIFO's writer go, and its data. */
    if (sys_stat(path, &status) == 0 && S_ISFIFO(status.st_mode))
        return -ENXIO; /* as open(2) says of one that nobody reads */
    fd = pump->theirs[stream] = sys_create(path, flags | O_NOCTTY | O_CLOEXEC, 0666);
    if (fd < 0)
        return fd;
    result = sys_fstat(fd, &status);
    if (result < 0)
        return result;
    if (S_ISFIFO(status.st_mode))
        return -ENXIO;
    if (!stream && S_ISDIR(status.st_mode))
        return -EISDIR; /* could be opened, but not read */
    result = sys_fcntl(fd, F_GETFL, 0);
    return result < 0 ? result : sys_fcntl(fd, F_SETFL, result & ~O_NONBLOCK);
}

void sk_pump_started(sk_pump *pump)
{
    if (!pump->opened)
        return;
    for (int i = 0; i < 3; i++)
        if (!(pump->memory >> i & 1))
            sk__close_fd(&pump->theirs[i]);
    sk__close_fd(&pump->null);
}

static void ring(int fd)
{
    if (fd >= 0)
        sys_ring(fd);
}

void sk_pump_ring(sk_pump *pump) { ring(pump->opened ? pump->bell : -1); }

void sk_pump_close(sk_pump *pump)
{
    if (!pump->opened)
        return;
    pump->memory = 0;
    sk_pump_started(pump);
    sk__close_fd(&pump->bell);
    sk__close_fd(&pump->probe);
    for (int i = 0; i < 3; i++)
        if (!(pump->held >> i & 1))
            sk__close_fd(&pump->ours[i]);
    for (int i = 0; i < 2; i++) {
        free(pump->output[i].data);
        pump->output[i] = (sk_buffer){.data = NULL, .ends = pump->output[i].ends};
    }
}

/* ---- held ends -------------------------------------------------------------------------------- */

int sk_end_hold(sk_pump *pump, int stream)
{
    int result = set_nonblocking(pump->ours[stream]);

    if (result >= 0)
        result = pump->stop[stream] = sys_eventfd(0, O_CLOEXEC | O_NONBLOCK);
    if (result >= 0)
        pump->held |= 1 << stream;
    return result < 0 ? result : 0;
}

int sk_end_await(sk_pump *pump, int stream, int64_t deadline)
{
    struct pollfd fds[2] = {{pump->ours[stream], stream ? POLLIN : POLLOUT, 0},
                            {pump->stop[stream], POLLIN, 0}};
    struct timespec left;
    int some_left, ready;

    if (fds[1].fd < 0)
        return -EBADF; /* closed by the collector, before one that still reads: poll would not end */
    ready = -ENOTSUP;
    if (deadline < 0)
        ready = (int)sk__block(&pump->interrupted, SYS_ppoll, (long)fds, 2, 0, 0, 8);
    if (ready == -ENOTSUP) {
        some_left = sk__time_left(deadline, &left);
        ready = sys_poll(fds, 2, &left);
        if (ready == 0)
            return some_left ? SK_AGAIN : SK_TIMEOUT;
    }
    if (ready == -EINTR)
        return SK_AGAIN;
    if (ready < 0)
        return ready;
    return fds[1].revents ? SK_DONE : SK_OK;
}

void sk_end_stop(sk_pump *pump, int stream) { ring(pump->stop[stream]); }

int64_t sk_end_write(sk_pump *pump, int stream, const void *data, size_t size)
{
    return sk__write_quietly(pump->ours[stream], data, size);
}

int sk_end_left(sk_pump *pump, int stream)
{
    int left = 0, result = sys_ioctl(pump->ours[stream], FIONREAD, &left);

    return result < 0 ? result : left;
}

void sk_end_widen(sk_pump *pump, int stream) { sk__widen(pump, stream); }

void sk_end_close(sk_pump *pump, int stream)
{
    sk__close_fd(&pump->ours[stream]);
    sk__close_fd(&pump->stop[stream]);
}

void sk_pump_free(sk_pump *pump)
{
    sk_pump_close(pump);
    for (int i = 0; i < 3 && pump->opened; i++)
        sk_end_close(pump, i);
}
