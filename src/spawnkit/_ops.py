"""Operations of a launch plan as bytes. The table itself is in csrc/plan.h."""

from __future__ import annotations

from struct import Struct

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMESPACES = _core.operation("namespaces")
PDEATHSIG = _core.operation("pdeathsig")
CGROUP = _core.operation("cgroup")
RLIMIT = _core.operation("rlimit")
UMASK = _core.operation("umask")
SETSID = _core.operation("setsid")
SETPGID = _core.operation("setpgid")
CHDIR = _core.operation("chdir")
DUP = _core.operation("dup")
PARK = _core.operation("park")
KEEP = _core.operation("keep")
CLOSE = _core.operation("close")
CLOSE_RANGE = _core.operation("close_range")
SIG_DEFAULT = _core.operation("sig_default")
SIG_IGNORE = _core.operation("sig_ignore")
EXECVP = _core.operation("execvp")
SIG_MASK = _core.operation("sig_mask")

OP = Struct("=HHiiIQQ")  # struct sk_op: code, reserved, a, b, text, x, y
SIGNALS = 64  # the kernel's count
LAST_FD = 2**32 - 1  # close_range(2): to the end

# What Python ignores for its own sake and no other program expects to start with.
PYTHON_IGNORES = frozenset((13, 25))  # SIGPIPE, SIGXFSZ on x86-64 and aarch64


def op(code: int, *, a: int = 0, b: int = 0, text: int = 0, x: int = 0, y: int = 0) -> bytes:
    """One operation."""
    return OP.pack(code, 0, a, b, text, x, y)


def bits(signals: Iterable[int]) -> int:
    """A kernel signal set: bit n - 1 is signal n."""
    return sum(1 << (number - 1) for number in signals)


def signals(default: frozenset[int], ignore: frozenset[int], mask: frozenset[int]) -> bytes:
    """Dispositions, then the mask, which lets in what was held back until now."""
    packed = op(SIG_DEFAULT, x=bits((default | PYTHON_IGNORES) - ignore))
    if ignore:
        packed += op(SIG_IGNORE, x=bits(ignore))
    return packed + op(SIG_MASK, x=bits(mask))


PLAIN_SIGNALS = signals(frozenset(), frozenset(), frozenset())


def descriptors(
    wanted: dict[int, int | None], kept: frozenset[int] | None, until_exec: int | None = None
) -> bytes:
    """Moves that make `wanted` true, then the closing of all that is neither wanted nor kept.

    kept: None: nothing is closed; what is not close-on-exec stays. until_exec: a target that the
    program itself is not to have.
    """
    packed = []
    for source, target, cloexec in _core.descriptor_moves(wanted, until_exec):
        if source < 0:
            packed.append(op(CLOSE, a=target))
        elif source == target:
            packed.append(op(KEEP, a=target))
        elif target not in wanted:
            packed.append(op(PARK, a=source, b=target, x=cloexec))
        else:
            packed.append(op(DUP, a=source, b=target, x=cloexec))
    moves = b"".join(packed)
    return moves if kept is None else moves + closing(kept | wanted.keys())


def closing(kept: Iterable[int]) -> bytes:
    """The closing of all but these."""
    packed = []
    first = 0
    for fd in sorted(kept):
        if fd > first:
            packed.append(op(CLOSE_RANGE, x=first, y=fd - 1))
        first = fd + 1
    packed.append(op(CLOSE_RANGE, x=first, y=LAST_FD))
    return b"".join(packed)
