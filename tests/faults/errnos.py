"""System calls of the core, and the errnos that their manual pages give for them."""

from __future__ import annotations

import errno
import platform

MEMORY = -2  # SK_FAULT_MEMORY: an allocation

# The numbers of <asm/unistd.h>: x86-64, aarch64.
_NUMBERS = {
    "bind": (49, 200),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "close_range": (436, 436),
    "chdir": (80, 49),
    "connect": (42, 203),
    "dup3": (292, 24),
    "eventfd2": (290, 19),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fcntl": (72, 25),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getdents64": (217, 61),
    "getpgid": (121, 155),
    "ioctl": (16, 29),
    "kill": (62, 129),
    "lseek": (8, 62),
    "memfd_create": (319, 279),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "newfstatat": (262, 79),
    "openat": (257, 56),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pipe2": (293, 59),
    "ppoll": (271, 73),
    "prctl": (157, 167),
    "pread64": (17, 67),
    "prlimit64": (302, 261),
    "read": (0, 63),
    "recvmsg": (47, 212),
    "rt_sigaction": (13, 134),
    "rt_sigpending": (127, 136),
    "rt_sigprocmask": (14, 135),
    "rt_sigtimedwait": (128, 137),
    "sched_getaffinity": (204, 123),
    "sched_getscheduler": (145, 120),
    "sched_yield": (24, 124),
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "setsockopt": (54, 208),
    "shutdown": (48, 210),
    "socket": (41, 198),
    "waitid": (247, 95),
    "wait4": (61, 260),
    "write": (1, 64),
}

_REFUSED = "ENOSYS EPERM EINVAL"

_ERRNOS = {
    "bind": "EACCES EADDRINUSE EINVAL ENOMEM",
    "clone": f"EAGAIN ENOMEM ENOSPC EMFILE {_REFUSED}",
    "clone3": f"EAGAIN ENOMEM ENOSPC EMFILE EBUSY E2BIG {_REFUSED}",
    "close": "EINTR EIO ENOSPC EDQUOT",
    "close_range": f"EMFILE ENOMEM {_REFUSED}",
    "chdir": "EACCES EFAULT EIO ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR",
    # Not EPERM: it says that somebody has the other socket, which is to be waited for.
    "connect": "EACCES EADDRNOTAVAIL ECONNREFUSED ENOMEM",
    "dup3": "EBADF EBUSY EINTR EINVAL EMFILE",
    "eventfd2": "EMFILE ENFILE ENODEV ENOMEM EINVAL",
    "execve": "E2BIG EACCES EAGAIN EINVAL EIO EISDIR ELIBBAD ELOOP EMFILE ENAMETOOLONG ENFILE "
    "ENOENT ENOEXEC ENOMEM ENOTDIR EPERM ETXTBSY",
    "execveat": "E2BIG EACCES EAGAIN EBADF EINVAL EIO ELOOP EMFILE ENFILE ENOENT ENOEXEC ENOMEM "
    "ENOTDIR EPERM ETXTBSY ENOSYS",
    "fcntl": "EBADF EINVAL EMFILE EPERM EBUSY",
    "fstat": "EBADF ENOMEM EOVERFLOW",
    "futex": "EAGAIN EINTR EINVAL ETIMEDOUT ENOMEM",
    "getdents64": "EBADF ENOENT EINVAL",
    "getpgid": "ESRCH",
    "ioctl": "EBADF EFAULT EINVAL ENOTTY ESRCH",
    "kill": "EINVAL EPERM ESRCH",
    "lseek": "EBADF EINVAL",
    "memfd_create": "EACCES EFAULT EINVAL EMFILE ENFILE ENOMEM EPERM ENOSYS",
    "mmap": "EAGAIN ENFILE ENOMEM EPERM",
    "mprotect": "EACCES ENOMEM",
    "newfstatat": "EACCES ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR",
    "openat": "EACCES EINTR EMFILE ENFILE ENOENT ENOMEM ENXIO ENODEV EROFS ENOSPC",
    "pidfd_open": f"EMFILE ENFILE ENODEV ENOMEM ESRCH {_REFUSED}",
    "pidfd_send_signal": f"EBADF ESRCH {_REFUSED}",
    "pipe2": "EMFILE ENFILE ENOMEM",
    "ppoll": "EFAULT EINTR EINVAL ENOMEM",
    "prctl": f"EFAULT {_REFUSED}",
    "pread64": "EAGAIN EBADF EINTR EIO EINVAL",
    "prlimit64": "EFAULT EINVAL EPERM ESRCH",
    "read": "EAGAIN EBADF EINTR EIO EINVAL",
    "recvmsg": "EAGAIN EBADF EINTR EINVAL ENOMEM",
    "rt_sigaction": "EFAULT EINVAL",
    "rt_sigpending": "EFAULT",
    "rt_sigprocmask": "EFAULT EINVAL",
    "rt_sigtimedwait": "EAGAIN EINTR EINVAL",
    "sched_getaffinity": f"ESRCH {_REFUSED}",
    "sched_getscheduler": f"ESRCH {_REFUSED}",
    "sched_yield": "ENOSYS EPERM",
    "setpgid": "EACCES EINVAL EPERM ESRCH",
    "setsid": "EPERM",
    "setsockopt": "EBADF EINVAL ENOMEM ENOPROTOOPT EPERM",
    "shutdown": "EBADF EINVAL ENOTCONN",
    "socket": "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOMEM",
    "waitid": "ECHILD EINTR EINVAL ESRCH",
    "wait4": "EINTR",  # of the probe's child: where another error is made up, it stays a zombie
    "write": "EAGAIN EBADF EINTR EIO ENOSPC EPIPE",
}

_COLUMN = ("x86_64", "aarch64").index(platform.machine())

NAMES = {numbers[_COLUMN]: name for name, numbers in _NUMBERS.items()}
NAMES[MEMORY] = "memory"

ERRNOS = {
    number: [getattr(errno, word) for word in _ERRNOS[name].split()]
    for number, name in NAMES.items()
    if name != "memory"
}
ERRNOS[MEMORY] = [errno.ENOMEM]
