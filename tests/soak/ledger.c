/* ledger NUMBER [say]: append NUMBER, as four bytes, to descriptor 3; with a second argument write it
 * to standard output too; exit with NUMBER % 250. 251: the ledger took nothing, 252: nor did stdout.
 *
 * Static and without a C library: a soak starts a million of these, and ought to measure starting. */
#include <asm/unistd.h>

#if defined(__x86_64__)
__asm__(".globl _start\n"
        "_start:\n\t"
        "mov %rsp, %rdi\n\t"
        "and $-16, %rsp\n\t"
        "call begin\n");

static long system_call(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
__asm__(".globl _start\n"
        "_start:\n\t"
        "mov x0, sp\n\t"
        "bl begin\n");

static long system_call(long number, long a, long b, long c)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;

    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#else
#error "no child for this machine: add its system call"
#endif

/* The stack as the kernel lays it out: argc, argv[0], argv[1], … */
__attribute__((used, noreturn)) static void begin(const long *stack)
{
    const char *text = (const char *)stack[2];
    unsigned number = 0;
    long length = 0, code;

    for (; text[length]; length++)
        number = number * 10 + (unsigned)(text[length] - '0');
    code = (long)(number % 250);
    if (system_call(__NR_write, 3, (long)&number, sizeof number) != sizeof number)
        code = 251;
    else if (stack[0] > 2 && system_call(__NR_write, 1, (long)text, length) != length)
        code = 252;
    for (;;)
        system_call(__NR_exit_group, code, 0, 0);
}
