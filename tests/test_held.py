"""A child that hangs in its setup: it takes nobody along, and what is wrong is said.

The child is held inside a system call by a seccomp supervisor: for as long as a test wants, and
without a sleep.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from support.children import Children
from support.isolated import Isolate, Isolated
from support.proc import PROC

# Every system call a child of ours makes before its program runs.
CHILD_CALLS = [
    "prlimit64",
    "umask",
    "setsid",
    "chdir",
    "dup3",
    "close_range",
    "rt_sigaction",
    "rt_sigprocmask",
    "execve",
]


def _spawns_while_another_thread_answers(
    argv: list[str], directory: str, engine: str, timeout: float | None
) -> Any:
    """run() on the main thread; a second one answers whatever the test says."""
    import threading

    import spawnkit
    from support.inside import hear, note

    def answer() -> None:
        while (word := hear()) != "end":
            note(f"heard {word}")

    thread = threading.Thread(target=answer)
    thread.start()
    attr = spawnkit.SysProcAttr(setsid=True, umask=0o22, rlimits={"CORE": 0}, sigdefault=[10])
    outcome: Any
    try:
        with open("/dev/null") as null:
            state = spawnkit.run(
                argv, dir=directory, attr=attr, stdin=null, engine=engine, timeout=timeout
            ).state
        outcome = ["ran", state.exit_code]
    except spawnkit.SpawnError as error:
        outcome = ["not started", error.stage, error.signal, str(error)]
    except spawnkit.TimeoutExpired as error:
        outcome = ["timeout", error.stage, error.state]
    except KeyboardInterrupt:
        outcome = ["interrupted"]
    note("done")
    thread.join()
    return outcome


def check_that_the_other_thread_runs(running: Isolated) -> None:
    for number in range(20):
        running.tell(number)
        assert running.note() == f"heard {number}"


def finish(running: Isolated) -> Any:
    # A stopped child makes its call again when it goes on; and the program may make it too.
    assert running.let_go_until_note() == "done"
    running.tell("end")
    return running.result()


@pytest.mark.needs("dir", "umask", "rlimits")
@pytest.mark.parametrize("call", CHILD_CALLS)
def test_other_threads_run_while_a_childs_setup_takes_its_time(
    engine: str, call: str, isolate: Isolate, tmp_path: Path
) -> None:
    """A133: a delay at each child syscall: other threads go on, however long it takes."""
    arguments = (["/bin/true"], str(tmp_path), engine, None)
    with isolate.start(
        _spawns_while_another_thread_answers, *arguments, later=f"{call}:hold"
    ) as running:
        held = running.held_in_child()
        check_that_the_other_thread_runs(running)
        held.go()
        assert finish(running) == ["ran", 0]


@pytest.mark.needs("dir", "umask", "rlimits")
def test_a_child_stopped_before_exec_stops_nobody_else(
    engine: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A134: SIGSTOP on the child before exec: other threads run; SIGKILL of it gives an error."""
    marker = tmp_path / "ran"
    arguments = ([children("report"), str(marker)], str(tmp_path), engine, None)
    with isolate.start(
        _spawns_while_another_thread_answers, *arguments, later="chdir:hold"
    ) as running:
        held = running.held_in_child()
        os.kill(held.pid, signal.SIGSTOP)
        held.go()
        wait_until_stopped(held.pid)
        check_that_the_other_thread_runs(running)
        os.kill(held.pid, signal.SIGKILL)
        outcome = finish(running)
    assert outcome[:3] == ["not started", "chdir", signal.SIGKILL]
    assert "died before exec (signal 9)" in outcome[3]
    assert not marker.exists()


def wait_until_stopped(pid: int) -> None:
    """It is not our child, so there is nothing to wait for: look until it says so."""
    while (PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        os.sched_yield()


@pytest.mark.needs("dir", "umask", "rlimits")
def test_a_child_stopped_and_continued_before_exec_runs(
    engine: str, isolate: Isolate, tmp_path: Path
) -> None:
    """A134: SIGCONT lets it go on as if nothing had been."""
    arguments = (["/bin/true"], str(tmp_path), engine, None)
    with isolate.start(
        _spawns_while_another_thread_answers, *arguments, later="chdir:hold"
    ) as running:
        held = running.held_in_child()
        os.kill(held.pid, signal.SIGSTOP)
        held.go()
        wait_until_stopped(held.pid)
        check_that_the_other_thread_runs(running)
        os.kill(held.pid, signal.SIGCONT)
        assert finish(running) == ["ran", 0]


# vfork-waiting is in the kernel until exec: its caller asked for exactly that.
INTERRUPTIBLE = ["vfork", "fork"]


@pytest.mark.parametrize("interruptible", INTERRUPTIBLE)
@pytest.mark.parametrize("call", ["prlimit64", "setsid", "chdir", "dup3", "rt_sigprocmask"])
def test_a_timeout_before_exec_names_the_stage(
    interruptible: str, call: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """run(timeout) of a child that never gets to its program: it is killed, and the stage named."""
    stages = {"prlimit64": "rlimit", "dup3": "descriptors", "rt_sigprocmask": "signals"}
    marker = tmp_path / "ran"
    arguments = ([children("report"), str(marker)], str(tmp_path), interruptible, 0.05)
    with isolate.start(
        _spawns_while_another_thread_answers, *arguments, later=f"{call}:hold"
    ) as running:
        running.held_in_child()
        assert running.let_go_until_note(only_ours=True) == "done"
        running.tell("end")
        assert running.result() == ["timeout", stages.get(call, call), None]
    assert not marker.exists()


@pytest.mark.parametrize("interruptible", INTERRUPTIBLE)
def test_ctrl_c_before_exec_ends_the_child(
    interruptible: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """KeyboardInterrupt arrives while the child hangs; the child is killed and reaped (oracle)."""
    marker = tmp_path / "ran"
    arguments = ([children("report"), str(marker)], str(tmp_path), interruptible, None)
    with isolate.start(
        _spawns_while_another_thread_answers, *arguments, later="chdir:hold"
    ) as running:
        running.held_in_child()
        os.kill(running.pid, signal.SIGINT)
        assert finish(running) == ["interrupted"]
    assert not marker.exists()
