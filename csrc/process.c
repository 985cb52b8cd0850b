/* Facts about the calling process and thread that the rest of the core asks for. */
#include "core.h"
#include "spin.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static uint32_t generation;
static pthread_once_t watch_forks = PTHREAD_ONCE_INIT;

static void forked(void)
{
    __atomic_add_fetch(&generation, 1, __ATOMIC_RELAXED);
    sk__write_lock_forked();
    sk__home_forked();
    sk__spin_forked();
}

static void start_watching(void)
{
    generation = 1; /* 0 is a handle that was never used */
    pthread_atfork(NULL, NULL, forked);
}

uint32_t sk__generation(void)
{
    pthread_once(&watch_forks, start_watching);
    return __atomic_load_n(&generation, __ATOMIC_RELAXED);
}

int sk__main_thread(void)
{
    /* The thread that forks is the first thread of the new process: ask again after a fork. */
    static __thread uint32_t asked_in;
    static __thread int main_thread;
    uint32_t now = sk__generation();

    if (asked_in != now) {
        main_thread = sys_gettid() == sys_getpid();
        asked_in = now;
    }
    return main_thread;
}

int64_t sk__now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now); /* the vDSO's, no system call */
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t sk_own_peak(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) < 0 ? INT64_MAX : (int64_t)usage.ru_maxrss * 1024;
}

int sk__time_left(int64_t deadline, struct timespec *left)
{
    int64_t block = INT64_MAX;

    if (deadline >= 0)
        block = deadline ? deadline - sk__now() : 0;
    if (block < 0)
        block = 0;
    if (block > SK_SLICE && sk__main_thread())
        block = SK_SLICE;
    left->tv_sec = block / 1000000000;
    left->tv_nsec = block % 1000000000;
    return block > 0;
}

/* Held for a few system calls that hardly ever block, so whoever waits need not sleep for long. */
void sk__lock_word(uint32_t *lock)
{
    for (int tries = 0; __atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE); tries++) {
        struct timespec moment = {0, 50000};

        if (tries < 64)
            sched_yield();
        else
            sys_poll(0, 0, &moment); /* a real-time thread must let the holder run */
    }
}

void sk__unlock_word(uint32_t *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }

void sk__lock(sk_child *child) { sk__lock_word(&child->lock); }
void sk__unlock(sk_child *child) { sk__unlock_word(&child->lock); }

int sk_mask_hold(sk_mask *mask)
{
    /* But for the C library's own two: setuid waits until each thread has run the handler of 33. */
    const uint64_t all = ~(UINT64_C(3) << 31);
    int result = mask->held ? 0 : sys_sigmask(SIG_BLOCK, &all, &mask->before);

    if (result == 0)
        mask->held = 1;
    return result;
}

void sk_mask_release(sk_mask *mask)
{
    if (mask->held)
        sys_sigmask(SIG_SETMASK, &mask->before, 0);
    mask->held = 0;
}

void sk_mask_look(sk_mask *mask) { mask->before = sk_mask_now(); }

uint64_t sk_mask_now(void)
{
    uint64_t mask = 0;

    sys_sigmask(SIG_BLOCK, 0, &mask);
    return mask;
}

int sk_subreaper(int on)
{
    int32_t before = 0;
    int result = sys_prctl(PR_GET_CHILD_SUBREAPER, (long)&before);

    if (result == 0)
        result = sys_prctl(PR_SET_CHILD_SUBREAPER, on);
    return result < 0 ? result : before != 0;
}

void sk_mask_take(const sk_mask *mask) { sys_sigmask(SIG_SETMASK, &mask->before, 0); }
