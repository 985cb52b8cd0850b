/* A library: a start, a setup and a wait in a thread that is cancelled at a given moment.
 *
 * The functions come from outside, so that this file needs nothing of the package. */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct job { /* as the test has it */
    int (*spawn)(void *child, const void *plan, size_t size, int engine, int flags);
    int (*settle)(void *child, int64_t deadline);
    int (*wait)(void *child, int64_t deadline);
    void *child;
    const void *plan;
    size_t size;
    int engine, flags;
    int32_t between; /* may it go away between two of the three? */
    int32_t done;    /* how many of the three have returned */
    int32_t result;
};

int cancelled(struct job *job, long delay); /* for ctypes: there is no header */

static void *work(void *argument)
{
    struct job *job = argument;

    job->result = job->spawn(job->child, job->plan, job->size, job->engine, job->flags);
    job->done = 1;
    if (job->between)
        pthread_testcancel();
    if (job->result == 0)
        job->result = job->settle(job->child, -1);
    job->done = 2;
    if (job->between)
        pthread_testcancel();
    if (job->result == 0)
        job->result = job->wait(job->child, -1);
    job->done = 3;
    pthread_testcancel();
    return NULL;
}

/* Runs the job in a thread, which is cancelled so many nanoseconds after its start, and over when
 * this returns: 1, it was cancelled; 0, it came first; -1, there is no thread. */
int cancelled(struct job *job, long delay)
{
    struct timespec start, now;
    pthread_t thread;
    void *result;

    if (pthread_create(&thread, NULL, work, job))
        return -1;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec < delay);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    return result == PTHREAD_CANCELED;
}
