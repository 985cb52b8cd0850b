/* brood KIND [N]: have descendants, say so on standard output, and wait. All of them hold standard
 * output open: when it is at its end they are gone.
 *
 *     bomb      each forks again and again, for ever; "EAGAIN" from the first that could not
 *     daemon    one in a session of its own, whose parent has ended: "up"
 *     stopped   one that has stopped itself: "up"
 *     count N   N at the same time, if they can be had: how many, and the errno of the next; ends
 *     eat N     none, but N MiB of memory: "full"; ends */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0)
        _exit(124);
}

static void wait_for_ever(void)
{
    for (;;)
        pause();
}

static void bomb(void)
{
    for (;;) {
        if (fork() < 0 && errno == EAGAIN) {
            say("EAGAIN\n");
            usleep(1000);
        }
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}

static void be_a_daemon(void)
{
    if (fork() == 0) {
        setsid();
        if (fork() != 0)
            _exit(0);
        say("up\n");
    }
    wait_for_ever();
}

static void stop_one(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        raise(SIGSTOP);
        wait_for_ever();
    }
    waitpid(pid, NULL, WUNTRACED);
    say("up\n");
    wait_for_ever();
}

static void count(int wanted)
{
    int error = 0, made = 0;
    pid_t pids[256];
    char text[32];

    while (made < wanted && made < 256) {
        pid_t pid = fork();

        if (pid == 0)
            wait_for_ever();
        if (pid < 0) {
            error = errno;
            break;
        }
        pids[made++] = pid;
    }
    snprintf(text, sizeof text, "%d %d\n", made, error);
    say(text);
    for (int i = 0; i < made; i++)
        kill(pids[i], SIGKILL);
}

static void eat(size_t size)
{
    char *memory = malloc(size);

    if (!memory)
        _exit(123);
    for (size_t at = 0; at < size; at += 4096)
        ((volatile char *)memory)[at] = 1;
    say("full\n");
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "";
    int number = argc > 2 ? atoi(argv[2]) : 0;

    if (!strcmp(kind, "bomb"))
        bomb();
    else if (!strcmp(kind, "daemon"))
        be_a_daemon();
    else if (!strcmp(kind, "stopped"))
        stop_one();
    else if (!strcmp(kind, "count"))
        count(number);
    else if (!strcmp(kind, "eat"))
        eat((size_t)number << 20);
    else
        return 125;
    return 0;
}
