"""Ctrl-C at each instruction of our Python code: nothing is left behind, wherever it strikes.

What happens between two instructions (inside C) is swept over in test_interrupt.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from support.children import Children
from support.isolated import Isolate

HOWS = [
    "run",
    "captured",
    "gathered",
    "missing",
    "timeout",
    "null",
    "Cmd.start",
    "start_process",
    "find_process",
    "subprocess.run",
    "subprocess captured",
    "subprocess.Popen",
]


def _interrupts_at_each_instruction(program: str, how: str, endless: bool) -> list[Any]:
    """One call per instruction; how many were interrupted, and what was found wrong."""
    import contextlib
    import os
    import signal
    import sys
    import time

    import spawnkit
    from spawnkit import subprocess
    from support.proc import PROC

    home = os.path.dirname(spawnkit.__file__)
    read, write = os.pipe()
    attr = spawnkit.SysProcAttr(setsid=True)
    argv = [program, str(read)] if endless else ["/bin/true"]
    files = spawnkit.ProcAttr(files={0: 0, 1: 1, 2: 2, read: read}, sys=attr)
    counted = 0
    strike_at = 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal counted
        if not frame.f_code.co_filename.startswith(home):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            counted += 1
            if counted == strike_at:
                signal.raise_signal(signal.SIGINT)
        return trace

    class RescueError(Exception):
        pass

    def rescue(*_: object) -> None:
        nonlocal strike_at
        strike_at = 0  # not also in the cleaning up that follows
        raise RescueError

    def call() -> Any:
        if how == "run":
            return spawnkit.run(argv, stdin=read, attr=attr)
        if how == "captured":
            return spawnkit.run(argv, stdin=read, capture=True, attr=attr)
        if how == "gathered":
            return spawnkit.run(argv, stdout=spawnkit.PIPE, fd_map={read: read}, attr=attr)
        if how == "missing":
            with contextlib.suppress(spawnkit.SpawnError):
                spawnkit.run(["/no/such/program"], stdout=spawnkit.PIPE)
            return None
        if how == "timeout":
            return spawnkit.run(argv, stdin=read, timeout=1000, attr=attr)
        if how == "null":
            return spawnkit.run(["/bin/true"], stdin=spawnkit.DEVNULL, attr=attr)
        if how == "Cmd.start":
            cmd = spawnkit.Cmd(*argv, stdin=read, attr=attr)
            cmd.start()
            return cmd.process
        if how == "start_process":
            return spawnkit.start_process(argv[0], argv, files)
        if how == "subprocess.run":
            return subprocess.run(argv, stdin=read, start_new_session=True)
        if how == "subprocess captured":
            return subprocess.run(argv, stdin=read, capture_output=True, start_new_session=True)
        if how == "subprocess.Popen":
            return subprocess.Popen(argv, stdin=-1, stdout=-1, stderr=-3)
        return spawnkit.find_process(os.getpid())

    def children() -> list[str]:
        with open(f"{PROC}/self/task/{os.getpid()}/children") as file:
            return file.read().split()

    def finish(outcome: Any) -> None:
        if isinstance(outcome, spawnkit.Process) and outcome.pid != os.getpid():
            outcome.kill()
            outcome.wait()
        if isinstance(outcome, subprocess.Popen):
            outcome.kill()
            outcome.communicate()

    def strike(at: int) -> str:
        """What comes of a call that is interrupted at this instruction."""
        nonlocal counted, strike_at
        counted, strike_at = 0, at
        outcome: Any = None
        signal.setitimer(signal.ITIMER_REAL, 2.0)
        sys._getframe().f_trace_opcodes = True  # 3.12 looks at it only in settrace
        sys.settrace(trace)
        try:
            outcome = call()
            return "ended"
        except KeyboardInterrupt:
            return "interrupted"
        except RescueError:
            return "rescued"
        finally:
            sys.settrace(None)
            signal.setitimer(signal.ITIMER_REAL, 0)
            finish(outcome)

    signal.signal(signal.SIGALRM, rescue)
    spawnkit.set_spin(
        0
    )  # a wait that was awake comes round once more, or not: each call is the same
    argv[1:] = ["0"] if endless else []
    call_once = strike(0) if not endless else None  # everything is imported and warmed up
    before = sorted(os.listdir(f"{PROC}/self/fd"))
    interrupted, wrong = 0, []
    for at in range(1, 100_000):
        begin = time.monotonic()
        outcome = strike(at)
        if children() or sorted(os.listdir(f"{PROC}/self/fd")) != before:
            wrong.append([at, children(), os.listdir(f"{PROC}/self/fd")])
            # A handle that was dropped on its way out of the call: its process lives on.
            for pid in children():
                os.kill(int(pid), signal.SIGKILL)
                os.waitid(os.P_PID, int(pid), os.WEXITED | os.WNOWAIT)
            spawnkit.run(["/bin/true"])
        # Past its last instruction, or in the loop that waits: that one comes round for ever.
        if outcome != "interrupted" or time.monotonic() - begin > 0.09:
            break
        interrupted += 1
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.close(read)
    os.close(write)
    return [call_once, interrupted, wrong]


@pytest.mark.parametrize("how", HOWS)
def test_an_interrupt_at_any_instruction_leaves_nothing(
    how: str, isolate: Isolate, children: Children
) -> None:
    """A call of a short-lived child, to its very end."""
    first, interrupted, wrong = isolate(
        _interrupts_at_each_instruction, children("block"), how, False
    )
    assert first == "ended"
    assert interrupted > 20
    if how in ("Cmd.start", "start_process", "subprocess.Popen"):
        # The program runs and the call is over but for its last instructions: the interrupt is the
        # caller's by then, and what it drops is a handle (ResourceWarning).
        assert [at for at, _, _ in wrong] == list(
            range(interrupted - len(wrong) + 1, interrupted + 1)
        )
        assert len(wrong) <= 5
    else:
        assert not wrong


@pytest.mark.parametrize(
    "how", ["run", "captured", "gathered", "timeout", "subprocess.run", "subprocess captured"]
)
def test_an_interrupt_at_any_instruction_ends_an_endless_child(
    how: str, isolate: Isolate, children: Children
) -> None:
    """A child in its own session that would go on for ever: up to where the call sleeps in C."""
    _, interrupted, wrong = isolate(_interrupts_at_each_instruction, children("block"), how, True)
    assert interrupted > 100
    assert not wrong
