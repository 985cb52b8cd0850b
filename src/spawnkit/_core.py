"""The border with C: the only module that touches `ffi` and `lib`.

It packs what C wants, calls, and turns results into values and exceptions. A child's handle is a
`struct sk_child` allocated here *before* the spawn, and C writes pid and pidfd into it: an
exception at any point of the Python code (Ctrl-C, say) finds in it what there is to clean up.
"""

from __future__ import annotations

import os
import sys
from time import monotonic_ns

from ._native import ffi, lib
from .errors import StatusLost, spawn_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeAlias

    Buffer: TypeAlias = bytes | bytearray | memoryview

    Child: TypeAlias = Any  # struct sk_child *
    Pump: TypeAlias = Any  # struct sk_pump *
    Turn: TypeAlias = Any  # struct sk_turn *
    Pidfd: TypeAlias = Any  # struct sk_pidfd *

OK: int = lib.SK_OK
AGAIN: int = lib.SK_AGAIN
TIMEOUT: int = lib.SK_TIMEOUT
FAILED: int = lib.SK_FAILED
DIED: int = lib.SK_DIED
LOST: int = lib.SK_LOST
STALE: int = lib.SK_STALE
DONE: int = lib.SK_DONE
LOCKED: int = lib.SK_LOCKED
OWN_LOCK: int = lib.SK_OWN_LOCK

PIDFD: int = lib.SK_PIDFD
PIDFD_IF_NEEDED: int = lib.SK_PIDFD_IF_NEEDED

ENGINES: dict[str | None, int] = {
    None: lib.SK_CHOOSE,
    "vfork": lib.SK_VFORK,
    "vfork-waiting": lib.SK_VFORK_WAITING,
    "fork": lib.SK_FORK,
    "posix_spawn": lib.SK_POSIX_SPAWN,
}
ENGINE_NAMES = {number: name for name, number in ENGINES.items() if name is not None}

_ENCODING = sys.getfilesystemencoding()

FOREVER = -1
NOW = 0

_spawn, _settle, _wait = lib.sk_spawn, lib.sk_settle, lib.sk_wait
_pump_run = lib.sk_pump_run
_new = ffi.new
_CHILD, _PUMP = ffi.typeof("sk_child *"), ffi.typeof("sk_pump *")
_NO_CHILD = bytes(ffi.sizeof("sk_child"))


def new_child() -> Child:
    """A handle for one child, not started."""
    return _new(_CHILD)


def renew_child(child: Child) -> None:
    """As `new_child`, in the place of one whose program never ran."""
    ffi.memmove(child, _NO_CHILD, len(_NO_CHILD))


def deadline_after(timeout: float | None) -> int:
    """`timeout` seconds from now as C wants it. None and infinity: never. Below zero: now.

    Raises TypeError for what is no number and ValueError for NaN.
    """
    if timeout is None:
        return FOREVER
    if type(timeout) is bool or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout: seconds or None wanted, not {timeout!r}")
    if timeout != timeout:
        raise ValueError("timeout: not a number")
    if timeout <= 0:
        return NOW
    if timeout > 1e9:  # thirty years
        return FOREVER
    return monotonic_ns() + int(timeout * 1_000_000_000)


# ---- starting -----------------------------------------------------------------------------------


def spawn(child: Child, plan: bytes, engine: int, flags: int) -> bool:
    """Starts the plan's program; raises SpawnError when no child could be made.

    False: not yet, there are writers; `spawn_in_turn` waits for them.
    """
    result = _spawn(child, plan, len(plan), engine, flags)
    if result:
        if result == LOCKED:
            return False
        raise failure(child, plan, -result)
    return True


def spawn_in_turn(child: Child, plan: bytes, engine: int, flags: int) -> None:
    """Waits until no writer is left that was there before us, and starts the plan's program."""
    turn = new_turn()
    try:
        result = AGAIN
        while result == AGAIN:
            result = lib.sk_spawn_in_turn(child, plan, len(plan), engine, flags, turn, FOREVER)
    finally:
        end_turn(turn)
    if result == OWN_LOCK:
        raise RuntimeError("spawn inside write_lock() of the same thread: it would wait for itself")
    if result:
        raise failure(child, plan, -result)


def execute(plan: bytes) -> OSError:
    """Replaces this process by the plan's program; returns why it could not."""
    report = new_child()
    result = lib.sk_execute(report, plan, len(plan))
    return failure(report, plan, -result)


def settle(child: Child, plan: bytes) -> None:
    """Waits until the program runs; raises SpawnError when it cannot."""
    result = _settle(child, FOREVER)
    while result == AGAIN:
        result = _settle(child, FOREVER)
    if result:
        raise_for(result, child, plan)


def setup_stage(child: Child) -> str | None:
    """The step of its setup that a child is in; None when its program runs or has run."""
    return stage_name(child.stage) if _settle(child, NOW) == TIMEOUT else None


def stage_name(stage: int) -> str:
    """What messages call a stage."""
    name: bytes = ffi.string(lib.sk_stage_name(stage))
    return name.decode("ascii")


def failure(child: Child, plan: bytes, errno: int | None, signal: int | None = None) -> OSError:
    """The SpawnError for a child that never ran its program."""
    from .plan import describe

    stage = child.stage
    item, filename = describe(plan, stage, child.index)
    return spawn_error(errno, stage_name(stage), item, filename, signal)


def raise_for(result: int, child: Child, plan: bytes | None) -> NoReturn:
    """Raises what a result other than OK, AGAIN and TIMEOUT stands for."""
    if result == FAILED and plan is not None:
        raise failure(child, plan, child.err)
    if result == DIED and plan is not None:
        signal = child.status & 0x7F if child.status_known else 0
        raise failure(child, plan, None, signal or None)
    if result == LOST:
        raise StatusLost(
            f"process {child.pid}: its status is lost; someone else waited for it, or SIGCHLD is "
            "ignored"
        )
    if result == STALE:
        raise RuntimeError(
            f"process {child.pid} is the child of the process this one was forked from"
        )
    if result < 0:
        raise OSError(-result, f"{os.strerror(-result)} (process {child.pid})")
    raise SystemError(f"spawnkit: unexpected result {result}")


# ---- waiting ------------------------------------------------------------------------------------


def wait(child: Child, deadline: int) -> int:
    """Waits for the end: OK, TIMEOUT, or a result for `raise_for`.

    C comes back now and then, so that the interpreter runs its signal handlers in this loop.
    """
    result: int = _wait(child, deadline)
    while result == AGAIN:
        result = _wait(child, deadline)
    return result


def signal(child: Child, number: int) -> int:
    """Signals the process: OK, DONE, STALE or a negative errno."""
    result: int = lib.sk_signal(child, number)
    return result


def attach(child: Child, pid: int) -> int:
    """Fills a handle for a process found by its pid: 0 or a negative errno."""
    result: int = lib.sk_attach(child, pid)
    return result


def drop(child: Child) -> None:
    """Closes what a handle holds; the process itself is left alone."""
    lib.sk_drop(child)


def rusage(child: Child) -> tuple[int, ...]:
    """The 18 words of struct rusage as the kernel wrote them."""
    return tuple(ffi.unpack(child.rusage, 18))


def new_pidfd() -> Pidfd:
    """Room for a pidfd; what is in it is closed with it."""
    return ffi.gc(ffi.new("sk_pidfd *"), lib.sk_close_pidfd)


def dup_pidfd(child: Child, into: Pidfd) -> int:
    """Duplicates the pidfd of a handle: OK, DONE, STALE or a negative errno."""
    result: int = lib.sk_dup_pidfd(child, into)
    return result


# The function of C itself: between a call of ours and the one in it Ctrl-C could strike.
close_pidfd = lib.sk_close_pidfd


# ---- the write lock -----------------------------------------------------------------------------


def new_turn() -> Turn:
    """A turn at the write lock, not in use. If it is dropped it ends."""
    return ffi.gc(ffi.new("sk_turn *"), lib.sk_turn_end)


def write_lock(turn: Turn) -> int:
    """Becomes a writer: OK or a negative errno."""
    result: int = lib.sk_write_lock(turn, FOREVER)
    while result == AGAIN:
        result = lib.sk_write_lock(turn, FOREVER)
    return result


end_turn = lib.sk_turn_end  # itself, as close_pidfd


# ---- streams ------------------------------------------------------------------------------------


def new_pump() -> Pump:
    """Streams of one child, not opened."""
    return _new(_PUMP)


def open_pump(pump: Pump, which: int) -> dict[int, int | None]:
    """Makes pipes (1: stdin, 2: stdout, 4: stderr) and opens /dev/null (8); SpawnError.

    Returns the child's ends by the numbers they are to have.
    """
    result = lib.sk_pump_open(pump, which)
    if result:
        raise spawn_error(-result, "pipe", "pipe or /dev/null" if which & 8 else "pipe")
    return {fd: end for fd, end in enumerate(pump.theirs) if end >= 0}


def feed_pump(pump: Pump, data: Buffer) -> object:
    """Gives the pump its input. The returned object keeps the data in place: hold on to it."""
    view = ffi.from_buffer(data)
    pump.input = view
    pump.input_length = len(view)
    return view


def pump(pump: Pump, child: Child, deadline: int) -> int:
    """Feeds and gathers until the end, then waits: results as from `wait`."""
    result: int = _pump_run(pump, child, deadline)
    while result == AGAIN:
        result = _pump_run(pump, child, deadline)
    return result


def gathered(pump: Pump, stream: int) -> bytes:
    """What came on stdout (1) or stderr (2)."""
    buffer = pump.output[stream - 1]
    length = buffer.length
    return ffi.buffer(buffer.data, length)[:] if length else b""


def drain_pump(pump: Pump) -> None:
    """Takes what is in the pipes now."""
    lib.sk_pump_drain(pump)


def close_pump(pump: Pump) -> None:
    """Closes and frees everything; harmless when repeated."""
    lib.sk_pump_close(pump)


# ---- planning -----------------------------------------------------------------------------------


def operation(name: str) -> int:
    """An operation's code."""
    code: int = lib.sk_operation_code(name.encode("ascii"))
    if code < 0:
        raise SystemError(f"spawnkit: no operation {name!r}; rebuild the extension")
    return code


def runs_on(code: int, engine: int) -> bool:
    """Can that engine run the operation?"""
    return bool(lib.sk_operation_on(code, engine))


def descriptor_moves(
    wanted: dict[int, int | None], until_exec: int | None = None
) -> list[tuple[int, int, bool]]:
    """The moves that make a map {child's fd: ours, None: closed} true, in order.

    until_exec: one of the targets, not its own source, that only serves up to exec.

    (source, target, cloexec): dup2; both equal: clear close-on-exec; source -1: close. A target
    that is close-on-exec serves a ring of descriptors, or is `until_exec`.
    """
    count = len(wanted)
    entries = ffi.new("sk_wanted[]", count)
    for entry, target in zip(entries, sorted(wanted), strict=True):
        source = wanted[target]
        entry.target = target
        entry.source = -1 if source is None else source
        entry.cloexec = target == until_exec
    moves = ffi.new("sk_move[]", 2 * count)
    written = lib.sk_plan_descriptors(entries, count, moves)
    return [(move.source, move.target, bool(move.cloexec)) for move in moves[0:written]]


# ---- environment --------------------------------------------------------------------------------

# The C library's environment, which os.environ and other libraries write with putenv. It may only
# be read while the interpreter lock keeps os.putenv out, so not in C, where the lock is released.
# An expression without a call between its parts is not interrupted by another thread.
_environ = ffi.addressof(lib, "environ")
_NULL = ffi.NULL
_WORD = ffi.sizeof("char *")

# glibc never changes a string in place nor reuses one's memory (setenv leaks on purpose), so equal
# pointers mean equal strings. Elsewhere the block is encoded afresh for every child.
_pointers_tell = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")

# Address, view of the pointer array, copy of it, block, count. One tuple, replaced whole.
_last: tuple[Any, Any, bytes, bytes, int] | None = None


def environment() -> tuple[bytes, int]:
    """Our own environment as a block of NUL-terminated strings, and how many they are."""
    global _last
    last = _last
    # The view spans as many pointers as there were; an array that shrank at the same address
    # differs at its new end, where the comparison stops.
    if last is not None and _environ[0] == last[0] and last[1] == last[2]:
        return last[3], last[4]
    while True:
        last = _encode_environment()
        if last is not None:
            break
    if _pointers_tell:
        _last = last
    return last[3], last[4]


def _encode_environment() -> tuple[Any, Any, bytes, bytes, int] | None:
    """One attempt; None if the environment changed meanwhile."""
    if _environ[0] == _NULL:  # after clearenv
        return None if _environ[0] != _NULL else (_NULL, b"", b"\0", b"", 0)
    pointers: list[Any] = []
    strings: list[bytes] = []
    while _environ[0] != _NULL and _environ[0][len(strings)] != _NULL:
        pointers.append(_environ[0][len(strings)])
        strings.append(ffi.string(pointers[-1]))
    count = len(strings)
    address = _environ[0]
    view = ffi.buffer(address, (count + 1) * _WORD)
    copy = view[:]
    if ffi.unpack(ffi.cast("uintptr_t *", ffi.from_buffer(copy)), count + 1) != [
        *(int(ffi.cast("uintptr_t", pointer)) for pointer in pointers),
        0,
    ]:
        return None
    block = b"\0".join(strings) + b"\0" if strings else b""
    return address, view, copy, block, count


def signal_name(number: int) -> str:
    """What the C library calls a signal (strsignal(3)), in small letters."""
    name = lib.strsignal(number)
    return ffi.string(name).decode(_ENCODING, "replace").lower() if name else f"signal {number}"


def own_peak() -> int:
    """Our own peak resident memory in bytes."""
    peak: int = lib.sk_own_peak()
    return peak


def is_stale(child: Child) -> bool:
    """Was it made by the process this one was forked from?"""
    return bool(lib.sk_is_stale(child))


# ---- inspection ---------------------------------------------------------------------------------


def features() -> dict[str, int]:
    """What the kernel was found to offer; -1: not asked yet."""
    found = ffi.new("sk_features *")
    lib.sk_probe(found)
    return {name: getattr(found, name) for name, _ in ffi.typeof("sk_features").fields}


def trim() -> int:
    """Unmaps cached child stacks (256 KiB of address space each) and says how many there were."""
    trimmed: int = lib.sk_trim()
    return trimmed
