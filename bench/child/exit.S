/* The smallest child there is: _start -> exit(0).
 *
 * No libc, no loader, no data: two page faults, so that what a benchmark measures is the
 * spawning and not the child's own start (a static glibc program costs five times as much). */

#include "child.h"

_start:
#if defined(__x86_64__)
        xor     %edi, %edi
        mov     $__NR_exit_group, %eax
        syscall
#elif defined(__aarch64__)
        mov     x0, #0
        mov     x8, #__NR_exit_group
        svc     #0
#else
#error "no child for this machine: add its exit_group here"
#endif
