#ifndef SK_CHILD_H
#define SK_CHILD_H

/* What runs between clone and exec is compiled without everything that compilers like to add. Only
 * `make coverage` has its lines counted: in shared memory the child's counters are ours. */
#ifndef SK_UNCOUNTED
#define SK_UNCOUNTED no_instrument_function, no_profile_instrument_function
#endif
#if defined(__clang__) || __GNUC__ >= 11
#define SK_BARE                                                \
    __attribute__((noinline, no_stack_protector, SK_UNCOUNTED, \
                   no_sanitize("address", "undefined", "thread")))
#else
#define SK_BARE __attribute__((noinline, no_instrument_function, optimize("no-stack-protector")))
#endif

/* The child's whole life before its program: replays the plan of the `struct sk_launch` it is
 * given, and ends in execve or in _exit(127) with the report filled. Never returns. */
void sk__child_main(void *launch);

/* Writes SK_PROBE_MARK to a 32-bit word and exits: shows whether memory is shared. */
#define SK_PROBE_MARK 0x5b1c0553u
void sk__child_probe(void *word);

#endif
