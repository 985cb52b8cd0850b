/* What a plan says, asked in the parent before there is a child. */
#include "core.h"

#include <string.h>

#define KNOWN_NAMESPACES UINT64_C(0x20000000) /* CLONE_NEWPID */

int sk__plan_check(const void *data, size_t size, uint64_t *codes)
{
    const struct sk_plan *plan = data;
    const struct sk_op *op;
    const char *bytes = data;
    size_t strings = 0, operands, wanted;
    unsigned masks = 0, spaces = 0;

    *codes = 0;
    if (size < sizeof *plan + 2 || size > INT32_MAX || plan->magic != SK_PLAN_MAGIC ||
        plan->size != size || bytes[size - 1] != '\0')
        return -1;
    if (plan->op_count > (size - sizeof *plan) / sizeof *op)
        return -1;
    operands = sizeof *plan + plan->op_count * sizeof *op;
    if (plan->strings < operands || plan->strings >= size)
        return -1;
    op = (const struct sk_op *)(plan + 1);
    for (uint32_t i = 0; i < plan->op_count; i++) {
        if (op[i].code == SK_OP_NONE || op[i].code >= SK_OP_COUNT || op[i].text >= size ||
            (SK_HAS_TEXT(op[i].code) && op[i].text < operands))
            return -1;
        /* Any other flag of clone(2) would be let through to it: CLONE_THREAD, for one. */
        if (op[i].code == SK_OP_NAMESPACES && (op[i].x & ~KNOWN_NAMESPACES))
            return -1;
        /* Cut to the child's width it would be another range; and of none, nothing is closed. */
        if (op[i].code == SK_OP_CLOSE_RANGE && (op[i].x > op[i].y || op[i].y > UINT32_MAX))
            return -1;
        masks += op[i].code == SK_OP_SIG_MASK;
        spaces += op[i].code == SK_OP_NAMESPACES;
        *codes |= UINT64_C(1) << op[i].code;
    }
    if (plan->path_count == 0 || plan->argv_count == 0 || plan->exec_fd < -1 || masks != 1 ||
        spaces > 1)
        return -1;
    wanted = (size_t)plan->path_count + plan->argv_count + plan->env_count;
    for (const char *at = bytes + plan->strings; strings < wanted && at < bytes + size; strings++)
        at = (const char *)memchr(at, '\0', (size_t)(bytes + size - at)) + 1;
    return strings == wanted ? 0 : -1;
}

const struct sk_op *sk__next_op(const struct sk_launch *launch, int code, const struct sk_op *after)
{
    const struct sk_op *end = launch->ops + launch->plan->op_count;

    if (SK_ASKS(launch, code))
        for (const struct sk_op *op = after ? after + 1 : launch->ops; op < end; op++)
            if (op->code == code)
                return op;
    return NULL;
}

static int is_named(const struct sk_launch *launch, int fd)
{
    for (uint32_t i = 0; i < launch->plan->op_count; i++) {
        const struct sk_op *op = &launch->ops[i];

        if ((op->code == SK_OP_DUP && (op->a == fd || op->b == fd)) ||
            ((op->code == SK_OP_PARK || op->code == SK_OP_KEEP || op->code == SK_OP_CLOSE) &&
             op->a == fd))
            return 1;
    }
    return 0;
}

/* Each step takes the next free number, so it ends after at most as many steps as the plan names. */
int sk__out_of_the_way(const struct sk_launch *launch, int fd)
{
    while (fd >= 0 && is_named(launch, fd)) {
        int higher = sys_fcntl(fd, F_DUPFD_CLOEXEC, fd + 1);

        sys_close(fd);
        fd = higher;
    }
    return fd == -EINVAL ? -EMFILE : fd; /* F_DUPFD's word for "above the limit" */
}
