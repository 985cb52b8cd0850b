"""A plan that is not as plan.h says is refused by the core, before there is a child."""

from __future__ import annotations

import errno
import struct

import pytest

from spawnkit import SpawnError, SysProcAttr, _core, _ops, plan
from spawnkit.plan import _HEADER as HEADER

MAGIC, SIZE, OP_COUNT, STRINGS, PATH_COUNT, ARGV_COUNT, ENV_COUNT, EXEC_FD = range(8)
CODE, TEXT, X, Y = 0, 4, 5, 6
MANY = 2**32 - 1

FOR_A_CHILD = plan.pack(b"/bin/true", b"true\0", 1, (b"A=1\0", 1), dir=b"/")
IN_A_NAMESPACE = plan.pack(
    b"/bin/true", b"true\0", 1, (b"", 0), attr=SysProcAttr(namespaces=["pid"])
)
# Of a program that is not there: were it let through, it would not run in our place.
FOR_OUR_PLACE = plan.pack_execute(b"/no/such/program", b"true\0", 1, (b"A=1\0", 1), None)


def header(whole: bytes, field: int, value: int) -> bytes:
    """The plan with another value in one field of its header."""
    fields = list(HEADER.unpack_from(whole))
    fields[field] = value
    return HEADER.pack(*fields) + whole[HEADER.size :]


def operation(whole: bytes, code: int, field: int, value: int) -> bytes:
    """The plan with another value in one field of the first operation of this code."""
    count = HEADER.unpack_from(whole)[OP_COUNT]
    places = [HEADER.size + i * _ops.OP.size for i in range(count)]
    at = next(place for place in places if _ops.OP.unpack_from(whole, place)[0] == code)
    fields = list(_ops.OP.unpack_from(whole, at))
    fields[field] = value
    return whole[:at] + _ops.OP.pack(*fields) + whole[at + _ops.OP.size :]


def with_size(data: bytes) -> bytes:
    """Its header says how long it is."""
    return data[:4] + struct.pack("=I", len(data)) + data[8:]


def malformed(whole: bytes) -> dict[str, bytes]:
    fields = HEADER.unpack_from(whole)
    return {
        "nothing": b"",
        "half a header": whole[: HEADER.size // 2],
        "a header and no strings": with_size(whole[: HEADER.size + 1]),
        "another version's mark": header(whole, MAGIC, 0x32506B73),
        "longer than it is": header(whole, SIZE, len(whole) + 1),
        "cut off": whole[:-1],
        "without the last NUL": whole[:-1] + b"x",
        "more operations than there is room for": header(whole, OP_COUNT, MANY),
        "operations that reach into the strings": header(whole, OP_COUNT, fields[OP_COUNT] + 1),
        "strings inside the header": header(whole, STRINGS, 0),
        "strings behind the end": header(whole, STRINGS, len(whole)),
        "no path": header(whole, PATH_COUNT, 0),
        "no argv": header(whole, ARGV_COUNT, 0),
        "more arguments than strings": header(whole, ARGV_COUNT, 2**31),
        "more environment than strings": header(whole, ENV_COUNT, MANY),
        "a program descriptor below -1": header(whole, EXEC_FD, -2),
        "no operation": operation(whole, _ops.SIG_DEFAULT, CODE, 0),
        "an operation that is not in the table": operation(whole, _ops.SIG_DEFAULT, CODE, 0xFFFF),
        "no signal mask": operation(whole, _ops.SIG_MASK, CODE, _ops.SIG_IGNORE),
        "two signal masks": operation(whole, _ops.SIG_DEFAULT, CODE, _ops.SIG_MASK),
    }


CHILDS = {
    **malformed(FOR_A_CHILD),
    "more paths than strings": header(FOR_A_CHILD, PATH_COUNT, 2),
    "a directory in the header": operation(FOR_A_CHILD, _ops.CHDIR, TEXT, 0),
    "a directory behind the end": operation(FOR_A_CHILD, _ops.CHDIR, TEXT, len(FOR_A_CHILD)),
    "a flag of clone that is no namespace": operation(IN_A_NAMESPACE, _ops.NAMESPACES, X, 0x10000),
    "a flag that clone has not": operation(IN_A_NAMESPACE, _ops.NAMESPACES, X, 2**63),
    "a signal at the child's end": operation(IN_A_NAMESPACE, _ops.NAMESPACES, X, 0x20000009),
    # It closes from 3 to the end.
    "a range from beyond the numbers": operation(FOR_A_CHILD, _ops.CLOSE_RANGE, X, 2**32 + 3),
    "a range to beyond the numbers": operation(FOR_A_CHILD, _ops.CLOSE_RANGE, Y, 2**32),
    "a range beyond them": operation(
        operation(FOR_A_CHILD, _ops.CLOSE_RANGE, X, 2**32), _ops.CLOSE_RANGE, Y, 2**32 + 5
    ),
    "a range that ends before it begins": operation(FOR_A_CHILD, _ops.CLOSE_RANGE, Y, 2),
    "namespaces twice": operation(IN_A_NAMESPACE, _ops.SIG_DEFAULT, CODE, _ops.NAMESPACES),
}
OURS = {
    **malformed(FOR_OUR_PLACE),
    # What could not be undone if the program is not there; and a second candidate.
    "a change of directory": FOR_A_CHILD,
    "two paths": header(header(FOR_OUR_PLACE, PATH_COUNT, 2), ENV_COUNT, 0),
}


def test_the_plan_of_a_child_itself_runs() -> None:
    child = _core.new_child()
    assert _core.spawn(child, FOR_A_CHILD, _core.ENGINES[None], 0)
    assert _core.settle(child, FOR_A_CHILD)
    assert _core.wait(child, _core.FOREVER) == _core.OK
    assert child.status == 0


@pytest.mark.parametrize("data", CHILDS.values(), ids=CHILDS.keys())
def test_it_is_refused(data: bytes) -> None:
    child = _core.new_child()
    with pytest.raises(SpawnError) as refused:
        _core.spawn(child, data, _core.ENGINES[None], 0)
    assert (refused.value.errno, refused.value.stage) == (errno.EINVAL, "plan")
    assert child.pid == 0


def outcome(data: bytes) -> tuple[int | None, str | None]:
    error = _core.execute(data)
    assert isinstance(error, SpawnError)
    return error.errno, error.stage


def test_the_plan_for_our_place_itself_is_let_through() -> None:
    assert outcome(FOR_OUR_PLACE) == (errno.ENOENT, "exec")


@pytest.mark.parametrize("data", OURS.values(), ids=OURS.keys())
def test_it_does_not_take_our_place(data: bytes) -> None:
    assert outcome(data) == (errno.EINVAL, "plan")
