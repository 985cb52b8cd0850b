/* x86-64: the system call instruction, and a clone whose child starts on a stack of its own. */
#ifndef SK_ARCH_H
#define SK_ARCH_H

static inline __attribute__((always_inline)) long sk_syscall(long number, long a, long b, long c,
                                                             long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* clone(flags, stack, parent_tid, child_tid, tls) */
#define SK_CLONE_ARGS(flags, stack, parent_tid, child_tid) \
    (flags), (stack), (parent_tid), (child_tid), 0

/* Makes a child that calls `entry(argument)` and never returns from it. In the caller it is an
 * ordinary system call. It must be assembler: the child wakes on an empty stack, where compiled
 * code would look for its locals and its return address. */
static inline __attribute__((always_inline)) long sk_clone_call(long number, long a, long b, long c,
                                                                long d, long e,
                                                                void (*entry)(void *),
                                                                void *argument)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register void *r12 __asm__("r12") = (void *)entry;
    register void *r13 __asm__("r13") = argument;

    __asm__ volatile(
        "syscall\n\t"
        "test %%rax, %%rax\n\t"
        "jnz 1f\n\t"
        "xor %%ebp, %%ebp\n\t" /* the end of the chain of frames, for debuggers */
        "and $-16, %%rsp\n\t"  /* the caller's own stack, when forked, may be unaligned */
        "mov %%r13, %%rdi\n\t"
        "call *%%r12\n\t"
        "hlt\n"
        "1:"
        : "=a"(result)
        : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r12), "r"(r13)
        : "rcx", "r11", "memory", "cc");
    return result;
}

#endif
