/* The vfork engine: the child runs in our memory, on a stack of its own.
 *
 * Why it is fast: no page table is copied, whatever the parent's size. Why it is safe: the child
 * is in child.c only, which writes nothing but its stack and its report, and both belong to it
 * until the kernel clears `launch->word`.
 *
 * Overlapped (the default) the caller is not suspended: it can watch a deadline, be interrupted,
 * or go straight on to waiting for the end of the program, which saves one sleep and one wake-up.
 * Waiting, the kernel holds the calling thread until exec, and nothing can interrupt it. */
#include "core.h"

int sk__vfork_start(sk_child *child, struct sk_launch *launch, int engine, int want_pidfd)
{
    int result = sk__clone(child, launch, engine, want_pidfd);

    if (result < 0) {
        sk__launch_give(launch);
        return result;
    }
    child->launch = launch;
    return 0;
}
