/* The floor: what starting and reaping a process costs when plain C does it and nothing else.
 *
 * Called inside the interpreter that is being measured, so that memory, descriptors and
 * environment are the same on both sides (two separate programs differ by ±15 % for the
 * identical loop). Nothing here is spawnkit's: vfork, execve and wait4 of the C library. */

#ifndef FLOOR_H
#define FLOOR_H

#include <stddef.h>
#include <sys/types.h>

#define FLOOR_DIGEST 32

struct floor_report {
    const char *stage; /* what failed ("execve", "status", ...); NULL when all went well */
    int error;         /* its errno; 0 when stage is "status" */
    int status;        /* the wait status that was not 0 */
    long bytes;        /* bytes read from the children, all runs together */
    unsigned char digest[FLOOR_DIGEST]; /* floor_hash: of the last run's output */
};

/* Each runs argv[0] `runs` times, one after the other, and stops at the first failure: a child
 * that could not be started, or that did not end with status 0, is never counted as a fast one.
 * Return 0, or -1 with the report filled in. Descriptors 0, 1 and 2 must be open. */
int floor_plain(char *const argv[], long runs, struct floor_report *report);
int floor_one_pipe(char *const argv[], long runs, struct floor_report *report);
int floor_two_pipes(char *const argv[], long runs, struct floor_report *report);

/* floor_one_pipe with something done to the output. floor_keep gathers it in a buffer that doubles,
 * and frees it at the end of the run. floor_hash makes a SHA-256 of it with the libcrypto whose path
 * floor_hash_open was given; that returns NULL, or what the loader says is wrong. */
int floor_keep(char *const argv[], long runs, struct floor_report *report);
const char *floor_hash_open(const char *libcrypto);
int floor_hash(char *const argv[], long runs, struct floor_report *report);

/* A pipeline of `count` programs, at least one: stage i runs stages[i], each one's stdout is the next
 * one's stdin, through a pipe of the usual size. The last one writes to `out`, -1: to our stdout. Every
 * status counts. */
int floor_pipeline(char *const *const stages[], int count, int out, long runs,
                   struct floor_report *report);

/* floor_plain from many threads at once. The threads are made by _open and live until _close;
 * one _run lets each of them do `runs` runs, and returns when the last has finished. */
struct floor_pool;
struct floor_pool *floor_pool_open(int threads);
int floor_pool_run(struct floor_pool *pool, char *const argv[], long runs,
                   struct floor_report *report);
void floor_pool_close(struct floor_pool *pool);

/* What they are made of. A full pipe fits into FLOOR_BLOCK: no output needs more reads than the
 * kernel makes necessary. */
#define FLOOR_BLOCK 65536

/* Reads a child's stdout to its end; 0, or -1 with the report filled in. */
typedef int floor_drain(int fd, struct floor_report *report);
int floor_drained(char *const argv[], long runs, floor_drain *drain, struct floor_report *report);

/* One read: the bytes, 0 at the end of file, -1 with the report filled in. Counts the bytes. */
ssize_t floor_read(int fd, char *buffer, size_t size, struct floor_report *report);

/* vfork and execve with these as 0, 1 and 2, -1: ours. -1 and *error, and nobody to wait for. */
pid_t floor_launch(char *const argv[], int in, int out, int err, volatile int *error);

/* wait4; 0, or -1 with the report filled in, also for a status that is not 0. */
int floor_reap(pid_t pid, struct floor_report *report);

/* pipe2; 0, or -1 with the report filled in. */
int floor_pipe(int ends[2], struct floor_report *report);

/* Fills in the report; returns -1. The first failure stays: a child whose output is read no further
 * dies of that, and its status tells nothing. */
int floor_fail(struct floor_report *report, const char *stage, int error);

#endif
