/* Handlers that look which process they run in, wrapped around those that are installed already.
 *
 * A child in shared memory that ran a handler of its parent's would set the interpreter's flags as
 * if the parent had got the signal, and no Python code could tell. The kernel's getpid can. The
 * counts lie in memory that a forked child shares too. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int watch(int number);       /* for ctypes: there is no header */
long watched(int elsewhere); /* likewise */

struct counts {
    long pid, here, elsewhere;
};

static struct counts *counts;
static void (*inner[65])(int);

static void outer(int number)
{
    long *count = syscall(SYS_getpid) == counts->pid ? &counts->here : &counts->elsewhere;

    __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
    inner[number](number);
}

/* Wraps the handler of this signal; -1: it has none. */
int watch(int number)
{
    struct sigaction action;

    if (!counts) {
        counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                      0);
        if (counts == MAP_FAILED)
            return -1;
        counts->pid = syscall(SYS_getpid);
    }
    if (number < 1 || number > 64 || sigaction(number, NULL, &action) < 0 ||
        (action.sa_flags & SA_SIGINFO) || action.sa_handler == SIG_DFL ||
        action.sa_handler == SIG_IGN)
        return -1;
    inner[number] = action.sa_handler;
    action.sa_handler = outer;
    return sigaction(number, &action, NULL);
}

/* How often a wrapped handler ran in the process that wrapped it, or in others. */
long watched(int elsewhere)
{
    return __atomic_load_n(elsewhere ? &counts->elsewhere : &counts->here, __ATOMIC_RELAXED);
}
