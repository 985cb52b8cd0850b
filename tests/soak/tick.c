/* tick HERTZ PID SIGNAL...: send the signals in turn, so many a second, until stdin is at its end;
 * then write to stdout how many. The first turn goes to process PID, the next to its whole group,
 * and so on. Ticks that were missed while the machine was busy are made up for. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SECOND 1000000000L

static long now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

int main(int argc, char **argv)
{
    struct pollfd end = {0, POLLIN, 0};
    long interval, due, sent = 0;
    pid_t pid;

    if (argc < 4 || atol(argv[1]) <= 0 || atoi(argv[2]) <= 1)
        return 125;
    interval = SECOND / atol(argv[1]);
    pid = atoi(argv[2]);
    due = now();
    while (poll(&end, 1, 0) == 0) {
        int number = atoi(argv[3 + sent / 2 % (argc - 3)]);
        struct timespec until;

        if (kill(sent % 2 ? -pid : pid, number) < 0)
            break;
        sent++;
        due += interval;
        until = (struct timespec){due / SECOND, due % SECOND};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    printf("%ld\n", sent);
    return 0;
}
