/* route: copy lines that begin with "O:" to standard output and those that begin with "E:" to
 * standard error, each at once. Any other line ends it with 1, the end of its input with 0. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    char line[4096];

    while (fgets(line, sizeof line, stdin)) {
        int fd = !strncmp(line, "O:", 2) ? 1 : !strncmp(line, "E:", 2) ? 2 : -1;
        if (fd < 0 || write(fd, line, strlen(line)) < 0)
            return 1;
    }
    return 0;
}
