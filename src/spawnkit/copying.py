"""Copier: one thread between Python code and one of a child's streams.

Go's copying goroutines. A thread, because code of the caller's may block for as long as it likes,
and the child's other streams, its deadline and its end must not wait for it.
"""

from __future__ import annotations

import codecs
from time import monotonic_ns

from .pipes import CHUNK, WIDE
from .sinks import UTF8, sink_for
from .threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .pipes import PipeEnd
    from .result import Text
    from .sinks import Sink


class Copier:
    """Copies between a pipe's end and an object until one of them is at its end or fails.

    Then it closes its end: a child whose output nobody takes any more gets SIGPIPE instead of
    waiting for ever, one whose input is over gets its end of file.
    stream: its number. heard: when something came last, by time.monotonic_ns(); 0: nothing yet.
    over: it has finished. in_object: it is inside code of the caller's, for who knows how long.
    error: what the object raised. ends_command: it was a callable's, and the copier goes on to keep
    the stream empty. calls: is there a callable? at_end: a reader has nothing more to give.
    refused: the child closed its stdin before that.
    """

    __slots__ = (
        "_news",
        "_object",
        "_sink",
        "_text",
        "at_end",
        "calls",
        "end",
        "ends_command",
        "error",
        "heard",
        "in_object",
        "over",
        "refused",
        "stream",
    )

    def __init__(
        self, end: PipeEnd, object: Any, text: Text | None, news: Callable[[], None]
    ) -> None:
        """text: encoding and error handler. news: called when `over` or `ends_command` is set.

        LookupError for an encoding that cannot be decoded piece by piece.
        """
        self.end = end
        self.stream = end.stream
        self.heard = 0
        self.error: BaseException | None = None
        self.over = self.at_end = self.ends_command = False
        self.in_object = True  # until the thread runs
        self.refused = False
        self._object = object
        self._text = text
        self._news = news
        self._sink: Sink | None = None
        if not self.feeds:
            self._sink = sink_for(object, text, self._call_failed, lambda: end.closed)
        self.calls = self._sink is not None and self._sink.calls

    @property
    def feeds(self) -> bool:
        """Is it the child's stdin that it serves?"""
        return self.end.writable()

    def start(self) -> None:
        """Starts the thread; RuntimeError where none can be had."""
        if self._sink is not None:
            self._sink.begin()
        start_thread(self._run, self._lost)

    def _run(self) -> None:
        try:
            if self.feeds:
                self._feed()
            else:
                self._gather()
        except BaseException as error:
            self._keep(error)
        finally:
            self._finish()

    def _keep(self, error: BaseException) -> None:
        # Of a closed end it only says that it was closed to stop us.
        if self.error is None and not self.end.closed:
            self.error = error

    def _call_failed(self, error: BaseException) -> None:
        if not self.end.closed and not self.ends_command:
            self.error = error
            self.ends_command = True
            self._news()

    def _finish(self) -> None:
        self.end.close_for_good()
        if self._sink is not None:
            self._sink.close()
        self._object = self._sink = None  # they may lead back here
        self.over = True
        self._news()

    def _lost(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
        self._finish()

    def _feed(self) -> None:
        read = self._guarded(self._reader())
        encoding, errors = self._text or UTF8
        encode = codecs.getincrementalencoder(encoding)(errors).encode
        text = False
        while not self.refused and (data := read(CHUNK)):
            text = isinstance(data, str)
            self._put(encode(data) if isinstance(data, str) else data)
        self.at_end = not self.refused
        if self.at_end and text and (last := encode("", True)):  # what leads out of a shift state
            self._put(last)
        if self.at_end and data is None:
            raise BlockingIOError(f"stdin: {self._object!r} is in non-blocking mode")

    def _reader(self) -> Callable[[int], Any]:
        if not hasattr(self._object, "read"):
            return self._next_item
        # read1 gives what is there, where read would wait for a full chunk.
        read: Callable[[int], Any] = getattr(self._object, "read1", None) or self._object.read
        return read

    def _next_item(self, _size: int) -> Any:
        for item in self._object:
            if isinstance(item, str):
                if self._text is None:
                    raise TypeError("stdin: bytes wanted, not str; or give an encoding")
            elif not isinstance(item, (bytes, bytearray, memoryview)):
                raise TypeError(f"stdin: bytes wanted, not {type(item).__name__}")
            if item:  # nothing is not the end
                return item
        return b""

    def _guarded(self, method: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(argument: Any) -> Any:
            self.in_object = True
            result = method(argument)
            self.in_object = False
            return result

        self.in_object = False
        return call

    def _put(self, data: bytes) -> None:
        try:
            self.end.write(data)
        except BrokenPipeError:  # its right: a program need not read its input
            self.refused = True

    def _gather(self) -> None:
        assert self._sink is not None
        write = self._guarded(self._sink.write)
        for data in self._chunks():
            write(data)
        self.in_object = True
        self._sink.end()

    def _chunks(self) -> Iterator[bytes]:
        take, size, seen = self.end.take, CHUNK, 0
        while data := take(size):
            self.heard = monotonic_ns()
            yield data
            seen += len(data)
            if seen > WIDE and size != WIDE:
                self.end.widen()
                size = WIDE
