/* For `make coverage`: counts that neither exec nor _exit may take away. */
#include "fault.h"

#ifdef SPAWNKIT_FAULTS

#include "child.h"
#include "coverage.h"

#ifdef SPAWNKIT_COVERAGE
#include "sys.h"

#include <pthread.h>
#include <sys/mman.h>

extern void __gcov_dump(void);
extern void __gcov_reset(void);
extern char __libc_single_threaded;

/* A child that shares our memory must not touch the counters. A copy is told from it by this word,
 * which the kernel clears there. */
static volatile int *not_a_copy;

static void mark(void) { *not_a_copy = 1; }

static __attribute__((constructor)) void prepare(void)
{
    not_a_copy = mmap(NULL, sizeof *not_a_copy, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0);
    madvise((void *)not_a_copy, sizeof *not_a_copy, MADV_WIPEONFORK);
    mark();
    pthread_atfork(NULL, NULL, mark); /* of fork(), which our own clone is not */
}

void sk_fault_write_coverage(void)
{
    __gcov_dump();
    __gcov_reset();
}

/* Not with threads: one of them may have held the allocator's lock. */
void sk__coverage_before(long number)
{
    if (!*not_a_copy && __libc_single_threaded &&
        (number == SYS_execve || number == SYS_execveat || number == SYS_exit_group))
        sk_fault_write_coverage();
}
#else
void sk_fault_write_coverage(void) {}
SK_BARE void sk__coverage_before(long number) { (void)number; }
#endif

#endif
