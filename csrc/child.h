#ifndef SK_CHILD_H
#define SK_CHILD_H

/* The child's whole life before its program: replays the plan of the `struct sk_launch` it is
 * given, and ends in execve or in _exit(127) with the report filled. Never returns. */
void sk__child_main(void *launch);

/* Writes SK_PROBE_MARK to a 32-bit word and exits: shows whether memory is shared. */
#define SK_PROBE_MARK 0x5b1c0553u
void sk__child_probe(void *word);

#endif
