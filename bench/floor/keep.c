#include "floor.h"

#include <errno.h>
#include <stdlib.h>

/* Nothing is copied, by this loop or by realloc: blocks of that size are moved by their page table.
 * The caller of a library gets one piece of memory, so a list of chunks would be no floor. */
static int keep(int fd, struct floor_report *report)
{
    size_t room = FLOOR_BLOCK, length = 0;
    char *data = malloc(room), *larger;
    ssize_t got = data ? 1 : floor_fail(report, "malloc", ENOMEM);

    while (got > 0) {
        got = floor_read(fd, data + length, room - length, report);
        if (got > 0)
            length += (size_t)got;
        if (length == room) {
            larger = realloc(data, room * 2);
            if (!larger) {
                got = floor_fail(report, "realloc", ENOMEM);
                break;
            }
            data = larger;
            room *= 2;
        }
    }
    free(data);
    return (int)got;
}

int floor_keep(char *const argv[], long runs, struct floor_report *report)
{
    return floor_drained(argv, runs, keep, report);
}
