/* exit CODE | exit signal NUMBER | exit core NUMBER: end in exactly this way. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc == 2)
        return atoi(argv[1]);
    if (argc != 3)
        return 125;

    int core = !strcmp(argv[1], "core");
    struct rlimit limit = {core ? RLIM_INFINITY : 0, RLIM_INFINITY};
    if (setrlimit(RLIMIT_CORE, &limit) < 0)
        return 124;

    /* Raw: the C library refuses to send 32 and 33 by raise(). */
    syscall(SYS_kill, getpid(), atoi(argv[2]));
    return 0; /* a signal that does not end a process by default */
}
