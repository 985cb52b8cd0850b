/* The check of a plan, the block that it is copied into, and its replay, without any system call:
 * bytes in, and what the check lets through must be replayed as it says, and nothing beside it be
 * read.
 *
 * The three are compiled into this file, so that `sk_syscall` can be ours, and so that the child's
 * code is watched by the sanitizers, which it is spared elsewhere. */
#include <stddef.h>
#include <stdint.h>

/* The architecture's header first: sys.h then finds it included, and our call in its place. */
#define sk_syscall sk_real_syscall
#if defined(__x86_64__)
#include "arch_x86_64.h"
#else
#include "arch_aarch64.h"
#endif
#undef sk_syscall
static long sk_syscall(long number, long a, long b, long c, long d, long e, long f);

#include "child.h"
#undef SK_BARE
#define SK_BARE

#include "launch.c"
#include "plan.c"

#include "child.c"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif
#ifdef WATCHED
#include <sanitizer/asan_interface.h>
#else
#define __asan_poison_memory_region(address, size) ((void)(address), (void)(size))
#define __asan_unpoison_memory_region(address, size) ((void)(address), (void)(size))
#endif

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static struct sk_launch *launch;
static jmp_buf ended;
static int executed;     /* the stub's execve succeeded */
static long calls;       /* that the replay has made */
static long failing;     /* which of them fails, 0: none */
static int failed_stage; /* where it did, 0: not yet, or the failure may be passed over */
static int failed_index;
static int failed_error;
static int execs;      /* candidates that were tried */
static int runs_at;    /* which candidate is there */
static int no_range;   /* close_range is refused */
static int is_outside; /* the parent is in another PID namespace */
static int listings;   /* of /proc/self/fd since the last open */
static int last_op;    /* the operation of the last call */
static int parked;     /* the name of what was parked last */
static int parked_at;  /* its number */
#define PARKED_AT 900
static int cleared; /* handlers that were reset */
static unsigned long accepted, replayed, ran, refused;

static void wrong(const char *what)
{
    fprintf(stderr, "plans: %s (operation %d of %u, stage %d)\n", what, launch->report.index,
            launch->plan->op_count, launch->report.stage);
    abort();
}

static void expect(int condition, const char *what)
{
    if (!condition)
        wrong(what);
}

/* A string of the plan's copy: it begins in it, and its NUL is in it too. */
static void expect_text(const char *text)
{
    const char *begin = (const char *)launch->plan, *end = begin + launch->plan->size;

    expect(text >= begin + sizeof *launch->plan && text < end, "a string outside the plan");
    expect(memchr(text, '\0', (size_t)(end - text)) != NULL, "a string without an end");
}

/* The strings of a vector follow one another, and they are as many as the plan says. */
static const char *expect_vector(const char *const *vector, uint32_t count, const char *next)
{
    for (uint32_t i = 0; i < count; i++) {
        expect_text(vector[i]);
        expect(vector[i] == next, "a string is passed over");
        next += strlen(next) + 1;
    }
    expect(vector[count] == NULL, "a vector without an end");
    return next;
}

static void expect_vectors(void)
{
    const char *next = (const char *)launch->plan + launch->plan->strings;

    next = expect_vector(launch->paths, launch->plan->path_count, next);
    next = expect_vector((const char *const *)launch->argv, launch->plan->argv_count, next);
    expect_vector((const char *const *)launch->envp, launch->plan->env_count, next);
}

static int32_t getppid_says(const struct sk_op *op) { return is_outside && op->b > 0 ? 0 : op->b; }

/* One of the calls that an operation stands for, with the operands that it gives? */
static void expect_call(const struct sk_op *op, long number, long a, long b, long c, long d)
{
    switch (op->code) {
    case SK_OP_CGROUP:
        expect(op != launch->placed, "it is there already");
        if (number == SYS_openat && a == AT_FDCWD) {
            expect_text((const char *)b);
            expect((const char *)b == (const char *)launch->plan + op->text, "not this cgroup");
            expect(c & O_CLOEXEC, "a cgroup that stays open");
        } else if (number == SYS_openat) {
            expect(a == 1000 && strcmp((const char *)b, "cgroup.procs") == 0 &&
                       c == (O_WRONLY | O_CLOEXEC),
                   "another file of a cgroup");
        } else if (number == SYS_write) {
            expect(a == 1001 && c == 1 && *(const char *)b == '0', "another one moves");
        } else {
            expect(number == SYS_close && (a == 1000 || a == 1001), "not a way into a cgroup");
        }
        return;
    case SK_OP_PDEATHSIG:
        if (number == SYS_openat)
            expect(a == AT_FDCWD && strcmp((const char *)b, "/proc/self/stat") == 0 &&
                       (c & O_CLOEXEC) && getppid_says(op) == 0,
                   "not who our parent is");
        else if (number == SYS_read || number == SYS_close)
            expect(a == 1000 && getppid_says(op) == 0, "another file");
        else
            expect((number == SYS_prctl && a == 1 && b == op->a) || number == SYS_getppid,
                   "not this signal");
        return;
    case SK_OP_RLIMIT: {
        const struct sk_rlimit *limit = (const struct sk_rlimit *)c;

        expect(number == SYS_prlimit64 && a == 0 && b == op->a && limit->soft == op->x &&
                   limit->hard == op->y && d == 0,
               "not this limit");
        return;
    }
    case SK_OP_UMASK:
        expect(number == SYS_umask && a == op->a, "not this umask");
        return;
    case SK_OP_SETSID:
        expect(number == SYS_setsid, "not setsid");
        return;
    case SK_OP_SETPGID:
        expect(number == SYS_setpgid && a == 0 && b == op->a, "not this group");
        return;
    case SK_OP_CHDIR:
        expect(number == SYS_chdir, "not chdir");
        expect_text((const char *)a);
        expect((const char *)a == (const char *)launch->plan + op->text, "not this directory");
        return;
    case SK_OP_DUP:
        expect(number == SYS_dup3 && a == (op->a == parked ? parked_at : op->a) && b == op->b &&
                   c == (op->x ? O_CLOEXEC : 0),
               "not this dup");
        return;
    case SK_OP_PARK:
        expect(number == SYS_fcntl && a == op->a && b == F_DUPFD_CLOEXEC && c == 3, "not parked");
        parked = op->b;
        parked_at = PARKED_AT;
        return;
    case SK_OP_KEEP:
        expect(number == SYS_fcntl && a == op->a && b == F_SETFD && c == 0, "not this keep");
        return;
    case SK_OP_CLOSE:
        expect(number == SYS_close && a == op->a, "not this close");
        return;
    case SK_OP_CLOSE_RANGE:
        if (number == SYS_close_range)
            expect((unsigned)a >= op->x && (unsigned)b <= op->y &&
                       !(launch->channel >= 0 && a <= launch->channel && launch->channel <= b),
                   "not this range");
        else if (number == SYS_close && a != 1000 /* the directory that was being read */)
            expect((unsigned)a >= op->x && (unsigned)a <= op->y && a != launch->channel,
                   "closed beside the range");
        else
            expect(number == SYS_openat || number == SYS_getdents64 || number == SYS_lseek ||
                       number == SYS_close || number == SYS_prlimit64,
                   "not a way to close a range");
        return;
    case SK_OP_SIG_DEFAULT:
    case SK_OP_SIG_IGNORE: {
        const struct sk_sigaction *action = (const struct sk_sigaction *)b;

        expect(number == SYS_rt_sigaction && a >= 1 && a <= SK_SIGNALS && a != SIGKILL &&
                   a != SIGSTOP && (op->x >> (a - 1) & 1) &&
                   action->handler == (op->code == SK_OP_SIG_DEFAULT ? SIG_DFL : SIG_IGN),
               "not these signals");
        return;
    }
    case SK_OP_SIG_MASK:
        expect(number == SYS_rt_sigprocmask && a == SIG_SETMASK && *(const uint64_t *)b == op->x,
               "not this mask");
        return;
    }
    wrong("an operation that there is not");
}

/* A range of the report's pipe alone, an empty set: there is nothing to call for. */
static int makes_no_call(const struct sk_op *op)
{
    const uint64_t fixed = 1u << (SIGKILL - 1) | 1u << (SIGSTOP - 1);

    switch (op->code) {
    case SK_OP_NAMESPACES:
    case SK_OP_EXECVP:
        return 1;
    case SK_OP_CGROUP:
        return op == launch->placed;
    case SK_OP_CLOSE_RANGE:
        return op->x == op->y && launch->channel >= 0 && op->x == (unsigned)launch->channel;
    case SK_OP_SIG_DEFAULT:
    case SK_OP_SIG_IGNORE:
        return !(op->x & ~fixed);
    }
    return 0;
}

static void expect_done_before(uint32_t index)
{
    for (uint32_t i = (uint32_t)(last_op + 1); i < index; i++)
        expect(makes_no_call(&launch->ops[i]), "an operation is passed over");
}

/* May a failure of this call be passed over? umask has none; close leaves nothing open. */
static int may_fail(const struct sk_op *op, long number)
{
    return op->code == SK_OP_UMASK || op->code == SK_OP_CLOSE_RANGE || number == SYS_close;
}

static long execute_one(long number, long a, long b, long c, long d)
{
    const struct sk_plan *plan = launch->plan;
    int index = execs++;

    expect(launch->report.stage == SK_AT_EXEC && launch->report.index == index, "not at exec");
    expect_done_before(plan->op_count);
    expect(failed_stage == 0, "executed after a step that failed");
    expect_vectors();
    if (number == SYS_execveat) {
        expect(plan->exec_fd >= 0 && a == plan->exec_fd && *(const char *)b == '\0', "not this fd");
        expect(c == (long)launch->argv && d == (long)launch->envp, "other vectors");
    } else {
        expect(plan->exec_fd < 0, "a path in place of a descriptor");
        expect(a == (long)launch->paths[index], "not this path");
        expect(b == (long)launch->argv && c == (long)launch->envp, "other vectors");
    }
    if (index == runs_at) {
        executed = 1;
        longjmp(ended, 1);
    }
    return index % 2 ? -EACCES : -ENOENT;
}

/* A failure of the call; who our parent is is never one, but may be another answer. */
static long failure(const struct sk_op *op, long number)
{
    if (number != SYS_getppid)
        return -EDOM;
    failed_error = ESRCH;
    return op->b == 1 ? 2 : 1;
}

/* What an open gives: which file it is has been looked at, but for the list of descriptors. */
static long opened(long directory, const char *path)
{
    switch (launch->report.stage) {
    case SK_OP_CGROUP:
        return directory == AT_FDCWD ? 1000 : 1001;
    case SK_OP_PDEATHSIG:
        return 1000;
    }
    listings = 0;
    expect(strcmp(path, "/proc/self/fd") == 0, "another directory");
    return no_range == 2 ? -ENOENT : 1000;
}

static long answer(long number, long a, long b, long c, long d)
{
    if (number == SYS_prlimit64 && d)
        *(struct sk_rlimit *)d = (struct sk_rlimit){16, 20};
    if (number == SYS_openat)
        return opened(a, (const char *)b);
    if (number == SYS_fcntl && b == F_DUPFD_CLOEXEC)
        return PARKED_AT;
    if (number == SYS_read) {
        expect(c > 64,
               "a buffer that is too short"); /* two pids and a name that is as bad as can be */
        return sprintf((char *)b, "4194304 (a) S 1 (b)\n)) S %d 4194304", launch->ops[last_op].b);
    }
    if (number == SYS_getdents64) {
        /* Two descriptors and the directory itself, once; then it is empty. */
        static const char *const names[] = {".", "5", "77", "1000"};
        unsigned char *entry = (unsigned char *)b;

        expect(a == 1000 && c >= 96, "another buffer");
        if (listings++ > 0)
            return 0;
        memset(entry, 0, 96);
        for (int i = 0; i < 4; i++, entry += 24) {
            entry[16] = 24;
            strcpy((char *)entry + 19, names[i]);
        }
        return 96;
    }
    return 0;
}

static void die(int number) { (void)number; }

static long sk_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    const struct sk_op *op;

    /* The block's own memory is real. */
    if (number == SYS_mmap || number == SYS_mprotect || number == SYS_munmap)
        return sk_real_syscall(number, a, b, c, d, e, f);
    if (number == SYS_exit_group)
        longjmp(ended, 1);
    if (number == SYS_write && c != 1) { /* a report */
        expect(a == launch->channel && c == 12, "a write beside the report");
        expect(memcmp((const void *)b, (const void *)&launch->report, 12) == 0,
               "another report than the one in memory");
        return 12;
    }
    calls++;
    if (number == SYS_execve || number == SYS_execveat)
        return execute_one(number, a, b, c, d);
    if (launch->report.stage == SK_AT_START) {
        expect(number == SYS_rt_sigaction && launch->clear_handlers,
               "a call before the first step");
        if (c)
            *(struct sk_sigaction *)c = (struct sk_sigaction){die, 0, 0, 0};
        else
            cleared++;
        return 0;
    }
    expect(launch->report.index >= last_op, "operations out of order");
    expect((uint32_t)launch->report.index < launch->plan->op_count, "no such operation");
    expect_done_before((uint32_t)launch->report.index);
    last_op = launch->report.index;
    expect(failed_stage == 0 || number == SYS_close, "a step after one that failed");
    op = &launch->ops[last_op];
    expect(launch->report.stage == op->code, "the stage is another operation's");
    expect_call(op, number, a, b, c, d);
    if (number == SYS_close_range && no_range)
        return -EPERM;
    if (calls == failing) {
        if (!may_fail(op, number)) {
            failed_stage = op->code;
            failed_index = last_op;
            failed_error = EDOM;
        }
        return failure(op, number);
    }
    if (number == SYS_getppid)
        return getppid_says(op);
    return answer(number, a, b, c, d);
}

static const struct sk_op *first_cgroup(void)
{
    for (uint32_t i = 0; i < launch->plan->op_count; i++)
        if (launch->ops[i].code == SK_OP_CGROUP)
            return &launch->ops[i];
    return NULL;
}

static void replay_it(uint64_t chance)
{
    const struct sk_plan *plan = launch->plan;

    calls = execs = executed = failed_stage = failed_index = listings = cleared = 0;
    last_op = parked = parked_at = -1;
    failing = (long)(chance % 24);
    runs_at = (int)(chance >> 8 & 3);
    no_range = (int)(chance >> 10 & 3);
    is_outside = chance >> 19 & 1;
    launch->channel = chance >> 12 & 1 ? (int)(chance >> 13 & 15) : -1;
    launch->clear_handlers = chance >> 17 & 1;
    launch->placed = chance >> 18 & 1 ? first_cgroup() : NULL;
    replayed++;
    if (setjmp(ended) == 0) {
        sk__child_main(launch);
        wrong("the child came back");
    }
    expect(cleared == (launch->clear_handlers ? SK_SIGNALS - 2 : 0), "handlers are left");
    if (executed) {
        ran++;
        return;
    }
    if (failed_stage) {
        expect(launch->report.err == failed_error && launch->report.stage == failed_stage &&
                   launch->report.index == failed_index,
               "a failure is reported as another one");
        return;
    }
    expect(launch->report.stage == SK_AT_EXEC && launch->report.err != 0, "ended without a reason");
    expect(execs == (plan->exec_fd >= 0 ? 1 : (int)plan->path_count), "a path was not tried");
    expect(launch->report.err == (plan->exec_fd < 0 && execs > 1 ? EACCES : ENOENT),
           "another errno than the best one");
}

static void say(void)
{
    fprintf(stderr, "plans: %lu refused, %lu accepted, %lu replayed, %lu of them to exec\n",
            refused, accepted, replayed, ran);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    atexit(say);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Memory of exactly that size: a byte beyond it belongs to nobody. */
    uint8_t *copy = malloc(size ? size : 1);
    uint64_t chance = 1469598103934665603u; /* FNV-1a */
    char *plan_end, *vectors, *block_end;
    uint64_t codes;

    memcpy(copy, data, size);
    for (size_t i = 0; i < size; i++)
        chance = (chance ^ data[i]) * 1099511628211u;
    chance ^= chance >> 32;
    if (sk__plan_check(copy, size, &codes) < 0) {
        refused++;
        free(copy);
        return 0;
    }
    accepted++;
    launch = sk__launch_take((const struct sk_plan *)copy, codes);
    if (!launch)
        abort();
    free(copy); /* the child may be there after the caller's plan is gone */

    /* In the block, too, only the plan and its vectors are anybody's. */
    plan_end = (char *)(launch + 1) + launch->plan->size;
    vectors = (char *)launch->paths;
    block_end = (char *)launch - SK_STACK - GUARD + launch->mapped;
    __asan_poison_memory_region(plan_end, (size_t)(vectors - plan_end));
    vectors += ((size_t)launch->plan->path_count + launch->plan->argv_count +
                launch->plan->env_count + 3) *
               sizeof(char *);
    expect(vectors <= block_end, "the vectors do not fit");
    __asan_poison_memory_region(vectors, (size_t)(block_end - vectors));
    expect_vectors();
    replay_it(chance);
    __asan_unpoison_memory_region(plan_end, (size_t)(block_end - plan_end));
    sk__launch_give(launch);
    return 0;
}

/* ---- changing plans ------------------------------------------------------------------------- */

static uint32_t some_number(unsigned *seed)
{
    static const uint32_t numbers[] = {
        0,    1,    2,    3,          4,          7,          31,         32,
        33,   63,   64,   65,         100,        255,        256,        0x7fff,
        4095, 4096, 4097, 0x7ffffffe, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
    };

    *seed = *seed * 1103515245u + 12345u;
    return numbers[(*seed >> 16) % (sizeof numbers / sizeof *numbers)];
}

/* Moves all offsets of strings that lie at `from` or behind it. */
static void shift(uint8_t *data, uint32_t ops, uint32_t from, int32_t by)
{
    struct sk_plan *plan = (struct sk_plan *)data;
    struct sk_op *op = (struct sk_op *)(plan + 1);

    plan->strings += (uint32_t)by;
    for (uint32_t i = 0; i < ops; i++)
        if (op[i].text >= from)
            op[i].text += (uint32_t)by;
}

static size_t change(uint8_t *data, size_t size, size_t max, unsigned *seed)
{
    struct sk_plan *plan = (struct sk_plan *)data;
    struct sk_op *ops = (struct sk_op *)(plan + 1), *op;
    uint32_t room = (uint32_t)((size - sizeof *plan) / sizeof *op), count = plan->op_count;
    uint32_t at = *seed >> 8, number = some_number(seed);

    if (count > room)
        count = room;
    op = count ? &ops[at % count] : NULL;
    switch (*seed % 10) {
    case 0: /* a count, or where the strings begin */
        ((uint32_t *)data)[2 + at % 6] += (at & 64) ? 1u : (at & 128) ? -1u : number;
        break;
    case 1: /* another operation */
        if (op)
            op->code = (uint16_t)(number % (SK_OP_COUNT + 2));
        break;
    case 2:
        if (op)
            op->a = (int32_t)number;
        break;
    case 3:
        if (op)
            op->b = (int32_t)number;
        break;
    case 4:
        if (op)
            op->x = at & 64 ? number : (uint64_t)number << 32 | at;
        break;
    case 5: /* a string that begins elsewhere: near an edge, or anywhere */
        if (op)
            op->text = at & 64 ? (uint32_t)size - at % 3 : at % (uint32_t)(size + 8);
        break;
    case 6: /* an operation twice */
        if (op && size + sizeof *op <= max) {
            memmove(op + 1, op, size - (size_t)((uint8_t *)op - data));
            size += sizeof *op;
            plan->op_count++;
            shift(data, count + 1, (uint32_t)sizeof *plan, sizeof *op);
        }
        break;
    case 7: /* one less */
        if (op && (uint8_t *)(op + 1) <= data + size) {
            memmove(op, op + 1, size - (size_t)((uint8_t *)(op + 1) - data));
            size -= sizeof *op;
            plan->op_count--;
            shift(data, count - 1, (uint32_t)sizeof *plan, -(int32_t)sizeof *op);
        }
        break;
    case 8: /* a string more, empty or not, of any of the three kinds */
        if (size + 4 <= max) {
            size_t length = at % 4;

            memset(data + size, 'x', length);
            data[size + length] = '\0';
            size += length + 1;
            ((uint32_t *)data)[4 + at / 4 % 3]++;
        }
        break;
    default:
        return LLVMFuzzerMutate(data, size, max);
    }
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    /* The structs want an aligned place, which libFuzzer's own need not be. */
    static uint8_t place[65536] __attribute__((aligned(8)));
    struct sk_plan *plan = (struct sk_plan *)place;

    if (max > sizeof place)
        max = sizeof place;
    if (size < sizeof *plan + 2 || size > max)
        return LLVMFuzzerMutate(data, size, max);
    memcpy(place, data, size);
    size = change(place, size, max, &seed);
    /* What would only be the same refusal again is put right, most of the time. */
    if (size >= sizeof *plan + 2 && seed % 16) {
        plan->magic = SK_PLAN_MAGIC;
        plan->size = (uint32_t)size;
        place[size - 1] = '\0';
    }
    memcpy(data, place, size);
    return size;
}
