/* What streams.c and pump.c share. */
#ifndef SK_STREAMS_H
#define SK_STREAMS_H

#include "core.h"
#include "guard.h"

/* Before the first descriptor of a pump. */
void sk__pump_begin(sk_pump *pump);

void sk__close_fd(int32_t *fd);

/* Gives a stream that has turned out to be long a pipe of SK_WIDE bytes, if the user may have it: fewer
 * sleeps for both sides. Not from the start: all of a user's pipes together are limited
 * (pipe-user-pages-soft, pipe(7)), and beyond that each new one has two pages only. */
#define SK_WIDE (256 << 10)
void sk__widen(sk_pump *pump, int stream);

/* One record from the receiver of both outputs, if there is one: 0, SK_FULL, or a negative errno. */
int sk__receive(sk_pump *pump);

/* Has the last sender gone? Then what is still queued is taken, and the receiver closed. Results of
 * sk__receive. */
int sk__look_for_senders(sk_pump *pump);

/* Takes what is queued, and no more: 0 or a negative errno. */
int sk__drain_receiver(sk_pump *pump);

/* write(2) that raises no SIGPIPE, whatever the process wants to happen on one. */
long sk__write_quietly(int fd, const void *data, size_t size);

/* One read or write of a stream that is ready: SK_OK, SK_FULL, or a negative errno. */
int sk__serve(sk_pump *pump, int stream);

/* Is this end of ours open, and for us to serve? Is any? */
int sk__is_ours(const sk_pump *pump, int stream);
int sk__streams_open(const sk_pump *pump);

int sk__answer_bell(const sk_pump *pump); /* SK_WOKEN */

/* The deadline, or sooner the time to ask for the end of a child that has no pidfd. */
int64_t sk__until_asking(int64_t deadline);

/* sk__spin on streams and ends: 1 as soon as one is ready, 0, or -EINTR. */
int sk__spin_on(const sk_child *child, int64_t deadline, struct pollfd *fds, unsigned count);

/* Every so many rounds of a loop in which something is always ready: is the time over, or has the
 * interpreter to have its turn? SK_OK, SK_TIMEOUT, SK_AGAIN. */
#define SK_ROUNDS 64 /* of 64 KiB and less: a millisecond or two */
int sk__look_up(int64_t deadline);

#endif
