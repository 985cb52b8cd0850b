"""Feeding and gathering: what is captured, and that no child keeps the call from ending."""

from __future__ import annotations

import concurrent.futures
import io
import os
import random
import signal
import threading
import time
from typing import Any

import pytest

import spawnkit
from spawnkit import _core, plan
from spawnkit.children import end
from support.children import Children
from support.isolated import Isolate
from support.proc import PROC

FLOOD = "while :; do echo 0123456789012345678901234567890123456789; done"


def test_only_what_is_captured_is_there(engine: str) -> None:
    """None, not an empty string, for a stream that nobody gathered."""
    result = spawnkit.run(["/bin/echo", "x"], stdout=spawnkit.PIPE, engine=engine)
    assert (result.stdout, result.stderr) == (b"x\n", None)
    result = spawnkit.run(["/bin/cat"], input=b"x", stdout=spawnkit.DEVNULL, engine=engine)
    assert (result.stdout, result.stderr) == (None, None)


def test_stderr_joins_a_captured_stdout(engine: str) -> None:
    script = "echo out; echo err >&2"
    result = spawnkit.run(
        ["/bin/sh", "-c", script],
        stdout=spawnkit.PIPE,
        stderr=spawnkit.STDOUT,
        engine=engine,
    )
    assert result.stdout == b"out\nerr\n"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_input_is_anything_like_bytes(kind: Any, engine: str) -> None:
    data = os.urandom(300_000)
    result = spawnkit.run(["/bin/cat"], input=kind(data), stdout=spawnkit.PIPE, engine=engine)
    assert result.stdout == data


def test_input_that_is_not_read_is_no_error(engine: str) -> None:
    """Also where SIGPIPE would kill us: it is taken back."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        spawnkit.run(["/bin/true"], input=b"x" * 1_000_000, engine=engine)
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert signal.SIGPIPE not in signal.sigpending()


@pytest.mark.parametrize("script", [FLOOD, f"({FLOOD}) & sleep 1000"])
def test_a_flood_does_not_outrun_the_timeout(script: str, engine: str) -> None:
    """An output that is always ready must not keep the deadline from being looked at."""
    attr = spawnkit.SysProcAttr(setpgid=True)
    before = {int(pid) for pid in os.listdir(PROC) if pid.isdigit()}
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        spawnkit.run(["/bin/sh", "-c", script], capture=True, timeout=0.5, attr=attr, engine=engine)
    _end_the_rest(before)
    assert caught.value.stdout is not None
    assert caught.value.stdout.startswith(b"0123456789")
    assert caught.value.state is not None
    assert caught.value.state.signal == signal.SIGKILL


def _end_the_rest(before: set[int]) -> None:
    """Kills the grandchildren of ours that a timeout leaves (it kills the process only)."""
    for pid in {int(pid) for pid in os.listdir(PROC) if pid.isdigit()} - before:
        try:
            with open(f"{PROC}/{pid}/cmdline", "rb") as file:
                if b"0123456789" in file.read():
                    os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def _floods_and_is_interrupted(script: str) -> str:
    import signal as signals

    import spawnkit as package

    signals.setitimer(signals.ITIMER_REAL, 0.2)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signals.signal(signals.SIGALRM, interrupt)
    try:
        package.run(["/bin/sh", "-c", script], capture=True, attr=package.SysProcAttr(setsid=True))
        outcome = "ended"
    except KeyboardInterrupt:
        outcome = "interrupted"
    signals.signal(signals.SIGALRM, signals.SIG_DFL)
    return outcome


def test_a_flood_does_not_outrun_ctrl_c(isolate: Isolate) -> None:
    assert isolate(_floods_and_is_interrupted, FLOOD) == "interrupted"


def _is_interrupted_twice(program: str) -> list[Any]:
    import os as system
    import signal as signals

    import spawnkit as package

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signals.signal(signals.SIGALRM, interrupt)
    read, write = system.pipe()
    # The second one comes in the quarter of a second that the child is given to end by itself.
    signals.setitimer(signals.ITIMER_REAL, 0.1, 0.1)
    try:
        package.run([program], stdin=read)
        outcome = "ended"
    except KeyboardInterrupt:
        signals.setitimer(signals.ITIMER_REAL, 0)
        outcome = "interrupted"
    died = system.waitid(system.P_ALL, 0, system.WEXITED | system.WNOWAIT)  # hangs if it lives on
    package.run(["/bin/true"])  # any spawn takes what an interrupted call had to leave
    system.close(read)
    system.close(write)
    signals.signal(signals.SIGALRM, signals.SIG_DFL)
    return [outcome, died.si_status if died else None]


def test_a_second_ctrl_c_leaves_no_survivor(isolate: Isolate, children: Children) -> None:
    """It cuts the time of grace short; it does not save the child."""
    assert isolate(_is_interrupted_twice, children("block")) == ["interrupted", 9]


def _joins_a_closed_stdout(engine: str, feed: bool) -> list[Any]:
    import os as system

    import spawnkit as package

    system.close(1)
    try:
        package.run(
            ["/bin/true"],
            input=b"x" if feed else None,
            stderr=package.STDOUT,
            engine=engine,
        )
    except package.SpawnError as error:
        return [error.stage, error.errno]
    return ["ran"]


@pytest.mark.parametrize("feed", [False, True])
def test_stderr_cannot_join_a_stdout_that_is_closed(
    engine: str, feed: bool, isolate: Isolate
) -> None:
    """The number 1 must not come to mean a pipe of ours."""
    assert isolate(_joins_a_closed_stdout, engine, feed, oracle=False) == ["descriptors", 9]


class _Pump:
    """The pump below Python: one output of ours, fed by the test, and a child that lives on."""

    def __init__(self, program: str) -> None:
        self.child = _core.new_child()
        argv = program.encode() + b"\0" + b"0\0"
        _core.spawn(self.child, plan.pack(program.encode(), argv, 2, (b"", 0)), 0, _core.PIDFD)
        self.pump = _core.new_pump()
        _core.open_pump(self.pump, 2)
        self.theirs = os.dup(self.pump.theirs[1])

    def close(self) -> None:
        os.close(self.theirs)
        _core.close_pump(self.pump)
        end(self.child)


def test_a_full_buffer_does_not_outrun_the_deadline(children: Children) -> None:
    """Each handing over begins a new call into C: the clock must be looked at all the same."""
    pump = _Pump(children("block"))
    stop = threading.Event()
    try:

        def flood() -> None:
            data = memoryview(bytes(1 << 16))
            while not stop.is_set():
                os.write(pump.theirs, data)

        writer = threading.Thread(target=flood)
        writer.start()
        sinks: dict[int, io.BytesIO] = {}
        assert _core.pump(pump.pump, pump.child, _core.deadline_after(0.2), sinks) == _core.TIMEOUT
        stop.set()
        while writer.is_alive():
            _core.pump(pump.pump, pump.child, _core.deadline_after(0.01), sinks)
        writer.join()
    finally:
        stop.set()
        pump.close()


@pytest.mark.parametrize("ends", [1, 4096, 32 << 10, 131072, 200_000])
@pytest.mark.parametrize("extra", [-1, 0, 1, 5000, 1_000_000])
def test_the_ends_of_a_stream_are_kept_exactly(ends: int, extra: int, children: Children) -> None:
    """Sizes on both sides of what is kept, and of what the buffer holds."""
    pump = _Pump(children("block"))
    data = random.Random(ends + extra).randbytes(max(0, 2 * ends + extra))

    def write() -> None:
        with open(pump.theirs, "wb") as file:  # one write(2) need not be all of it
            file.write(data)

    try:
        _core.keep_ends(pump.pump, 1, ends)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            written = pool.submit(write)
            pump.pump.theirs[1], theirs = -1, pump.pump.theirs[1]
            os.close(theirs)
            patience = time.monotonic() + 60
            while pump.pump.ours[1] >= 0 and time.monotonic() < patience:
                _core.pump(pump.pump, pump.child, _core.deadline_after(0.05), {})
            written.result()
        got = _core.gathered(pump.pump, 1, {})
        if len(data) <= 2 * ends:
            assert got == data
        else:
            note = b"\n... %d bytes left out ...\n" % (len(data) - 2 * ends)
            assert got == data[:ends] + note + data[-ends:]
    finally:
        pump.theirs = os.dup(0)
        pump.close()
