/* talk: read all of standard input, write "O" and what was read to standard output, "E" to standard
 * error. The exit code has bit n set when stream n was not open. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    char bytes[512] = "O";
    size_t size = 1;
    int closed = 0;

    for (ssize_t n; size < sizeof bytes && (n = read(0, bytes + size, sizeof bytes - size)) != 0;) {
        if (n < 0) {
            if (errno != EBADF)
                return 125;
            closed |= 1;
            break;
        }
        size += (size_t)n;
    }
    if (write(1, bytes, size) < 0)
        closed |= 2;
    if (write(2, "E", 1) < 0)
        closed |= 4;
    return closed;
}
