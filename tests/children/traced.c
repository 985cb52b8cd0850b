/* traced: let the parent trace this process, stop, and when continued exit with 7. */
#include <signal.h>
#include <sys/ptrace.h>

int main(void)
{
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
        return 125;
    raise(SIGSTOP);
    return 7;
}
