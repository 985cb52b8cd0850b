#include "floor.h"

#include <unistd.h>

#define MOST 16

static void let_go(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* All are started before any is waited for: none waits for a reader that is not there. */
static int run(char *const *const stages[], int count, int out, struct floor_report *report)
{
    pid_t pids[MOST];
    int in = -1, started = 0, failed = 0, error;

    while (started < count && !failed) {
        int ends[2] = {-1, -1};
        int last = started == count - 1;

        if (!last && floor_pipe(ends, report) < 0) {
            failed = 1;
            break;
        }
        pids[started] = floor_launch(stages[started], in, last ? out : ends[1], -1, &error);
        let_go(in);
        let_go(ends[1]);
        in = ends[0];
        if (pids[started] < 0) {
            floor_fail(report, "vfork or execve", error);
            failed = 1;
        } else {
            started++;
        }
    }
    let_go(in);
    for (int i = 0; i < started; i++)
        failed |= floor_reap(pids[i], report) < 0;
    return failed ? -1 : 0;
}

int floor_pipeline(char *const *const stages[], int count, int out, long runs,
                   struct floor_report *report)
{
    if (count > MOST)
        return floor_fail(report, "too many stages", 0);
    while (runs-- > 0)
        if (run(stages, count, out, report) < 0)
            return -1;
    return 0;
}
