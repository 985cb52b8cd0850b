"""Where there is no memory for a moment, nothing waits for ever and nothing is left behind.

Each is a defect that `make faults-memory` found, made certain here.
"""

from __future__ import annotations

import gc
import io
import sys
import time
import warnings
from _thread import RLock, start_new_thread
from typing import Any

import pytest

import spawnkit
from spawnkit import PIPE, children, threads


def _ends_without_a_word(_: Any, arguments: tuple[Any, ...]) -> int:
    """A thread that gets no memory for its first line."""
    return start_new_thread(lambda *_: None, arguments)


def test_a_copier_that_does_not_begin_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "start_new_thread", _ends_without_a_word)
    out = io.BytesIO()
    with pytest.raises(MemoryError, match="no memory for a thread"):
        spawnkit.run(["/bin/cat"], stdin=io.BytesIO(b"x"), stdout=out)
    assert out.getvalue() == b""


def test_a_command_whose_thread_does_not_begin_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would take its output or keep its time; its wait says why."""
    monkeypatch.setattr(threads, "start_new_thread", _ends_without_a_word)
    cmd = spawnkit.Cmd("/bin/sleep", "600", stdout=PIPE, timeout=500)
    cmd.start()
    for _ in range(2):
        with pytest.raises(MemoryError, match="no memory for a thread"):
            cmd.wait()
    assert cmd.process is not None
    with pytest.raises(spawnkit.ProcessDone):
        cmd.process.kill()


def test_an_action_that_does_not_begin_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "start_new_thread", _ends_without_a_word)
    with pytest.raises(MemoryError, match="no memory for a thread"):
        spawnkit.run(["/bin/sleep", "600"], timeout=0.5, cancel=lambda cmd: None, wait_delay=0.01)


def test_a_thread_that_fails_at_its_last_line_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[BaseException] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)

    def fails() -> None:
        raise KeyError

    threads.start_thread(fails, heard.append)
    threads.start_thread(lambda: None, heard.append)
    end = time.monotonic() + 30
    while not heard and time.monotonic() < end:
        time.sleep(0)
    assert [type(error) for error in heard] == [MemoryError]


class _ForgetfulLock:
    """Its `with` fails the first time, as one that gets no memory for its methods."""

    def __init__(self, lock: Any) -> None:
        self.lock, self.failed = lock, False

    def __enter__(self) -> None:
        if not self.failed:
            self.failed = True
            raise MemoryError
        self.lock.__enter__()

    def __exit__(self, *exception: object) -> None:
        self.lock.__exit__(*exception)


def test_who_leaves_a_pipe_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its descriptor stays open, and a child waits for the end of its input for ever."""
    cmd = spawnkit.Cmd("/bin/cat", stdout=PIPE)
    with cmd.stdin_pipe() as stdin:
        cmd.start()
        end: Any = stdin
        end._enter()
        end._lock = _ForgetfulLock(end._lock)
        end._leave()
        assert end._lock.failed
        assert end._users == 0
    cmd.wait()


class _StuckLock:
    """An RLock that gets no memory, once, to be released: it stays taken."""

    def __init__(self, lock: Any) -> None:
        self.lock, self.failed = lock, False
        self._is_owned, self.acquire = lock._is_owned, lock.acquire

    def release(self) -> None:
        if not self.failed:
            self.failed = True
            raise MemoryError
        self.lock.release()

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self.lock.release()


def test_a_thread_that_ends_takes_no_lock_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next copier, and the caller, would wait for a thread that is gone."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    monkeypatch.setattr("spawnkit.supervise.RLock", lambda: _StuckLock(RLock()))
    out = io.BytesIO()
    with pytest.raises(MemoryError):
        spawnkit.run(["/bin/cat"], stdin=io.BytesIO(b"x"), stdout=out)
    assert out.getvalue() == b"x"


class _Poor:
    """A child's handle for whose numbers there is no memory."""

    def __init__(self, child: Any) -> None:
        self._child = child

    def __getattr__(self, name: str) -> Any:
        if name == "pid":
            raise MemoryError
        return getattr(self._child, name)


def test_a_dropped_handle_is_reaped_later_without_memory_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adopted: list[Any] = []
    monkeypatch.setattr("spawnkit.process.adopt", adopted.append)
    monkeypatch.setattr("spawnkit._core.is_stale", lambda _: False)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    process = spawnkit.start_process("/bin/true", ["true"])
    child = process._child
    process._child = _Poor(child)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del process
        gc.collect()
    assert len(adopted) == 1
    monkeypatch.undo()
    children.end(child)
    assert child.status == 0
