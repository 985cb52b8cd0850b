/* Home: one thread that lives as long as the process, and makes the children that are to die with it.
 *
 * The kernel takes the thread that made a child for its parent: PR_SET_PDEATHSIG's signal comes when
 * that thread ends (prctl(2); golang.org/issue/27505):
 *   1. a worker thread spawns a child that is to die with the process;
 *   2. the worker ends: the child is killed, and the process goes on without it.
 *
 * Only the clone is done here. The child is overlapped, so a setup that hangs holds up nobody who
 * comes after it; who asks for `vfork-waiting` gets this form too. Where the kernel has only
 * CLONE_VFORK (clone.c), this thread is held until exec, and the next ones wait for that.
 *
 * Made on first use and never ended. It takes no signals: the interpreter's handlers have to wake
 * the first thread. A fork leaves it behind, and the new process makes its own. */
#include "core.h"

#include <errno.h>
#include <pthread.h>

struct job {
    sk_child *child;
    struct sk_launch *launch;
    int engine;
    int want_pidfd;
    int result;
    uint32_t done;
    struct job *next;
};

static struct job
    *jobs;            /* the newest first; each lies on the stack of a thread that waits for it */
static uint32_t bell; /* what home sleeps on; the value only ever changes */

static int is_there;
static uint32_t making; /* held by the thread that makes it */

/* Until somebody wakes us. Nobody can go on without what is waited for: where futexes are refused,
 * look now and then. */
static void sleep_on(const uint32_t *word, uint32_t value)
{
    const struct timespec moment = {0, 1000000};
    int result = sys_futex_wait(word, value, NULL);

    if (result < 0 && result != -EAGAIN && result != -EINTR)
        sys_poll(NULL, 0, &moment);
}

static void ring(void)
{
    __atomic_add_fetch(&bell, 1, __ATOMIC_RELEASE);
    sys_futex_wake(&bell, 1);
}

/* All that wait, the oldest first. */
static struct job *take(void)
{
    struct job *newest = __atomic_exchange_n(&jobs, NULL, __ATOMIC_ACQUIRE), *oldest = NULL;

    while (newest) {
        struct job *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static void *live(void *nothing)
{
    for (;;) {
        /* Read first: whoever rings after this has changed it by the time we sleep. */
        uint32_t value = __atomic_load_n(&bell, __ATOMIC_ACQUIRE);
        struct job *job = take();

        if (!job)
            sleep_on(&bell, value);
        while (job) {
            struct job *next = job->next; /* once it is done its memory is its owner's again */

            job->result = sk__clone_here(job->child, job->launch, job->engine, job->want_pidfd);
            __atomic_store_n(&job->done, 1, __ATOMIC_RELEASE);
            sys_futex_wake(&job->done, 1); /* of something else there, by then, it is harmless */
            job = next;
        }
    }
    return nothing;
}

/* With our own mask: a thread begins with that of the one that makes it. */
static int make(void)
{
    pthread_attr_t attributes;
    sk_mask mask = {0, 0};
    pthread_t thread;
    int error = -(int)SK_FAULT(SYS_clone3); /* that is what the C library calls */

    if (!error)
        error = pthread_attr_init(&attributes);
    if (error)
        return -error;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    error = -sk_mask_hold(&mask);
    if (!error)
        error = pthread_create(&thread, &attributes, live, NULL);
    sk_mask_release(&mask);
    pthread_attr_destroy(&attributes);
    return -error;
}

int sk__home(void)
{
    int result = 0;

    if (__atomic_load_n(&is_there, __ATOMIC_ACQUIRE))
        return 0;
    sk__lock_word(&making);
    if (!is_there) {
        result = make();
        __atomic_store_n(&is_there, result == 0, __ATOMIC_RELEASE);
    }
    sk__unlock_word(&making);
    return result;
}

int sk__clone_at_home(sk_child *child, struct sk_launch *launch, int engine, int want_pidfd)
{
    struct job job = {child, launch, engine, want_pidfd, 0, 0, NULL};

    if (engine == SK_VFORK_WAITING)
        job.engine = SK_VFORK;
    job.next = __atomic_load_n(&jobs, __ATOMIC_RELAXED);
    while (
        !__atomic_compare_exchange_n(&jobs, &job.next, &job, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    ring();
    /* Not to be left before it is done: home writes to this stack. That takes as long as a clone. */
    while (!__atomic_load_n(&job.done, __ATOMIC_ACQUIRE))
        sleep_on(&job.done, 0);
    return job.result;
}

/* The new process has neither the thread nor those who were waiting for it. */
void sk__home_forked(void)
{
    jobs = NULL;
    is_there = 0;
    making = 0;
}
