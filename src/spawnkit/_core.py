"""The border with C: the only module that touches `ffi` and `lib`.

It packs what C wants, calls, and turns results into values and exceptions. A child's handle is a
`struct sk_child` allocated here *before* the spawn, and C writes pid and pidfd into it: an
exception at any point of the Python code (Ctrl-C, say) finds in it what there is to clean up.
"""

from __future__ import annotations

import errno
import os
import sys
from io import BytesIO
from select import POLLIN, POLLOUT
from time import monotonic_ns

from ._native import ffi, lib
from .errors import StatusLost, spawn_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeAlias

    Buffer: TypeAlias = bytes | bytearray | memoryview

    Child: TypeAlias = Any  # struct sk_child *
    Pump: TypeAlias = Any  # struct sk_pump *
    Job: TypeAlias = tuple[Any, Any, list[Child], list[Pump]]  # struct sk_job *, and what it needs
    Turn: TypeAlias = Any  # struct sk_turn *
    Pidfd: TypeAlias = Any  # struct sk_pidfd *
    Guard: TypeAlias = Any  # see `new_pidfd`

OK: int = lib.SK_OK
AGAIN: int = lib.SK_AGAIN
TIMEOUT: int = lib.SK_TIMEOUT
FAILED: int = lib.SK_FAILED
DIED: int = lib.SK_DIED
LOST: int = lib.SK_LOST
STALE: int = lib.SK_STALE
DONE: int = lib.SK_DONE
WOKEN: int = lib.SK_WOKEN
EXITED: int = lib.SK_EXITED
_FULL: int = lib.SK_FULL
LOCKED: int = lib.SK_LOCKED
OWN_LOCK: int = lib.SK_OWN_LOCK
OVER: int = lib.SK_OVER

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
_pump_run, _run = lib.sk_pump_run, lib.sk_run
_new, _NULL = ffi.new, ffi.NULL
_CHILD, _PUMP = ffi.typeof("sk_child *"), ffi.typeof("sk_pump *")
_NOT_MADE = lib.SK_NEW, lib.SK_NEVER
_NO_CHILD = bytes(ffi.sizeof("sk_child"))


def new_child() -> Child:
    """A handle for one child, not started."""
    return _new(_CHILD)


def is_made(child: Child) -> bool:
    """Is there a process whose program runs, or may come to run?"""
    return child.state not in _NOT_MADE


def renew_child(child: Child) -> None:
    """As `new_child`, in the place of one whose program never ran."""
    ffi.memmove(child, _NO_CHILD, len(_NO_CHILD))


def deadline_after(timeout: float | None, item: str = "timeout") -> int:
    """`timeout` seconds from now as C wants it. None and infinity: never. Below zero: now.

    Raises TypeError for what is no number and ValueError for NaN.
    """
    if timeout is None:
        return FOREVER
    if type(timeout) is bool or not isinstance(timeout, (int, float)):
        raise TypeError(f"{item}: seconds or None wanted, not {timeout!r}")
    if timeout != timeout:
        raise ValueError(f"{item}: not a number")
    if timeout <= 0:
        return NOW
    if timeout > 1e9:  # thirty years
        return FOREVER
    return monotonic_ns() + int(timeout * 1_000_000_000)


def seconds_until(deadline: int) -> float:
    """The other way round; -1: for ever, as `lock.acquire` wants it."""
    return -1 if deadline == FOREVER else max(0.0, (deadline - monotonic_ns()) / 1e9)


def comes_before(deadline: int, moment: int) -> bool:
    """Is it over at that moment?"""
    return deadline != FOREVER and deadline <= moment


def is_past(deadline: int) -> bool:
    """Is it over?"""
    return comes_before(deadline, monotonic_ns())


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


def run(
    child: Child, plan: bytes, engine: int, flags: int, pump: Pump | None, deadline: int
) -> int:
    """Starts the plan's program, and where no signal can come in between waits for its end.

    Results as from `spawn` (LOCKED for its False) and `wait`; AGAIN: go on with `pump` or `wait`.
    """
    result: int = _run(child, pump or _NULL, plan, len(plan), engine, flags, deadline)
    if result == _FULL:
        return AGAIN  # it stays full until `pump` takes it
    if result < 0 and not child.pid:
        raise failure(child, plan, -result)
    return result


def spawn_in_turn(child: Child, plan: bytes, engine: int, flags: int, deadline: int) -> bool:
    """Waits until no writer is left, and starts the plan's program; False: the deadline came first.

    RuntimeError where the writer is this thread.
    """
    turn = new_turn()
    _guard = guard_turn(turn)
    try:
        result = AGAIN
        while result == AGAIN:
            result = lib.sk_spawn_in_turn(child, plan, len(plan), engine, flags, turn, deadline)
    finally:
        end_turn(turn)
    if result == OWN_LOCK:
        raise RuntimeError("spawn inside write_lock() of the same thread: it would wait for itself")
    if result == TIMEOUT:
        return False
    if result:
        raise failure(child, plan, -result)
    return True


def execute(plan: bytes) -> OSError:
    """Replaces this process by the plan's program; returns why it could not."""
    report = new_child()
    result = lib.sk_execute(report, plan, len(plan))
    return failure(report, plan, -result)


def settle(child: Child, plan: bytes, deadline: int = FOREVER) -> bool:
    """Waits until the program runs; False: the deadline came first. SpawnError when it cannot."""
    result = _settle(child, deadline)
    while result == AGAIN:
        result = _settle(child, deadline)
    if result == TIMEOUT:
        return False
    if result:
        raise_for(result, child, plan)
    return True


def setup_stage(child: Child) -> str | None:
    """The step of its setup that a child is in; None when its program runs or has run."""
    return stage_name(child.stage) if _settle(child, NOW) == TIMEOUT else None


def stage_name(stage: int) -> str:
    """What messages call a stage."""
    name: bytes = ffi.string(lib.sk_stage_name(stage))
    return name.decode("ascii")


def failure(child: Child, plan: bytes, errno: int | None, signal: int | None = None) -> OSError:
    """The SpawnError for a child that never ran its program."""
    from .explain import explain  # loaded already, by prepare: nothing is opened here

    stage = child.stage
    item, filename, hint = explain(plan, stage, child.index, errno)
    if errno is None and signal is None:
        hint = "it could not say why"
    return spawn_error(errno, stage_name(stage), item, filename, signal, hint)


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


def signal_group(member: Child, group: int, number: int) -> int:
    """The same for a process group; DONE where that process is not in it any more, or reaped."""
    result: int = lib.sk_signal_group(member, group, number)
    return result


def lead_group(child: Child) -> None:
    """Makes a child that was just spawned the leader of its group, if it is not yet."""
    lib.sk_lead_group(child)  # refused: its program runs already, and before that it did it itself


def is_over(child: Child) -> bool:
    """Is it reaped, by whomever, or did it never run?"""
    return bool(child.state in (lib.SK_ENDED, lib.SK_NEVER, lib.SK_GONE))


def is_running(child: Child) -> bool:
    """Does its program run, or has it ended without being waited for?"""
    return bool(child.state == lib.SK_RUNNING)


def subreaper(on: bool) -> bool:
    """Whether orphans become our children; what it was before. OSError."""
    result = lib.sk_subreaper(on)
    if result < 0:
        raise OSError(-result, f"{os.strerror(-result)}: PR_SET_CHILD_SUBREAPER")
    return bool(result)


def attach(child: Child, pid: int) -> int:
    """Fills a handle for a process found by its pid: 0 or a negative errno."""
    result: int = lib.sk_attach(child, pid)
    return result


def drop(child: Child) -> None:
    """Closes what a handle holds; the process itself is left alone."""
    lib.sk_drop(child)


def guard_child(child: Child) -> Guard:
    """Drops it when this is dropped; see `new_pidfd`. For handles without a finalizer of ours."""
    return ffi.gc(child, lib.sk_drop)


def rusage(child: Child) -> tuple[int, ...]:
    """The 18 words of struct rusage as the kernel wrote them."""
    return tuple(ffi.unpack(child.rusage, 18))


def new_pidfd() -> Pidfd:
    """Room for a pidfd.

    The memory, and (`guard_pidfd`) what closes it at the latest with the last reference, are two
    objects, and so are those of a turn and of a pump; who uses the memory has both. In one they
    would be a trap:
        1. a cycle is collected, in which a suspended `with` or a pipe's end has such an object;
        2. its finalizer runs first: it closes what is open, and cffi then frees the memory;
        3. that of the `with` or of the end runs, and closes the numbers it finds there.
    """
    return ffi.new("sk_pidfd *")


def guard_pidfd(pidfd: Pidfd) -> Guard:
    """Closes it when this is dropped.

    By C alone: a Ctrl-C that strikes in Python code of a destructor is printed and lost.
    """
    return ffi.gc(pidfd, lib.sk_close_pidfd)


def dup_pidfd(child: Child, into: Pidfd) -> int:
    """Duplicates the pidfd of a handle: OK, DONE, STALE or a negative errno."""
    result: int = lib.sk_dup_pidfd(child, into)
    return result


# The function of C itself: between a call of ours and the one in it Ctrl-C could strike.
close_pidfd = lib.sk_close_pidfd


# ---- the write lock -----------------------------------------------------------------------------


def new_turn() -> Turn:
    """A turn at the write lock, not in use."""
    return ffi.new("sk_turn *")


def guard_turn(turn: Turn) -> Guard:
    """Ends it when this is dropped; see `new_pidfd`."""
    return ffi.gc(turn, lib.sk_turn_end)


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


def guard_pump(pump: Pump) -> Guard:
    """Closes them, held ends too, when this is dropped; see `new_pidfd`."""
    return ffi.gc(pump, lib.sk_pump_free)


NULL_DEVICE: int = lib.SK_PUMP_NULL
BELL: int = lib.SK_PUMP_BELL


def open_pump(pump: Pump, parts: int) -> None:
    """Adds pipes (1: stdin, 2: stdout, 4: stderr), NULL_DEVICE, or BELL to a pump; SpawnError."""
    result = lib.sk_pump_open(pump, parts)
    if result:
        raise spawn_error(-result, "pipe", "pipe or /dev/null" if parts & NULL_DEVICE else "pipe")


def open_path(pump: Pump, stream: int, path: bytes, item: str) -> None:
    """Opens the file that is to be a stream of the child; SpawnError."""
    result = lib.sk_pump_path(pump, stream, path)
    if result:
        hint = (
            "a FIFO: its open may wait for ever; open it yourself" if result == -errno.ENXIO else ""
        )
        raise spawn_error(-result, "open", item, os.fsdecode(path), hint=hint)


def open_memory(pump: Pump, stream: int) -> None:
    """Adds a file in memory for stdout (1) or stderr (2); SpawnError."""
    result = lib.sk_pump_memory(pump, stream)
    if result:
        raise spawn_error(-result, "memory", "file in memory (memfd_create)")


def sealed(pump: Pump, stream: int) -> memoryview:
    """What is in such a file, and can be changed by nobody from now on; OSError.

    It is mapped, for as long as there is a view of it, or copied where it cannot be sealed.
    """
    memory = ffi.new("sk_memory *")
    guard = ffi.gc(memory, lib.sk_memory_unmap)  # before there is anything to unmap
    result = lib.sk_pump_seal(pump, stream, memory)
    if result:
        raise OSError(-result, f"{os.strerror(-result)} (output in memory)")
    if memory.data == _NULL:
        return memoryview(gathered(pump, stream, {}))
    # A view keeps the pointer that it was made from, and that what is to be called at its end: here
    # only to keep the guard, which goes with it.
    data = ffi.gc(memory.data, [guard].append)
    return memoryview(ffi.buffer(data, memory.size)).toreadonly()


def open_ordered(pump: Pump) -> None:
    """Adds sockets for stdout and stderr, and the one that receives from both; SpawnError."""
    result = lib.sk_pump_ordered(pump, os.urandom(8).hex().encode())
    if result:
        raise spawn_error(-result, "pipe", "sockets")


def ends_for_child(pump: Pump) -> dict[int, int | None]:
    """The child's ends by the numbers they are to have."""
    return {fd: end for fd, end in enumerate(pump.theirs) if end >= 0}


def child_ends(pump: Pump) -> list[int]:
    """The descriptors that were made for the child."""
    return list(pump.theirs) if pump.opened else []


def keep_ends(pump: Pump, stream: int, size: int) -> None:
    """Of stdout (1) or stderr (2) only `size` bytes from each end are to be kept."""
    pump.output[stream - 1].ends = size


def be_attentive(pump: Pump, limit: int) -> None:
    """Has the pump note when something comes, and say OVER at more than `limit` bytes; 0: never."""
    pump.attentive = 1
    for buffer in pump.output:
        buffer.limit = limit


def last_heard(pump: Pump) -> int:
    """When something came last, in the time of deadlines; 0: nothing yet."""
    return int(pump.heard)


def borrow_pipes(pump: Pump, stdin: int, stdout: int, stderr: int) -> None:
    """Adds our ends of pipes that stay somebody else's; -1: none; OSError."""
    result = lib.sk_pump_borrow(pump, stdin, stdout, stderr)
    if result:
        raise OSError(-result, os.strerror(-result))


def feed_pump(pump: Pump, data: Buffer) -> Any:
    """Gives the pump its input. The returned object keeps the data in place: hold on to it."""
    view = ffi.from_buffer(data)
    pump.input = view
    pump.input_length = len(view)
    return view


def release_view(view: Any) -> None:
    """Lets go of what `feed_pump` holds; harmless when repeated."""
    ffi.release(view)


def pump(pump: Pump, child: Child, deadline: int, sinks: dict[int, BytesIO]) -> int:
    """Feeds and gathers until the end, then waits: results as from `wait`.

    sinks: takes what does not fit into C's buffers.
    """
    result: int = _pump_run(pump, child, deadline)
    while result in (AGAIN, _FULL):
        if result == _FULL:
            _empty_buffers(pump, sinks)
        result = _pump_run(pump, child, deadline)
    return result


def _empty_buffers(pump: Pump, sinks: dict[int, BytesIO]) -> None:
    # Into a BytesIO while it is hot in the processor's cache. At the end `getvalue` gives the very
    # bytes that the BytesIO has grown, where C's own buffer would have to be copied as a whole.
    for stream in 1, 2:
        buffer = pump.output[stream - 1]
        if buffer.length and not buffer.ends:
            sink = sinks.get(stream)
            if sink is None:
                sink = sinks[stream] = BytesIO()
            sink.write(ffi.buffer(buffer.data, buffer.length))
            buffer.length = 0


def join_pumps(upper: Pump, lower: Pump, size: int) -> None:
    """One child's stdout becomes another one's stdin; SpawnError. size: in bytes; 0: as it is."""
    result = lib.sk_pump_join(upper, lower, size)
    if result:
        raise spawn_error(-result, "pipe", "pipe")


def new_job(children: list[Child], pumps: list[Pump]) -> Job:
    """Children that were started, and the pump of each, to be served together."""
    # cffi keeps nothing alive that a struct or an array points to.
    arrays = (
        ffi.new("sk_child *[]", children),
        ffi.new("sk_pump *[]", pumps),
        ffi.new("sk_slot[]", 4 * len(children) + 1),
        ffi.new("int32_t[]", 4 * len(children) + 1),
    )
    return ffi.new("sk_job *", (len(children), *arrays)), arrays, children, pumps


def serve_job(job: Job, deadline: int, sinks: list[dict[int, BytesIO]]) -> int:
    """As `pump`, for all of them. OK: also where a status was lost. sinks: of each pump."""
    of_c, _, _, pumps = job
    result: int = lib.sk_job_run(of_c, deadline)
    while result in (AGAIN, _FULL):
        if result == _FULL:
            for pump, its_sinks in zip(pumps, sinks, strict=True):
                _empty_buffers(pump, its_sinks)
        result = lib.sk_job_run(of_c, deadline)
    return result


def streams_started(pump: Pump) -> None:
    """Closes the child's ends: it has its copies."""
    lib.sk_pump_started(pump)


def listen(pump: Pump, feeding: bool, deadline: int) -> int:
    """Waits for the bell: WOKEN or TIMEOUT; with `feeding` also DONE: nobody reads stdin."""
    result: int = lib.sk_pump_listen(pump, feeding, deadline)
    while result == AGAIN:
        result = lib.sk_pump_listen(pump, feeding, deadline)
    return result


def has_exited(pump: Pump) -> bool:
    """Has `pump` returned EXITED, or OK?"""
    return bool(pump.exited)


def ring(pump: Pump) -> None:
    """Rings the bell."""
    lib.sk_pump_ring(pump)


def bell(pump: Pump) -> int:
    """The bell's descriptor: readable when it was rung."""
    return int(pump.bell)


def descriptors(pump: Pump, child: Child) -> list[tuple[int, int]]:
    """What `pump` would sleep on: descriptors with what is waited for, as poll(2) calls it.

    None that is held by others. Not to be asked for a child without a pidfd.
    """
    fds = [(fd, POLLIN if i else POLLOUT) for i, fd in enumerate(pump.ours) if is_pumped(pump, i)]
    fds.append((pump.bell, POLLIN))
    if not pump.exited and not is_over(child):
        fds.append((child.pidfd, POLLIN))
    return fds


def is_pumped(pump: Pump, stream: int) -> bool:
    """Is that stream open, and the pump's?"""
    return pump.ours[stream] >= 0 and not pump.held >> stream & 1


def has_pidfd(child: Child) -> bool:
    """Does a descriptor tell when it ends?"""
    return bool(child.pidfd >= 0)


def gathered(pump: Pump, stream: int, sinks: dict[int, BytesIO]) -> bytes:
    """What came on stdout (1) or stderr (2); with a note where the middle was dropped."""
    buffer = pump.output[stream - 1]
    length, ends = buffer.length, buffer.ends
    sink = sinks.get(stream)
    if sink is not None:
        if length:
            sink.write(ffi.buffer(buffer.data, length))
            buffer.length = 0
        return sink.getvalue()
    data = ffi.buffer(buffer.data, length)[:] if length else b""
    if buffer.limit:
        return data[: buffer.limit]
    if not ends or not (buffer.dropped or length > 2 * ends):
        return data
    dropped = buffer.dropped + length - 2 * ends
    return b"%b\n... %d bytes left out ...\n%b" % (data[:ends], dropped, data[length - ends :])


def left_out(pump: Pump, stream: int) -> int:
    """How many bytes of stdout (1) or stderr (2) `gathered` leaves out."""
    buffer = pump.output[stream - 1]
    came = buffer.length + buffer.dropped
    if buffer.limit:
        return max(0, int(buffer.total - buffer.limit))
    return max(0, int(came - 2 * buffer.ends)) if buffer.ends else 0


def open_pipes(pump: Pump) -> dict[int, int]:
    """Which of stdout (1) and stderr (2) somebody may still write to: {inode: stream}."""
    open_ends = lib.sk_pump_open_ends(pump)
    return {
        os.fstat(pump.ours[stream]).st_ino: stream for stream in (1, 2) if open_ends >> stream & 1
    }


def drain_pump(pump: Pump) -> None:
    """Takes what is in the pipes now."""
    lib.sk_pump_drain(pump)


# Closes and frees everything; harmless when repeated. The function of C itself, as `close_pidfd`.
close_pump = lib.sk_pump_close


# ---- ends of pipes that Python code reads and writes ---------------------------------------------


def hold_end(pump: Pump, stream: int) -> None:
    """Takes one of our ends out of the pump's hands; OSError."""
    result = lib.sk_end_hold(pump, stream)
    if result:
        raise spawn_error(-result, "pipe", "pipe")


def await_end(pump: Pump, stream: int) -> bool:
    """Waits until it is ready; False once it was stopped."""
    result = lib.sk_end_await(pump, stream, FOREVER)
    while result == AGAIN:
        result = lib.sk_end_await(pump, stream, FOREVER)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return bool(result == OK)


def write_end(pump: Pump, stream: int, data: memoryview) -> int:
    """How much of it could be written without waiting; BrokenPipeError."""
    result: int = lib.sk_end_write(pump, stream, ffi.from_buffer(data), len(data))
    if result >= 0:
        return result
    if -result in (errno.EAGAIN, errno.EINTR):
        return 0
    raise OSError(-result, os.strerror(-result))


def left_in_end(pump: Pump, stream: int) -> int:
    """How many bytes are in the pipe."""
    left: int = lib.sk_end_left(pump, stream)
    return max(0, left)


def widen_end(pump: Pump, stream: int) -> None:
    """A larger pipe, for a stream that has turned out to be long."""
    lib.sk_end_widen(pump, stream)


def stop_end(pump: Pump, stream: int) -> None:
    """Wakes whoever waits at an end, now and from now on."""
    lib.sk_end_stop(pump, stream)


def close_end(pump: Pump, stream: int) -> None:
    """Closes it; harmless when repeated."""
    lib.sk_end_close(pump, stream)


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


def has_text(code: int) -> bool:
    """Is one of the operation's operands a string?"""
    return bool(lib.sk_operation_text(code))


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


def new_mask() -> Any:
    """A signal mask to hold: `hold_signals`, then `release_signals`."""
    return ffi.new("sk_mask *")


def hold_signals(mask: Any) -> None:
    """Blocks all signals of this thread."""
    lib.sk_mask_hold(mask)


def release_signals(mask: Any) -> None:
    """Gives it back its mask; harmless when repeated."""
    lib.sk_mask_release(mask)


signal_mask = lib.sk_mask_now  # of this thread, as a number: bit n-1 is signal n


def new_keyboard() -> Any:
    """Room for `keyboard_ignore`; its guard, as `new_pidfd` has it, is `guard_keyboard`."""
    return ffi.new("sk_keyboard *")


def guard_keyboard(keyboard: Any) -> Guard:
    """Heeds it again when this is dropped."""
    return ffi.gc(keyboard, lib.sk_keyboard_heed)


keyboard_ignore, keyboard_heed = lib.sk_keyboard_ignore, lib.sk_keyboard_heed


def current_mask() -> Any:
    """This thread's mask, for `take_mask`."""
    mask = new_mask()
    lib.sk_mask_look(mask)
    return mask


def take_mask(mask: Any) -> None:
    """Gives this thread the mask that another one had."""
    lib.sk_mask_take(mask)


def write_file(path: str, text: str) -> int:
    """Writes a file that is there already: 0 or a negative errno."""
    data = text.encode("ascii")
    result: int = lib.sk_write_file(os.fsencode(path), data, len(data))
    return result


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


def set_spin(nanoseconds: int) -> int:
    """For how long of a child's life a wait stays awake; what it was."""
    before: int = lib.sk_set_spin(nanoseconds)
    return before


def trim() -> int:
    """Unmaps cached child stacks (256 KiB of address space each) and says how many there were."""
    trimmed: int = lib.sk_trim()
    return trimmed
