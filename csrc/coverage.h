#ifndef SK_COVERAGE_H
#define SK_COVERAGE_H

/* Called before each system call of a build with faults: what a child of the fork engine has counted
 * would go with its memory, so it is written down before the program or the end. */
void sk__coverage_before(long number);

#endif
