/* The descriptor plan: a wanted map in, ordered moves out. Pure: no system calls, no allocation.
 *
 * The map {0: 5, 1: 0} must run as "0 -> 1, then 5 -> 0": the other way round fd 1 would get what
 * was just put on 0. Seen as a graph, every target points at its one source; a move may run once
 * no waiting move still reads its target. What can never run is a closed ring ({1: 2, 2: 1}), and
 * one spare descriptor opens it. So there are at most targets + rings moves. */
#include "spawnkit.h"

static int find(const sk_wanted *wanted, int count, int target)
{
    int low = 0, high = count - 1;

    while (low <= high) {
        int middle = low + (high - low) / 2;

        if (wanted[middle].target == target)
            return middle;
        if (wanted[middle].target < target)
            low = middle + 1;
        else
            high = middle - 1;
    }
    return -1;
}

/* What a parked descriptor is called: the lowest number that is neither target nor source, and, where it
 * is taken as a number, none of the streams that the child may inherit as they are. */
static int spare_number(const sk_wanted *wanted, int count)
{
    int number = 3;
    int taken;

    do {
        taken = 0;
        for (int i = 0; i < count; i++)
            if (wanted[i].target == number || wanted[i].source == number) {
                number++;
                taken = 1;
            }
    } while (taken);
    return number;
}

static int is_move(const sk_wanted *entry) { return entry->source != entry->target; }

/* Runs the move into `i`, and then every move that this one was holding up. */
static int run_from(sk_wanted *wanted, int count, int i, sk_move *moves)
{
    int written = 0;

    while (i >= 0 && is_move(&wanted[i]) && !wanted[i].done && wanted[i].readers == 0) {
        moves[written++] = (sk_move){wanted[i].source, wanted[i].target, wanted[i].cloexec};
        wanted[i].done = 1;
        i = wanted[i].source < 0 ? -1 : find(wanted, count, wanted[i].source);
        if (i >= 0)
            wanted[i].readers--;
    }
    return written;
}

int sk_plan_descriptors(sk_wanted *wanted, int count, sk_move *moves)
{
    int written = 0, spare = -1;

    for (int i = 0; i < count; i++)
        wanted[i].readers = wanted[i].done = 0;
    for (int i = 0; i < count; i++)
        if (is_move(&wanted[i]) && wanted[i].source >= 0) {
            int source = find(wanted, count, wanted[i].source);

            if (source >= 0)
                wanted[source].readers++;
        }

    /* Chains, from their loose ends inwards. */
    for (int i = 0; i < count; i++)
        written += run_from(wanted, count, i, moves + written);

    /* Rings: park one member, let its reader take it from there, and the ring is a chain. */
    for (int i = 0; i < count; i++) {
        int reader = i;

        if (!is_move(&wanted[i]) || wanted[i].done)
            continue;
        if (spare < 0)
            spare = spare_number(wanted, count);
        moves[written++] = (sk_move){wanted[i].target, spare, 1};
        while (wanted[reader].source != wanted[i].target)
            reader = find(wanted, count, wanted[reader].source);
        wanted[reader].source = spare;
        wanted[i].readers = 0;
        written += run_from(wanted, count, i, moves + written);
    }

    /* Last, those that stay where they are: a dup2 onto itself would leave close-on-exec set. */
    for (int i = 0; i < count; i++)
        if (!is_move(&wanted[i]))
            moves[written++] = (sk_move){wanted[i].source, wanted[i].target, 0};
    return written;
}
