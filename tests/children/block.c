/* block [FD [WORD]]: write WORD to standard output, then wait until descriptor FD (0 when not
 * given) reaches end of file. Whoever holds the other end decides when this program ends. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char bytes[512];
    int fd = argc > 1 ? atoi(argv[1]) : 0;

    if (argc > 2 && write(1, argv[2], strlen(argv[2])) < 0)
        return 124;
    for (;;) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n <= 0)
            return n < 0 ? 125 : 0;
    }
}
