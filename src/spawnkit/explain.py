"""From a step that failed to words: what it was about, and what is behind its errno.

Reads the launch plan back. Words come from what is in memory; what needs files, or further modules,
is only tried: a start may have failed because there are no descriptors left.
"""

from __future__ import annotations

import errno
import os

from . import _core, _ops
from .attributes import RLIMITS
from .plan import _HEADER

# What a file on the way from a program to the code that runs it can be the reason of.
_OF_FILES = frozenset(
    (
        errno.ENOENT,
        errno.EACCES,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOEXEC,
    )
)

# cgroups(7), "No internal processes", "Delegation containment", "Thread mode".
_OF_CGROUPS: dict[int | None, str] = {
    errno.ENOENT: "it was removed, or lies outside our cgroup namespace",
    errno.ENODEV: "it has just been removed",
    errno.EACCES: "we may not write its cgroup.procs, or that of the cgroup above it and ours",
    errno.EBUSY: "controllers are enabled for cgroups in it, so that it takes no processes",
    errno.EOPNOTSUPP: "it is below a threaded cgroup",
}

# clone(2), user_namespaces(7), namespaces(7).
_OF_NAMESPACES: dict[int | None, str] = {
    errno.EPERM: "it takes CAP_SYS_ADMIN",
    errno.EINVAL: "this kernel has none",
    errno.ENOSPC: "/proc/sys/user/max_pid_namespaces is reached, or 32 are in one another",
    errno.EUSERS: "32 are in one another already",
}

# pthread_create(3), clone(2): EINVAL of CLONE_THREAD.
_OF_THREADS: dict[int | None, str] = {
    errno.EINVAL: "the calling thread has unshared its PID namespace, and such a one makes no "
    "threads; a child that dies with the process needs one",
    errno.EAGAIN: "a limit on processes is reached, or there is no memory for its stack",
}

# getppid(2) says 0 of a parent in another PID namespace, and /proc is asked.
_OF_PARENTS: dict[int | None, str] = {
    errno.ESRCH: "its parent is in another PID namespace, and /proc is not of that one",
    errno.ENOENT: "its parent is in another PID namespace, and only /proc, which is not mounted, "
    "could tell that it lives",
}


def explain(
    plan: bytes, stage: int, index: int, number: int | None
) -> tuple[str, str | bytes | None, str]:
    """Item, filename and hint of a step that failed with an errno; None: the child died in it."""
    item, filename = describe(plan, stage, index)
    hint = ""
    try:
        name = _core.stage_name(stage)
        if name in ("exec", "posix_spawn"):
            program = _path(plan, index if name == "exec" else 0)
            if number in _OF_FILES and _exec_fd(plan) >= 0:
                hint = _of_descriptor(plan, number)
            elif number in _OF_FILES:
                from .program_file import look_into

                part, path, hint = look_into(program, _directory(plan), number)
                if part:
                    return part, os.fsdecode(path), hint
            elif number == errno.E2BIG:
                from .exec_limits import too_big

                hint = too_big(program, *_arguments(plan), _stack_limit(plan))
            elif number == errno.EAGAIN and name == "exec":
                hint = "the limit on processes, RLIMIT_NPROC, is reached"
            elif number == errno.ENOMEM and name == "posix_spawn":
                hint = _of_no_memory(plan)
        elif name == "clone" and number == errno.ENOMEM:
            hint = _of_no_memory(plan)
        elif name == "cgroup":
            hint = _OF_CGROUPS.get(number, "")
        elif name == "thread":
            hint = _OF_THREADS.get(number, "")
        elif name == "namespaces":
            hint = _OF_NAMESPACES.get(number, "")
            if number == errno.EINVAL and _goes_elsewhere(plan) is not None:
                hint = "the calling thread's children are in another one already (unshare(2))"
        elif name == "pdeathsig":
            hint = _OF_PARENTS.get(number, "")  # were it gone nobody would read this
        elif (
            stage < 100
            and number == errno.EBADF
            and _operations(plan)[index][0]
            in (
                _ops.DUP,
                _ops.PARK,
            )
        ):
            hint = "not open, or a target above RLIMIT_NOFILE"
    except Exception:
        # A file that changes under us, no memory, no descriptors: the error that is being
        # explained must come out all the same.
        return item, filename, ""
    return item, filename, hint


def _of_no_memory(plan: bytes) -> str:
    # pid_namespaces(7): ENOMEM says this too. A namespace without process 1 is told by no link.
    if _goes_elsewhere(plan):
        return (
            "the calling thread's children are in another PID namespace (unshare(2)), which takes "
            "nobody once its process 1 has ended"
        )
    return ""


def _goes_elsewhere(plan: bytes) -> str | None:
    """Into which PID namespace, if that is not ours; for the rest see the function it asks."""
    from _thread import get_native_id

    from .proctable import pid_namespace_for_children

    dies = any(code == _ops.PDEATHSIG for code, *_ in _operations(plan))
    if dies and get_native_id() != os.getpid():
        return None  # made by the thread of home.c, which has unshared nothing
    return pid_namespace_for_children()


def _of_descriptor(plan: bytes, number: int) -> str:
    from .program_file import look_into

    fd = _origin(plan, _exec_fd(plan))
    part, _, hint = look_into(b"/proc/self/fd/%d" % fd, _directory(plan), number)
    if not part and not hint and number == errno.ENOENT and not _is_readable(fd):
        return "a script must be open for reading, not O_PATH"
    return f"{part}: {hint}" if part and hint else part or hint


def _is_readable(fd: int) -> bool:
    """Nothing is known of a readable one either where /proc is not mounted."""
    try:
        os.pread(fd, 1, 0)
    except OSError:
        return False
    return True


# ---- reading a plan back ------------------------------------------------------------------------


def describe(plan: bytes, stage: int, index: int) -> tuple[str, str | None]:
    """What a failed step was about, for messages, and the path concerned."""
    if stage < 100:  # an operation of the table
        return _describe_op(plan, index)
    name = _core.stage_name(stage)
    if name == "plan":
        return "malformed plan", None  # so nothing can be read from it either
    program = os.fsdecode(_path(plan, index if name == "exec" else 0))
    if name == "exec" and _exec_fd(plan) >= 0:
        return f"exec fd {_origin(plan, _exec_fd(plan))} ({program!r})", None
    if name in ("exec", "posix_spawn"):
        return f"{name} {program!r}", program
    return f"{name} for {program!r}", None


def _path(plan: bytes, index: int) -> bytes:
    start = _HEADER.unpack_from(plan)[3]
    return plan[start:].split(b"\0", index + 1)[index]


def _exec_fd(plan: bytes) -> int:
    """The child's number of the descriptor that it executes; -1: it executes a path."""
    number: int = _HEADER.unpack_from(plan)[7]
    return number


def _origin(plan: bytes, fd: int) -> int:
    """Which of our descriptors the child has as `fd` in the end: its moves, last one first."""
    for code, _, a, b, *_ in reversed(_operations(plan)):
        if code in (_ops.DUP, _ops.PARK) and b == fd:
            fd = a
    return fd


def _arguments(plan: bytes) -> tuple[list[bytes], list[bytes]]:
    """Arguments and variables."""
    _, _, _, start, paths, argc, envc, _ = _HEADER.unpack_from(plan)
    strings = plan[start:].split(b"\0")[paths:]
    return strings[:argc], strings[argc : argc + envc]


def _operations(plan: bytes) -> list[tuple[int, ...]]:
    count = _HEADER.unpack_from(plan)[2]
    end = _HEADER.size + count * _ops.OP.size
    return list(_ops.OP.iter_unpack(plan[_HEADER.size : end]))


def _directory(plan: bytes) -> bytes:
    """Where the child executes its program; b"" where that is our own directory."""
    for code, _, _, _, text, _, _ in _operations(plan):
        if code == _ops.CHDIR:
            return _text(plan, text)
    return b""


def _stack_limit(plan: bytes) -> int | None:
    """The RLIMIT_STACK that the child sets for itself; None: ours."""
    for code, _, which, _, _, soft, _ in _operations(plan):
        if code == _ops.RLIMIT and which == RLIMITS["STACK"]:
            return soft
    return None


def _text(plan: bytes, start: int) -> bytes:
    return plan[start : plan.index(b"\0", start)]


def _describe_op(plan: bytes, index: int) -> tuple[str, str | None]:
    code, _, a, b, text, x, y = _operations(plan)[index]
    if _core.has_text(code):
        path = os.fsdecode(_text(plan, text))
        return f"{_core.stage_name(code)} {path!r}", path
    if code == _ops.DUP:
        return f"{'exec fd' if b == _exec_fd(plan) else 'fd'} {a} → {b}", None
    if code in (_ops.KEEP, _ops.PARK):
        return f"fd {a}", None
    if code == _ops.NAMESPACES:
        return "a new PID namespace", None
    if code == _ops.PDEATHSIG:
        return f"pdeathsig {_signal(a)}", None
    if code == _ops.RLIMIT:
        names = {number: name for name, number in RLIMITS.items()}
        return f"rlimit {names.get(a, a)} = ({_limit(x)}, {_limit(y)})", None
    if code == _ops.SETPGID:
        return f"setpgid {a}", None
    if code == _ops.UMASK:
        return f"umask {a:#o}", None
    return _core.stage_name(code), None


def _signal(number: int) -> str:
    try:
        from signal import Signals

        return Signals(number).name
    except (ImportError, OSError, ValueError):  # no descriptor for the module; no such name
        return str(number)


def _limit(value: int) -> str:
    return "unlimited" if value == 2**64 - 1 else str(value)
