"""Waiting: the right status, once, for everyone who asks, whatever else happens."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import ProcAttr, Process, ProcessState
from support.children import Children
from support.engines import ignored_by, serving
from support.isolated import Isolate
from support.proc import PROC

# What ends no process by default: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH.
HARMLESS = {17, 18, 19, 20, 21, 22, 23, 28}
LEAVE_A_CORE = {3, 4, 5, 6, 7, 8, 11, 24, 25, 31}


@pytest.fixture
def blocked(children: Children, engine: str) -> Iterator[tuple[Process, Any]]:
    """A process that runs until the second of the pair is called."""
    read, write = os.pipe()
    attr = ProcAttr(files=[read])
    process = spawnkit.start_process(children("block"), ["block"], attr, engine=engine)
    os.close(read)
    with contextlib.ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(os.close, write)
        yield process, stack.close


def wait_for_zombie(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


# Status


def test_every_exit_code_is_told(engine: str, children: Children) -> None:
    """A53: exit codes 0..255 right."""
    program = children("exit")
    for code in range(256):
        state = spawnkit.run([program, str(code)], check=False, engine=engine).state
        assert (state.exit_code, state.exited, state.signal) == (code, True, None)
        assert state.success == (code == 0)
        assert state.sys().exit_status == code
        assert state.engine == serving(engine)
    assert str(state) == "exit status 255"


def test_every_signal_that_ends_a_process_is_told(engine: str, children: Children) -> None:
    """A53: signals 1..64 as signal."""
    program = children("exit")
    for number in sorted(set(range(1, 65)) - HARMLESS - ignored_by(engine)):
        state = spawnkit.run([program, "signal", str(number)], check=False, engine=engine).state
        assert (state.signal, state.exit_code, state.exited) == (number, -1, False)
        assert not state.success
        assert not state.core_dumped
    for number in HARMLESS - {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}:
        assert spawnkit.run([program, "signal", str(number)], engine=engine).state.success
    state = spawnkit.run([program, "signal", "9"], check=False, engine=engine).state
    assert str(state) == "signal: killed"


def test_a_core_dump_is_told(
    engine: str, children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A53: with core flag."""
    if (PROC / "sys/kernel/core_pattern").read_text().startswith(("|", "/")):
        pytest.skip("core dumps go to a program or a place of the system's")
    monkeypatch.chdir(tmp_path)
    for number in sorted(LEAVE_A_CORE):
        state = spawnkit.run(
            [children("exit"), "core", str(number)], check=False, engine=engine
        ).state
        assert (state.signal, state.core_dumped) == (number, True)
        assert str(state).endswith("(core dumped)")
        for core in tmp_path.glob("core*"):
            core.unlink()


def test_a_bad_status_raises_only_where_it_is_asked_to(engine: str, children: Children) -> None:
    """A53: run and Cmd.wait raise ExitError, Process.wait never does."""
    with pytest.raises(spawnkit.ExitError, match="exit status 3") as caught:
        spawnkit.run([children("exit"), "3"], engine=engine)
    assert caught.value.state.exit_code == 3
    cmd = spawnkit.Cmd(children("exit"), "4", engine=engine)
    cmd.start()
    with pytest.raises(spawnkit.ExitError, match="exit status 4"):
        cmd.wait()
    assert cmd.process_state is not None
    assert cmd.process_state.exit_code == 4
    process = spawnkit.start_process(children("exit"), ["exit", "5"], engine=engine)
    assert process.wait().exit_code == 5


def test_a_second_wait_gives_the_same_state(engine: str) -> None:
    """A54: wait() twice gives the same object."""
    process = spawnkit.start_process("/bin/true", ["true"], engine=engine)
    state = process.wait()
    assert process.wait() is state
    assert process.wait(0) is state
    assert process.poll() is state


@pytest.mark.parametrize("timeout", [None, 600.0])
def test_all_waiting_threads_get_the_same_state(
    timeout: float | None, blocked: tuple[Process, Any]
) -> None:
    """A55: N threads wait: all get the same status."""
    process, end = blocked
    states: list[ProcessState] = []
    waiting = threading.Barrier(9)

    def wait() -> None:
        waiting.wait()
        states.append(process.wait(timeout))

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    waiting.wait()
    end()
    for thread in threads:
        thread.join()
    assert len(states) == 8
    assert set(states) == {process.wait()}
    assert states[0].success


def test_a_timeout_keeps_the_child(blocked: tuple[Process, Any]) -> None:
    """A56: wait(timeout) keeps the child; later wait works."""
    process, end = blocked
    for _ in range(3):
        with pytest.raises(spawnkit.TimeoutExpired) as caught:
            process.wait(0.01)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.stage is None
    process.signal(0)
    end()
    assert process.wait().success


def test_cmd_wait_with_a_timeout_keeps_the_child(engine: str, children: Children) -> None:
    """A56: the same through Cmd."""
    read, write = os.pipe()
    cmd = spawnkit.Cmd(children("block"), stdin=read, engine=engine)
    cmd.start()
    os.close(read)
    with pytest.raises(spawnkit.TimeoutExpired):
        cmd.wait(0.01)
    assert cmd.process_state is None
    os.close(write)
    assert cmd.wait().success


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -0.5, float("-inf")])
def test_a_timeout_that_is_over_only_asks(timeout: float, blocked: tuple[Process, Any]) -> None:
    """A57: timeout 0 and negative: the state if there is one, else TimeoutExpired."""
    process, end = blocked
    with pytest.raises(spawnkit.TimeoutExpired):
        process.wait(timeout)
    assert process.poll() is None
    end()
    assert process.wait(timeout).success


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e300, 2**70])
def test_a_timeout_may_be_for_ever(timeout: float | None, engine: str) -> None:
    """A57: None, inf, and what no clock reaches."""
    process = spawnkit.start_process("/bin/true", ["true"], engine=engine)
    assert process.wait(timeout).success
    assert spawnkit.run(["/bin/true"], timeout=timeout, engine=engine).state.success


@pytest.mark.parametrize(
    ("timeout", "kind"), [(float("nan"), ValueError), ("1", TypeError), (True, TypeError)]
)
def test_what_is_no_timeout_is_refused(
    timeout: Any, kind: type[Exception], blocked: tuple[Process, Any]
) -> None:
    """A57: nan, and what is no number."""
    with pytest.raises(kind, match="timeout"):
        blocked[0].wait(timeout)


# Stops


def test_a_stopped_child_has_not_ended(blocked: tuple[Process, Any]) -> None:
    """A58: SIGSTOP/SIGCONT of the child does not end wait."""
    process, end = blocked
    process.signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    with pytest.raises(spawnkit.TimeoutExpired):
        process.wait(0.01)
    assert process.poll() is None
    process.signal(signal.SIGCONT)
    os.waitid(os.P_PID, process.pid, os.WCONTINUED | os.WNOWAIT)
    assert process.poll() is None
    end()
    state = process.wait()
    assert state.success
    assert not state.sys().stopped


def test_a_wait_goes_on_while_the_child_is_stopped_and_continued(
    engine: str, children: Children
) -> None:
    """A58: the same for a wait that has begun, without a timeout."""
    read, write = os.pipe()
    attr = ProcAttr(files=[read])
    process = spawnkit.start_process(children("block"), ["block"], attr, engine=engine)
    os.close(read)
    ended: list[ProcessState] = []
    thread = threading.Thread(target=lambda: ended.append(process.wait()))
    thread.start()
    for _ in range(20):
        process.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        process.signal(signal.SIGCONT)
        os.waitid(os.P_PID, process.pid, os.WCONTINUED)
        assert ended == []
    os.close(write)
    thread.join()
    assert ended[0].success


def test_a_traced_child_that_stops_has_not_ended(engine: str, children: Children) -> None:
    """A59: ptrace-stopped child does not end wait."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    process = spawnkit.start_process(children("traced"), ["traced"], engine=engine)
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        with pytest.raises(spawnkit.TimeoutExpired):
            process.wait(0.01)
        assert process.poll() is None
        assert ptrace(7, process.pid, None, None) == 0, ctypes.get_errno()  # PTRACE_CONT
        assert process.wait().exit_code == 7
    finally:
        with contextlib.suppress(spawnkit.ProcessDone):
            process.kill()
        process.wait()


@pytest.mark.parametrize("thread", ["main", "another"])
def test_a_traced_child_of_run_that_stops_has_not_ended(
    engine: str, children: Children, thread: str
) -> None:
    """A59 where the wait that sleeps also reaps: the thread that made it has the handle alone."""
    results = []

    def run() -> None:
        results.append(spawnkit.run([children("traced")], engine=engine, check=False))

    def kill_when_it_has_stopped() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for pid in _children():
                if _state(pid) == "t":
                    os.kill(pid, signal.SIGKILL)
                    return
        for pid in _children():
            os.kill(pid, signal.SIGKILL)

    here, there = run, kill_when_it_has_stopped
    if thread == "another":
        here, there = there, here
    other = threading.Thread(target=there)
    other.start()
    here()
    other.join()
    assert results[0].state.signal == signal.SIGKILL


def _children() -> list[int]:
    found = []
    for task in (PROC / "self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def _state(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


# Somebody else takes the status

NO_PIDFD_INFO = "ioctl[1&0xffff=0xff0b]:EINVAL"  # as before Linux 6.13


def _status_under(program: str, engine: str, how: str, disposition: str) -> list[Any]:
    """What run() and Process.wait() say about `exit 3` when SIGCHLD is not waited for."""
    import ctypes
    import signal

    import spawnkit

    class Action(ctypes.Structure):
        _fields_ = (
            ("handler", ctypes.c_void_p),
            ("mask", ctypes.c_ulong * 16),
            ("flags", ctypes.c_int),
            ("restorer", ctypes.c_void_p),
        )

    if disposition == "SIG_IGN":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    else:
        action = Action(flags=2)  # SA_NOCLDWAIT
        assert ctypes.CDLL(None).sigaction(signal.SIGCHLD, ctypes.byref(action), None) == 0
    outcomes: list[Any] = []
    for _ in range(3):
        try:
            if how == "run":
                state = spawnkit.run([program, "3"], check=False, engine=engine).state
            else:
                state = spawnkit.start_process(program, ["exit", "3"], engine=engine).wait()
            outcomes.append(state.exit_code)
        except spawnkit.StatusLost:
            outcomes.append("lost")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return outcomes


@pytest.mark.parametrize("disposition", ["SIG_IGN", "SA_NOCLDWAIT"])
@pytest.mark.parametrize("how", ["run", "wait"])
def test_an_ignored_sigchld_never_makes_up_a_status(
    engine: str, how: str, disposition: str, isolate: Isolate, children: Children
) -> None:
    """A60, A61: SIGCHLD=SIG_IGN or SA_NOCLDWAIT -> the true status or StatusLost, never 0."""
    outcomes = isolate(_status_under, children("exit"), engine, how, disposition)
    assert set(outcomes) <= {3, "lost"}


@pytest.mark.parametrize("disposition", ["SIG_IGN", "SA_NOCLDWAIT"])
@pytest.mark.parametrize("how", ["run", "wait"])
def test_a_status_nobody_can_tell_is_lost(
    engine: str, how: str, disposition: str, isolate: Isolate, children: Children
) -> None:
    """A60, A61: where the kernel cannot tell afterwards: StatusLost, every time."""
    program = children("exit")
    outcomes = isolate(_status_under, program, engine, how, disposition, deny=NO_PIDFD_INFO)
    assert outcomes == ["lost"] * 3


def test_a_status_taken_by_a_foreign_wait_is_recovered_or_lost(
    engine: str, children: Children
) -> None:
    """A62: foreign waitpid(-1) -> the true status by pidfd, or StatusLost."""
    process = spawnkit.start_process(children("exit"), ["exit", "3"], engine=engine)
    assert os.waitpid(-1, 0)[0] == process.pid
    try:
        state = process.wait()
    except spawnkit.StatusLost:
        assert not spawnkit.features()["pidfd_info"]
    else:
        assert state.exit_code == 3
        assert state.sys_usage() is None  # went to the stranger, and is not made up
    with pytest.raises(spawnkit.ProcessDone):
        process.kill()


def _status_after_a_foreign_wait(program: str, engine: str) -> list[str]:
    import os
    import warnings

    import spawnkit

    process = spawnkit.start_process(program, ["exit", "3"], engine=engine)
    os.waitpid(-1, 0)
    outcomes = []
    for ask in (process.wait, process.poll, process.wait, process.kill):
        try:
            outcomes.append(str(ask()))
        except spawnkit.Error as error:
            outcomes.append(type(error).__name__)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del ask, process
    return [*outcomes, *(str(warning.message) for warning in warned)]


def test_a_status_taken_by_a_foreign_wait_stays_lost(
    engine: str, isolate: Isolate, children: Children
) -> None:
    """A62: and asking again gives the same answer."""
    outcomes = isolate(_status_after_a_foreign_wait, children("exit"), engine, deny=NO_PIDFD_INFO)
    assert outcomes == ["StatusLost", "StatusLost", "StatusLost", "ProcessDone"]


def _waits_in_every_way(program: str, engine: str) -> list[int]:
    import threading

    import spawnkit

    codes = [
        spawnkit.run([program, "1"], check=False, engine=engine).state.exit_code,
        spawnkit.run([program, "2"], check=False, timeout=600, engine=engine).state.exit_code,
        spawnkit.run([program, "3"], check=False, capture=True, engine=engine).state.exit_code,
        spawnkit.start_process(program, ["exit", "4"], engine=engine).wait().exit_code,
        spawnkit.start_process(program, ["exit", "5"], engine=engine).wait(600).exit_code,
    ]

    def in_a_thread() -> None:
        result = spawnkit.run([program, "6"], check=False, engine=engine)
        codes.append(result.state.exit_code)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    return codes


def test_interrupted_system_calls_are_made_again(
    engine: str, isolate: Isolate, children: Children
) -> None:
    """A63: wait4 -> EINTR x1000: right answer. So for every call that can be interrupted."""
    rules = "wait4:hold,waitid:hold,ppoll:hold,futex[1&0x7f=0]:hold"
    with isolate.start(
        _waits_in_every_way, children("exit"), engine, later=rules, oracle=False
    ) as running:
        interrupted = running.answer_until_done(times=1000, error=4)
        assert interrupted == 1000
        assert running.result() == [1, 2, 3, 4, 5, 6]


def test_the_users_sigchld_handler_runs_and_we_install_none(engine: str) -> None:
    """A64: user's SIGCHLD handler still runs; we install none."""
    seen: list[int] = []
    before = signal.signal(signal.SIGCHLD, lambda number, _: seen.append(number))
    ours = signal.getsignal(signal.SIGCHLD)
    try:
        for _ in range(3):
            seen.clear()
            assert spawnkit.run(["/bin/true"], engine=engine).state.success
            assert signal.SIGCHLD in seen
        seen.clear()
        with pytest.raises(FileNotFoundError):
            spawnkit.run(["/no/such/program"], engine=engine)
        assert signal.getsignal(signal.SIGCHLD) is ours
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_dropped_handle_warns_and_leaves_no_zombie(engine: str, children: Children) -> None:
    """A67: GC of an unwaited Process: ResourceWarning + reaped by the next spawn."""
    descriptors = os.listdir(f"{PROC}/self/fd")
    process = spawnkit.start_process(children("exit"), ["exit", "0"], engine=engine)
    pid = process.pid
    with pytest.warns(ResourceWarning, match=str(pid)):
        del process
    wait_for_zombie(pid)
    spawnkit.run(["/bin/true"], engine=engine)
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    assert os.listdir(f"{PROC}/self/fd") == descriptors


def test_a_dropped_handle_of_a_running_process_leaves_it_alone(
    engine: str, children: Children
) -> None:
    """A67: it lives on, and is reaped by a spawn after its end."""
    read, write = os.pipe()
    attr = ProcAttr(files=[read])
    process = spawnkit.start_process(children("block"), ["block"], attr, engine=engine)
    os.close(read)
    pid = process.pid
    with pytest.warns(ResourceWarning, match=str(pid)):
        del process
    spawnkit.run(["/bin/true"], engine=engine)
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    os.close(write)
    wait_for_zombie(pid)
    spawnkit.run(["/bin/true"], engine=engine)
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
