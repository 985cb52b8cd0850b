#include "guard.h"

#include "core.h"

#include <errno.h>

#define FAILURES_ALLOWED 16

/* glibc 2.35 and later; weak, so that the extension also loads where the C library has none of it (one
 * built against 2.35 asks for 2.35 all the same, by its symbol versions). */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

struct rseq_area { /* the head of struct rseq, which the kernel only ever extends */
    uint32_t cpu_id_start;
    uint32_t cpu_id;
    volatile uint64_t rseq_cs;
};

/* struct rseq_cs: version and flags, where the sequence starts, its length, where to go when it is
 * cut short. In assembler, because its addresses are those of instructions. */
extern const char sk__guard_sequence[] __attribute__((visibility("hidden")));

static struct rseq_area *area(void)
{
    char *thread;

#if defined(__x86_64__)
    __asm__("mov %%fs:0, %0" : "=r"(thread));
#else
    __asm__("mrs %0, tpidr_el0" : "=r"(thread));
#endif
    return (struct rseq_area *)(thread + __rseq_offset);
}

void sk__guard_arm(void) { area()->rseq_cs = (uintptr_t)sk__guard_sequence; }

/* Linux 6.19 stopped resetting the pointer on the way out of system calls, except for the first form
 * of registration. So it is tried: a sleep is the least it must notice. */
static int is_reset_by_a_sleep(void)
{
    struct timespec moment = {0, 1};

    sk__guard_arm();
    sys_poll(0, 0, &moment);
    return area()->rseq_cs == 0;
}

int sk__guard_works(void)
{
    int known = SK_KNOWN(signal_guard);

    if (known < 0) {
        known = &__rseq_size && &__rseq_offset && __rseq_size && (int32_t)area()->cpu_id >= 0 &&
                is_reset_by_a_sleep();
        SK_KNOW(signal_guard, known);
    }
    return known;
}

/* clang-format off */
#define DESCRIPTOR                                         \
    ".pushsection __rseq_cs, \"aw\"\n\t"                   \
    ".balign 32\n\t"                                       \
    ".globl sk__guard_sequence\n\t"                        \
    ".hidden sk__guard_sequence\n"                         \
    "sk__guard_sequence:\n\t"                              \
    ".long 0, 0\n\t"                                       \
    ".quad 1f, 2f - 1f, 4f\n\t"                            \
    ".popsection\n\t"

/* One copy only: the sequence has one address. */
static __attribute__((noinline, noclone))
long guarded(long number, long a, long b, long c, long d, long e)
{
    struct rseq_area *rseq = area();
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;

    __asm__ volatile(
        DESCRIPTOR
        "1:\n\t"
        "cmpq %[sequence], %[armed]\n\t"
        "jne 5f\n\t"
        "syscall\n"
        "2:\n\t"
        "jmp 6f\n\t"
        ".byte 0x0f, 0xb9, 0x3d\n\t" /* ud1: the signature must not be a useful instruction */
        ".long 0x53053053\n"         /* RSEQ_SIG of <sys/rseq.h> */
        "4:\n"
        "5:\n\t"
        "mov %[interrupted], %%rax\n"
        "6:"
        : "=&a"(result)
        : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
          [sequence] "r"(sk__guard_sequence), [armed] "m"(rseq->rseq_cs), [interrupted] "i"(-EINTR)
        : "rcx", "r11", "memory", "cc");
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    long result, now;

    __asm__ volatile(
        DESCRIPTOR
        "1:\n\t"
        "ldr %[now], %[armed]\n\t"
        "cmp %[now], %[sequence]\n\t"
        "b.ne 5f\n\t"
        "svc #0\n"
        "2:\n\t"
        "b 6f\n\t"
        ".inst 0xd428bc00\n"         /* brk: RSEQ_SIG of <sys/rseq.h> */
        "4:\n"
        "5:\n\t"
        "mov x0, %[interrupted]\n"
        "6:"
        : "+r"(x0), [now] "=&r"(now)
        : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4),
          [sequence] "r"(sk__guard_sequence), [armed] "m"(rseq->rseq_cs), [interrupted] "i"(-EINTR)
        : "memory", "cc");
    result = x0;
#endif
    rseq->rseq_cs = 0;
    return result;
}
/* clang-format on */

long sk__block(int32_t *failures, long number, long a, long b, long c, long d, long e)
{
    long result;

    if (!sk__main_thread())
        return sys_call(number, a, b, c, d, e, 0);
    if (*failures >= FAILURES_ALLOWED || !sk__guard_works())
        return -ENOTSUP;
    result = SK_FAULT(number);
    if (result == 0)
        result = guarded(number, a, b, c, d, e);
    if (result != -EINTR) {
        *failures = 0;
        return result;
    }
    ++*failures;
    sk__guard_arm();
    return result;
}
