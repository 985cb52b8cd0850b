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
    # Operations; or one that has a text: its code, the text, its x.
    Piece: TypeAlias = bytes | tuple[int, bytes, int]

_HEADER = Struct("=IIIIIIIi")  # struct sk_plan
_MAGIC = 0x31506B73
_ENCODING = sys.getfilesystemencoding()
_ERRORS = sys.getfilesystemencodeerrors()

_POSIX_SPAWN = _core.ENGINES["posix_spawn"]

STANDARD = frozenset((0, 1, 2))

_plain = _ops.descriptors({}, STANDARD) + _ops.PLAIN_SIGNALS

# Packed operations by their descriptor map: of a child that needs nothing else, and of the map
# alone. The numbers of a program's pipes repeat from one spawn to the next. Forgotten as a whole
# when they grow, so that they cannot become a leak.
_packed_plain: dict[tuple[tuple[int, int | None], ...], bytes] = {}
_packed_maps: dict[
    tuple[frozenset[int], tuple[tuple[int, int | None], ...], int | None], bytes
] = {}
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
    joined = joined_text(args)
    if joined is not None:
        return joined
    return b"".join([encode(arg, f"{item}[{i}]") + b"\0" for i, arg in enumerate(args)])


def joined_text(args: Sequence[object]) -> bytes | None:
    """The common case, all str, in two steps for the whole list; None if it is another one."""
    try:
        joined = "\0".join(args).encode(_ENCODING, _ERRORS)  # type: ignore[arg-type]
    except (TypeError, UnicodeEncodeError):
        return None
    return joined + b"\0" if joined.count(b"\0") == len(args) - 1 else None


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


def is_script(fd: int) -> bool:
    """Does the file begin with "#!"? One that cannot be read (O_PATH, say) is no script.

    The interpreter of a script opens it by its number, /dev/fd/N, so that the descriptor has to
    survive exec: fexecve(3), "BUGS".
    """
    try:
        return os.pread(fd, 2, 0) == b"#!"
    except OSError:
        return False


def check_engine(
    engine: str | None,
    dir: bytes | None,
    attr: SysProcAttr | None,
    exec_fd: int | None = None,
    cgroups: bool = False,
) -> int:
    """The engine's number; ValueError if there is none such or it cannot do what is asked."""
    if engine is not None and not isinstance(engine, str):
        raise TypeError(f"engine: a name wanted, not {engine!r}")
    number = _core.ENGINES.get(engine)
    if number is None:
        names = ", ".join(repr(name) for name in _core.ENGINE_NAMES.values())
        raise ValueError(f"engine: {engine!r} is not one of {names}")
    if number == _POSIX_SPAWN:
        if exec_fd is not None:
            raise ValueError(f"engine: {engine!r} cannot do 'exec_fd'")
        ops = _ops.op(_ops.CGROUP) * cgroups
        if dir is not None:
            ops += _ops.op(_ops.CHDIR)
        if attr is not None:
            ops += _first(attr) + attr._before + attr._nofile + attr._after
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
    exec_fd: int | None = None,
    exec_keep: bool = False,
    cgroups: Sequence[tuple[bytes, bool]] = (),
) -> bytes:
    """The launch plan. The order of its operations is the order in which the child does them.

    wanted: the descriptor map; kept: descriptors that stay as they are where not in the map.
    exec_fd: a descriptor of ours: the program itself; `path` then is a name for messages.
    exec_keep: the program keeps it, as a script must (`is_script`).
    cgroups: directories, each with whether it is of version 2; the child belongs to all of them.
    """
    operands = b""
    if attr is None and dir is None and kept is STANDARD and exec_fd is None and not cgroups:
        target = -1
        ops = _with(wanted) if wanted else _plain
    else:
        first, before, after = b"", b"", _ops.PLAIN_SIGNALS
        if attr is not None:
            first, before, after = _first(attr), attr._before, attr._after
            if attr._nofile:
                if _raises_nofile(attr):
                    before += attr._nofile
                else:
                    # Last among the descriptors: dup2 and friends obey the limit.
                    after = attr._nofile + after
        target, until_exec = -1, None
        if exec_fd is not None:
            # The map may overwrite the number, and what is not in the map is closed.
            target = _free_target(wanted or {}, kept, exec_fd)
            until_exec = None if exec_keep else target
            wanted = {**(wanted or {}), target: exec_fd}
        pieces: list[Piece] = [first]
        pieces += [(_ops.CGROUP, path, unified) for path, unified in cgroups]
        pieces.append(before)
        if dir is not None:
            pieces.append((_ops.CHDIR, dir, 0))
        pieces += (_descriptors(wanted or {}, kept, until_exec), after)
        ops, operands = lay_out(pieces)
    return assemble(path + b"\0", 1, argv, argc, env, ops, operands, target)


def lay_out(pieces: list[Piece]) -> tuple[bytes, bytes]:
    """The operations, and the texts that come after them: only here is known where that is."""
    at = _HEADER.size + sum([_ops.OP.size if type(p) is tuple else len(p) for p in pieces])
    packed, texts = [], []
    for piece in pieces:
        if isinstance(piece, tuple):
            code, text, x = piece
            packed.append(_ops.op(code, text=at, x=x))
            texts.append(text + b"\0")
            at += len(text) + 1
        else:
            packed.append(piece)
    return b"".join(packed), b"".join(texts)


def pack_execute(
    path: bytes, argv: bytes, argc: int, env: tuple[bytes, int], exec_fd: int | None
) -> bytes:
    """The plan of a program that takes the place of the calling one."""
    ops = _ops.PLAIN_SIGNALS
    if exec_fd is not None and is_script(exec_fd):
        ops = _ops.op(_ops.KEEP, a=exec_fd) + ops
    fd = -1 if exec_fd is None else exec_fd
    return assemble(path + b"\0", 1, argv, argc, env, ops, b"", fd)


def assemble(
    paths: bytes,
    path_count: int,
    argv: bytes,
    argc: int,
    env: tuple[bytes, int],
    ops: bytes,
    operands: bytes,
    exec_fd: int = -1,
) -> bytes:
    """The parts of a plan in one piece. paths: the candidates, each with its NUL."""
    block, count = env
    strings = _HEADER.size + len(ops) + len(operands)
    return b"".join(
        (
            _HEADER.pack(
                _MAGIC,
                strings + len(paths) + len(argv) + len(block),
                len(ops) // _ops.OP.size,
                strings,
                path_count,
                argc,
                count,
                exec_fd,
            ),
            ops,
            operands,
            paths,
            argv,
            block,
        )
    )


def _first(attr: SysProcAttr) -> bytes:
    """Namespaces, which clone makes; and PDEATHSIG, first of all that the child does, so that one
    whose parent is killed during its setup dies too.

    A change of credentials clears the signal (prctl(2)): an operation that makes one has to be
    followed by it once more. It is packed here, and not once with the rest: an attr may live across
    a fork, and the parent is another process then.
    """
    if not attr.pdeathsig:
        return attr._namespaces
    return attr._namespaces + _ops.op(_ops.PDEATHSIG, a=attr.pdeathsig, b=os.getpid())


def _raises_nofile(attr: SysProcAttr) -> bool:
    import resource

    from .attributes import RLIM_INFINITY, RLIMITS

    soft = attr.rlimits[RLIMITS["NOFILE"]][0]
    return soft == RLIM_INFINITY or soft > resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _free_target(wanted: dict[int, int | None], kept: frozenset[int], source: int) -> int:
    """The lowest number above 2 that the child does not have; not `source` itself.

    A dup onto itself would be no copy that can be close-on-exec.
    """
    target = 3
    while target in wanted or target in kept or target == source:
        target += 1
    return target


def _with(wanted: dict[int, int | None]) -> bytes:
    """All operations of a child that has these descriptors and the standard ones."""
    key = tuple(wanted.items())
    packed = _packed_plain.get(key)
    if packed is None:
        if len(_packed_plain) >= _MAPS_KEPT:
            _packed_plain.clear()
        packed = _packed_plain[key] = _ops.descriptors(wanted, STANDARD) + _ops.PLAIN_SIGNALS
    return packed


def _descriptors(
    wanted: dict[int, int | None], kept: frozenset[int], until_exec: int | None
) -> bytes:
    key = (kept, tuple(wanted.items()) if wanted else (), until_exec)
    packed = _packed_maps.get(key)
    if packed is None:
        if len(_packed_maps) >= _MAPS_KEPT:
            _packed_maps.clear()
        packed = _packed_maps[key] = _ops.descriptors(wanted, kept, until_exec)
    return packed
