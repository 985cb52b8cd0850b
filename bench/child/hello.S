/* write(1, "hello world\n", 12), then exit: the child of the captured rows.
 *
 * A failed or short write ends with status 1, so that a run whose output went nowhere is seen
 * even by a caller that does not look at the bytes. The text lies beside the code: no second
 * segment to map. */

#include "child.h"

text:   .ascii  "hello world\n"
        .set    text_size, . - text
        .balign 4

_start:
#if defined(__x86_64__)
        mov     $__NR_write, %eax
        mov     $1, %edi
        lea     text(%rip), %rsi
        mov     $text_size, %edx
        syscall
        xor     %edi, %edi
        cmp     %rdx, %rax
        setne   %dil
        mov     $__NR_exit_group, %eax
        syscall
#elif defined(__aarch64__)
        mov     x0, #1
        adr     x1, text
        mov     x2, #text_size
        mov     x8, #__NR_write
        svc     #0
        cmp     x0, x2
        cset    x0, ne
        mov     x8, #__NR_exit_group
        svc     #0
#else
#error "no child for this machine: add its write and exit_group here"
#endif
