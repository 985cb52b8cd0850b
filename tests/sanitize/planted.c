/* Planted defects: each tool has to find those of its kind before its silence counts for anything. */
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int use_after_free(int n)
{
    volatile char *block = malloc((size_t)n);

    block[0] = 1;
    free((void *)block);
    return block[0];
}

int overflow(int n)
{
    volatile char *block = malloc((size_t)n);
    char before;

    block[n] = 1;
    before = block[n];
    free((void *)block);
    return before;
}

int undefined(int n)
{
    volatile int large = INT_MAX;

    return large + n;
}

int leak(int n)
{
    char *volatile block = malloc((size_t)n);

    memset(block, 1, (size_t)n);
    block = NULL;
    return 0;
}

int uninitialised(int n)
{
    volatile char *block = malloc((size_t)n);

    if (block[n - 1] == 7)
        block[0] = 1; /* what is stored to volatile memory needs a jump */
    free((void *)block);
    return 0;
}

/* What the core does: the kernel reads it, by a system call that no runtime knows of. */
int uninitialised_in_a_call(int n)
{
    char *volatile block = malloc((size_t)n);
    int ends[2];
    long result = pipe(ends);

    result += syscall(SYS_write, ends[1], block, (size_t)n);
    close(ends[0]);
    close(ends[1]);
    free(block);
    return (int)result;
}

static int shared;

static void *add(void *unused)
{
    for (int i = 0; i < 1000; i++)
        shared++;
    return unused;
}

int race(int n)
{
    pthread_t one, other;

    if (pthread_create(&one, NULL, add, NULL) || pthread_create(&other, NULL, add, NULL))
        abort();
    pthread_join(one, NULL);
    pthread_join(other, NULL);
    return shared + n;
}
