"""From what Popen was given to a launch plan, with the meaning the standard module gives it.

That differs from `Cmd`'s: the signal mask is inherited, PATH is that of the child's environment and
is searched by the child, after its chdir, an environment may have a name twice or an empty one, and
messages are those of os.fsencode and of CPython's C code, which programs read.
"""

from __future__ import annotations

import errno
import operator
import os
import sys

from .. import _core, _ops
from ..plan import STANDARD, assemble, joined_text, lay_out
from . import standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any, TypeAlias

    from ..plan import Arg, Dir, Piece

    # stdin, stdout, stderr: descriptors of ours for the child; -1: it has what we have.
    Ends: TypeAlias = tuple[int, int, int]
    # Ends, whether the others are closed, but for which, whether SIGPIPE and SIGXFSZ are given back
    # their default, umask, session, process group, signal mask.
    Setup: TypeAlias = tuple[Ends, bool, tuple[int, ...], bool, int, bool, int, int]

INHERITED: Ends = (-1, -1, -1)

# Operations before and after chdir, and both in one. Forgotten as a whole when they grow: see
# plan.py.
_packed: dict[Setup, tuple[bytes, bytes, bytes]] = {}
_KEPT = 256


def engine() -> int:
    """The engine's number: the standard module's switch, `subprocess._USE_VFORK`, is ours too."""
    return _core.ENGINES[None if standard.uses_vfork() else "fork"]


def command(args: Any, executable: Any, shell: bool) -> tuple[list[Arg], Arg]:
    """Arguments as a list, and the program; TypeError, IndexError."""
    if type(args) is list:  # first: to ask for a PathLike is slow
        args = args.copy()
    elif isinstance(args, (str, bytes)):
        args = [args]
    elif isinstance(args, os.PathLike):
        if shell:
            raise TypeError("path-like args is not allowed when shell is true")
        args = [args]
    else:
        args = list(args)
    if shell:
        args = ["/bin/sh", "-c", *args]
        if executable:
            args[0] = executable
    if executable is None:
        if not args:
            raise IndexError("args: empty; args[0] is the program's name")
        executable = args[0]
    return args, executable


def pack(
    args: Sequence[Arg],
    executable: Arg,
    cwd: Dir | None,
    env: Mapping[Any, Any] | None,
    ends: Ends,
    start_new_session: bool,
    close_fds: bool = True,
    pass_fds: Collection[int] = (),
    restore_signals: bool = True,
    umask: int = -1,
    process_group: int = -1,
) -> bytes:
    """The plan. Parameters and defaults as for Popen; -1: none of `umask`, `process_group`.

    Raises ValueError, TypeError.
    """
    inherited = tuple(sorted({int(fd) for fd in pass_fds})) if pass_fds != () else ()
    if inherited and not 0 <= inherited[0] <= inherited[-1] < 2**31:
        raise ValueError("bad value(s) in fds_to_keep")
    if env is None:
        variables = _core.environment()
    else:
        variables = _usual_env(env) or encode_env(
            env,
            standard.spawns_posix(executable, close_fds)
            and inherited == ()
            and cwd is None
            and all(end == -1 or end > 2 for end in ends)
            and not start_new_session
            and process_group == -1
            and umask < 0,
        )
    setup: Setup = (
        ends,
        bool(close_fds),
        inherited,
        bool(restore_signals),
        umask,
        bool(start_new_session),
        process_group,
        _core.signal_mask(),
    )
    packed = _packed.get(setup)
    if packed is None:
        if len(_packed) >= _KEPT:
            _packed.clear()
        packed = _packed[setup] = _operations(*setup)
    before, after, ops = packed
    operands = b""
    if cwd is not None:
        pieces: list[Piece] = [before, (_ops.CHDIR, fsencode(cwd), 0), after]
        ops, operands = lay_out(pieces)
    argv = joined_text(args)
    if argv is None:
        argv = b"".join([fsencode(arg) + b"\0" for arg in args])
    if executable is args[0] and type(executable) is str and "/" in executable:
        paths, count = argv[: argv.index(0) + 1], 1  # encoded, and looked through, already
    else:
        paths, count = _candidates(executable, env)
    return assemble(paths, count, argv, len(args), variables, ops, operands)


def _c_int(value: Any) -> int:
    """A number as CPython's C code takes it; TypeError, OverflowError."""
    number = operator.index(value)
    if not -(2**31) <= number < 2**31:
        raise OverflowError("Python int too large to convert to C int")
    return number


def _operations(
    ends: Ends,
    close_fds: bool,
    pass_fds: tuple[int, ...],
    restore_signals: bool,
    umask: int,
    start_new_session: bool,
    process_group: int,
    mask: int,
) -> tuple[bytes, bytes, bytes]:
    umask, process_group = _c_int(umask), _c_int(process_group)
    ends = _c_int(ends[0]), _c_int(ends[1]), _c_int(ends[2])
    if min(ends) < -1:  # -1 is nothing, others are wrong
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    wanted: dict[int, int | None] = {fd: fd for fd in pass_fds}
    wanted.update((target, end) for target, end in enumerate(ends) if end >= 0)
    # The directory may be one of these (/dev/fd/0), or a descriptor that is closed after it.
    before = _ops.descriptors(wanted, None)
    after = []
    if umask >= 0:
        after.append(_ops.op(_ops.UMASK, a=umask & 0o777))
    if start_new_session:
        after.append(_ops.op(_ops.SETSID))
    if process_group >= 0:
        after.append(_ops.op(_ops.SETPGID, a=process_group))
    if close_fds:
        after.append(_ops.closing(STANDARD | wanted.keys()))
    if restore_signals:
        after.append(_ops.op(_ops.SIG_DEFAULT, x=_ops.bits(_ops.PYTHON_IGNORES)))
    after.append(_ops.op(_ops.SIG_MASK, x=mask))
    return before, b"".join(after), before + b"".join(after)


def _candidates(executable: Arg, env: Mapping[Any, Any] | None) -> tuple[bytes, int]:
    """The paths that the child tries, each with its NUL, and how many they are."""
    program = fsencode(executable)
    if b"/" in program:
        return program + b"\0", 1
    paths = [os.path.join(fsencode(dir), program) + b"\0" for dir in os.get_exec_path(env)]
    return b"".join(paths), len(paths)


def fsencode(value: Arg) -> bytes:
    """As os.fsencode; ValueError for a NUL byte."""
    encoded = os.fsencode(value)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


# Others may have an answer of their own to each of items, keys and values.
_USUAL = (dict, type(os.environ))


def _usual_env(env: Mapping[Any, Any]) -> tuple[bytes, int] | None:
    """The common case, all str, in a few steps for all of them; None if it is another one."""
    if type(env) not in _USUAL:
        return None
    try:
        pairs = list(env.items())
        joined = joined_text(["=".join(pair) for pair in pairs])
        if joined is None or "=" in "".join([name for name, _ in pairs]):
            return None
    except (TypeError, ValueError):
        return None  # bytes or paths; or something that is refused by its name
    # A name that is empty is refused by one of the two standard ways.
    return None if joined[:1] == b"=" or b"\0=" in joined else (joined, len(pairs))


def encode_env(env: Mapping[Any, Any], posix_spawn: bool) -> tuple[bytes, int]:
    """Its strings, each with its NUL, and how many they are; ValueError, TypeError.

    posix_spawn: what os.posix_spawn takes, else what subprocess itself takes. They call other
    methods of `env`, and differ in the names "" and "=A".
    """
    if posix_spawn:
        if not hasattr(type(env), "__getitem__"):
            more = " or None" if sys.version_info >= (3, 13) else ""
            raise TypeError(f"posix_spawn: environment must be a mapping object{more}")
        len(env)  # TypeError there, where it has none
        pairs = list(zip(env.keys(), env.values(), strict=True))
    else:
        pairs = list(env.items())
    strings = []
    for key, value in pairs:
        name = fsencode(key)
        if (not name or b"=" in name[1:]) if posix_spawn else b"=" in name:
            raise ValueError("illegal environment variable name")
        strings.append(b"%b=%b\0" % (name, fsencode(value)))
    return b"".join(strings), len(strings)
