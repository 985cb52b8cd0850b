"""`Popen.communicate`, and `_communicate` behind it: input and outputs through the core's pump."""

from __future__ import annotations

import errno
import functools
import io
import os
import subprocess
import threading
import time
import weakref
from contextlib import suppress

from .. import _core
from . import standard
from .opening import one_file
from .waiting import UNHEEDED, deadline_of, settle_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["communicate", "private_communicate"]


class _Talk:
    """A communication under way. It survives a timeout, and goes on with the next call.

    While one lasts, the pump has duplicates of the pipes' ends. Between two of them it has none:
    whoever closes the files of the Popen, as its `__exit__` does, closes the pipes, and a child
    that still reads or writes comes to an end.
    """

    def __init__(self, data: _core.Buffer | None) -> None:
        self.pump = _core.new_pump()
        self.guard = _core.guard_pump(self.pump)
        self.sinks: dict[int, io.BytesIO] = {}
        # One thread at a time: two in the pump would write into the same buffers. A signal handler
        # may come back into it.
        self.lock = threading.RLock()
        self.pid = os.getpid()
        self.depth = 0
        self.feeds = bool(data)
        if data:
            # What is no buffer is refused here: stdin blocks still, and may be used otherwise.
            self.view = _core.feed_pump(self.pump, memoryview(data).cast("B"))

    def is_inherited(self) -> bool:
        """In a forked process: can it go on here, since no thread was in it when that was forked?

        One that was is not here, to let go of the lock; what it has read is the parent's.
        """
        if not self.lock.acquire(blocking=False):
            return self.pid == os.getpid()  # or another thread of this process was first
        self.pid = os.getpid()
        self.lock.release()
        return True

    def begin(self, popen: Any) -> None:
        """Takes the ends that are open."""
        self.depth += 1
        if self.depth > 1:
            return  # in a signal handler: they are taken
        stdin, *outputs = (_end_of(file) for file in (popen.stdin, popen.stdout, popen.stderr))
        _core.borrow_pipes(self.pump, stdin if self.feeds else -1, *outputs)
        if self.feeds and stdin >= 0:
            # Ours is the last end now: the child sees the end of its input when all is written.
            popen.stdin.close()

    def give_back(self, popen: Any) -> None:
        """Ends that are still open are those of the Popen's files alone, again."""
        self.depth = max(0, self.depth - 1)  # a signal may have struck before it was counted
        if self.depth:
            return
        try:
            if _core.is_pumped(self.pump, 0) and popen.stdin.closed:
                (popen.stdin,) = one_file(self.pump, 0)
        finally:
            for stream in range(3):
                _core.close_end(self.pump, stream)

    def gathered(self, stream: int) -> bytes:
        return _core.gathered(self.pump, stream, self.sinks)


def _end_of(file: Any) -> int:
    return -1 if file is None or file.closed else file.fileno()


@functools.wraps(standard.public_communicate)
def communicate(self: Any, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
    """Feeds, gathers and waits, as subprocess.Popen's.

    In a process forked from the one that made the Popen there is no status to be had, and
    returncode stays None; the output is returned all the same.
    """
    child = getattr(self, "_spawnkit", None)
    said: tuple[Any, Any]
    if child is None or not _core.is_stale(child):
        said = standard.public_communicate(self, input, timeout)
        return said
    # The standard method ends with a wait, whose ChildProcessError would take the output with it.
    before = self.__dict__.get(UNHEEDED)
    self.__dict__[UNHEEDED] = threading.get_ident()
    try:
        said = standard.public_communicate(self, input, timeout)
        return said
    finally:
        self.__dict__[UNHEEDED] = before


def private_communicate(
    self: Any, input: Any, endtime: float | None, orig_timeout: float | None
) -> tuple[Any, Any]:
    """Feeds and gathers, and waits. endtime: on time.monotonic(); None: no limit.

    Raises TimeoutExpired with what has come so far; the next call goes on from there.
    """
    child = getattr(self, "_spawnkit", None)
    # What the standard implementation has begun (before `install`, say) is for it to end.
    if child is None or "_fileobj2output" in self.__dict__ or not _are_pipes(self):
        outputs: tuple[Any, Any] = standard.communicate(self, input, endtime, orig_timeout)
        return outputs
    if self.stdin and not self._communication_started:
        _flush(self, input)
    talk = self.__dict__.get("_spawnkit_talk")
    if talk is not None and talk.pid != os.getpid() and not talk.is_inherited():
        self.__dict__.pop("_spawnkit_talk", None)
        talk = None
    if talk is None:
        data = input
        if input is not None and self.stdin and self.text_mode:
            data = input.encode(self.stdin.encoding, self.stdin.errors)
        mine = _Talk(data if self.stdin else None)
        talk = self.__dict__.setdefault("_spawnkit_talk", mine)
    deadline = deadline_of(None if endtime is None else endtime - time.monotonic())
    if not talk.lock.acquire(timeout=_core.seconds_until(deadline)):
        raise subprocess.TimeoutExpired(self.args, orig_timeout)  # type: ignore[arg-type]
    try:
        if "_fileobj2output" not in self.__dict__:  # else another thread has ended it
            _go_on(self, talk, child, deadline, orig_timeout)
        self.__dict__.pop("_spawnkit_talk", None)
    finally:
        talk.lock.release()
    return _taken(self, self.stdout), _taken(self, self.stderr)


def _again(popen: weakref.ref[Any], *arguments: Any) -> tuple[Any, Any]:
    # Not the Popen itself: one that refers to itself is closed late, by the garbage collector.
    return private_communicate(popen(), *arguments)


def _go_on(
    self: Any, talk: _Talk, child: _core.Child, deadline: int, orig_timeout: float | None
) -> None:
    """To the end, or until TimeoutExpired."""
    try:
        talk.begin(self)
        if _core.is_stale(child):
            result = _pump_without_child(talk, deadline)
        else:
            result = _core.pump(talk.pump, child, deadline, talk.sinks)
    finally:
        try:
            talk.give_back(self)
        except BaseException:
            # A signal handler that raised before anything was given back.
            talk.give_back(self)
            raise
    if result == _core.TIMEOUT:
        # The next call finds us even after `uninstall`: only we have what has come so far.
        self._communicate = functools.partial(_again, weakref.ref(self))
        raise subprocess.TimeoutExpired(
            self.args,
            orig_timeout,  # type: ignore[arg-type]
            output=talk.gathered(1) or None,
            stderr=talk.gathered(2) or None,
        )
    if result < 0 or (result == _core.OK and self.returncode is None):
        # A status that is lost, or is not ours to have, is for `wait` to tell of.
        settle_up(self, child, result)
    # Another thread finds it at its end from here on, so closed and begun:
    #   1. we note the outputs, where the standard implementation keeps them;
    #   2. a thread that comes now goes the standard way, to which a communication that has not
    #      begun has no output yet, and which would ask a file for its number while we close it.
    for file in self.stdout, self.stderr:
        if file is not None:
            file.close()
    self._communication_started = True
    self._fileobj2output = {
        file: [talk.gathered(stream)]
        for stream, file in ((1, self.stdout), (2, self.stderr))
        if file is not None
    }
    self.__dict__.pop("_communicate", None)


def _pump_without_child(talk: _Talk, deadline: int) -> int:
    """As `_core.pump`, in a process forked from the child's parent; STALE for its OK."""
    # After the streams the pump waits for a child. Ours it refuses, and another process may have
    # that number by now, even a child of this one. We ourselves are never our own child.
    ourselves = _core.new_child()
    _guard = _core.guard_child(ourselves)
    _core.attach(ourselves, os.getpid())
    result = _core.pump(talk.pump, ourselves, deadline, talk.sinks)
    return _core.STALE if result == -errno.ECHILD else result


def _taken(popen: Any, file: Any) -> Any:
    if file is None:
        return None
    (data,) = popen._fileobj2output[file]
    return popen._translate_newlines(data, file.encoding, file.errors) if popen.text_mode else data


def _are_pipes(popen: Any) -> bool:
    """Are its streams the files that Popen made? A program may have put others in their place."""
    for file in popen.stdin, popen.stdout, popen.stderr:
        if file is not None and not isinstance(
            file, (io.BufferedReader, io.BufferedWriter, io.TextIOWrapper, io.FileIO)
        ):
            return False
    return True


def _flush(popen: Any, input: Any) -> None:
    with suppress(BrokenPipeError):
        popen.stdin.flush()
    if not input:
        with suppress(BrokenPipeError):
            popen.stdin.close()
