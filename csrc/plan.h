/* The launch plan: everything about a child that can be decided before it exists.
 *
 *   header | operations | their operands | paths, argv, environment        (strings end in NUL)
 *
 * One flat buffer without pointers. It means the same in shared memory, in copied memory and in
 * another program, so one replay (child.c) serves every engine. The order of operations is the
 * packer's business; the child only goes through. A plan always sets the signal mask, because the
 * engines may start the child with every signal blocked. */
#ifndef SK_PLAN_H
#define SK_PLAN_H

#include <stdint.h>

#define SK_PLAN_MAGIC 0x31506b73u /* "skP1" in memory: a caller and a core of one version */

struct sk_plan {
    uint32_t magic;
    uint32_t size;       /* of the whole buffer; its last byte is NUL */
    uint32_t op_count;   /* operations follow the header at once */
    uint32_t strings;    /* offset of the first path; argv and the environment follow */
    uint32_t path_count; /* candidate programs, tried in order */
    uint32_t argv_count;
    uint32_t env_count;
    int32_t exec_fd; /* the program itself, as the child numbers it; -1: the paths are tried */
};

struct sk_op {
    uint16_t code;
    uint16_t reserved;
    int32_t a;
    int32_t b;
    uint32_t text; /* offset of a string in the plan */
    uint64_t x;
    uint64_t y;
};

/* Which engines can run an operation. */
#define SK_ON_SHARED (1u << SK_VFORK | 1u << SK_VFORK_WAITING)
#define SK_ON_COPY (1u << SK_FORK)
#define SK_ON_POSIX (1u << SK_POSIX_SPAWN)
#define SK_ON_OURS (SK_ON_SHARED | SK_ON_COPY)
#define SK_ON_ALL (SK_ON_OURS | SK_ON_POSIX)
#define SK_TEXT (1u << 31) /* beside the engines: the operation has a text */

/* The one table. A new attribute is a new row, a case in child.c, and a field in Python.
 *
 * NAMESPACES is done by clone itself, so nothing can stand before it. PDEATHSIG belongs at the head of
 * what the child does: whatever the parent is killed during, the child dies with it. A change of
 * credentials clears it, so what changes them has to be followed by it once more.
 *
 *  code          name           stage          engines      operands */
/* clang-format off */
#define SK_OPERATIONS(OP)                                                                          \
    OP(NAMESPACES,  "namespaces",  "namespaces",  SK_ON_OURS) /* x: CLONE_NEW… of clone(2) */      \
    OP(PDEATHSIG,   "pdeathsig",   "pdeathsig",   SK_ON_OURS) /* a signal, b the parent's pid */   \
    OP(CGROUP,      "cgroup",      "cgroup",      SK_ON_OURS | SK_TEXT) /* text directory; x: of v2 */ \
    OP(RLIMIT,      "rlimit",      "rlimit",      SK_ON_OURS) /* a resource, x soft, y hard */     \
    OP(UMASK,       "umask",       "umask",       SK_ON_OURS) /* a mask */                         \
    OP(SETSID,      "setsid",      "setsid",      SK_ON_ALL)                                       \
    OP(SETPGID,     "setpgid",     "setpgid",     SK_ON_ALL)  /* a group, 0: its own */            \
    OP(CHDIR,       "chdir",       "chdir",       SK_ON_OURS | SK_TEXT) /* text directory */       \
    OP(DUP,         "dup",         "descriptors", SK_ON_ALL)  /* a from, b to, x: close-on-exec */ \
    OP(PARK,        "park",        "descriptors", SK_ON_ALL)  /* a from, b its name in a later dup */ \
    OP(KEEP,        "keep",        "descriptors", SK_ON_ALL)  /* a: clear close-on-exec */         \
    OP(CLOSE,       "close",       "descriptors", SK_ON_ALL)  /* a */                              \
    OP(CLOSE_RANGE, "close_range", "close",       SK_ON_ALL)  /* x first, y last: unsigned */      \
    OP(SIG_DEFAULT, "sig_default", "signals",     SK_ON_ALL)  /* x: bit n-1 is signal n */         \
    OP(SIG_IGNORE,  "sig_ignore",  "signals",     SK_ON_OURS) /* x likewise */                     \
    OP(EXECVP,      "execvp",      "execvp",      SK_ON_ALL)  /* the paths are tried as by execvp(3) */ \
    OP(SIG_MASK,    "sig_mask",    "signals",     SK_ON_ALL)  /* x: the blocked signals */
/* clang-format on */

enum sk_operation {
    SK_OP_NONE,
#define SK_ENUM(code, name, stage, engines) SK_OP_##code,
    SK_OPERATIONS(SK_ENUM)
#undef SK_ENUM
        SK_OP_COUNT,

    /* Stages that are no operation. */
    SK_AT_PLAN = 100, /* the plan itself is malformed */
    SK_AT_MEMORY,     /* the child's stack */
    SK_AT_THREAD,     /* the thread that is to make the process (home.c) */
    SK_AT_CLONE,      /* making the process */
    SK_AT_PIPE,       /* the pipe for its reports */
    SK_AT_START,      /* it exists and has done nothing yet */
    SK_AT_EXEC,       /* every operation is done; the program is being loaded */
    SK_AT_SPAWN       /* somewhere inside the C library's posix_spawn */
};

/* The operations that have a text, as bits. */
#define SK_TEXT_BIT(code, name, stage, engines) \
    | ((uint64_t)(((engines) & SK_TEXT) != 0) << SK_OP_##code)
#define SK_TEXTS (UINT64_C(0) SK_OPERATIONS(SK_TEXT_BIT))
#define SK_HAS_TEXT(code) (SK_TEXTS >> (code) & 1)
_Static_assert(SK_OP_COUNT <= 64, "SK_TEXTS has a bit for each operation");

#endif
