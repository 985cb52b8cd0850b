#include "guard.h"

#include <errno.h>

/* glibc 2.35 and later; weak, so that the extension loads on any C library. */
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

int sk__guard_works(void)
{
    return &__rseq_size && &__rseq_offset && __rseq_size && (int32_t)area()->cpu_id >= 0;
}

void sk__guard_arm(void) { area()->rseq_cs = (uintptr_t)sk__guard_sequence; }

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

__attribute__((noinline, noclone))
int sk__guarded_waitid(int type, int id, siginfo_t *info, int options, void *rusage)
{
    struct rseq_area *rseq = area();
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = options;
    register void *r8 __asm__("r8") = rusage;

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
        : "0"((long)SYS_waitid), "D"((long)type), "S"((long)id), "d"(info), "r"(r10), "r"(r8),
          [sequence] "r"(sk__guard_sequence), [armed] "m"(rseq->rseq_cs), [interrupted] "i"(-EINTR)
        : "rcx", "r11", "memory", "cc");
#else
    register long x8 __asm__("x8") = SYS_waitid;
    register long x0 __asm__("x0") = type;
    register long x1 __asm__("x1") = id;
    register void *x2 __asm__("x2") = info;
    register long x3 __asm__("x3") = options;
    register void *x4 __asm__("x4") = rusage;
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
    return (int)result;
}
/* clang-format on */
