/* Drives a fuzz target where there is no libFuzzer: the same entry points, the same options as far
 * as they go, and inputs by chance from a seed.
 *
 *   driver [-runs=N] [-max_total_time=SECONDS] [-seed=N] [-max_len=N] [FILE]...
 *
 * Files are run as they are, and then are what is changed. An input that fails is written to
 * crash-SEED-RUN, to be run alone. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
                                                     unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* Of a sanitizer, where there is one: it ends the process without a signal. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

#define LONGEST 65536
#define FILES 512

static uint64_t state;
static uint8_t input[LONGEST];
static size_t length;
static long seed = 1, done;
static int from_file;

static struct {
    uint8_t *data;
    size_t size;
} files[FILES];
static unsigned file_count;

/* xorshift64* (Marsaglia, Vigna): fast, and the same everywhere. */
static uint64_t next(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(2685821657736338717);
}

static void keep_input(void)
{
    char crash[64];
    int fd;

    if (from_file)
        snprintf(crash, sizeof crash, "crash-file-%ld", done);
    else
        snprintf(crash, sizeof crash, "crash-%ld-%ld", seed, done);
    fd = open(crash, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, input, length) != (ssize_t)length)
        return;
    close(fd);
    if (write(2, "input kept in ", 14) < 0 || write(2, crash, strlen(crash)) < 0 ||
        write(2, "\n", 1) < 0)
        return;
}

static void die(int number)
{
    keep_input();
    signal(number, SIG_DFL);
    raise(number);
}

static void read_file(const char *path)
{
    static uint8_t data[LONGEST];
    FILE *file = fopen(path, "rb");
    size_t size;

    if (!file) {
        perror(path);
        exit(2);
    }
    size = fread(data, 1, sizeof data, file);
    fclose(file);
    if (file_count < FILES && size) {
        files[file_count].data = malloc(size);
        files[file_count].size = size;
        memcpy(files[file_count++].data, data, size);
    }
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
    for (unsigned n = 1 + next() % 4; n > 0; n--) {
        size_t at = size ? next() % size : 0;

        switch (next() % 4) {
        case 0:
            if (size)
                data[at] = (uint8_t)next();
            break;
        case 1:
            if (size)
                data[at] ^= (uint8_t)(1u << (next() % 8));
            break;
        case 2:
            if (size < max) {
                memmove(data + at + 1, data + at, size - at);
                data[at] = (uint8_t)next();
                size++;
            }
            break;
        default:
            if (size > 1) {
                memmove(data + at, data + at + 1, size - at - 1);
                size--;
            }
        }
    }
    return size;
}

/* The next input: a file that was changed a little, or nothing but chance. */
static void make_input(size_t max)
{
    if (file_count) {
        unsigned which = (unsigned)(next() % file_count);

        length = files[which].size < max ? files[which].size : max;
        memcpy(input, files[which].data, length);
    } else {
        length = 1 + next() % max;
        for (size_t i = 0; i < length; i += 8) {
            uint64_t bits = next();

            memcpy(input + i, &bits, length - i < 8 ? length - i : 8);
        }
    }
    if (LLVMFuzzerCustomMutator)
        for (unsigned n = 1 + next() % 4; n > 0; n--)
            length = LLVMFuzzerCustomMutator(input, length, max, (unsigned)next());
    else if (file_count)
        length = LLVMFuzzerMutate(input, length, max);
}

static long option(const char *argument, const char *name, long value)
{
    size_t size = strlen(name);

    return strncmp(argument, name, size) == 0 ? atol(argument + size) : value;
}

int main(int argc, char **argv)
{
    long runs = -1, seconds = 0, max = 64;
    time_t began = time(NULL);

    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        runs = option(argv[i], "-runs=", runs);
        seconds = option(argv[i], "-max_total_time=", seconds);
        max = option(argv[i], "-max_len=", max);
        seed = option(argv[i], "-seed=", seed);
        if (argv[i][0] != '-')
            read_file(argv[i]);
    }
    if (max < 1 || max > LONGEST)
        max = LONGEST;
    state = (uint64_t)seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(keep_input);
    signal(SIGABRT, die);
    signal(SIGSEGV, die);
    signal(SIGBUS, die);

    from_file = 1;
    for (done = 0; done < (long)file_count; done++) {
        length = files[done].size;
        memcpy(input, files[done].data, length);
        LLVMFuzzerTestOneInput(input, length);
    }
    from_file = 0;
    for (done = 0; runs < 0 || done < runs; done++) {
        if (done % 1024 == 0 && seconds && time(NULL) - began >= seconds)
            break;
        if (done >= 1 << 16 && !(done & (done - 1)))
            fprintf(stderr, "#%ld\n", done);
        make_input((size_t)max);
        LLVMFuzzerTestOneInput(input, length);
    }
    fprintf(stderr, "Done %ld runs in %ld second(s)\n", done, (long)(time(NULL) - began));
    return 0;
}
