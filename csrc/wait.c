/* Waiting and signalling: one handle, any number of threads (once it has been settled by one).
 *
 * Blocking is done without the lock, on something that does not change the child (its pidfd, its
 * futex word, WNOWAIT). Reaping, signalling and closing the pidfd are done under the lock and never
 * block. So
 *   1. thread A and thread B both learn that the child has ended;
 *   2. A takes the lock, reaps it, writes the status, leaves;
 *   3. B takes the lock, sees SK_ENDED, and returns the same status;
 * and a signal sent in between finds either a process that is not reaped yet, whose pid nobody else
 * can have, or a handle that says it is over. */
#include "core.h"
#include "guard.h"
#include "spin.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#define P_PIDFD_ 3 /* P_PIDFD, Linux 5.4 */

/* PIDFD_GET_INFO, Linux 6.13; its exit status, also for processes already reaped, Linux 6.15. */
struct pidfd_info {
    uint64_t mask, cgroup;
    uint32_t ids[11];
    int32_t exit_code;
};
#define INFO_EXIT (UINT64_C(1) << 3)
#define GET_INFO (3ul << 30 | sizeof(struct pidfd_info) << 16 | 0xFFul << 8 | 11)

/* Also asked without the lock. Acquire: whoever sees the end sees what conclude() has written. */
static int is_over(const sk_child *child)
{
    return __atomic_load_n(&child->state, __ATOMIC_ACQUIRE) >= SK_ENDED;
}

/* Lock held. The child has left the launch block: keep its report, give the block back. */
static void take_report(sk_child *child)
{
    struct sk_launch *launch = child->launch;

    if (!launch)
        return;
    child->err = launch->report.err;
    child->stage = launch->report.stage;
    child->index = launch->report.index;
    child->launch = NULL;
    if (__atomic_load_n(&launch->word, __ATOMIC_ACQUIRE) == 0)
        sk__launch_give(launch);
    /* else the kernel never said that the child is out: leave the block mapped for good */
}

static void close_descriptors(sk_child *child)
{
    if (child->pidfd >= 0)
        sys_close(child->pidfd);
    if (child->channel >= 0)
        sys_close(child->channel);
    child->pidfd = child->channel = -1;
}

/* Lock held. What the end of a child means depends on how far its setup had come. */
static void conclude(sk_child *child, int status, int status_known)
{
    int was_in_setup, state;

    take_report(child);
    was_in_setup = child->state == SK_SETUP;
    child->status = status;
    child->status_known = status_known;
    child->ended = sk__now();
    if (was_in_setup && (child->err || child->stage != SK_AT_EXEC))
        state = SK_NEVER;
    else
        state = child->usage_known ? SK_ENDED : SK_GONE;
    __atomic_store_n(&child->state, state, __ATOMIC_RELEASE); /* last: see is_over() */
}

static int outcome(const sk_child *child)
{
    switch (child->state) {
    case SK_NEVER:
        return child->err ? SK_FAILED : SK_DIED;
    case SK_GONE:
        return child->status_known ? SK_OK : SK_LOST;
    }
    return SK_OK;
}

/* Lock held. Somebody else waited for our child, or SIGCHLD is ignored and the kernel threw its
 * status away. A pidfd may still tell how it ended; what it used is gone. */
static void conclude_stolen(sk_child *child)
{
    struct pidfd_info info;
    int known = 0;

    __atomic_add_fetch(&sk__features.status_stolen, 1, __ATOMIC_RELAXED);
    /* A child is gone for waitid a moment before its pidfd can tell how it ended. */
    for (int tries = 0; child->pidfd >= 0 && !known && tries < 100; tries++) {
        struct timespec moment = {0, 200000};

        memset(&info, 0, sizeof info);
        info.mask = INFO_EXIT;
        if (sys_ioctl(child->pidfd, GET_INFO, &info) < 0)
            break;
        known = (info.mask & INFO_EXIT) != 0;
        if (!known)
            sys_poll(NULL, 0, &moment);
    }
    conclude(child, known ? info.exit_code : 0, known);
}

static int to_status(const siginfo_t *info)
{
    switch (info->si_code) {
    case CLD_KILLED:
        return info->si_status;
    case CLD_DUMPED:
        return info->si_status | 0x80;
    }
    return (info->si_status & 0xff) << 8;
}

static int wait_once(const sk_child *child, siginfo_t *info, int options, void *rusage)
{
    info->si_pid = 0;
    if (child->pidfd >= 0 && SK_KNOWN(pidfd_wait) != 0) {
        int result = sys_waitid(P_PIDFD_, child->pidfd, info, options, rusage);

        if (result != -EINVAL) {
            if (SK_KNOWN(pidfd_wait) < 0)
                SK_KNOW(pidfd_wait, 1);
            return result;
        }
        SK_KNOW(pidfd_wait, 0);
    }
    return sys_waitid(P_PID, child->pid, info, options, rusage);
}

/* Waits for the child in one of the two ways, by pidfd or by pid. "No such child" makes us give a
 * child up for good, so it has to be said twice. */
static int wait_id(const sk_child *child, siginfo_t *info, int options, void *rusage)
{
    int result = wait_once(child, info, options, rusage);

    return result == -ECHILD ? wait_once(child, info, options, rusage) : result;
}

/* Lock held, or the handle has no other user. */
static void take_end(sk_child *child, const siginfo_t *info)
{
    child->usage_known = 1;
    conclude(child, to_status(info), 1);
}

/* Lock held. Takes the status of a child that has ended: 1 when the handle is over, 0 when it cannot
 * be had yet, a negative errno. */
static int reap(sk_child *child)
{
    siginfo_t info;
    int result;

    if (is_over(child))
        return 1;
    result = wait_id(child, &info, WEXITED | WNOHANG, child->rusage);
    if (result == -ECHILD) {
        conclude_stolen(child);
        return 1;
    }
    if (result < 0)
        return result;
    if (info.si_pid == 0)
        return 0;
    take_end(child, &info);
    return 1;
}

/* For a child made without one. Safe: it is not reaped, so its pid is its own. */
static void take_pidfd(sk_child *child)
{
    int pidfd = sys_pidfd_open(child->pid, 0);

    sk__lock(child);
    if (pidfd >= 0 && child->pidfd < 0)
        child->pidfd = pidfd;
    else if (pidfd >= 0)
        sys_close(pidfd);
    sk__unlock(child);
}

/* What the sleeps below return besides SK_AGAIN, SK_TIMEOUT and errnos. */
enum { ENDED = 100, NOT_YET };

/* waitid also tells a tracer about its child's stops, which are no end and are not ours to take. */
static int is_end(const siginfo_t *info)
{
    return info->si_code == CLD_EXITED || info->si_code == CLD_KILLED ||
           info->si_code == CLD_DUMPED;
}

static int peek(const sk_child *child)
{
    siginfo_t info;
    int result = wait_id(child, &info, WEXITED | WNOHANG | WNOWAIT, NULL);

    if (result == -ECHILD) /* stolen: that is an end too, and reap() sees to it */
        return ENDED;
    return result < 0 ? result : info.si_pid && is_end(&info) ? ENDED : NOT_YET;
}

/* Sleeps in waitid itself: nothing to make, nothing to close. -ENOTSUP: not without losing signals.
 *
 * It reaps in the same call only where no other thread has the handle. One that is about to signal
 * holds the lock, and must find the pid unreaped for as long as it does. (A stop of a child that we
 * trace is then taken too; nobody who could wait for it has been told its pid.) */
static int sleep_in_waitid(sk_child *child)
{
    int by_pidfd = child->pidfd >= 0 && SK_KNOWN(pidfd_wait) == 1;
    int options = child->sole ? WEXITED : WEXITED | WNOWAIT;
    siginfo_t info;
    long result = sk__block(&child->interrupted, SYS_waitid, by_pidfd ? P_PIDFD_ : P_PID,
                            by_pidfd ? child->pidfd : child->pid, (long)&info, options,
                            child->sole ? (long)child->rusage : 0);

    if (result == -EINTR)
        return SK_AGAIN;
    if (result == 0 && !is_end(&info))
        return -ENOTSUP; /* we trace it: waitid would return at once for as long as it is stopped */
    if (result == 0 && child->sole)
        take_end(child, &info);
    return result < 0 && result != -ECHILD ? (int)result : ENDED;
}

static int sleep_on_pidfd(sk_child *child, const struct timespec *left)
{
    struct pollfd end = {child->pidfd, POLLIN, 0};
    struct timespec time = *left;
    int ready = sys_poll(&end, 1, &time);

    return ready == -EINTR ? SK_AGAIN : ready < 0 ? ready : ready ? ENDED : NOT_YET;
}

static int nap(int64_t time)
{
    struct timespec left = {time / 1000000000, time % 1000000000};

    return sys_poll(NULL, 0, &left) == -EINTR ? SK_AGAIN : NOT_YET;
}

/* No pidfd (Linux before 5.3, or forbidden) and a deadline: nothing to sleep on but the clock. An
 * eighth of the child's age, so that short waits stay exact and long ones cheap. */
static int sleep_a_while(const sk_child *child, int64_t left)
{
    int64_t time = (sk__now() - child->started) / 8;
    int slept, found;

    time = time < 200000 ? 200000 : time > 10000000 ? 10000000 : time;
    slept = nap(time < left ? time : left);
    found = peek(child); /* also after a signal: they may come faster than any nap is over */
    return found == NOT_YET ? slept : found;
}

static int has_ended(void *child) { return peek(child) == ENDED; }

/* Waits until the child has ended, a signal came, or the time is up. */
static int sleep_on(sk_child *child, int64_t deadline)
{
    struct timespec left;
    int some_left, result;

    if (!child->attached) { /* how old that one is nobody knows */
        result = sk__spin(SK_SPIN_END, child->started, deadline, has_ended, child);
        if (result)
            return result < 0 ? SK_AGAIN : ENDED;
    }
    if (deadline < 0) {
        result = sleep_in_waitid(child);
        if (result != -ENOTSUP)
            return result;
        if (child->pidfd < 0)
            take_pidfd(child);
    }
    some_left = sk__time_left(deadline, &left);
    if (child->pidfd >= 0)
        result = sleep_on_pidfd(child, &left);
    else if (some_left)
        result = sleep_a_while(child, left.tv_sec * INT64_C(1000000000) + left.tv_nsec);
    else
        result = peek(child);
    return result == NOT_YET && !some_left ? SK_TIMEOUT : result;
}

/* Waits for the end and reaps, whatever state the handle is in. */
static int await_end(sk_child *child, int64_t deadline)
{
    for (;;) {
        int result = sleep_on(child, deadline);

        if (result == ENDED) {
            sk__lock(child);
            result = reap(child);
            sk__unlock(child);
            if (result)
                return result < 0 ? result : outcome(child);
            /* It is dead, but a tracer has yet to let it go. */
            result = deadline == 0 ? SK_TIMEOUT : nap(1000000);
        }
        if (result != NOT_YET)
            return result;
        if (sk__main_thread())
            return SK_AGAIN;
    }
}

static int has_left(void *launch)
{
    return __atomic_load_n(&((struct sk_launch *)launch)->word, __ATOMIC_ACQUIRE) == 0;
}

/* Waits for the child's own word on its setup. SK_OK: it has been given, one way or the other. */
static int await_report(sk_child *child, int64_t deadline)
{
    struct sk_launch *launch = child->launch;

    if (child->channel >= 0)
        return sk__fork_listen(child, deadline);
    if (!launch)
        return SK_OK;
    if (!has_left(launch) &&
        sk__spin(SK_SPIN_SETUP, child->started, deadline, has_left, launch) < 0)
        return SK_AGAIN;
    while (!has_left(launch)) {
        struct timespec left;
        int some_left = sk__time_left(deadline, &left);
        int result;

        child->stage = launch->report.stage;
        child->index = launch->report.index;
        if (!some_left)
            return SK_TIMEOUT;
        result = sys_futex_wait(&launch->word, 1, &left);
        if (result == -EINTR || (result == -ETIMEDOUT && sk__main_thread()))
            return SK_AGAIN;
        if (result < 0 && result != -EAGAIN && result != -ETIMEDOUT)
            return result;
    }
    return SK_OK;
}

static int settle(sk_child *child, int64_t deadline)
{
    int result;

    if (child->state != SK_SETUP)
        return outcome(child);
    result = await_report(child, deadline);
    if (result != SK_OK)
        return result;
    sk__lock(child);
    take_report(child);
    if (child->channel >= 0) {
        sys_close(child->channel);
        child->channel = -1;
    }
    if (child->state == SK_SETUP && !child->err && child->stage == SK_AT_EXEC)
        child->state = SK_RUNNING;
    sk__unlock(child);
    if (child->state != SK_SETUP)
        return outcome(child);
    return await_end(child, deadline); /* it is on its way out */
}

int sk__enter(sk_child *child)
{
    if (child->generation != sk__generation())
        return SK_STALE;
    sk__lock(child);
    child->users++;
    sk__unlock(child);
    return SK_OK;
}

/* The last thread out closes the pidfd: closed earlier, its number could be another file by the
 * time the next thread polls it. */
int sk__leave(sk_child *child, int result)
{
    sk__lock(child);
    if (--child->users == 0 && (is_over(child) || child->dropped))
        close_descriptors(child);
    sk__unlock(child);
    return result;
}

int sk_settle(sk_child *child, int64_t deadline)
{
    int result = sk__enter(child);

    return result ? result : sk__leave(child, settle(child, deadline));
}

/* A process found by its pid may be anyone's, and its end is then not ours to wait for. */
static int is_our_child(sk_child *child)
{
    siginfo_t info;

    return is_over(child) || wait_id(child, &info, WEXITED | WNOHANG | WNOWAIT, NULL) != -ECHILD;
}

int sk_wait(sk_child *child, int64_t deadline)
{
    int result = sk__enter(child);

    if (result)
        return result;
    if (child->attached && !is_our_child(child))
        return sk__leave(child, -ECHILD);
    if (child->channel >= 0)
        result = settle(child, deadline);
    if (result == SK_OK)
        result = is_over(child) ? outcome(child) : await_end(child, deadline);
    return sk__leave(child, result);
}

/* Lock held. Without a pidfd: a pid is ours for as long as nobody has reaped it, and we would know. */
static int signal_by_pid(const sk_child *child, int signal)
{
    siginfo_t info;

    if (!child->attached && wait_id(child, &info, WEXITED | WNOHANG | WNOWAIT, NULL) == -ECHILD)
        return -ESRCH;
    return sys_kill(child->pid, signal);
}

int sk_signal(sk_child *child, int signal)
{
    int result = sk__enter(child);

    if (result)
        return result;
    sk__lock(child);
    if (is_over(child) || child->pid <= 0) {
        result = SK_DONE; /* a pid of 0 or -1 would signal our own group, or everyone */
    } else {
        result = -ENOSYS;
        if (child->pidfd >= 0)
            result = sys_pidfd_signal(child->pidfd, signal);
        if (result == 0)
            SK_KNOW(pidfd_signal, 1);
        else if (result != -ESRCH && (result != -EPERM || SK_KNOWN(pidfd_signal) != 1))
            result = signal_by_pid(child, signal); /* whatever a filter has for an answer */
        if (result == -ESRCH)
            result = SK_DONE;
    }
    sk__unlock(child);
    return sk__leave(child, result);
}

int sk_signal_group(sk_child *member, int group, int signal)
{
    int result = sk__enter(member);

    if (result)
        return result;
    sk__lock(member);
    result = SK_DONE;
    if (!is_over(member) && member->pid > 0 && group > 1) { /* -1 would signal everyone */
        result = signal_by_pid(member, 0);                  /* not reaped by a stranger either? */
        /* EPERM: it is there, as another user. Others in the group may be ours all the same. */
        if ((result == 0 || result == -EPERM) && sys_getpgid(member->pid) == group)
            result = sys_kill(-group, signal);
        else if (result == 0 || result == -EPERM || result == -ESRCH)
            result = SK_DONE;
    }
    sk__unlock(member);
    return sk__leave(member, result);
}

int sk_lead_group(const sk_child *child)
{
    return child->pid > 0 ? sys_setpgid(child->pid, 0) : -ESRCH; /* 0 would be ourselves */
}

int sk_dup_pidfd(sk_child *child, sk_pidfd *into)
{
    int result = sk__enter(child);

    if (result)
        return result;
    sk__lock(child);
    if (into->open) {
        result = -EBUSY;
    } else if (is_over(child) || child->dropped || child->pid <= 0) {
        result = SK_DONE;
    } else if (child->pidfd < 0) {
        result = -ENOSYS;
    } else {
        result = sys_fcntl(child->pidfd, F_DUPFD_CLOEXEC, 3);
        if (result >= 0) {
            into->fd = result;
            into->generation = child->generation;
            into->open = 1;
            result = 0;
        } else if (result == -EINVAL) {
            result = -EMFILE; /* F_DUPFD's word for "above the limit" */
        }
    }
    sk__unlock(child);
    return sk__leave(child, result);
}

void sk_close_pidfd(sk_pidfd *pidfd)
{
    /* After a fork the number may name another file here. */
    if (__atomic_exchange_n(&pidfd->open, 0, __ATOMIC_ACQ_REL) &&
        pidfd->generation == sk__generation())
        sys_close(pidfd->fd);
}

int sk_attach(sk_child *child, int pid)
{
    int pidfd;

    child->channel = child->pidfd = -1;
    child->generation = sk__generation();
    child->pid = pid;
    child->attached = 1;
    child->stage = SK_AT_EXEC;
    child->state = SK_RUNNING;
    child->started = sk__now();
    pidfd = sys_pidfd_open(pid, 0);
    if (pidfd >= 0)
        child->pidfd = pidfd;
    else if (pidfd == -ENOENT || pidfd == -EINVAL)
        pidfd = -ESRCH; /* the number of a thread, not of a process */
    else if (pidfd == -ENOSYS || pidfd == -EPERM)
        pidfd = sys_kill(pid, 0) == -ESRCH ? -ESRCH : 0;
    return pidfd < 0 ? pidfd : 0;
}

int sk_is_stale(const sk_child *child) { return child->generation != sk__generation(); }

void sk_drop(sk_child *child)
{
    struct sk_launch *launch;

    /* After a fork the numbers may name other files here, and the block other memory. */
    if (sk_is_stale(child) || child->dropped)
        return;
    sk__lock(child);
    child->dropped = 1;
    launch = child->launch;
    child->launch = NULL;
    if (launch && __atomic_load_n(&launch->word, __ATOMIC_ACQUIRE) == 0)
        sk__launch_give(launch);
    if (child->pid > 0 && child->users == 0)
        close_descriptors(child); /* else the last thread out does it */
    sk__unlock(child);
}
