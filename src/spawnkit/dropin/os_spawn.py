"""os.posix_spawn and os.posix_spawnp through our engine; the caller waits by the number, as ever.

What a plan cannot say is left to the standard function, and counted: OPEN among the file actions,
CLOSEFROM before others, a scheduler, and ids to be reset that differ. Bad parameters too, but
uncounted: its messages are known. Which ones are bad differs from version to version: whatever is
not of the plainest type is for the standard function to take or to refuse.
"""

from __future__ import annotations

import operator
import os
import signal
import sys

from .. import _core, _ops
from ..children import end, spawn_and_settle
from ..errors import SpawnError
from ..plan import assemble
from . import counts, planning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["FUNCTIONS"]

_SPAWN, _SPAWNP = os.posix_spawn, os.posix_spawnp

_KNOWN = frozenset(
    (
        "file_actions",
        "setpgroup",
        "resetids",
        "setsid",
        "setsigmask",
        "setsigdef",
        "scheduler",
    )
)
# posix_spawnp(3) without a PATH: confstr(_CS_PATH).
_PATH = b"/bin:/usr/bin"


class _LeftError(Exception):
    """For the standard function. Its argument: why, as `stats` tells it; "": a mistake."""


def _posix_spawn(path: Any, argv: Any, env: Any, /, **options: Any) -> int:
    return _start(_SPAWN, path, argv, env, options)


def _posix_spawnp(path: Any, argv: Any, env: Any, /, **options: Any) -> int:
    return _start(_SPAWNP, path, argv, env, options)


def _named(function: Callable[..., int], standard: Any) -> Callable[..., int]:
    function.__name__ = function.__qualname__ = standard.__name__
    function.__module__, function.__doc__ = standard.__module__, standard.__doc__
    return function


FUNCTIONS: dict[str, Any] = {
    "posix_spawn": _named(_posix_spawn, _SPAWN),
    "posix_spawnp": _named(_posix_spawnp, _SPAWNP),
}


def _start(standard: Any, path: Any, argv: Any, env: Any, options: dict[str, Any]) -> int:
    try:
        plan = _pack(standard is _SPAWNP, path, argv, env, options)
    except _LeftError as left:
        if left.args[0]:
            counts.note(f"{standard.__name__}: {left}")
        pid: int = standard(path, argv, env, **options)
        return pid
    except (TypeError, ValueError, OverflowError, AttributeError):
        pid = standard(path, argv, env, **options)
        return pid  # noqa: RET504 - its type
    sys.audit("os.posix_spawn", path, argv, env)
    sys.audit("spawnkit.spawn", path, argv, None, env)
    counts.note()
    child = _core.new_child()
    try:
        spawn_and_settle(child, plan, _core.ENGINES[None])
        pid = child.pid
        _core.drop(child)
    except SpawnError as error:
        end(child)
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), path) from error
    except BaseException:
        end(child)
        raise
    return pid


def _pack(search: bool, path: Any, argv: Any, env: Any, options: dict[str, Any]) -> bytes:
    if not _KNOWN.issuperset(options) or not isinstance(argv, (list, tuple)) or not argv:
        raise _LeftError("")
    # Both of us look through these. An iterator would be empty the second time:
    #   1. we take a DUP2 from it, and an OPEN, which is not for us;
    #   2. the standard function finds no actions: the program's output goes elsewhere.
    for name in "file_actions", "setsigmask", "setsigdef":
        given = options.get(name)
        if given is not None and iter(given) is given:
            options[name] = list(given)
    if any(value is None for name, value in options.items() if name != "file_actions"):
        raise _LeftError("")
    if env is None and sys.version_info < (3, 13):
        raise _LeftError("")
    strings = [planning.fsencode(arg) for arg in argv]
    if not strings[0]:
        raise _LeftError("")
    paths, count = _candidates(planning.fsencode(path), search)
    ops = _operations(**options)
    if count > 1:
        ops = _ops.op(_ops.EXECVP) + ops
    return assemble(
        paths,
        count,
        b"".join([string + b"\0" for string in strings]),
        len(strings),
        _core.environment() if env is None else planning.encode_env(env, posix_spawn=True),
        ops,
        b"",
    )


def _candidates(program: bytes, search: bool) -> tuple[bytes, int]:
    """The paths that are tried, each with its NUL, and how many they are."""
    if not search or b"/" in program or not program:
        return program + b"\0", 1
    dirs = os.environb.get(b"PATH", _PATH).split(b":")
    paths = [os.path.join(dir, program) + b"\0" for dir in dirs]
    return b"".join(paths), len(paths)


def _operations(
    file_actions: Any = None,
    setpgroup: Any = None,
    resetids: Any = False,
    setsid: Any = False,
    setsigmask: Any = None,
    setsigdef: Any = (),
    scheduler: Any = None,
) -> bytes:
    if scheduler is not None:
        raise _LeftError("scheduler")
    if not all(isinstance(flag, int) and flag in (0, 1) for flag in (resetids, setsid)):
        raise _LeftError("")
    if resetids and (os.getuid() != os.geteuid() or os.getgid() != os.getegid()):
        raise _LeftError("resetids")
    packed = []
    if setsid:
        packed.append(_ops.op(_ops.SETSID))
    if setpgroup is not None:
        if not _is_number(setpgroup):
            raise _LeftError("")
        packed.append(_ops.op(_ops.SETPGID, a=setpgroup))
    packed.append(_descriptors(() if file_actions is None else file_actions))
    default = _set(setsigdef)
    if default:
        packed.append(_ops.op(_ops.SIG_DEFAULT, x=default))
    mask = _core.signal_mask() if setsigmask is None else _set(setsigmask)
    packed.append(_ops.op(_ops.SIG_MASK, x=mask))
    return b"".join(packed)


def _set(signals: Any) -> int:
    numbers = {operator.index(number) for number in signals}
    if not numbers <= signal.valid_signals():
        raise _LeftError("")
    return _ops.bits(numbers)


def _is_number(value: Any, end: int = 2**31) -> bool:
    return type(value) is int and 0 <= value < end


def _descriptors(actions: Any) -> bytes:
    """One after the other they amount to a map: each target has what one of our descriptors was.

    An action that would fail in the middle is left to the standard function; so is one that names a
    descriptor beyond RLIMIT_NOFILE, which the C library refuses, be it to close it.
    """
    wanted: dict[int, int | None] = {}
    rest = b""
    end = os.sysconf("SC_OPEN_MAX") if actions else 0
    for index, action in enumerate(actions):
        if not isinstance(action, tuple):
            raise _LeftError("")
        code, *numbers = action
        if type(code) is not int or not all(_is_number(number, end) for number in numbers[:1]):
            raise _LeftError("")
        if code == os.POSIX_SPAWN_CLOSE:
            (fd,) = numbers
            wanted[fd] = None
        elif code == os.POSIX_SPAWN_DUP2:
            source, target = numbers
            if not _is_number(target, end):
                raise _LeftError("")
            origin = wanted.get(source, source)
            if origin is None:
                raise _LeftError("")
            wanted[target] = origin
        elif code == getattr(os, "POSIX_SPAWN_CLOSEFROM", None):
            (first,) = numbers
            if index != len(actions) - 1:
                raise _LeftError("file_actions")
            wanted = {fd: source for fd, source in wanted.items() if fd < first}
            rest = _ops.op(_ops.CLOSE_RANGE, x=first, y=_ops.LAST_FD)
        elif code == os.POSIX_SPAWN_OPEN:
            raise _LeftError("file_actions")
        else:
            raise _LeftError("")
    return _ops.descriptors(wanted, None) + rest if wanted or rest else b""
