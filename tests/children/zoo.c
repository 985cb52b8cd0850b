/* zoo KIND: a program that does not want to end, or not properly. Everything it starts lives until the
 * other end of descriptor 3, a pipe to be written, is closed: until then whoever reads there sees no end
 * of file.
 *
 *   ignores   ignores SIGTERM, SIGINT, SIGHUP
 *   forks     two chains of processes, each of which forks the next one and ends
 *   escapes   the same, each in a session of its own
 *   daemon    a daemon, by two forks and a session, that holds every stream; the program waits
 *   leaves    the same; the program ends
 *   floods    both streams, for ever
 *   deaf      closes its stdin, and waits
 *   half      writes the first byte of a two-byte character, and waits
 *   stops     itself
 *   chatters  ends; what it has forked writes on */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int is_over(int milliseconds)
{
    struct pollfd leash = {3, 0, 0};

    return poll(&leash, 1, milliseconds) != 0;
}

static void wait_for_the_end(void)
{
    while (!is_over(-1))
        ;
    _exit(0);
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0)
        _exit(124);
}

static void chain(int escape)
{
    while (!is_over(0)) {
        if (escape)
            setsid();
        if (fork() > 0)
            _exit(0);
    }
    _exit(0);
}

static void two_chains(int escape)
{
    signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < 2; i++)
        if (fork() == 0)
            chain(escape);
    wait_for_the_end();
}

static void daemonize(void)
{
    int middle = fork();

    if (middle == 0) {
        setsid();
        if (fork() == 0)
            wait_for_the_end();
        _exit(0);
    }
    waitpid(middle, NULL, 0);
}

static void flood(void)
{
    static char bytes[4096];

    memset(bytes, 'z', sizeof bytes);
    while (write(1, bytes, sizeof bytes) > 0 && write(2, bytes, sizeof bytes) > 0)
        ;
    wait_for_the_end();
}

static void chatter(void)
{
    if (fork() > 0)
        _exit(0);
    while (!is_over(10))
        say(1, "chatter\n");
    _exit(0);
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "";

    if (!strcmp(kind, "floods"))
        flood();
    say(1, "begun\n");
    if (!strcmp(kind, "ignores")) {
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
    } else if (!strcmp(kind, "forks") || !strcmp(kind, "escapes")) {
        two_chains(!strcmp(kind, "escapes"));
    } else if (!strcmp(kind, "daemon")) {
        daemonize();
    } else if (!strcmp(kind, "leaves")) {
        daemonize();
        return 0;
    } else if (!strcmp(kind, "deaf")) {
        close(0);
    } else if (!strcmp(kind, "half")) {
        say(1, "\xc3");
    } else if (!strcmp(kind, "stops")) {
        raise(SIGSTOP);
    } else if (!strcmp(kind, "chatters")) {
        chatter();
    } else {
        return 125;
    }
    wait_for_the_end();
}
