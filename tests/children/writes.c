/* writes WORD...: does what the words say, one after the other; "1=6162" is one write of "ab" to
 * stream 1. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char bytes[4 << 20];
static char *mapped;
static int last; /* errno of the last write, 0: it was whole */

static void put(int fd, size_t size)
{
    ssize_t written = write(fd, bytes, size);

    last = written < 0 ? errno : written == (ssize_t)size ? 0 : -1;
}

static size_t unhex(const char *hex)
{
    size_t size = 0;

    for (unsigned byte; sscanf(hex, "%2x", &byte) == 1; hex += 2)
        bytes[size++] = (char)byte;
    return size;
}

/* "1 0\n", "2 1\n", "1 2\n", …: stream and number. */
static void alternate(int count)
{
    for (int i = 0; i < count; i++)
        put(1 + i % 2, (size_t)snprintf(bytes, sizeof bytes, "%d %d\n", 1 + i % 2, i));
}

static int obey(const char *word)
{
    const char *value = strchr(word, '=');

    if (value)
        value++;
    if (strncmp(word, "1=", 2) == 0 || strncmp(word, "2=", 2) == 0)
        put(word[0] - '0', unhex(value));
    else if (strncmp(word, "alternate=", 10) == 0)
        alternate(atoi(value));
    else if (strncmp(word, "size=", 5) == 0) /* so many bytes in one write */
        put(1, strtoul(value, NULL, 10));
    else if (strcmp(word, "fork") == 0) { /* the parent's part is over */
        pid_t pid = fork();
        if (pid)
            _exit(pid < 0);
    } else if (strncmp(word, "close=", 6) == 0)
        close(atoi(value));
    else if (strcmp(word, "hear") == 0) { /* waits for a byte, or the end */
        char byte;
        if (read(0, &byte, 1) < 0)
            return 124;
    } else if (strcmp(word, "tell") == 0) /* how the last write ended */
        dprintf(3, "%d\n", last);
    else if (strcmp(word, "map") == 0) { /* the first page of stdout */
        mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 1, 0);
        if (mapped == MAP_FAILED)
            return 123;
    } else if (strncmp(word, "poke=", 5) == 0)
        memcpy(mapped, bytes, unhex(value));
    else if (strncmp(word, "cut=", 4) == 0) {
        if (ftruncate(1, atol(value)) < 0)
            last = errno;
    } else
        return 125;
    return 0;
}

int main(int argc, char **argv)
{
    int result = 0;

    for (int i = 1; i < argc && result == 0; i++)
        result = obey(argv[i]);
    return result;
}
