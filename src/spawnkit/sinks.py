"""Sinks: where the output of a program goes that goes to Python code.

    PipeEnd ──chunks──▶ Copier ──write, end, close──▶ sink ──▶ a writer, a callable, a file, a tee

A sink belongs to one stream of one command, and one thread is in it. `write` and `end` raise what
their target raised, and are not called again. A callable is different: nobody else will take its
output, so that the command has to end (`failed` is told); until it has ended the rest is taken and
dropped, because signals come before SIGPIPE (supervise.py).
"""

from __future__ import annotations

import codecs
import fcntl
import io
import os

from . import _core
from .pipes import PipeEnd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from .result import Text
    from .streams import Stream

__all__ = ["each_chunk", "each_line", "tee"]

UTF8 = ("utf-8", "strict")


# ---- what the caller names ----------------------------------------------------------------------


class Each:
    """A callable, and how often it is called."""

    __slots__ = ("by_line", "call")

    def __init__(self, call: Callable[[Any], object], by_line: bool) -> None:
        """by_line: for each line; else for each chunk."""
        if not callable(call):
            raise TypeError(f"{'each_line' if by_line else 'each_chunk'}: cannot call {call!r}")
        self.call = call
        self.by_line = by_line

    def __repr__(self) -> str:
        """spawnkit.each_line(print)."""
        return f"spawnkit.{'each_line' if self.by_line else 'each_chunk'}({self.call!r})"


class Tee:
    """Several targets for one stream."""

    __slots__ = ("targets",)

    def __init__(self, targets: Iterable[Any]) -> None:
        """A tee among them stands for its own targets."""
        self.targets: list[Any] = []
        for target in targets:
            self.targets += target.targets if type(target) is Tee else [target]

    def __repr__(self) -> str:
        """spawnkit.tee(None, spawnkit.PIPE)."""
        return f"spawnkit.tee({', '.join(map(repr, self.targets))})"


def each_line(call: Callable[[Any], object]) -> Each:
    """For `stdout` or `stderr`: calls `call` with each line, its end kept. A callable by itself
    means the same.

    A line ends with "\\n"; what precedes it, "\\r" too, belongs to the line. The last one comes
    also without an end, and however long a line is, it comes in one piece. bytes; with the
    command's `encoding` str, decoded as if in one piece: a line with bytes that do not decode is
    not handed on.

    `call` runs in a thread of ours, one call at a time for a stream; the same object given for
    stdout and stderr is one stream of both. `run` and `wait` return after the last call. What it
    raises ends the command as its timeout would, by default with SIGKILL, and is raised by `run`
    or `wait`, whatever the status; `call` is not called again. So is a UnicodeDecodeError, unless
    the output breaks off in the middle of a character: then the status counts first, as with a
    writer. Go has no such thing: its `Cmd.Stdout` is a writer.

    >>> run(["printf", "one\\ntwo"], stdout=each_line(print)).state.success
    b'one\\n'
    b'two'
    True
    """
    return Each(call, by_line=True)


def each_chunk(call: Callable[[Any], object]) -> Each:
    """For `stdout` or `stderr`: calls `call` with what has come, as soon as it has come.

    At most 256 KiB at a time, never nothing. bytes; with the command's `encoding` str, where a
    character that is cut in two waits for its second half. Else as `each_line`.
    """
    return Each(call, by_line=False)


def tee(*targets: Stream) -> Tee:
    """For `stdout` or `stderr`: hands everything that comes to each of the targets, in their order.

    `run(args, stdout=tee(None, PIPE))` shows what a program says while it runs, and has it in
    `result.stdout`. A target is one of
        None: our own 1 or 2, as they are when the command starts.
        PIPE: gathered in memory.
        a path: created or emptied, and always appended to.
        a descriptor, or a file that has one: written there at once, after what the file's own
            buffer holds; it has to stay open. Bytes stay as they are, also where it is a text file.
        any other object with write(); a callable, each_line, each_chunk; a tee.
        DEVNULL: nothing.
    The same tee for stdout and stderr is one stream of both, and its None our 1.

    All is done in one thread, so that a target that blocks holds up the others. A target that
    raises gets no more; the others go on, and the first error is raised in the end, after an
    ExitError, as a writer's would be. The program loses its reader (SIGPIPE) when no target is
    left. A callable's error ends the command, as with `each_line`. tee(1). ValueError for no target
    at all.
    """
    if not targets:
        raise ValueError("tee: no target")
    return Tee(targets)


# ---- sinks --------------------------------------------------------------------------------------


class Sink:
    """See the module. calls: is there a callable, whose error ends the command?"""

    calls = False

    def begin(self) -> None:
        """Before the thread starts that will `write`, `end` and, in any case, `close`."""

    def write(self, data: bytes) -> None:
        """Takes all of a chunk as it came."""
        raise NotImplementedError

    def end(self) -> None:
        """There is no more."""

    def close(self) -> None:
        """Gives back what is ours, nothing of the caller's; harmless when repeated."""


def sink_for(
    target: Any,
    text: Text | None,
    failed: Callable[[BaseException], None],
    stopped: Callable[[], bool],
) -> Sink:
    """The sink of a target that `check_streams` and `Streams.open` let through.

    target: a list: a tee. text: encoding and error handler, None: bytes, and UTF-8 for text
    objects. failed: told what a callable raised. stopped: does nobody wait for it any more?
    LookupError for an encoding that cannot be decoded piece by piece.
    """
    if isinstance(target, list):
        return _Tee([sink_for(each, text, failed, stopped) for each in target])
    if isinstance(target, File):
        return target
    if isinstance(target, io.TextIOBase):
        return _Text(target, text or UTF8)
    if isinstance(target, Each):
        return _Calls(target, text, failed, stopped)
    if hasattr(target, "write"):
        return _Bytes(target)
    return _Calls(Each(target, by_line=True), text, failed, stopped)


class _Bytes(Sink):
    """An object with write(), which may take less than it was given, as raw files do."""

    def __init__(self, target: Any) -> None:
        self._write = target.write
        self._may_be_short = isinstance(target, io.RawIOBase)
        self._target = target

    def write(self, data: bytes) -> None:
        done = self._write(data)
        while (type(done) is int and done < len(data)) or (done is None and self._may_be_short):
            if done is None or done <= 0:
                raise BlockingIOError(f"{self._target!r} took nothing of {len(data)} bytes")
            data = data[done:]
            done = self._write(data)


class _Decoder:
    """Text out of chunks, as if they had been decoded in one piece.

    Of a character that a chunk cuts in two, the codec keeps the first half.
    """

    def __init__(self, text: Text) -> None:
        self._codec = codecs.getincrementaldecoder(text[0])(text[1])

    def pieces(self, data: bytes, last: bool = False) -> Iterator[str]:
        """What is text by now. UnicodeDecodeError, after what stands before the bad bytes:
        otherwise it would depend on the chunks how much of it is seen.
        """
        state = self._codec.getstate()
        try:
            text = self._codec.decode(data, last)
        except UnicodeDecodeError as error:
            good = error.start - len(state[0])  # its object begins with what was kept
            if good > 0:
                self._codec.setstate(state)
                yield self._codec.decode(data[:good])
            raise
        if text:
            yield text


class _Text(Sink):
    """A text object."""

    def __init__(self, target: Any, text: Text) -> None:
        self._write = target.write
        self._pieces = _Decoder(text).pieces

    def write(self, data: bytes) -> None:
        self._hand_on(data, last=False)

    def end(self) -> None:
        self._hand_on(b"", last=True)

    def _hand_on(self, data: bytes, last: bool) -> None:
        for text in self._pieces(data, last):
            self._write(text)


class _Calls(Sink):
    """A callable."""

    calls = True

    def __init__(
        self,
        each: Each,
        text: Text | None,
        failed: Callable[[BaseException], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._call: Callable[[Any], object] | None = each.call
        self._pieces = None if text is None else _Decoder(text).pieces
        self._lines = _Lines(b"\n" if text is None else "\n") if each.by_line else None
        self._failed: Callable[[BaseException], None] | None = failed
        self._stopped = stopped

    def write(self, data: bytes) -> None:
        if self._call is None:
            return
        try:
            for piece in (data,) if self._pieces is None else self._pieces(data):
                self._hand_on(piece)
        except BaseException as error:
            self._fail(error)

    def end(self) -> None:
        if self._call is None:
            return
        # An error that is raised here is not the callable's, but of an output that breaks off. The
        # program may have been killed in the middle of a character, and that is the news.
        rest = [] if self._pieces is None else list(self._pieces(b"", True))
        try:
            for piece in rest:
                self._hand_on(piece)
            if self._lines is not None:
                self._call_each(self._lines.rest())
        except BaseException as error:
            self._fail(error)

    def _hand_on(self, piece: Any) -> None:
        self._call_each((piece,) if self._lines is None else self._lines.take(piece))

    def _call_each(self, pieces: Iterable[Any]) -> None:
        for piece in pieces:
            # One chunk may hold thousands of lines, and the command may be over after any of them.
            if self._call is None or self._stopped():
                return
            self._call(piece)

    def _fail(self, error: BaseException) -> None:
        failed, self._failed, self._call = self._failed, None, None  # the error leads back here
        if failed is not None:
            failed(error)


class _Lines:
    """Lines out of pieces, none of which is looked at twice, however long a line gets."""

    def __init__(self, end: bytes | str) -> None:
        self._end: Any = end
        # Grows by more than it is given, where a sum would be copied with each piece.
        self._new: Callable[..., Any] = io.BytesIO if isinstance(end, bytes) else io.StringIO
        self._begun = self._new()

    def take(self, piece: Any) -> Iterator[Any]:
        """The lines that end in this piece."""
        for line in self._new(piece):  # at "\n" only, and with it; in C
            if not line.endswith(self._end):
                self._begun.write(line)
            elif self._begun.tell():
                self._begun.write(line)
                yield from self.rest()
            else:
                yield line

    def rest(self) -> Iterator[Any]:
        """The line that has begun, if one has."""
        line, self._begun = self._begun.getvalue(), self._new()
        if line:
            yield line


class File(Sink):
    """A descriptor, or a file that has one; written there, past the file's own buffer.

    A program that is given the file writes to its descriptor, too: at once, and bytes. What is in
    the buffer was written before, and comes before.
    """

    def __init__(self, file: Any) -> None:
        """file: a number; or an object, asked each time for its number: it may be closed."""
        self._file = file
        self._flush = None if type(file) is int else getattr(file, "flush", None)

    def fileno(self) -> int:
        """The number now; ValueError where the file is closed."""
        fd: int = self._file if type(self._file) is int else self._file.fileno()
        return fd

    def write(self, data: bytes) -> None:
        """Waits where it is in non-blocking mode: a terminal is, if another program made it so."""
        if self._flush is not None:
            self._flush()
        fd = self.fileno()
        left = memoryview(data)
        while left:
            left = left[_write_some(fd, left) :]


def _write_some(fd: int, data: memoryview) -> int:
    try:
        return os.write(fd, data)
    except BlockingIOError:
        import select

        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        poll.poll()
        return 0


class OurFile(File):
    """A file that we open for a tee. C has the number, as everywhere (_core.py), and the guard: an
    exception cannot lose it.

    The thread that writes closes it, when it comes out of its last write (see pipes.py). Where
    there will be none, who opened it does.
    """

    def __init__(self, index: int) -> None:
        """index: of the stream. Nothing is open yet."""
        super().__init__(-1)
        self._flush = None
        self._index = index
        self._begun = False
        self._pump = _core.new_pump()
        self._guard = _core.guard_pump(self._pump)

    def open(self, path: bytes, item: str) -> None:
        """SpawnError, also for a FIFO."""
        _core.open_path(self._pump, self._index, path, item)
        # The same path may be in the tee of the other stream, and neither is to write over what the
        # other has written.
        fd = self.fileno()
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)

    def fileno(self) -> int:
        """See File."""
        fd: int = self._pump.theirs[self._index]
        return fd

    def begin(self) -> None:
        """See Sink."""
        self._begun = True

    def close(self) -> None:
        """See Sink."""
        _core.close_pump(self._pump)

    def close_unless_begun(self) -> None:
        """By who opened it, once the stream can bring nothing any more."""
        if not self._begun:
            self.close()


def file_for(file: Any) -> Any:
    """What to write to for a file of the caller's that has a descriptor, in a tee."""
    inner = getattr(file, "buffer", file)
    # One of ours is safe between threads, and nobody else uses its number.
    return inner if isinstance(inner, PipeEnd) else File(file)


class _Tee(Sink):
    """Several sinks, each of which gets everything."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)
        self._live = list(sinks)
        self._error: BaseException | None = None
        self.calls = any(sink.calls for sink in sinks)

    def begin(self) -> None:
        for sink in self._sinks:
            sink.begin()

    def write(self, data: bytes) -> None:
        for sink in tuple(self._live):
            self._try(sink, sink.write, data)
        if self._error is not None and not self._live:
            raise self._error

    def end(self) -> None:
        for sink in tuple(self._live):
            self._try(sink, sink.end)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._error = None  # its traceback leads back here
        for sink in self._sinks:
            sink.close()

    def _try(self, sink: Sink, method: Callable[..., object], *data: bytes) -> None:
        try:
            method(*data)
        except BaseException as error:
            self._live.remove(sink)
            if self._error is None:
                self._error = error
