/* Outputs that go into a file in memory: no pipe, and nobody who reads while the program runs. */
#include "streams.h"

int sk_pump_memory(sk_pump *pump, int stream)
{
    const char *name = stream == 1 ? "stdout" : "stderr"; /* as /proc shows it */
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd;

    sk__pump_begin(pump);
    if (pump->theirs[stream] >= 0)
        return -EBUSY;
    fd = sys_memfd(name, flags | MFD_NOEXEC_SEAL); /* some systems allow no others */
    if (fd == -EINVAL)
        fd = sys_memfd(name, flags); /* before Linux 6.3 */
    if (fd < 0)
        return fd;
    pump->memory |= 1 << stream;
    pump->theirs[stream] = fd;
    return 0;
}

/* 1: nobody can change it any more. A page that somebody has mapped for writing stands in the way
 * (EBUSY), and so does a program that has sealed its seals (EPERM). */
static int seal(int fd)
{
    const int wanted = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
    int seals;

    if (sys_fcntl(fd, F_ADD_SEALS, wanted | F_SEAL_SEAL) >= 0)
        return 1;
    seals = sys_fcntl(fd, F_GET_SEALS, 0);
    if (seals >= 0 && (seals & wanted) == wanted)
        return 1; /* by the call before this one */
    /* What is mapped stays so; write(2) is refused all the same. FUTURE_WRITE is of Linux 5.1. */
    if (sys_fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) < 0)
        sys_fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK);
    return 0;
}

static int copy(int fd, sk_buffer *buffer, size_t size)
{
    char *data = sys_realloc(buffer->data, size);

    if (!data)
        return -ENOMEM;
    buffer->data = data;
    buffer->room = size;
    buffer->length = 0;
    buffer->ends = buffer->limit = 0; /* of what comes through a pipe; this is kept whole */
    while (buffer->length < size) {
        long length = sys_pread(fd, data + buffer->length, size - buffer->length, buffer->length);

        if (length < 0 && length != -EINTR)
            return (int)length;
        if (length == 0)
            break; /* somebody has cut it short */
        if (length > 0)
            buffer->length += (size_t)length;
    }
    return 0;
}

int sk_pump_seal(sk_pump *pump, int stream, sk_memory *memory)
{
    int fd = pump->theirs[stream], sealed = seal(fd), result;
    struct stat status;
    void *data;

    result = sys_fstat(fd, &status);
    if (result < 0 || status.st_size == 0)
        return result;
    /* What may yet be cut short must not be mapped: to read beyond a file's end is SIGBUS. */
    data = sealed ? sys_map_file(fd, (size_t)status.st_size) : (void *)-EBUSY;
    if ((uintptr_t)data > (uintptr_t)-4096)
        return copy(fd, &pump->output[stream - 1], (size_t)status.st_size);
    memory->data = data;
    memory->size = (size_t)status.st_size;
    return 0;
}

void sk_memory_unmap(sk_memory *memory)
{
    char *data = __atomic_exchange_n(&memory->data, NULL, __ATOMIC_SEQ_CST);

    if (data)
        sys_munmap(data, memory->size);
}
