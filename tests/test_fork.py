"""os.fork of the interpreter: handles stay behind, and the new process spawns for itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import spawnkit
from spawnkit import ProcAttr, Process
from support.children import Children


def in_a_fork(function: Callable[[], Any]) -> Any:
    """What `function` returns in a forked interpreter."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(data)


@pytest.fixture
def blocked(children: Children, engine: str) -> Iterator[Process]:
    read, write = os.pipe()
    attr = ProcAttr(files=[read])
    process = spawnkit.start_process(children("block"), ["block"], attr, engine=engine)
    os.close(read)
    yield process
    os.close(write)
    assert process.wait().success


def test_a_handle_of_the_parent_cannot_be_used(blocked: Process) -> None:
    """A66: Process in a forked child: wait/kill raise, never touch the sibling."""

    def attempts() -> list[str]:
        outcomes = []
        for attempt in (
            blocked.wait,
            blocked.poll,
            blocked.kill,
            blocked.terminate,
            lambda: blocked.signal(0),
        ):
            try:
                attempt()
                outcomes.append("no error")
            except RuntimeError as error:
                outcomes.append("RuntimeError" if str(blocked.pid) in str(error) else str(error))
        return outcomes

    assert in_a_fork(attempts) == ["RuntimeError"] * 5
    blocked.signal(0)  # still there


@pytest.mark.parametrize("how", ["release", "drop"])
def test_giving_up_a_handle_of_the_parent_closes_nothing(
    engine: str, how: str, children: Children
) -> None:
    """A66: the number of its pidfd may be another file in the new process."""
    read, write = os.pipe()
    attr = ProcAttr(files=[read])
    handles = [spawnkit.start_process(children("block"), ["block"], attr, engine=engine)]
    os.close(read)

    def give_up() -> bool:
        number = handles[0].pidfd
        assert number is not None
        os.dup2(2, number)
        with contextlib.suppress(RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if how == "release":
                handles[0].release()
            handles.clear()
        with contextlib.suppress(FileNotFoundError):
            spawnkit.run(["/no/such/program"])  # reaps what was left to be reaped
        return os.fstat(number).st_ino == os.fstat(2).st_ino

    assert in_a_fork(give_up) is True
    os.close(write)
    assert handles[0].wait().success


def test_a_forked_interpreter_spawns_for_itself(engine: str, children: Children) -> None:
    """A66: locks, stacks and what was found out belong to the new process."""

    def spawn() -> list[Any]:
        result = spawnkit.run([children("echo")], input=b"x", capture=True, engine=engine)
        process = spawnkit.start_process(children("exit"), ["exit", "4"], engine=engine)
        try:
            spawnkit.run(["/bin/sleep", "1000"], timeout=0.5, engine=engine)
        except spawnkit.TimeoutExpired as error:
            return [
                (result.stdout or b"").decode(),
                process.wait().exit_code,
                error.state and error.state.signal,
            ]
        return []

    spawnkit.run(["/bin/true"], engine=engine)
    assert in_a_fork(spawn) == ["x", 4, signal.SIGKILL]
    assert spawnkit.run(["/bin/true"], engine=engine).state.success
