/* Replay: the only code that runs between clone and exec.
 *
 * The child may share the caller's memory while the caller, and every other thread of it, runs on.
 * Hence the rules of this file:
 *
 *   1. System calls from sys.h only. No C library function: errno, stdio, malloc and the set*id and
 *      setrlimit wrappers all belong to the caller and its threads.
 *   2. No thread-local storage, no stack protector, no sanitizer, no call through the PLT. The
 *      child has the caller's thread pointer; its lazily bound symbols would take the linker's lock.
 *      (`make check` compiles this file alone and wants no undefined symbol.)
 *   3. Nothing is written but this stack and the report. Everything else was prepared by the
 *      parent.
 *   4. Every step that can fail says so: stage and index are stored before the step, the errno
 *      after it. No failure is passed over.
 *   5. One direction: operations in their order, then the program. If any step fails it never runs. */
#include "child.h"

#include "launch.h"
#include "spawnkit.h"
#include "sys.h"

#include <errno.h>

/* Sends the report's state to a parent that does not share this memory. Smaller than PIPE_BUF, so
 * it arrives whole. If the parent is gone the write fails, or, once SIGPIPE has its default action
 * again, ends the child. A child that cannot report does not go on: its parent would take a program
 * that runs for a child that died, and wait for it before it feeds it. */
static SK_BARE void tell(const struct sk_launch *launch)
{
    int32_t record[3];
    long length = -EINTR;

    if (launch->channel < 0)
        return;
    record[0] = launch->report.err;
    record[1] = launch->report.stage;
    record[2] = launch->report.index;
    while (length == -EINTR)
        length = sys_write(launch->channel, record, sizeof record);
    if (length < 0)
        sys_exit(127);
}

static SK_BARE void enter(struct sk_launch *launch, int stage, int index)
{
    launch->report.stage = stage;
    launch->report.index = index;
    tell(launch);
}

static SK_BARE void fail(struct sk_launch *launch, int error)
{
    /* A step that failed without an errno would read as success in the parent. */
    launch->report.err = error < 0 ? -error : ECHILD;
    tell(launch);
    sys_exit(127);
}

/* Gives every signal in `set` one disposition. SIGKILL and SIGSTOP have theirs for ever. */
static SK_BARE int set_dispositions(uint64_t set, void (*handler)(int))
{
    struct sk_sigaction action = {handler, 0, 0, 0};

    for (int signal = 1; set; signal++, set >>= 1)
        if ((set & 1) && signal != SIGKILL && signal != SIGSTOP) {
            int result = sys_sigaction(signal, &action, 0);

            if (result < 0)
                return result;
        }
    return 0;
}

/* What CLONE_CLEAR_SIGHAND does where the kernel has it: a handler's code and data are the
 * caller's, so none may run here. Ignored signals stay ignored. */
static SK_BARE void clear_handlers(void)
{
    const struct sk_sigaction plain = {SIG_DFL, 0, 0, 0};
    struct sk_sigaction now;

    for (int signal = 1; signal <= SK_SIGNALS; signal++)
        if (signal != SIGKILL && signal != SIGSTOP && sys_sigaction(signal, 0, &now) == 0 &&
            now.handler != SIG_DFL && now.handler != SIG_IGN)
            sys_sigaction(signal, &plain, 0);
}

/* Closes the descriptors of a range as /proc/self/fd lists them. Nothing is closed while the
 * directory is being read, which would move its position: each pass collects, then closes, until a
 * pass finds nothing. */
static SK_BARE int close_listed(unsigned first, unsigned last)
{
    char data[4096] __attribute__((aligned(8)));
    int directory = sys_open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int closed;

    if (directory < 0)
        return directory;
    do {
        long length;

        closed = 0;
        sys_rewind(directory);
        length = sys_getdents(directory, data, sizeof data);
        if (length < 0) {
            sys_close(directory);
            return (int)length;
        }
        while (length > 0) {
            for (long at = 0; at < length;) {
                const unsigned char *entry = (const unsigned char *)data + at;
                unsigned fd = 0;
                const unsigned char *digit = entry + 19; /* linux_dirent64.d_name */

                at += entry[16] | entry[17] << 8; /* d_reclen; both machines are little-endian */
                if (*digit < '0' || *digit > '9')
                    continue;
                for (; *digit >= '0' && *digit <= '9'; digit++)
                    fd = fd * 10 + (*digit - '0');
                /* What cannot be closed does not count: valgrind lists such descriptors of its own,
                 * and this loop would have no end. */
                if (fd >= first && fd <= last && (int)fd != directory &&
                    sys_close((int)fd) != -EBADF)
                    closed = 1;
            }
            if (closed)
                break;
            length = sys_getdents(directory, data, sizeof data);
        }
    } while (closed);
    sys_close(directory);
    return 0;
}

/* The last resort, where neither close_range nor /proc is there. The limit may have been lowered
 * under open descriptors, so the hard limit counts too, up to the kernel's default ceiling. */
static SK_BARE void close_each(unsigned first, unsigned last)
{
    struct sk_rlimit limit = {0, 0};
    uint64_t end = 1u << 20;

    if (sys_rlimit(7 /* RLIMIT_NOFILE */, 0, &limit) == 0) {
        if (limit.hard < end)
            end = limit.hard;
        if (limit.soft > end)
            end = limit.soft;
    }
    if (end > (uint64_t)last + 1)
        end = (uint64_t)last + 1;
    for (uint64_t fd = first; fd < end; fd++)
        sys_close((int)fd);
}

static SK_BARE void close_span(unsigned first, unsigned last)
{
    /* Marked for exec to close, which goes over the table anyway; closing here would go over it twice
     * (Linux 5.11; without the flag, 5.9). */
    if (first > last || sys_close_range(first, last, CLOSE_RANGE_CLOEXEC) == 0 ||
        sys_close_range(first, last, 0) == 0)
        return;
    /* Old kernel, or a filter that answers with any errno it likes. */
    if (close_listed(first, last) < 0)
        close_each(first, last);
}

/* The same around the report pipe, which must live until exec closes it. */
static SK_BARE void close_span_but(unsigned first, unsigned last, int channel)
{
    if (channel < 0 || (unsigned)channel < first || (unsigned)channel > last) {
        close_span(first, last);
        return;
    }
    if (channel > 0)
        close_span(first, (unsigned)channel - 1);
    close_span((unsigned)channel + 1, last);
}

/* "0" is whoever writes it: this process alone, since it has a thread group of its own even where its
 * memory is the caller's. Until exec that memory stays charged to the caller's cgroup. */
static SK_BARE int enter_cgroup(const char *path)
{
    int directory = sys_open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int members, result;

    if (directory < 0)
        return directory;
    members = sys_open_in(directory, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    sys_close(directory);
    if (members < 0)
        return members;
    result = (int)sys_write(members, "0", 1);
    sys_close(members);
    return result < 0 ? result : 0;
}

/* getppid knows the pids of our own namespace, and says 0 of a parent outside it: of any parent, dead
 * or alive, if the namespace is new. /proc knows those of the namespace that it is mounted for, our
 * parent's among them. "pid (name) state parent …"; the name is 15 bytes of anything. */
static SK_BARE int parent_pid(void)
{
    char stat[128];
    int parent = sys_getppid(), file;
    long length, at;

    if (parent != 0)
        return parent;
    file = sys_open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return file;
    length = sys_read(file, stat, sizeof stat);
    sys_close(file);
    if (length < 0)
        return (int)length;
    for (at = length - 1; at >= 0 && stat[at] != ')';)
        at--;
    for (at += 4; at < length && stat[at] >= '0' && stat[at] <= '9'; at++)
        parent = parent * 10 + (stat[at] - '0');
    return parent;
}

/* A descriptor out of the way of a ring. Its number is found here: whatever number a plan had for it, the
 * program might have inherited it. */
struct parked {
    int name, fd;
};

static SK_BARE int park(struct parked *parked, const struct sk_op *op)
{
    int fd = sys_fcntl(op->a, F_DUPFD_CLOEXEC, 3);

    parked->name = op->b;
    parked->fd = fd;
    return fd == -EINVAL ? -EMFILE : fd; /* F_DUPFD's word for "above the limit" */
}

static SK_BARE int replay(const struct sk_launch *launch, const struct sk_op *op,
                          struct parked *parked)
{
    struct sk_rlimit limit;
    int result;

    switch (op->code) {
    case SK_OP_NAMESPACES:
        /* clone has done it: unshare(2) would give a new PID namespace to our children, not to us. */
        return 0;
    case SK_OP_EXECVP: /* says how `execute` is to go on */
        return 0;
    case SK_OP_PDEATHSIG:
        result = sys_prctl(1 /* PR_SET_PDEATHSIG */, op->a);
        if (result < 0)
            return result;
        /* The kernel tells of an end that is still to come:
         *   1. the parent makes us, and is killed;
         *   2. we ask for the signal, which was due before: it never comes.
         * By then we are somebody else's child. */
        result = parent_pid();
        return result == op->b ? 0 : result < 0 ? result : -ESRCH;
    case SK_OP_CGROUP:
        return op == launch->placed ? 0 : enter_cgroup((const char *)launch->plan + op->text);
    case SK_OP_RLIMIT:
        limit.soft = op->x;
        limit.hard = op->y;
        return sys_rlimit(op->a, &limit, 0);
    case SK_OP_UMASK:
        sys_umask(op->a);
        return 0;
    case SK_OP_SETSID:
        result = sys_setsid();
        return result < 0 ? result : 0;
    case SK_OP_SETPGID:
        return sys_setpgid(0, op->a);
    case SK_OP_CHDIR:
        return sys_chdir((const char *)launch->plan + op->text);
    case SK_OP_DUP:
        result = sys_dup3(op->a == parked->name ? parked->fd : op->a, op->b, op->x ? O_CLOEXEC : 0);
        return result < 0 ? result : 0;
    case SK_OP_PARK:
        return park(parked, op);
    case SK_OP_KEEP:
        return sys_fcntl(op->a, F_SETFD, 0);
    case SK_OP_CLOSE:
        sys_close(op->a); /* EBADF: it was not open; any other result leaves it closed too */
        return 0;
    case SK_OP_CLOSE_RANGE:
        close_span_but((unsigned)op->x, (unsigned)op->y, launch->channel);
        return 0;
    case SK_OP_SIG_DEFAULT:
        return set_dispositions(op->x, SIG_DFL);
    case SK_OP_SIG_IGNORE:
        return set_dispositions(op->x, SIG_IGN);
    case SK_OP_SIG_MASK:
        return sys_sigmask(SIG_SETMASK, &op->x, 0);
    }
    return -ENOSYS;
}

/* The errors after which execvp(3) of the C libraries tries the next path. */
static SK_BARE int execvp_goes_on(int error)
{
    return error == -ENOENT || error == -ENOTDIR || error == -EACCES || error == -ESTALE ||
           error == -ENODEV || error == -ETIMEDOUT;
}

/* Tries the candidates in order: one that is not there, or cannot be run, does not hide a later one. If
 * none runs, the answer is that of the first one that was there, or else of the last: as CPython's
 * _posixsubprocess has it, whose programs bring such lists (dropin/planning.py). execvp(3) stops at one
 * that is there and cannot be run: whoever asked for that is not to get another program of the same
 * name. A program given as a descriptor is the only candidate. */
static SK_BARE void execute(struct sk_launch *launch)
{
    int error = -ENOENT, index = 0;

    enter(launch, SK_AT_EXEC, 0);
    if (launch->plan->exec_fd >= 0)
        fail(launch,
             sys_execveat(launch->plan->exec_fd, "", launch->argv, launch->envp, AT_EMPTY_PATH));
    for (uint32_t i = 0; i < launch->plan->path_count; i++) {
        int result;

        launch->report.index = (int)i;
        result = sys_execve(launch->paths[i], launch->argv, launch->envp);
        if (error == -ENOENT || error == -ENOTDIR) {
            error = result;
            index = (int)i;
        }
        if (SK_ASKS(launch, SK_OP_EXECVP) && !execvp_goes_on(result)) {
            error = result;
            index = (int)i;
            break;
        }
    }
    launch->report.index = index;
    fail(launch, error);
}

SK_BARE void sk__child_main(void *argument)
{
    struct sk_launch *launch = argument;
    struct parked parked = {-1, -1};

    if (launch->clear_handlers)
        clear_handlers();
    for (uint32_t i = 0; i < launch->plan->op_count; i++) {
        const struct sk_op *op = &launch->ops[i];
        int result;

        enter(launch, op->code, (int)i);
        result = replay(launch, op, &parked);
        if (result < 0)
            fail(launch, result);
    }
    execute(launch);
}

SK_BARE void sk__child_probe(void *word)
{
    *(volatile uint32_t *)word = SK_PROBE_MARK;
    sys_exit(0);
}
