/* pour MIB: writes that many MiB of 'x' to its stdout, 64 KiB at a time, then exits: the child of
 * the rows gib/...
 *
 * It does nothing but write, so that the reader is what is measured. Not zeroes: memory that a
 * reader never filled would look like them. */

#include "child.h"

        .set    block_size, 65536
        .set    blocks_in_mib, 1048576 / block_size

        .data
block:  .fill   block_size, 1, 'x'

        .text
_start:
#if defined(__x86_64__)
        mov     16(%rsp), %rsi          /* argv[1]: a decimal number, not checked */
        xor     %ebx, %ebx
        xor     %eax, %eax
digit:  lodsb
        test    %al, %al
        jz      parsed
        imul    $10, %rbx, %rbx
        lea     -'0'(%rbx, %rax), %rbx
        jmp     digit
parsed: imul    $blocks_in_mib, %rbx, %rbx
pour:   test    %rbx, %rbx
        jz      full
        mov     $__NR_write, %eax
        mov     $1, %edi
        lea     block(%rip), %rsi
        mov     $block_size, %edx
        syscall
        dec     %rbx
        cmp     %rdx, %rax
        je      pour
        mov     $1, %edi                /* failed or short: seen by whoever looks at the status */
        jmp     out
full:   xor     %edi, %edi
out:    mov     $__NR_exit_group, %eax
        syscall
#elif defined(__aarch64__)
        ldr     x1, [sp, #16]           /* argv[1]: a decimal number, not checked */
        mov     x19, #0
        mov     x3, #10
digit:  ldrb    w2, [x1], #1
        cbz     w2, parsed
        sub     w2, w2, #'0'
        madd    x19, x19, x3, x2
        b       digit
parsed: mov     x3, #blocks_in_mib
        mul     x19, x19, x3
pour:   cbz     x19, full
        mov     x0, #1
        adrp    x1, block
        add     x1, x1, :lo12:block
        mov     x2, #block_size
        mov     x8, #__NR_write
        svc     #0
        sub     x19, x19, #1
        cmp     x0, x2
        b.eq    pour
        mov     x0, #1                  /* failed or short: seen by whoever looks at the status */
        b       out
full:   mov     x0, #0
out:    mov     x8, #__NR_exit_group
        svc     #0
#else
#error "no child for this machine: add its write and exit_group here"
#endif
