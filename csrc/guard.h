/* Entering a blocking system call without losing a signal.
 *
 * The interpreter runs signal handlers between two of its own instructions, never in C. So:
 *   1. the interpreter looks for signals, finds none, and calls us;
 *   2. a signal arrives; its C handler only sets the interpreter's flag;
 *   3. we enter waitid, which knows nothing of the flag, and Ctrl-C waits for the child.
 * Whoever wants to close this gap needs to know, at the system call instruction, whether a signal
 * was delivered since step 1. The kernel can tell: when it delivers a signal to a thread (or
 * preempts it), it resets the rseq_cs pointer of the thread's rseq area, unless the thread is
 * inside the restartable sequence that it points to; then it sends the thread to the sequence's
 * abort address. So we point it at a sequence that ends in the system call instruction, before we
 * return to the interpreter (arm), and the next call blocks only if it still points there. No
 * system call, no timer, no handler of ours.
 *
 * What it cannot notice is a signal that the kernel delivers to another thread: one that is directed
 * there, or that the main thread blocks; then the interpreter's handler waits, as with every blocking
 * call of the interpreter's own.
 *
 * None of this is promised by the kernel's interface, and Linux 6.19 changed it; sk__guard_works tries
 * it before it is used.
 *
 * rseq(2), Linux 4.18; the C library registers the area since glibc 2.35. Elsewhere the caller waits
 * on a pidfd, in slices. */
#ifndef SK_GUARD_H
#define SK_GUARD_H

#include "sys.h"

/* Does the kernel do what is said above? Tried once; it takes a sleep of a nanosecond. */
int sk__guard_works(void);

/* From now on the calling thread's signals are noticed. Call before returning to the interpreter. */
void sk__guard_arm(void);

/* A system call that may block for as long as it takes, on any thread, without losing a signal of
 * the main one. -EINTR: back to the interpreter, then again; preemption counts as a signal, so it
 * may come for nothing, and `*failures` counts how often. -ENOTSUP: it was not called, because the
 * guard cannot be had or has failed too often; wait in slices. */
long sk__block(int32_t *failures, long number, long a, long b, long c, long d, long e);

#endif
