#include "fault.h"

#ifdef SPAWNKIT_FAULTS

#include "child.h"
#include "core.h"
#include "coverage.h"

#include <sys/mman.h>

/* In memory that the fork engine's children share too: what they do is counted and failed alike. */
static struct {
    int32_t armed;
    int32_t pid; /* of the one who armed */
    int32_t number;
    int32_t error;
    uint32_t first, last;
    uint32_t matched;
    uint32_t injected;
    uint32_t made;
    int32_t log[SK_FAULT_LOG];
} *faults;

/* With our arguments the kernel cannot refuse these. In the child they stand for a setup that fails;
 * in the parent, which undoes with them what it did, they would stand for nothing. */
static SK_BARE int cannot_fail(long number)
{
    return (number == SYS_rt_sigprocmask || number == SYS_rt_sigaction) &&
           sk_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0) == faults->pid;
}

SK_BARE long sk__fault(long number)
{
    uint32_t at;

    sk__coverage_before(number);
    if (!faults || !__atomic_load_n(&faults->armed, __ATOMIC_ACQUIRE))
        return 0;
    at = __atomic_fetch_add(&faults->made, 1, __ATOMIC_RELAXED);
    if (at < SK_FAULT_LOG)
        faults->log[at] = (int32_t)number;
    if (number != faults->number || cannot_fail(number))
        return 0;
    at = __atomic_add_fetch(&faults->matched, 1, __ATOMIC_RELAXED);
    if (at < faults->first || at > faults->last)
        return 0;
    __atomic_add_fetch(&faults->injected, 1, __ATOMIC_RELAXED);
    return -(long)faults->error;
}

int sk_fault_arm(int number, int error, unsigned first, unsigned last)
{
    if (!faults) {
        void *memory = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED)
            return -1;
        faults = memory;
    }
    sk_fault_disarm();
    faults->pid = sys_getpid();
    faults->number = number;
    faults->error = error;
    faults->first = first;
    faults->last = last;
    faults->matched = faults->injected = faults->made = 0;
    __atomic_store_n(&faults->armed, 1, __ATOMIC_RELEASE);
    return 0;
}

void sk_fault_disarm(void)
{
    if (faults)
        __atomic_store_n(&faults->armed, 0, __ATOMIC_RELEASE);
}

static sk_features kept;
static int kept_way;

void sk_fault_keep(void)
{
    kept = sk__features;
    kept_way = sk__first_way;
}

void sk_fault_put_back(void)
{
    sk__features = kept;
    sk__first_way = kept_way;
}

unsigned sk_fault_injected(void) { return faults ? faults->injected : 0; }

unsigned sk_fault_calls(int *numbers, unsigned room)
{
    unsigned made = faults ? faults->made : 0;

    for (unsigned i = 0; i < made && i < room && i < SK_FAULT_LOG; i++)
        numbers[i] = faults->log[i];
    return made;
}

#endif
