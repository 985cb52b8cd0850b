"""From a description to a launch plan: the checks, the encoding, the one order of operations.

Nothing here makes a system call that changes anything: bad input is refused before there is
anything to undo.
"""

from __future__ import annotations

import os
import sys
from struct import Struct

from . import _core, _ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol, TypeAlias

    from .attributes import SysProcAttr
    from .environment import Env

    class HasFileno(Protocol):
        """A file object, a socket: anything with a descriptor."""

        def fileno(self) -> int:
            """The descriptor."""

    Arg: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    Dir: TypeAlias = Arg
    Environment: TypeAlias = Mapping[str, str] | Mapping[bytes, bytes] | Mapping[Arg, Arg] | Env
    File: TypeAlias = int | HasFileno

_HEADER = Struct("=IIIIIIII")  # struct sk_plan
_MAGIC = 0x31506B73
_ENCODING = sys.getfilesystemencoding()
_ERRORS = sys.getfilesystemencodeerrors()

_POSIX_SPAWN = _core.ENGINES["posix_spawn"]

STANDARD = frozenset((0, 1, 2))

_plain = _ops.descriptors({}, STANDARD) + _ops.PLAIN_SIGNALS

# Packed descriptor operations by their map. The numbers of a program's pipes repeat from one spawn
# to the next. Forgotten as a whole when it grows, so that it cannot become a leak.
_packed_maps: dict[tuple[frozenset[int], tuple[tuple[int, int | None], ...]], bytes] = {}
_MAPS_KEPT = 256


def encode(value: object, item: str) -> bytes:
    """One name as the kernel gets it. `item` is what messages call it."""
    if type(value) is bytes:
        data = value
    else:
        try:
            data = os.fsencode(value)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(f"{item}: str, bytes or PathLike wanted, not {value!r}") from None
        except UnicodeEncodeError as error:
            raise ValueError(f"{item}: cannot be encoded: {error.reason}") from None
    if b"\0" in data:
        # Not the value: what is in arguments and environments may be secret.
        raise ValueError(f"{item}: NUL byte at {data.index(0)}")
    return data


def encode_args(args: Sequence[Arg], item: str = "args") -> bytes:
    """argv as NUL-terminated strings. `item` is what messages call it."""
    if not isinstance(args, (list, tuple)):
        raise TypeError(f"{item}: a list or tuple of arguments wanted, not {args!r}")
    if not args:
        raise ValueError(f"{item}: empty; {item}[0] is the program's name")
    try:
        # The common case, all str, in two steps for the whole list.
        joined = "\0".join(args).encode(_ENCODING, _ERRORS)
        if joined.count(b"\0") == len(args) - 1:
            return joined + b"\0"
    except (TypeError, UnicodeEncodeError):
        pass
    return b"".join([encode(arg, f"{item}[{i}]") + b"\0" for i, arg in enumerate(args)])


def descriptor(value: object, item: str) -> int:
    """A descriptor number, from a number or a file object."""
    if type(value) is int:
        fd = value
    else:
        fileno = getattr(value, "fileno", None)
        if isinstance(value, (bool, int)) or fileno is None:
            raise TypeError(f"{item}: a descriptor or a file object wanted, not {value!r}")
        try:
            fd = fileno()
        except ValueError as error:
            why = "it has no descriptor" if isinstance(error, OSError) else error  # or is closed
            raise ValueError(f"{item}: {value!r}: {why}") from None
        except TypeError:  # a class, say
            raise TypeError(f"{item}: fileno() of {value!r} cannot be called") from None
        if type(fd) is not int:
            raise TypeError(f"{item}: fileno() of {value!r} is {fd!r}")
    if not 0 <= fd < 2**31:
        raise ValueError(f"{item}: {fd} is not a descriptor")
    return fd


def check_engine(engine: str | None, dir: bytes | None, attr: SysProcAttr | None) -> int:
    """The engine's number; ValueError if there is none such or it cannot do what is asked."""
    if engine is not None and not isinstance(engine, str):
        raise TypeError(f"engine: a name wanted, not {engine!r}")
    number = _core.ENGINES.get(engine)
    if number is None:
        names = ", ".join(repr(name) for name in _core.ENGINE_NAMES.values())
        raise ValueError(f"engine: {engine!r} is not one of {names}")
    if number == _POSIX_SPAWN:
        ops = _ops.op(_ops.CHDIR) if dir is not None else b""
        if attr is not None:
            ops += attr._before + attr._nofile + attr._after
        for fields in _ops.OP.iter_unpack(ops):
            if not _core.runs_on(fields[0], number):
                raise ValueError(f"engine: {engine!r} cannot do {_core.stage_name(fields[0])!r}")
    return number


def pack(
    path: bytes,
    argv: bytes,
    argc: int,
    env: tuple[bytes, int],
    dir: bytes | None = None,
    wanted: dict[int, int | None] | None = None,
    kept: frozenset[int] = STANDARD,
    attr: SysProcAttr | None = None,
) -> bytes:
    """The launch plan. The order of its operations is the order in which the child does them.

    wanted: the descriptor map; kept: descriptors that stay as they are where not in the map.
    """
    block, count = env
    operands = b""
    if attr is None and dir is None and not wanted and kept is STANDARD:
        ops = _plain
    else:
        before, after = b"", _ops.PLAIN_SIGNALS
        if attr is not None:
            before, after = attr._before, attr._after
            if attr._nofile:
                if _raises_nofile(attr):
                    before += attr._nofile
                else:
                    # Last among the descriptors: dup2 and friends obey the limit.
                    after = attr._nofile + after
        middle = _descriptors(wanted or {}, kept)
        if dir is not None:
            operands = dir + b"\0"
            size = len(before) + _ops.OP.size + len(middle) + len(after)
            middle = _ops.op(_ops.CHDIR, text=_HEADER.size + size) + middle
        ops = before + middle + after
    strings = _HEADER.size + len(ops) + len(operands)
    return b"".join(
        (
            _HEADER.pack(
                _MAGIC,
                strings + len(path) + 1 + len(argv) + len(block),
                len(ops) // _ops.OP.size,
                strings,
                1,
                argc,
                count,
                0,
            ),
            ops,
            operands,
            path,
            b"\0",
            argv,
            block,
        )
    )


def _raises_nofile(attr: SysProcAttr) -> bool:
    import resource

    from .attributes import RLIM_INFINITY, RLIMITS

    soft = attr.rlimits[RLIMITS["NOFILE"]][0]
    return soft == RLIM_INFINITY or soft > resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _descriptors(wanted: dict[int, int | None], kept: frozenset[int]) -> bytes:
    key = (kept, tuple(wanted.items()))
    packed = _packed_maps.get(key)
    if packed is None:
        if len(_packed_maps) >= _MAPS_KEPT:
            _packed_maps.clear()
        packed = _packed_maps[key] = _ops.descriptors(wanted, kept)
    return packed
