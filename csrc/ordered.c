/* Outputs in the order of the program's writes: its stdout and stderr are two datagram sockets that
 * are connected to one of ours. Each write is one datagram, with the kernel's time, and the sender's
 * name says which stream it was. unix(7), socket(7). */
#include "streams.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#define RECEIVER 0 /* the streams are 1 and 2 */

/* How much one write may be: the kernel doubles it. Beyond wmem_max for those who may. */
#define LARGEST_WRITE (1 << 20)

/* In the abstract namespace: nothing is left behind in a directory. Not an autobind name, of which
 * there are a million: the next one who gets it would look like a sender that is still there. */
#define NAME "spawnkit."

static unsigned address_of(const sk_pump *pump, int which, struct sockaddr_un *address)
{
    const size_t fixed = sizeof NAME - 1, given = strlen(pump->name);

    address->sun_family = AF_UNIX;
    address->sun_path[0] = '\0';
    memcpy(address->sun_path + 1, NAME, fixed);
    memcpy(address->sun_path + 1 + fixed, pump->name, given);
    address->sun_path[1 + fixed + given] = (char)('0' + which);
    return (unsigned)(offsetof(struct sockaddr_un, sun_path) + fixed + given + 2);
}

static int bound_socket(sk_pump *pump, int which, int type, int32_t *fd)
{
    struct sockaddr_un address;
    unsigned size = address_of(pump, which, &address);

    if (*fd >= 0)
        return -EBUSY;
    *fd = sys_socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | type);
    return *fd < 0 ? *fd : sys_bind(*fd, &address, size);
}

static int make_sender(sk_pump *pump, int stream)
{
    struct sockaddr_un receiver;
    unsigned size = address_of(pump, RECEIVER, &receiver);
    int result = bound_socket(pump, stream, 0, &pump->theirs[stream]);
    int fd = pump->theirs[stream];

    if (result < 0)
        return result;
    if (sys_setsockopt(fd, SO_SNDBUFFORCE, LARGEST_WRITE) < 0)
        result = sys_setsockopt(fd, SO_SNDBUF, LARGEST_WRITE); /* up to wmem_max */
    return result < 0 ? result : sys_connect(fd, &receiver, size);
}

int sk_pump_ordered(sk_pump *pump, const char *name)
{
    int result;

    sk__pump_begin(pump);
    if (strlen(name) >= sizeof pump->name)
        return -EINVAL;
    memcpy(pump->name, name, strlen(name) + 1);
    pump->ordered = 1;
    result = bound_socket(pump, RECEIVER, SOCK_NONBLOCK, &pump->ours[1]);
    if (result >= 0)
        result = sys_setsockopt(pump->ours[1], SO_TIMESTAMPNS, 1);
    for (int stream = 1; stream < 3 && result >= 0; stream++)
        result = make_sender(pump, stream);
    /* Not at the end: with no descriptor left by then, all that was received would be lost. */
    if (result >= 0)
        result = pump->probe = sys_socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC);
    return result < 0 ? result : 0;
}

/* 0; SK_FULL if what is there has to be taken first; -ENOMEM. */
static int make_room(sk_pump *pump, size_t wanted)
{
    sk_buffer *buffer = &pump->output[0];
    size_t room = 2 * buffer->room;
    char *data;

    if (buffer->room - buffer->length >= wanted)
        return 0;
    if (buffer->length + wanted > SK_WIDE && buffer->length && !pump->draining)
        return SK_FULL;
    if (room < buffer->length + wanted)
        room = buffer->length + wanted;
    data = sys_realloc(buffer->data, room);
    if (!data)
        return -ENOMEM;
    buffer->data = data;
    buffer->room = room;
    return 0;
}

static int64_t time_of(struct msghdr *message)
{
    struct timespec time = {0, 0};

    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part))
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SO_TIMESTAMPNS)
            memcpy(&time, CMSG_DATA(part), sizeof time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/* 0: a stranger. Any process may send to a name in the abstract namespace, but not under our names. */
static uint32_t stream_of(const sk_pump *pump, const struct msghdr *message)
{
    for (int stream = 1; stream < 3; stream++) {
        struct sockaddr_un sender;
        unsigned size = address_of(pump, stream, &sender);

        if (message->msg_namelen == size && memcmp(message->msg_name, &sender, size) == 0)
            return (uint32_t)stream;
    }
    return 0;
}

/* Takes one datagram: 1, or 0 if there is none, SK_FULL, a negative errno. */
static int receive(sk_pump *pump)
{
    sk_buffer *buffer = &pump->output[0];
    struct sockaddr_un sender;
    union {
        struct cmsghdr header; /* for its alignment */
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec part;
    struct msghdr message = {.msg_name = &sender,
                             .msg_namelen = sizeof sender,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    sk_record record;
    int next = 0, result;
    long length;

    /* How long the next one is: what does not fit would be lost. Nobody else receives here. */
    result = sys_ioctl(pump->ours[1], FIONREAD, &next);
    if (result >= 0)
        result = make_room(pump, sizeof record + (size_t)next);
    if (result)
        return result;
    part.iov_base = buffer->data + buffer->length + sizeof record;
    part.iov_len = buffer->room - buffer->length - sizeof record;
    /* There is no room for descriptors that a program may send along: they are not taken. */
    length = sys_recvmsg(pump->ours[1], &message, MSG_CMSG_CLOEXEC);
    if (length == -EINTR || (length == -EAGAIN && next > 0))
        return 1; /* of no consequence: there may be more */
    if (length < 0)
        return length == -EAGAIN ? 0 : (int)length;
    record.time = time_of(&message);
    record.stream = stream_of(pump, &message);
    record.size = (uint32_t)length;
    if (record.stream) {
        memcpy(buffer->data + buffer->length, &record, sizeof record);
        buffer->length += sizeof record + (size_t)length;
        if (pump->attentive)
            pump->heard = sk__now();
    }
    return 1;
}

int sk__receive(sk_pump *pump)
{
    int result = receive(pump);

    return result == 1 ? 0 : result;
}

/* 1: somebody has the socket; 0: nobody; or a negative errno. It has a peer, so that nobody else can
 * connect to it (EPERM). */
static int is_there(sk_pump *pump, int stream)
{
    struct sockaddr_un sender;
    unsigned size = address_of(pump, stream, &sender);
    int result = sys_connect(pump->probe, &sender, size);

    return result == -EPERM ? 1 : result == -ECONNREFUSED ? 0 : result;
}

/* 0, SK_FULL, or a negative errno. Whoever writes from now on gets EPIPE, and whoever waits to write too:
 * else a stranger who sends without a pause would keep us here. */
static int take_the_rest(sk_pump *pump)
{
    int result = sys_shutdown(pump->ours[1], SHUT_RD);

    if (result >= 0)
        while ((result = receive(pump)) == 1)
            ;
    return result;
}

int sk__look_for_senders(sk_pump *pump)
{
    int result = 0;

    for (int stream = 1; stream < 3 && result >= 0; stream++) {
        result = is_there(pump, stream);
        if (result == 1)
            return SK_OK;
    }
    if (result >= 0)
        result = take_the_rest(pump);
    if (result == 0)
        sk__close_fd(&pump->ours[1]);
    return result;
}

int sk__drain_receiver(sk_pump *pump)
{
    int result = take_the_rest(pump);

    sk__close_fd(&pump->ours[1]);
    return result;
}
