/* SIGINT and SIGQUIT are ignored while somebody waits for a shell: system(3). */
#include "core.h"

#include <pthread.h>

static const int signals[] = {SIGINT, SIGQUIT};

/* The dispositions belong to the process, so the first one in saves them and the last one out puts
 * them back, whichever threads these are. */
static uint32_t lock;
static int users;
static struct sk_sigaction before[2];
static pthread_once_t watch_forks = PTHREAD_ONCE_INIT;

static void put_back(void)
{
    for (int i = 0; i < 2; i++)
        sys_sigaction(signals[i], &before[i], 0);
}

/* A fork waits for whoever is at it:
 *   1. A has made both ignored, and has not been counted yet;
 *   2. B forks: the new process finds no user, and ignores them for good. */
static void before_fork(void) { sk__lock_word(&lock); }
static void in_parent(void) { sk__unlock_word(&lock); }

/* Who waits is another process's thread now. */
static void in_child(void)
{
    if (users > 0)
        put_back();
    users = 0;
    sk__unlock_word(&lock);
}

static void start_watching(void) { pthread_atfork(before_fork, in_parent, in_child); }

void sk_keyboard_ignore(sk_keyboard *keyboard)
{
    static const struct sk_sigaction ignore = {SIG_IGN, 0, 0, 0};

    if (keyboard->held)
        return;
    pthread_once(&watch_forks, start_watching);
    sk__lock_word(&lock);
    for (int i = 0; users == 0 && i < 2; i++)
        sys_sigaction(signals[i], &ignore, &before[i]);
    keyboard->heeded = 0;
    for (int i = 0; i < 2; i++)
        if (before[i].handler != SIG_IGN)
            keyboard->heeded |= UINT64_C(1) << (signals[i] - 1);
    keyboard->held = 1;
    users++;
    sk__unlock_word(&lock);
}

void sk_keyboard_heed(sk_keyboard *keyboard)
{
    if (!keyboard->held)
        return;
    sk__lock_word(&lock);
    keyboard->held = 0;
    if (users > 0 && --users == 0) /* 0 already: a fork has put them back */
        put_back();
    sk__unlock_word(&lock);
}
