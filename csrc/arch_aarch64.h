/* aarch64: the system call instruction, and a clone whose child starts on a stack of its own. */
#ifndef SK_ARCH_H
#define SK_ARCH_H

static inline __attribute__((always_inline)) long sk_syscall(long number, long a, long b, long c,
                                                             long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;

    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory", "cc");
    return x0;
}

/* clone(flags, stack, parent_tid, tls, child_tid) */
#define SK_CLONE_ARGS(flags, stack, parent_tid, child_tid) \
    (flags), (stack), (parent_tid), 0, (child_tid)

/* Makes a child that calls `entry(argument)` and never returns from it. In the caller it is an
 * ordinary system call. It must be assembler: the child wakes on an empty stack, where compiled
 * code would look for its locals and its return address. */
static inline __attribute__((always_inline)) long sk_clone_call(long number, long a, long b, long c,
                                                                long d, long e,
                                                                void (*entry)(void *),
                                                                void *argument)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register void *x9 __asm__("x9") = (void *)entry;
    register void *x10 __asm__("x10") = argument;

    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t" /* the end of the chain of frames, for debuggers */
                     "mov x30, xzr\n\t"
                     "mov x0, x10\n\t"
                     "blr x9\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x9), "r"(x10)
                     : "memory", "cc", "x30");
    return x0;
}

#endif
