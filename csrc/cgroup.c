/* Cgroups: a child that is born in one, and the files of one. */
#include "core.h"

#include <errno.h>

const struct sk_op *sk__birthplace(const struct sk_launch *launch)
{
    const struct sk_op *op = NULL;

    while ((op = sk__next_op(launch, SK_OP_CGROUP, op)) && !op->x)
        ;
    return op;
}

int sk__open_birthplace(const struct sk_launch *launch)
{
    const struct sk_op *op = sk__birthplace(launch);

    if (!op || SK_KNOWN(into_cgroup) == 0)
        return -1;
    return sk__out_of_the_way(
        launch, sys_open((const char *)launch->plan + op->text, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/* Written here: what a signal interrupts in Python would leave the file open. */
int sk_write_file(const char *path, const void *data, size_t size)
{
    int fd = sys_open(path, O_WRONLY | O_CLOEXEC);
    long length = -EINTR;

    if (fd < 0)
        return fd;
    while (length == -EINTR) /* a limit of version 1, for one, is not even tried */
        length = sys_write(fd, data, size);
    sys_close(fd);
    return length < 0 ? (int)length : 0;
}
