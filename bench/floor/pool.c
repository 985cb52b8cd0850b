#include "floor.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct worker {
    struct floor_pool *pool;
    struct floor_report report;
    pthread_t thread;
};

struct floor_pool {
    int threads;
    long runs; /* of each worker, in the round that starts; negative: no more rounds */
    char *const *argv;
    pthread_barrier_t start, finish; /* the workers and the caller of _run */
    struct worker workers[];
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct floor_pool *pool = worker->pool;

    for (;;) {
        pthread_barrier_wait(&pool->start);
        if (pool->runs < 0)
            return NULL;
        worker->report = (struct floor_report){0};
        floor_plain(pool->argv, pool->runs, &worker->report);
        pthread_barrier_wait(&pool->finish);
    }
}

/* The threads are made before the first round, so that no round pays for them. On
 * failure NULL, with errno. */
struct floor_pool *floor_pool_open(int threads)
{
    struct floor_pool *pool = calloc(1, sizeof *pool + threads * sizeof pool->workers[0]);
    int i, error = 0;

    if (!pool)
        return NULL;
    pool->threads = threads;
    pthread_barrier_init(&pool->start, NULL, threads + 1);
    pthread_barrier_init(&pool->finish, NULL, threads + 1);
    for (i = 0; i < threads && !error; i++) {
        pool->workers[i].pool = pool;
        error = pthread_create(&pool->workers[i].thread, NULL, work, &pool->workers[i]);
    }
    if (error) {
        /* The threads already made wait at a barrier that will never be full: they and
                 * the pool are given up, for a program that is about to end with this error. */
        errno = error;
        return NULL;
    }
    return pool;
}

/* A fair floor for callers with threads of their own: the plain loop in each, nothing shared
 * but the kernel, and two barriers per round, not per run. The round lasts until the slowest
 * has finished, as it does for the caller it is compared with. */
int floor_pool_run(struct floor_pool *pool, char *const argv[], long runs,
                   struct floor_report *report)
{
    int i;

    pool->argv = argv;
    pool->runs = runs;
    pthread_barrier_wait(&pool->start);
    pthread_barrier_wait(&pool->finish);
    for (i = 0; i < pool->threads; i++) {
        if (pool->workers[i].report.stage) {
            *report = pool->workers[i].report;
            return -1;
        }
    }
    return 0;
}

void floor_pool_close(struct floor_pool *pool)
{
    int i;

    pool->runs = -1;
    pthread_barrier_wait(&pool->start);
    for (i = 0; i < pool->threads; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_barrier_destroy(&pool->start);
    pthread_barrier_destroy(&pool->finish);
    free(pool);
}
