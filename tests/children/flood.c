/* flood BYTES: write that many bytes to standard output and as many to standard error, in turns:
 * whoever reads one stream to its end before the other waits for ever. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char bytes[4096];
    size_t total = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    size_t left[3] = {0, total, total};

    while (left[1] || left[2])
        for (int fd = 1; fd <= 2; fd++) {
            size_t size = left[fd] < sizeof bytes ? left[fd] : sizeof bytes;
            memset(bytes, fd == 1 ? 'o' : 'e', size);
            ssize_t n = size ? write(fd, bytes, size) : 0;
            if (n < 0)
                return 124;
            left[fd] -= (size_t)n;
        }
    return 0;
}
