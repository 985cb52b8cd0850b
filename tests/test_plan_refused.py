"""A plan that is not as plan.h says is refused by the core, before there is a child."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest

from spawnkit import SpawnError, _core, _ops, plan

HEADER = struct.Struct("=IIIIIIIi")
MAGIC, SIZE, OP_COUNT, STRINGS, PATH_COUNT, ARGV_COUNT, ENV_COUNT, EXEC_FD = range(8)
CODE, TEXT = 0, 4

WHOLE = plan.pack(b"/bin/true", b"true\0", 1, (b"A=1\0", 1), dir=b"/")


def header(field: int, change: Callable[[int], int]) -> bytes:
    fields = list(HEADER.unpack_from(WHOLE))
    fields[field] = change(fields[field])
    return HEADER.pack(*fields) + WHOLE[HEADER.size :]


def operation(code: int, field: int, value: int) -> bytes:
    """The first operation of this code with another value in one field."""
    count = HEADER.unpack_from(WHOLE)[OP_COUNT]
    places = [HEADER.size + i * _ops.OP.size for i in range(count)]
    at = next(place for place in places if _ops.OP.unpack_from(WHOLE, place)[0] == code)
    fields = list(_ops.OP.unpack_from(WHOLE, at))
    fields[field] = value
    return WHOLE[:at] + _ops.OP.pack(*fields) + WHOLE[at + _ops.OP.size :]


def with_size(data: bytes) -> bytes:
    """Its header says how long it is."""
    return data[:4] + struct.pack("=I", len(data)) + data[8:]


MALFORMED = {
    "nothing": b"",
    "half a header": WHOLE[: HEADER.size // 2],
    "a header and no strings": with_size(WHOLE[: HEADER.size + 1]),
    "another version's mark": header(MAGIC, lambda _: 0x32506B73),
    "longer than it is": header(SIZE, lambda size: size + 1),
    "cut off": WHOLE[:-1],
    "without the last NUL": WHOLE[:-1] + b"x",
    "more operations than there is room for": header(OP_COUNT, lambda _: 2**32 - 1),
    "operations that reach into the strings": header(OP_COUNT, lambda count: count + 1),
    "strings inside the header": header(STRINGS, lambda _: 0),
    "strings behind the end": header(STRINGS, lambda _: len(WHOLE)),
    "no path": header(PATH_COUNT, lambda _: 0),
    "no argv": header(ARGV_COUNT, lambda _: 0),
    "more paths than strings": header(PATH_COUNT, lambda count: count + 1),
    "more arguments than strings": header(ARGV_COUNT, lambda _: 2**31),
    "more environment than strings": header(ENV_COUNT, lambda _: 2**32 - 1),
    "a program descriptor below -1": header(EXEC_FD, lambda _: -2),
    "no operation": operation(_ops.CHDIR, CODE, 0),
    "an operation that is not in the table": operation(_ops.CHDIR, CODE, 0xFFFF),
    "a directory in the header": operation(_ops.CHDIR, TEXT, 0),
    "a directory behind the end": operation(_ops.CHDIR, TEXT, len(WHOLE)),
    "no signal mask": operation(_ops.SIG_MASK, CODE, _ops.SETSID),
    "two signal masks": operation(_ops.SIG_DEFAULT, CODE, _ops.SIG_MASK),
}


def test_the_plan_itself_runs() -> None:
    child = _core.new_child()
    assert _core.spawn(child, WHOLE, _core.ENGINES[None], 0)
    assert _core.settle(child, WHOLE)
    assert _core.wait(child, _core.FOREVER) == _core.OK
    assert child.status == 0


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_it_is_refused(data: bytes) -> None:
    child = _core.new_child()
    with pytest.raises(SpawnError) as refused:
        _core.spawn(child, data, _core.ENGINES[None], 0)
    assert (refused.value.errno, refused.value.stage) == (errno.EINVAL, "plan")
    assert child.pid == 0


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_nor_does_it_take_our_place(data: bytes) -> None:
    error = _core.execute(data)
    assert (error.errno, getattr(error, "stage", None)) == (errno.EINVAL, "plan")


def test_what_could_not_be_undone_does_not_take_our_place() -> None:
    """A change of directory, or two candidates: execute could not go back from the first."""
    error = _core.execute(WHOLE)
    assert (error.errno, getattr(error, "stage", None)) == (errno.EINVAL, "plan")
    ops = _ops.PLAIN_SIGNALS
    strings = HEADER.size + len(ops)
    data = b"/no/such\0/no/such\0true\0"
    count = len(ops) // _ops.OP.size
    mark = HEADER.unpack_from(WHOLE)[MAGIC]
    fields = mark, strings + len(data), count, strings, 2, 1, 0, -1
    error = _core.execute(HEADER.pack(*fields) + ops + data)
    assert (error.errno, getattr(error, "stage", None)) == (errno.EINVAL, "plan")
