/* drip: copy standard input to standard output byte by byte, each only when the one before it was
 * read: whoever reads gets them one at a time. */
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
    char byte;

    for (ssize_t n; (n = read(0, &byte, 1)) != 0;) {
        int waiting = 0;
        if (n < 0 || write(1, &byte, 1) != 1)
            return 125;
        while (!ioctl(1, FIONREAD, &waiting) && waiting > 0)
            sched_yield();
    }
    return 0;
}
