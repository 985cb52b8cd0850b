#include "launch.h"

#include "spawnkit.h"
#include "sys.h"

#include <string.h>
#include <sys/mman.h>

#define GUARD 65536u /* the largest page size of the supported architectures */

#define COMMON (256u << 10) /* one size for all but very large plans, so that blocks are reusable */
#define KEPT 64             /* blocks kept for reuse: as many as threads may be spawning at once */

/* Idle blocks. Slots taken and filled by atomic exchange: no lock, so a fork of the caller can
 * never find one held. */
static struct sk_launch *kept[KEPT];

/* Points `count` entries of a vector at consecutive strings; returns the string after them. */
static char *point(char **vector, uint32_t count, char *string)
{
    for (uint32_t i = 0; i < count; i++) {
        vector[i] = string;
        string += strlen(string) + 1;
    }
    vector[count] = NULL;
    return string;
}

static struct sk_launch *map_block(size_t need)
{
    size_t size = (GUARD + SK_STACK + need + GUARD - 1) & ~(size_t)(GUARD - 1);
    struct sk_launch *launch;
    char *base;

    if (size < COMMON)
        size = COMMON;
    base = sys_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    if ((unsigned long)base > -4096ul)
        return NULL;
    if (sys_mprotect(base, GUARD, PROT_NONE) < 0) {
        sys_munmap(base, size);
        return NULL;
    }
    launch = (struct sk_launch *)(base + GUARD + SK_STACK);
    launch->stack_top = launch;
    launch->mapped = size;
    return launch;
}

static void unmap_block(struct sk_launch *launch)
{
    sys_munmap((char *)launch - SK_STACK - GUARD, launch->mapped);
}

struct sk_launch *sk__launch_take(const struct sk_plan *plan, uint64_t codes)
{
    size_t pointers = (size_t)plan->path_count + plan->argv_count + plan->env_count + 3;
    size_t copy = (plan->size + 15u) & ~(size_t)15;
    size_t need = sizeof(struct sk_launch) + copy + pointers * sizeof(char *);
    struct sk_launch *launch = NULL;
    char **vector, *string;

    if (GUARD + SK_STACK + need <= COMMON)
        for (int i = 0; i < KEPT && !launch; i++)
            if (__atomic_load_n(&kept[i], __ATOMIC_RELAXED))
                launch = __atomic_exchange_n(&kept[i], NULL, __ATOMIC_ACQUIRE);
    if (!launch)
        launch = map_block(need);
    if (!launch)
        return NULL;

    launch->word = 1;
    launch->report.err = 0;
    launch->report.stage = SK_AT_START;
    launch->report.index = 0;
    launch->channel = -1;
    launch->clear_handlers = 0;
    launch->codes = codes;
    launch->placed = NULL;
    launch->plan = memcpy(launch + 1, plan, plan->size);
    launch->ops = (const struct sk_op *)(launch->plan + 1);
    vector = (char **)((char *)(launch + 1) + copy);
    string = (char *)(launch + 1) + plan->strings;
    launch->paths = (const char *const *)vector;
    string = point(vector, plan->path_count, string);
    vector += plan->path_count + 1;
    launch->argv = vector;
    string = point(vector, plan->argv_count, string);
    vector += plan->argv_count + 1;
    launch->envp = vector;
    point(vector, plan->env_count, string);
    return launch;
}

void sk__launch_give(struct sk_launch *launch)
{
    if (launch->mapped == COMMON)
        for (int i = 0; i < KEPT; i++) {
            struct sk_launch *empty = NULL;

            if (__atomic_compare_exchange_n(&kept[i], &empty, launch, 0, __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED))
                return;
        }
    unmap_block(launch);
}

int sk_trim(void)
{
    int trimmed = 0;

    for (int i = 0; i < KEPT; i++) {
        struct sk_launch *launch = __atomic_exchange_n(&kept[i], NULL, __ATOMIC_ACQUIRE);

        if (launch) {
            unmap_block(launch);
            trimmed++;
        }
    }
    return trimmed;
}
