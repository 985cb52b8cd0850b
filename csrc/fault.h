/* Faults, for tests: in a build with SPAWNKIT_FAULTS any system call of the core, in the parent or in
 * the child, can be made to fail. Other builds have nothing of this file in them (`make check` looks
 * at the symbols): SK_FAULT is then the constant 0. */
#ifndef SK_FAULT_H
#define SK_FAULT_H

#ifdef SPAWNKIT_FAULTS
/* cffi: begin */

enum { SK_FAULT_MEMORY = -2 /* the number of an allocation */, SK_FAULT_LOG = 4096 };

/* From now on the calls of this number fail with `error`, from the first to the last one given,
 * counted from 1. 0, or -1 where there is no memory. */
int sk_fault_arm(int number, int error, unsigned first, unsigned last);

/* No call fails any more; what was counted stays. */
void sk_fault_disarm(void);

/* How many have failed since sk_fault_arm. */
unsigned sk_fault_injected(void);

/* How many calls were made since, and the numbers of as many as there is room for. */
unsigned sk_fault_calls(int *numbers, unsigned room);

/* What a refusal has taught the core about this kernel is true for ever. For a test it is not: keeps
 * what is known now, and later puts it back. */
void sk_fault_keep(void);
void sk_fault_put_back(void);

/* Writes down which lines and branches this process has reached, as it would at exit(). In a build
 * without SPAWNKIT_COVERAGE it does nothing. */
void sk_fault_write_coverage(void);

/* cffi: end */

/* 0: let it happen. Else the negative errno to return in its place. */
long sk__fault(long number);
#define SK_FAULT(number) sk__fault(number)
#else
#define SK_FAULT(number) 0L
#endif

#endif
