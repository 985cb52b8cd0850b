/* echo: copy standard input to standard output, byte for byte. */
#include <unistd.h>

int main(void)
{
    static char bytes[65536];

    for (ssize_t n; (n = read(0, bytes, sizeof bytes)) != 0;) {
        if (n < 0)
            return 125;
        for (ssize_t done = 0; done < n;) {
            ssize_t written = write(1, bytes + done, (size_t)(n - done));
            if (written < 0)
                return 124;
            done += written;
        }
    }
    return 0;
}
