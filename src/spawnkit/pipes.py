"""PipeEnd: our end of one of a child's streams, read or written by the caller or by a copier.

Safe between threads: closing an end wakes whoever waits at it, and its descriptor is closed by the
last thread out, never under another one's system call. Otherwise
  1. thread A finds the end open and is about to read descriptor 7;
  2. thread B closes 7, and thread C opens a file, which becomes 7;
  3. A reads, and takes data out of C's file.
"""

from __future__ import annotations

import io
import os
import select
from _thread import RLock

from . import _core
from .threads import let_go

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK = 1 << 16  # what a pipe holds
WIDE = 1 << 18  # what it holds once it is widened


class PipeEnd(io.RawIOBase):
    """One end of a pipe to a child: stdin is written, stdout and stderr are read.

    A write goes out whole, and raises BrokenPipeError when nobody reads. `close` may be called
    from any thread, and again; a read or write that waits then raises ValueError.
    """

    def __init__(self, pump: _core.Pump, guard: _core.Guard, stream: int) -> None:
        """Takes over an open end of the pump. guard: held, because the pump is closed with it."""
        super().__init__()
        self._lock = RLock()  # re-entrant: a signal handler may close what it interrupts
        self._users = 0
        self._over = False  # nothing more is read or written
        self._left: int | None = None  # after `finish`: how much may still be read
        self._stream = stream
        self._pid = os.getpid()
        self._pump, self._guard = pump, guard
        _core.hold_end(pump, stream)
        self._fd: int = pump.ours[stream]

    @property
    def stream(self) -> int:
        """0 for stdin, 1 for stdout, 2 for stderr."""
        return self._stream

    def readable(self) -> bool:
        """Is it stdout or stderr?"""
        return self._stream != 0

    def writable(self) -> bool:
        """Is it stdin?"""
        return self._stream == 0

    def fileno(self) -> int:
        """The descriptor: close-on-exec, and in non-blocking mode until `share`."""
        with self._lock:
            self._check()
            return self._fd

    def share(self) -> None:
        """For an end that a child is given: no program expects non-blocking mode (Go's File.Fd)."""
        os.set_blocking(self.fileno(), True)

    def take(self, size: int) -> bytes:
        """What is there, up to `size` bytes, after waiting for some; b"" at the end."""
        self._enter()
        try:
            while self._await():
                wanted = size if self._left is None else min(size, self._left)
                try:
                    data = os.read(self._fd, wanted) if wanted else b""
                except BlockingIOError:
                    continue  # somebody else was faster
                if self._left is not None:
                    self._left -= len(data)
                return data
            return b""
        finally:
            self._leave()

    def readinto(self, buffer: Buffer) -> int:
        """See io.RawIOBase."""
        if self._stream == 0:
            raise io.UnsupportedOperation("not readable")
        with memoryview(buffer).cast("B") as view:
            data = self.take(len(view))
            view[: len(data)] = data
            return len(data)

    def write(self, data: Buffer) -> int:
        """Writes all of it. BrokenPipeError: the program (and whoever has its stdin) is gone."""
        if self._stream != 0:
            raise io.UnsupportedOperation("not writable")
        self._enter()
        try:
            with memoryview(data).cast("B") as view:
                done = 0
                while done < len(view):
                    if not self._await():
                        raise ValueError("write to a closed pipe")
                    done += _core.write_end(self._pump, 0, view[done:])
                return done
        finally:
            self._leave()

    def widen(self) -> None:
        """Makes the pipe larger, for a stream that has turned out to be long."""
        with self._lock:
            if not self._over:
                _core.widen_end(self._pump, self._stream)

    def finish(self) -> None:
        """Ends the stream after what is in the pipe now, whoever still writes."""
        with self._lock:
            if self._over or self._left is not None:
                return
            self._left = _core.left_in_end(self._pump, self._stream)
            _core.stop_end(self._pump, self._stream)

    def pipe_if_open(self) -> int | None:
        """The pipe's inode, if somebody may still write into it."""
        try:
            self._enter()
        except ValueError:
            return None
        try:
            poll = select.poll()
            poll.register(self._fd, 0)  # a hang-up is told unasked
            return None if poll.poll(0) else os.fstat(self._fd).st_ino
        finally:
            self._leave()

    def close(self) -> None:
        """Closes it; the descriptor goes with the last thread that is using it."""
        with self._lock:
            self._over = True
            # Also when repeated: an exception may have struck just here the first time.
            if self._users and os.getpid() == self._pid:
                _core.stop_end(self._pump, self._stream)
            else:
                # In a process forked since, nobody is at it; and what wakes is shared with those
                # who are at theirs, and would end their stream.
                _core.close_end(self._pump, self._stream)
        super().close()

    def close_for_good(self) -> None:
        """`close` by its only user, a thread of ours, also where it had no memory to leave."""
        self._users = 0
        try:
            self.close()
        finally:
            let_go(self._lock)

    def _check(self) -> None:
        if self._over:
            raise ValueError("I/O operation on closed pipe")

    def _enter(self) -> None:
        with self._lock:
            self._users += 1  # first: a signal handler that closes it must see that we are here
            if self._over:
                self._leave()
            self._check()

    def _leave(self) -> None:
        # Again where there was no memory for `with`: the end is closed by the last one out, and who
        # could not leave would keep it open, and the child waiting, for ever.
        left = False
        while not left:
            try:
                with self._lock:
                    self._users -= 1
                    left = True
                    if self._over and not self._users:
                        _core.close_end(self._pump, self._stream)
            except MemoryError:  # noqa: PERF203
                if left:
                    raise

    def _await(self) -> bool:
        """Waits until it is ready. False: finished, with nothing left. ValueError: closed."""
        ready = self._left is None and _core.await_end(self._pump, self._stream)
        self._check()
        return ready or bool(self._left)
