/* The floor: what starting and reaping a process costs when plain C does it and nothing else.
 *
 * Called inside the interpreter that is being measured, so that memory, descriptors and
 * environment are the same on both sides (two separate programs differ by ±15 % for the
 * identical loop). Nothing here is spawnkit's: vfork, execve and wait4 of the C library. */

#ifndef FLOOR_H
#define FLOOR_H

struct floor_report {
    const char *stage; /* what failed ("execve", "status", ...); NULL when all went well */
    int error;         /* its errno; 0 when stage is "status" */
    int status;        /* the wait status that was not 0 */
    long bytes;        /* bytes read from the children, all runs together */
};

/* Each runs argv[0] `runs` times, one after the other, and stops at the first failure: a child
 * that could not be started, or that did not end with status 0, is never counted as a fast one.
 * Return 0, or -1 with the report filled in. Descriptors 0, 1 and 2 must be open. */
int floor_plain(char *const argv[], long runs, struct floor_report *report);
int floor_one_pipe(char *const argv[], long runs, struct floor_report *report);
int floor_two_pipes(char *const argv[], long runs, struct floor_report *report);

/* floor_plain from many threads at once. The threads are made by _open and live until _close;
 * one _run lets each of them do `runs` runs, and returns when the last has finished. */
struct floor_pool;
struct floor_pool *floor_pool_open(int threads);
int floor_pool_run(struct floor_pool *pool, char *const argv[], long runs,
                   struct floor_report *report);
void floor_pool_close(struct floor_pool *pool);

#endif
