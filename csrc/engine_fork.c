/* The fork engine: the child has a copy of our memory and reports through a pipe.
 *
 * For places where memory is not shared (valgrind, qemu-user), and as the reference the other
 * engines are compared with. The child sends {errno, stage, index} before each step, and exec
 * closes the pipe. So end of file after "at exec" is success, end of file before it is a death, and
 * nothing has to be guessed. (Where another thread forks this process meanwhile, without exec, its
 * copy of the pipe keeps the end of file from us: the start then takes as long as that copy lives.) */
#include "core.h"

#include <errno.h>

int sk__fork_start(sk_child *child, struct sk_launch *launch, int want_pidfd)
{
    int32_t ends[2];
    int result;

    child->stage = SK_AT_PIPE;
    result = sys_pipe(ends, O_CLOEXEC);
    if (result == 0) {
        int listening = sk__out_of_the_way(launch, ends[0]);

        launch->channel = sk__out_of_the_way(launch, ends[1]);
        result = listening < 0 ? listening : launch->channel < 0 ? launch->channel : 0;
        if (result == 0)
            result = sk__clone(child, launch, SK_FORK, want_pidfd);
        if (launch->channel >= 0)
            sys_close(launch->channel);
        if (result == 0)
            child->channel = listening;
        else if (listening >= 0)
            sys_close(listening);
    }
    sk__launch_give(launch);
    if (result == 0)
        child->stage = SK_AT_START;
    return result;
}

int sk__fork_listen(sk_child *child, int64_t deadline)
{
    for (;;) {
        struct pollfd channel = {child->channel, POLLIN, 0};
        struct timespec left;
        int32_t record[3];
        int some_left = sk__time_left(deadline, &left);
        int ready = sys_poll(&channel, 1, &left);
        long length;

        if (ready == -EINTR)
            return SK_AGAIN;
        if (ready < 0)
            return ready;
        if (ready == 0)
            return some_left ? SK_AGAIN : SK_TIMEOUT;
        length = sys_read(child->channel, record, sizeof record);
        if (length == -EINTR)
            return SK_AGAIN;
        if (length < 0)
            return (int)length;
        if (length != (long)sizeof record)
            return SK_OK; /* end of file */
        child->err = record[0];
        child->stage = record[1];
        child->index = record[2];
    }
}
