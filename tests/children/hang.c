/* hang WORD...: get ready as the words say, write "up" and the own pid to descriptor 4, and wait
 * until descriptor 3 reaches end of file. When descriptor 4 is at its end all of this has ended.
 *
 *     out=TEXT  err=TEXT   write TEXT to standard output, standard error
 *     int=N                on SIGINT exit with N            int=ignore    ignore it
 *     quit=N               on SIGQUIT write "dump" to standard error and exit with N
 *     exit=N               exit with N instead of waiting
 *     orphan               leave a process behind that has our descriptors and waits as we do
 *     probe                that process writes to standard error until it cannot, then ends */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int code_of[65];

static void end(int sig)
{
    if (sig == SIGQUIT && write(2, "dump", 4) < 0)
        _exit(124);
    _exit(code_of[sig]);
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0)
        _exit(124);
}

static void on(int sig, const char *what)
{
    code_of[sig] = atoi(what);
    signal(sig, strcmp(what, "ignore") ? end : SIG_IGN);
}

static void wait_for_the_end(void)
{
    char byte;

    while (read(3, &byte, 1) > 0 || errno == EINTR)
        errno = 0;
}

static void be_an_orphan(int probing)
{
    struct pollfd life = {3, POLLIN, 0};

    if (!probing)
        wait_for_the_end();
    signal(SIGPIPE, SIG_IGN);
    while (probing && poll(&life, 1, 1) == 0)
        probing = write(2, "p", 1) == 1;
    _exit(0);
}

int main(int argc, char **argv)
{
    int orphan = 0, probe = 0, code = -1;
    char up[32];

    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        value = value ? value + 1 : argv[i];
        if (!strncmp(argv[i], "out=", 4))
            say(1, value);
        else if (!strncmp(argv[i], "err=", 4))
            say(2, value);
        else if (!strncmp(argv[i], "int=", 4))
            on(SIGINT, value);
        else if (!strncmp(argv[i], "quit=", 5))
            on(SIGQUIT, value);
        else if (!strncmp(argv[i], "exit=", 5))
            code = atoi(value);
        else if (!strcmp(argv[i], "orphan"))
            orphan = 1;
        else if (!strcmp(argv[i], "probe"))
            probe = 1;
        else
            return 125;
    }
    if (orphan && fork() == 0)
        be_an_orphan(probe);
    snprintf(up, sizeof up, "up %d\n", getpid());
    say(4, up);
    if (code >= 0)
        return code;
    wait_for_the_end();
    return 0;
}
