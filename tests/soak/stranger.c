/* stranger: makes processes with chosen pids, which note every signal that they get.
 *
 * Reads lines. A pid: makes a process that has it, and answers "up". "end": that process ends, and
 * the answer is how many signals it got, or "killed N". Whatever is wrong: "failed WHAT ERRNO".
 * The stranger blocks what can be blocked, and so collects instead of dying. It leads a process
 * group, to be hit by that number too. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char last_pid[] = "/proc/sys/kernel/ns_last_pid";

static int say(const char *what, int number)
{
    printf("%s %d\n", what, number);
    return fflush(stdout);
}

static int choose(int pid)
{
    char text[16];
    int length = snprintf(text, sizeof text, "%d", pid - 1);
    int fd = open(last_pid, O_WRONLY | O_CLOEXEC);
    int written = fd < 0 ? -1 : (int)write(fd, text, (size_t)length);

    if (fd >= 0)
        close(fd);
    return written == length ? 0 : -1;
}

/* Its end is the pipe's: then it exits with the number of signals that wait for it. */
static void live(int fd)
{
    sigset_t pending;
    int count = 0;
    char byte;

    while (read(fd, &byte, 1) > 0)
        ;
    sigpending(&pending);
    for (int number = 1; number <= 64; number++)
        count += sigismember(&pending, number) == 1;
    _exit(count);
}

int main(void)
{
    sigset_t all;
    char line[64];
    int life[2] = {-1, -1}, status;
    pid_t child = 0;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "end\n")) {
            close(life[1]);
            if (waitpid(child, &status, 0) != child)
                return say("failed waitpid", errno);
            if (WIFSIGNALED(status))
                say("killed", WTERMSIG(status));
            else
                say("got", WEXITSTATUS(status));
            continue;
        }
        if (pipe(life) < 0 || choose(atoi(line)) < 0)
            return say("failed choose", errno);
        child = fork();
        if (child == 0) {
            setpgid(0, 0);
            close(life[1]);
            live(life[0]);
        }
        setpgid(child, child); /* on both sides, so that it is done whoever comes first */
        close(life[0]);
        if (child != atoi(line))
            return say("failed another pid:", child);
        say("up", child);
    }
    return 0;
}
