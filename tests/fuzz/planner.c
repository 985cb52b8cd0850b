/* The descriptor planner against a model: bytes in, a wanted map, its moves done on a table as the
 * kernel would do them, and the table compared with the map.
 *
 *   byte 0: how many numbers sources are taken from, and the first target
 *   each further byte: one target: its source, its distance from the one before, close-on-exec */
#include "spawnkit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGETS 16
#define FDS 128 /* the largest target, and a spare number for each ring, are below */

struct table {
    uint8_t file[FDS]; /* which file is open there, 0: none */
    uint8_t cloexec[FDS];
};

static struct table untouched;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    for (int fd = 0; fd < FDS; fd++) {
        untouched.file[fd] = (uint8_t)(fd + 1);
        untouched.cloexec[fd] = 1; /* as Python opens everything: what must be cleared shows */
    }
    return 0;
}

static void wrong(const char *what, const sk_wanted *wanted, int count, const sk_move *moves,
                  int written)
{
    fprintf(stderr, "planner: %s\n", what);
    for (int i = 0; i < count; i++)
        fprintf(stderr, "  wanted %d <- %d%s\n", wanted[i].target, wanted[i].source,
                wanted[i].cloexec ? " close-on-exec" : "");
    for (int i = 0; i < written; i++)
        fprintf(stderr, "  move %d -> %d%s\n", moves[i].source, moves[i].target,
                moves[i].cloexec ? " close-on-exec" : "");
    abort();
}

static int decode(sk_wanted *wanted, const uint8_t *data, size_t size)
{
    /* Steps of 1 for the most part: sources and targets are to meet. */
    static const int steps[4] = {1, 1, 2, 5};
    int numbers = 2 + data[0] % 31, target = data[0] / 64 - 1, count = 0;

    for (size_t i = 1; i < size && count < TARGETS; i++) {
        int source = (data[i] & 31) % numbers - 1;

        target += steps[data[i] >> 6];
        wanted[count++] = (sk_wanted){
            .target = target,
            .source = source,
            /* Asked for one target at most, and never where source and target are one. */
            .cloexec = (data[i] & 32) && source >= 0 && source != target,
        };
    }
    return count;
}

/* Does one move; says why the kernel would not. */
static const char *move_one(struct table *table, const sk_move *move)
{
    int from = move->source, to = move->target;

    if (to < 0 || to >= FDS || from < -1 || from >= FDS)
        return "a number that nobody has asked for";
    if (from == -1) {
        table->file[to] = 0;
    } else if (!table->file[from]) {
        return "a source that is not open";
    } else if (from == to) {
        table->cloexec[to] = 0;
    } else {
        table->file[to] = table->file[from];
        table->cloexec[to] = move->cloexec != 0;
    }
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sk_wanted wanted[TARGETS], given[TARGETS];
    sk_move moves[2 * TARGETS + 1];
    const sk_move beyond = {-77, -77, -77};
    struct table table;
    uint8_t asked[FDS] = {0};
    int count, written, rings = 0;

    if (size < 2)
        return 0;
    count = decode(given, data, size);
    memcpy(wanted, given, sizeof wanted[0] * (size_t)count);
    moves[2 * count] = beyond;
    written = sk_plan_descriptors(wanted, count, moves);
    if (written < 0 || written > 2 * count)
        wrong("more moves than there is room for", given, count, moves, 0);
    if (memcmp(&moves[2 * count], &beyond, sizeof beyond) != 0)
        wrong("written beyond its room", given, count, moves, written);

    memcpy(&table, &untouched, sizeof table);
    for (int i = 0; i < count; i++)
        asked[given[i].target] = 1;
    for (int i = 0; i < written; i++) {
        const char *why = move_one(&table, &moves[i]);

        if (why)
            wrong(why, given, count, moves, written);
        /* A target that nobody asked for opens a ring: a stream would be lost there, and what
         * were not close-on-exec would reach the program. */
        if (!asked[moves[i].target]) {
            rings++;
            if (moves[i].target < 3 || !moves[i].cloexec)
                wrong("a spare number that is none", given, count, moves, written);
            for (int k = 0; k < count; k++)
                if (given[k].source == moves[i].target)
                    wrong("a source is overwritten", given, count, moves, written);
        }
    }
    if (written > count + rings || rings > count / 2)
        wrong("more moves than targets and rings", given, count, moves, written);

    for (int i = 0; i < count; i++) {
        int fd = given[i].target, source = given[i].source;

        if (table.file[fd] != (source < 0 ? 0 : untouched.file[source]))
            wrong("another file than wanted", given, count, moves, written);
        if (source >= 0 && table.cloexec[fd] != given[i].cloexec)
            wrong("close-on-exec is not as wanted", given, count, moves, written);
    }
    return 0;
}
