/* What this kernel lets us do. Most answers come from the first real use (clone.c, wait.c); the
 * rest are asked here, for `spawnkit doctor`, with calls that change nothing. */
#include "core.h"
#include "guard.h"

#include <errno.h>
#include <limits.h>

sk_features sk__features = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0};

static int is_there(int result) { return result != -ENOSYS && result != -EPERM; }

static void ask_pidfd(void)
{
    int pidfd = sys_pidfd_open(sys_getpid(), 0);
    siginfo_t info;
    uint64_t request[8] = {0};

    SK_KNOW(pidfd_open, pidfd >= 0);
    if (pidfd < 0)
        return;
    SK_KNOW(pidfd_signal, sys_pidfd_signal(pidfd, 0) == 0);
    /* We are not our own child: ECHILD from a kernel that knows P_PIDFD, EINVAL from one that does
     * not. */
    SK_KNOW(pidfd_wait, sys_waitid(3, pidfd, &info, 4 | 1 /* WEXITED | WNOHANG */, 0) == -ECHILD);
    request[0] = 1 << 3; /* PIDFD_INFO_EXIT: known bits are echoed or ignored, never an error */
    SK_KNOW(pidfd_info, sys_ioctl(pidfd, 3ul << 30 | 64ul << 16 | 0xFFul << 8 | 11, request) == 0);
    sys_close(pidfd);
}

void sk_probe(sk_features *features)
{
    if (SK_KNOWN(close_range) < 0)
        SK_KNOW(close_range, is_there(sys_close_range(UINT_MAX, UINT_MAX, 0)));
    if (SK_KNOWN(pidfd_open) < 0)
        ask_pidfd();
    sk__guard_works();
    *features = sk__features;
}
