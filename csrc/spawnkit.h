/* The whole C interface of spawnkit: a launch plan in, a child process out.
 *
 * The core knows nothing of Python. A caller packs a launch plan (plan.h), allocates a zeroed
 * `sk_child`, and calls sk_spawn, then sk_settle and sk_wait. Nothing here allocates on behalf of
 * the caller, prints, or installs a signal handler.
 *
 * Results: 0 is success, a negative number is an errno, a positive one is an `sk_result`.
 * No call loops on EINTR: it returns SK_AGAIN with its state kept, and is called again. */
#ifndef SPAWNKIT_H
#define SPAWNKIT_H

#include <stddef.h>
#include <stdint.h>

/* The part between the two marks is also read by csrc/build.py, so that C and Python cannot
 * disagree about a field: plain declarations only. */
/* cffi: begin */

enum sk_result {
    SK_OK = 0,
    SK_AGAIN = 1,   /* interrupted, or time to let the caller run its signal handlers: call again */
    SK_TIMEOUT = 2, /* the deadline passed; the child is as it was */
    SK_FAILED = 3,  /* the setup failed: .err, .stage, .index; the child is reaped */
    SK_DIED = 4,    /* it died before its program ran: .stage, .status; reaped */
    SK_LOST = 5,    /* someone else took the status and the kernel cannot give it back */
    SK_STALE = 6,   /* the handle belongs to the process this one was forked from */
    SK_DONE = 7,    /* the process has been waited for: nothing to signal */
    SK_WOKEN = 8,   /* the pump's bell was rung */
    SK_EXITED = 9,  /* the process has ended and is reaped, but streams of it are still open */
    SK_FULL = 10,   /* an output's buffer is full: take what is in it, set its length to 0 */
    SK_LOCKED = 11, /* a writer has the write lock or waits for it; nothing was done */
    SK_OWN_LOCK = 12, /* the writer is this very thread, which would wait for ever */
    SK_OVER = 13      /* more has come on a stream than its limit; what came is kept */
};

enum sk_engine {
    SK_CHOOSE = 0,
    SK_VFORK = 1,         /* shared memory, the caller goes on while the child sets itself up */
    SK_VFORK_WAITING = 2, /* shared memory, the kernel holds the caller until exec */
    SK_FORK = 3,          /* copied memory, the child reports through a pipe */
    SK_POSIX_SPAWN = 4    /* the C library's; only where asked for by name */
};

enum sk_state {
    SK_NEW = 0,
    SK_SETUP = 1,   /* made, not yet known to run its program */
    SK_RUNNING = 2, /* the program runs, or has ended and was not waited for */
    SK_ENDED = 3,   /* reaped: status and rusage are set */
    SK_NEVER = 4,   /* the program never ran; the child is reaped */
    SK_GONE = 5     /* reaped by someone else; status known only if `status_known` */
};

/* Flags of sk_spawn. */
enum sk_flag {
    SK_PIDFD = 1,          /* take a pidfd: what makes signals and timed waits safe */
    SK_PIDFD_IF_NEEDED = 2 /* for a caller that will only wait, without a deadline: take one where
                            * the wait could lose a signal otherwise (guard.h), and where somebody
                            * else could wait for the child: other threads, SIGCHLD not default,
                            * or it has happened before */
};

/* One child. The caller owns the memory, zeroed before sk_spawn or sk_attach; it may be freed
 * after sk_drop. Every field is for reading only. */
typedef struct sk_child {
    int32_t pid;    /* 0: no process was made */
    int32_t pidfd;  /* close-on-exec, ours; -1: none; meaningless while pid is 0 */
    int32_t state;  /* enum sk_state */
    int32_t engine; /* enum sk_engine: the one that made it */
    int32_t err;    /* errno of the step that failed, 0: none */
    int32_t stage;  /* where setup stands or stood: an operation's code, or SK_AT_… */
    int32_t index;  /* which operation of the plan; at SK_AT_EXEC, which candidate path */
    int32_t status; /* as wait(2) gives it; valid in SK_ENDED, and in SK_NEVER after SK_DIED */
    int32_t status_known; /* 0: nobody knows how it ended */
    int32_t usage_known;  /* 0: rusage went to whoever reaped it */
    int32_t attached;     /* found by pid, not made by us */
    int32_t sole;         /* made by sk_run: no other thread has the handle */
    int32_t channel;      /* read end of the fork engine's report pipe, -1: none */
    uint32_t generation;  /* which process of a line of forks the handle belongs to */
    uint32_t lock;        /* guards everything that reaps, signals or closes */
    int32_t users;        /* threads inside a call that uses pidfd */
    int32_t dropped;      /* sk_drop was called */
    int32_t interrupted;  /* waits on the main thread that were cut short */
    int64_t started;      /* CLOCK_MONOTONIC, nanoseconds */
    int64_t ended;        /* the same, when it was reaped */
    int64_t rusage[18];   /* struct rusage as the kernel writes it: utime s, us, stime s, us, … */
    void *launch;         /* memory the child still uses, NULL: none */
} sk_child;

/* Starts the plan's program. Returns 0 as soon as a child exists (SK_SETUP or SK_RUNNING), else an
 * errno with .stage set and no child made, or SK_LOCKED. The plan is copied. Where it has PDEATHSIG and
 * the caller is not the first thread of the process, a thread is started that stays. */
int sk_spawn(sk_child *child, const void *plan, size_t size, int engine, int flags);

/* A turn at the write lock, of a writer or of a spawner that has to wait for writers. The caller
 * owns the memory, zeroed before its first use; it may be freed after sk_turn_end. Whatever
 * happens to the caller, from here can be told what is to be given back. */
typedef struct sk_turn {
    int32_t state; /* 0: not in use */
    int32_t group;
    int32_t round;       /* of those who wait, when it got in line */
    uint32_t generation; /* as in sk_child */
    uintptr_t owner;     /* the thread */
    struct sk_turn *next;
} sk_turn;

/* Becomes a writer: SK_OK once no sk_spawn is under way, in any thread; from then on none begins
 * until sk_turn_end. A thread that is a writer becomes it once more without waiting. SK_AGAIN: call
 * again. Between two calls the thread is not in line, so that it may do whatever it likes; but for
 * 0.1 s nobody gets ahead of it by joining others. `deadline` as for sk_settle. -EBUSY: the turn is
 * in use. -ECANCELED: another thread has ended it, and may be using it. With SK_OK the turn is in
 * use until sk_turn_end; other results leave nothing to be ended. */
int sk_write_lock(sk_turn *turn, int64_t deadline);

/* sk_spawn for after SK_LOCKED: waits until the writers are through, newcomers behind it, and spawns
 * in the same call. Results of sk_spawn and sk_write_lock; SK_OWN_LOCK. */
int sk_spawn_in_turn(sk_child *child, const void *plan, size_t size, int engine, int flags,
                     sk_turn *turn, int64_t deadline);

/* Gives a turn back, whether it is inside or still waits; harmless when repeated. Any thread. It is
 * for the caller to know that the turn is its own: who got -EBUSY would end another's. */
void sk_turn_end(sk_turn *turn);

/* Replaces the calling process by the plan's program; returns only if that fails, with a negative
 * errno, everything as it was, and report->stage and ->index set (nothing else of it is used). The
 * plan has one path and only signal operations, and KEEP of its exec_fd: else -EINVAL. */
int sk_execute(sk_child *report, const void *plan, size_t size);

/* Waits until the program runs (SK_OK) or cannot (SK_FAILED, SK_DIED). For one thread, before the
 * handle is shared with others; the rest of the calls take any number. `deadline` is on
 * CLOCK_MONOTONIC in nanoseconds, -1: none. On SK_TIMEOUT .stage and .index say where it stands. */
int sk_settle(sk_child *child, int64_t deadline);

/* Waits until the process has ended and reaps it. A deadline of 0 asks without waiting. -ECHILD: a
 * process that was attached and is not our child. */
int sk_wait(sk_child *child, int64_t deadline);

/* Signals the process, and never another one: SK_DONE once it was reaped. Signal 0 only asks. */
int sk_signal(sk_child *child, int signal);

/* The same for a process group, for as long as this process is in it and not reaped: until then the
 * number means that group. SK_DONE where it is not. */
int sk_signal_group(sk_child *member, int group, int signal);

/* Makes a process that was just spawned the leader of a group, which others can then join at once. Its
 * plan is to do the same: one of the two comes first. 0 or a negative errno; -EACCES: it has. */
int sk_lead_group(const sk_child *child);

/* Orphans among our descendants become our children (1), or init's (0); prctl(2). Returns what it was,
 * or a negative errno. */
int sk_subreaper(int on);

/* A pidfd of the caller's own. Zeroed before its first use. */
typedef struct sk_pidfd {
    int32_t open; /* 1: fd is open */
    int32_t fd;   /* close-on-exec */
    uint32_t generation;
} sk_pidfd;

/* Duplicates the pidfd, so that it stays valid whoever waits meanwhile: 0, SK_DONE, SK_STALE; -ENOSYS:
 * the handle has none; -EBUSY: `into` is open; another errno. */
int sk_dup_pidfd(sk_child *child, sk_pidfd *into);

/* Closes it; harmless when repeated. */
void sk_close_pidfd(sk_pidfd *pidfd);

/* Makes a handle for a running process: 0, -ESRCH, or another errno. */
int sk_attach(sk_child *child, int pid);

/* Closes what the handle holds. A child still running lives on; one still in its setup keeps the
 * memory it uses, which is then never reused. */
void sk_drop(sk_child *child);

/* 1: made by the process this one was forked from (or never used). */
int sk_is_stale(const sk_child *child);

/* What was gathered from one stream since the last SK_FULL: a buffer that would have to grow beyond a
 * quarter of a megabyte is handed over instead. With `ends` it never fills: only so many bytes from
 * the stream's beginning and at least as many from its end are kept, and `dropped` counts the rest. */
typedef struct sk_buffer {
    char *data; /* malloc'ed, NULL while nothing came */
    size_t length;
    size_t room;
    size_t ends;
    size_t dropped; /* they lie after the first `ends` bytes of data */
    size_t limit;   /* once more than that has come, sk_pump_run says SK_OVER; 0: never */
    size_t total;   /* bytes that came while `attentive` */
} sk_buffer;

/* Streams of a child. Zeroed by the caller, filled by the calls below, freed by sk_pump_close: every
 * descriptor is written into it by C, so that an exception in between finds what there is to close.
 * Stream 0 is stdin, 1 stdout, 2 stderr. */
typedef struct sk_pump {
    int32_t opened;      /* 0: nothing to close, and the numbers mean nothing */
    int32_t ours[3];     /* our ends; -1: no pipe, or closed */
    int32_t theirs[3];   /* the child's: a pipe's other end or a file */
    int32_t null;        /* /dev/null for the child */
    int32_t bell;        /* eventfd: rung from any thread, it makes sk_pump_run return SK_WOKEN */
    int32_t held;        /* bit i: ours[i] belongs to someone else, who closes it (sk_end_…) */
    int32_t stop[3];     /* eventfds that wake whoever is at a held end */
    int32_t exited;      /* SK_EXITED was returned */
    int32_t widened;     /* bit i: stream i turned out to be long and got a wider pipe */
    int32_t draining;    /* sk_pump_drain was called */
    int32_t attentive;   /* set by the caller: what comes is timed and counted */
    uint32_t rounds;     /* how often something was served */
    int32_t interrupted; /* waits on the main thread that were cut short */
    int32_t refused;     /* the child closed its stdin before it had all of the input */
    int64_t heard;       /* when something came last; 0: nothing yet */
    const char *input;   /* kept alive by the caller */
    size_t input_length;
    size_t input_done;
    sk_buffer output[2]; /* stdout, stderr */
    int32_t memory;      /* bit i: theirs[i] is a file in memory (sk_pump_memory) */
    int32_t ordered;     /* ours[1] is the receiver of both outputs (sk_pump_ordered) */
    int32_t probe;       /* a socket that asks whether somebody has a sender */
    char name[20];       /* what the three sockets' names begin with */
} sk_pump;

/* What sk_pump_open is to make. */
enum sk_pump_part {
    SK_PUMP_STDIN = 1, /* pipes */
    SK_PUMP_STDOUT = 2,
    SK_PUMP_STDERR = 4,
    SK_PUMP_NULL = 8, /* /dev/null */
    SK_PUMP_BELL = 16
};

/* Adds to a pump, all close-on-exec. 0 or a negative errno; what was made stays for sk_pump_close. */
int sk_pump_open(sk_pump *pump, int parts);

/* Opens a file for one stream of the child: stdin is read, the others are created or truncated.
 * -ENXIO for a FIFO, whose open could wait for ever. */
int sk_pump_path(sk_pump *pump, int stream, const char *path);

/* Takes pipes that somebody else has opened and keeps: duplicates of our ends, close-on-exec; -1: none.
 * That of stdin becomes non-blocking, for everybody who has it. 0 or a negative errno. */
int sk_pump_borrow(sk_pump *pump, int stdin_end, int stdout_end, int stderr_end);

/* A file in memory for one output of the child, in the place of a pipe: nobody has to read while it
 * runs. It stays open until sk_pump_close. */
int sk_pump_memory(sk_pump *pump, int stream);

/* What was mapped. The caller owns the memory, zeroed before its first use. */
typedef struct sk_memory {
    char *data; /* read-only; NULL: nothing */
    size_t size;
} sk_memory;

/* For after the child's end: from now on nobody can change the file, whoever has it, and *memory is a
 * mapping of it. Where it cannot be sealed or mapped, what is in it now is copied into `output` in
 * the place of what the last call has put there, and *memory stays as it was. */
int sk_pump_seal(sk_pump *pump, int stream, sk_memory *memory);

/* Unmaps it; harmless when repeated. */
void sk_memory_unmap(sk_memory *memory);

/* Two sockets for stdout and stderr of the child, and one for us that receives what is written to
 * both, in its order. `name`: 16 characters that nobody can guess. output[0] then holds records: an
 * sk_record, and its bytes. The streams end when nobody has one of the two any more, which sk_pump_run
 * finds out after the process's end (it needs a bell). */
int sk_pump_ordered(sk_pump *pump, const char *name);

typedef struct sk_record {
    int64_t time;    /* CLOCK_REALTIME, nanoseconds, as the kernel took it at the write */
    uint32_t stream; /* 1: stdout, 2: stderr */
    uint32_t size;   /* of what follows; not aligned */
} sk_record;

/* Closes the child's ends, once it has its copies: while ours are open the streams could not end. */
void sk_pump_started(sk_pump *pump);

/* Feeds and gathers until every stream that is not held has ended, then waits as sk_wait does. May
 * return SK_FULL, and SK_OVER once for each stream that goes over its limit. With a bell it also
 * returns SK_WOKEN, and SK_EXITED once when the process ends before its streams. Called again after
 * these, SK_AGAIN or SK_TIMEOUT it goes on where it was and no byte is lost. */
int sk_pump_run(sk_pump *pump, sk_child *child, int64_t deadline);

/* sk_spawn, then sk_pump_run, or sk_wait where `pump` is NULL, in one call: the results of all three.
 * As long as child->pid is 0 no child was made. SK_AGAIN and SK_FULL: to be called again are
 * sk_pump_run or sk_wait; on the main thread the first result is SK_AGAIN. For one thread: no other
 * may use the handle before the process has ended. */
int sk_run(sk_child *child, sk_pump *pump, const void *plan, size_t size, int engine, int flags,
           int64_t deadline);

/* Gives one child's stdout and another one's stdin the two ends of a pipe, made `size` bytes wide if that
 * is not 0 and allowed. 0 or a negative errno. */
int sk_pump_join(sk_pump *from, sk_pump *to, int size);

/* The processes of a pipeline, each with a pump, which is open. The first pump has the bell. */
typedef struct sk_slot { /* a struct pollfd */
    int32_t fd;
    int16_t events;
    int16_t revents;
} sk_slot;

typedef struct sk_job {
    int32_t count;
    sk_child **children; /* they have been settled */
    sk_pump **pumps;
    sk_slot *slots; /* these two: room for 4 * count + 1, for sk_job_run itself */
    int32_t *what;
} sk_job;

/* As sk_pump_run, for all of them: reaps each when it ends. SK_EXITED: all have ended, streams are open;
 * SK_OK also where a status was lost, which then its handle tells. */
int sk_job_run(const sk_job *job, int64_t deadline);

/* Waits for the bell alone: SK_WOKEN, SK_TIMEOUT, SK_AGAIN. With `feeding` also SK_DONE, when nobody
 * is left to read stdin. */
int sk_pump_listen(sk_pump *pump, int feeding, int64_t deadline);

/* Which of stdout (2) and stderr (4) somebody may still write to: their pipes have not hung up. */
int sk_pump_open_ends(const sk_pump *pump);

/* Rings the bell. Not while another thread may be in sk_pump_close. */
void sk_pump_ring(sk_pump *pump);

/* Takes what is in the pipes now, and no more, whoever still writes; for a child that was killed. */
int sk_pump_drain(sk_pump *pump);

/* Closes and frees everything but held ends; harmless when repeated. */
void sk_pump_close(sk_pump *pump);

/* The same with held ends: for a pump that nobody can reach any more, but for finalizers. */
void sk_pump_free(sk_pump *pump);

/* A held end: one of our ends that somebody else reads or writes, without blocking. */
int sk_end_hold(sk_pump *pump, int stream);

/* Waits until it is ready (SK_OK) or sk_end_stop was called (SK_DONE). -EBADF: it is closed. */
int sk_end_await(sk_pump *pump, int stream, int64_t deadline);
void sk_end_stop(sk_pump *pump, int stream);

/* Writes without raising SIGPIPE: how many bytes, or a negative errno (-EAGAIN: not ready). */
int64_t sk_end_write(sk_pump *pump, int stream, const void *data, size_t size);
int sk_end_left(sk_pump *pump, int stream);   /* bytes in the pipe now */
void sk_end_widen(sk_pump *pump, int stream); /* for a long stream */
void sk_end_close(sk_pump *pump,
                  int stream); /* then ring: a sleeping sk_pump_listen keeps it open */

/* A move of the descriptor plan: dup2(source, target); both equal: clear close-on-exec; source -1:
 * close(target). `cloexec` marks a target that must be close-on-exec: one that was wanted so, or one
 * that nobody wanted, which only serves a ring (SK_OP_PARK). */
typedef struct sk_move {
    int32_t source;
    int32_t target;
    int32_t cloexec;
} sk_move;

typedef struct sk_wanted {
    int32_t target;
    int32_t source;  /* -1: closed in the child */
    int32_t cloexec; /* 1: there until exec and not after it; source and target must differ */
    int32_t readers; /* the planner's own: moves that still read this target */
    int32_t done;    /* likewise */
} sk_wanted;

/* Orders a map of descriptors so that no source is overwritten before its last use. Targets must
 * be ascending, distinct and not negative. `moves` has room for 2 * count. Returns how many were
 * written. `wanted` is used up. */
int sk_plan_descriptors(sk_wanted *wanted, int count, sk_move *moves);

/* What this kernel lets us do; each is asked once. -1: not known yet, 0: no, 1: yes. */
typedef struct sk_features {
    int32_t shared_memory; /* clone(CLONE_VM) shares memory (not so under valgrind, qemu-user) */
    int32_t overlapped;    /* … also without CLONE_VFORK */
    int32_t clone3;        /* with CLONE_CLEAR_SIGHAND */
    int32_t clone_pidfd;   /* CLONE_PIDFD */
    int32_t into_cgroup;   /* CLONE_INTO_CGROUP: a child is born in its cgroup (version 2) */
    int32_t pidfd_open;
    int32_t pidfd_wait;   /* waitid(P_PIDFD) */
    int32_t pidfd_signal; /* pidfd_send_signal */
    int32_t pidfd_info;   /* PIDFD_GET_INFO tells the exit status after a stolen wait */
    int32_t close_range;
    int32_t signal_guard;  /* waits without slices on the main thread: rseq (guard.h) */
    int32_t status_stolen; /* how many statuses were lost to a stranger's wait so far */
} sk_features;

void sk_probe(sk_features *features);

/* For how long a wait looks for the end of a young child before it sleeps: until the child is so many
 * nanoseconds old; 0: it sleeps at once. Returns what it was; at first 300,000. */
int64_t sk_set_spin(int64_t time);

/* The name of a stage (an operation's, or one of SK_AT_…), and an operation's code by its name
 * (-1: none such). The table itself is in plan.h. */
const char *sk_stage_name(int stage);
int sk_operation_code(const char *name);
int sk_operation_on(int code, int engine); /* 1: that engine can run it */
int sk_operation_text(int code);           /* 1: it has a text */

/* Writes a file that is there already, such as one of a cgroup's: 0 or a negative errno. */
int sk_write_file(const char *path, const void *data, size_t size);

/* Blocks the signals of the calling thread, and gives it back its mask; both are harmless when
 * repeated. For the start of a thread, which inherits the mask. `take` sets the mask that another
 * thread had before its hold. */
typedef struct sk_mask {
    uint64_t before;
    int32_t held;
} sk_mask;

int sk_mask_hold(sk_mask *mask);
void sk_mask_release(sk_mask *mask);
void sk_mask_look(sk_mask *mask); /* only notes the mask, for a later take */
void sk_mask_take(const sk_mask *mask);
uint64_t sk_mask_now(void); /* bit n-1 is signal n */

/* The process ignores SIGINT and SIGQUIT as long as anybody holds this: system(3). Zeroed by the caller.
 * Any thread; harmless when repeated. */
typedef struct sk_keyboard {
    int32_t held;
    uint64_t heeded; /* which of the two were not ignored before: bit n-1 is signal n */
} sk_keyboard;
void sk_keyboard_ignore(sk_keyboard *keyboard);
void sk_keyboard_heed(sk_keyboard *keyboard);

/* Our own peak resident memory in bytes, which the kernel folds into that of a child. */
int64_t sk_own_peak(void);

/* Unmaps cached child stacks and returns how many there were. */
int sk_trim(void);

/* cffi: end */

#endif
