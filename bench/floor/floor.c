#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int floor_fail(struct floor_report *report, const char *stage, int error)
{
    if (!report->stage) {
        report->stage = stage;
        report->error = error;
    }
    return -1;
}

/* vfork and execve. Fair, because nothing can be left out: no signal is blocked or reset, no
 * descriptor beyond stdout and stderr is touched, the environment is passed as it stands.
 *
 * The child tells its errno through `error`, which lies in the caller's frame: the memory is
 * shared until exec, so the report costs no pipe. A failed child is reaped here. */
pid_t floor_launch(char *const argv[], int in, int out, int err, volatile int *error)
{
    pid_t pid;

    *error = 0;
    pid = vfork();
    if (pid == 0) {
        if ((in < 0 || dup2(in, 0) >= 0) && (out < 0 || dup2(out, 1) >= 0) &&
            (err < 0 || dup2(err, 2) >= 0))
            execve(argv[0], argv, environ);
        *error = errno;
        _exit(127);
    }
    if (pid < 0) {
        *error = errno;
    } else if (*error) {
        while (wait4(pid, NULL, 0, NULL) < 0 && errno == EINTR)
            ;
        pid = -1;
    }
    return pid;
}

/* The caller of a library wants status and resource usage, so the floor asks for both. */
int floor_reap(pid_t pid, struct floor_report *report)
{
    struct rusage usage;
    int status;

    while (wait4(pid, &status, 0, &usage) < 0)
        if (errno != EINTR)
            return floor_fail(report, "wait4", errno);
    if (status != 0) {
        report->status = status;
        return floor_fail(report, "status", 0);
    }
    return 0;
}

/* vfork and wait4 in the parent, execve in the child. A caller who wants one process run and its
 * status needs every one of them. */
int floor_plain(char *const argv[], long runs, struct floor_report *report)
{
    int error;
    pid_t pid;

    while (runs-- > 0) {
        pid = floor_launch(argv, -1, -1, -1, &error);
        if (pid < 0)
            return floor_fail(report, "vfork or execve", error);
        if (floor_reap(pid, report) < 0)
            return -1;
    }
    return 0;
}

/* A pipe on 0, 1 or 2 would be overwritten by the child's own dup2. That only happens to a
 * caller with a standard descriptor closed, who is told so instead of being measured. */
int floor_pipe(int ends[2], struct floor_report *report)
{
    if (pipe2(ends, O_CLOEXEC) < 0)
        return floor_fail(report, "pipe2", errno);
    if (ends[0] <= 2 || ends[1] <= 2) {
        close(ends[0]);
        close(ends[1]);
        return floor_fail(report, "descriptors 0, 1 and 2 must be open", EBADF);
    }
    return 0;
}

/* Blocking, because with a single pipe there is nothing else to wait for, and after poll there is
 * something to read. */
ssize_t floor_read(int fd, char *buffer, size_t size, struct floor_report *report)
{
    ssize_t got;

    while ((got = read(fd, buffer, size)) < 0)
        if (errno != EINTR)
            return floor_fail(report, "read", errno);
    report->bytes += got;
    return got;
}

/* The plain loop and one pipe, read to its end before the child is waited for: the order every
 * caller must keep who does not know how much a child will write. */
int floor_drained(char *const argv[], long runs, floor_drain *drain, struct floor_report *report)
{
    int out[2], error, drained;
    pid_t pid;

    while (runs-- > 0) {
        if (floor_pipe(out, report) < 0)
            return -1;
        pid = floor_launch(argv, -1, out[1], -1, &error);
        close(out[1]);
        if (pid < 0) {
            close(out[0]);
            return floor_fail(report, "vfork or execve", error);
        }
        drained = drain(out[0], report);
        close(out[0]);
        if (floor_reap(pid, report) < 0 || drained < 0)
            return -1;
    }
    return 0;
}

static int discard(int fd, struct floor_report *report)
{
    char buffer[FLOOR_BLOCK];
    ssize_t got;

    while ((got = floor_read(fd, buffer, sizeof buffer, report)) > 0)
        ;
    return (int)got;
}

int floor_one_pipe(char *const argv[], long runs, struct floor_report *report)
{
    return floor_drained(argv, runs, discard, report);
}

/* Two pipes need poll: a blocking read of one while the child fills the other never ends. Only
 * a readable pipe is read, so neither needs O_NONBLOCK, and no call is made that a careful
 * program could leave out. */
int floor_two_pipes(char *const argv[], long runs, struct floor_report *report)
{
    int out[2], err[2], error, open_pipes, i;
    struct pollfd pipes[2];
    char buffer[FLOOR_BLOCK];
    ssize_t got;
    pid_t pid;

    while (runs-- > 0) {
        if (floor_pipe(out, report) < 0)
            return -1;
        if (floor_pipe(err, report) < 0) {
            close(out[0]);
            close(out[1]);
            return -1;
        }
        pid = floor_launch(argv, -1, out[1], err[1], &error);
        close(out[1]);
        close(err[1]);
        if (pid < 0) {
            close(out[0]);
            close(err[0]);
            return floor_fail(report, "vfork or execve", error);
        }
        pipes[0] = (struct pollfd){.fd = out[0], .events = POLLIN};
        pipes[1] = (struct pollfd){.fd = err[0], .events = POLLIN};
        got = 0;
        for (open_pipes = 2; open_pipes > 0 && got >= 0;) {
            if (poll(pipes, 2, -1) < 0) {
                if (errno == EINTR)
                    continue;
                got = floor_fail(report, "poll", errno);
                break;
            }
            for (i = 0; i < 2 && got >= 0; i++) {
                if (!pipes[i].revents)
                    continue;
                got = floor_read(pipes[i].fd, buffer, sizeof buffer, report);
                if (got == 0) {
                    /* poll passes over a negative descriptor */
                    pipes[i].fd = -1;
                    open_pipes--;
                }
            }
        }
        close(out[0]);
        close(err[0]);
        if (floor_reap(pid, report) < 0 || got < 0)
            return -1;
    }
    return 0;
}
