/* The memory a child uses between clone and exec: its stack, its copy of the plan, the vectors
 * execve wants, and the report it leaves.
 *
 *   low  [ guard page | stack, growing down | struct sk_launch | plan | argv[], envp[] ]  high
 *
 * With shared memory the child works in here while its parent goes on, so a block belongs to one
 * child until the kernel clears `word` (CLONE_CHILD_CLEARTID: at exec or death). A block whose
 * child never gets there is left mapped for good: reusing it would change a running child's stack. */
#ifndef SK_LAUNCH_H
#define SK_LAUNCH_H

#include "plan.h"

#include <stddef.h>
#include <stdint.h>

#define SK_STACK 32768u /* the replay needs under 6 KiB, most of it a directory buffer */

struct sk_report { /* written by the child, read by its parent after `word` is clear */
    volatile int32_t err;
    volatile int32_t stage;
    volatile int32_t index;
};

struct sk_launch {
    uint32_t word; /* not 0 while the child is in this memory */
    struct sk_report report;
    int32_t channel;        /* the fork engine's report pipe, write end; -1: report is shared */
    int32_t clear_handlers; /* the kernel did not: reset all 64 first */
    uint64_t codes;         /* bit n: the plan has an operation of code n */
    const struct sk_plan *plan;
    const struct sk_op *ops;
    const struct sk_op *placed; /* the cgroup operation that clone has done; NULL: none */
    const char *const *paths;   /* path_count of them */
    char **argv;
    char **envp;
    void *stack_top;
    size_t mapped; /* bytes of the whole mapping, guard page included */
};

/* A block holding a copy of the plan, ready for a child. NULL when memory is short. `codes` is from
 * sk__plan_check. */
struct sk_launch *sk__launch_take(const struct sk_plan *plan, uint64_t codes);

/* Gives a block back. Only when no child can be in it. */
void sk__launch_give(struct sk_launch *launch);

/* ---- what the plan says (plan.c) ---- */

/* Is this a well-formed plan? Every offset and count is checked here, in the parent, so that the
 * child need not. *codes: the operations it has, as bits. */
int sk__plan_check(const void *plan, size_t size, uint64_t *codes);

/* Has the plan such an operation? For a plan without it, it costs nothing to ask. */
#define SK_ASKS(launch, code) ((launch)->codes >> (code) & 1)

/* The first such operation, or the next one after `after`; NULL: there is none. */
const struct sk_op *sk__next_op(const struct sk_launch *launch, int code,
                                const struct sk_op *after);

/* Moves a descriptor of ours to a number the plan does not name: the child must not write over it, nor
 * find it where it looks for a descriptor that is closed here. A negative errno is passed through. */
int sk__out_of_the_way(const struct sk_launch *launch, int fd);

#endif
