/* What the children share: system call numbers, and the note without which the linker
 * gives the program an executable stack (one more mapping to set up, and a warning). */

#include <asm/unistd.h>

.section .note.GNU-stack, "", %progbits
.text
.globl _start
