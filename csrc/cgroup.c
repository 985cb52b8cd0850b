/* The files of a cgroup are written here: what a signal interrupts in Python would leave them open. */
#include "core.h"

#include <errno.h>

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
