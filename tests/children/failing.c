/* failing.so, for LD_PRELOAD: malloc, calloc and realloc of which the n-th fails, once.
 *
 * The helper itself, without being loaded, says whether it would work: it fails its own third call. */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* What glibc calls them itself; no dlsym, which allocates. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static atomic_uint counted, chosen;

void failing_arm(unsigned nth);
unsigned failing_disarm(void);

/* From now on calls are counted, and the nth (from 1) fails. */
void failing_arm(unsigned nth)
{
    counted = 0;
    chosen = nth;
}

/* How many were counted; none fails any more. */
unsigned failing_disarm(void)
{
    chosen = 0;
    return counted;
}

static int fails(void)
{
    unsigned nth = chosen;

    if (!nth || atomic_fetch_add(&counted, 1) + 1 != nth)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }

void *realloc(void *old, size_t size) { return fails() ? NULL : __libc_realloc(old, size); }

int main(void)
{
    void *volatile first, *volatile second, *volatile third;

    failing_arm(3);
    first = malloc(1);
    second = calloc(1, 1);
    third = realloc(NULL, 1);
    free(first);
    free(second);
    return first && second && !third && failing_disarm() == 3 ? 0 : 1;
}
