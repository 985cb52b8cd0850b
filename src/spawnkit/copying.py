"""Copier: one thread between a Python reader or writer and one of a child's streams.

Go's copying goroutines. A thread, because a reader or writer of the caller's may block for as long
as it likes, and the child's other streams, its deadline and its end must not wait for it.
"""

from __future__ import annotations

import codecs
import io
from time import monotonic_ns

from .pipes import CHUNK, WIDE
from .threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .pipes import PipeEnd

UTF8 = ("utf-8", "strict")


class Copier:
    """Copies between a pipe's end and an object until one of them is at its end or fails.

    Then it closes its end: a child whose output nobody takes any more gets SIGPIPE instead of
    waiting for ever, one whose input is over gets its end of file.
    stream: its number. heard: when something came last, by time.monotonic_ns(); 0: nothing yet.
    over: it has finished. in_object: it is inside a method of the object, for who knows how long.
    error: what the object raised. at_end: a reader has nothing more to give.
    refused: the child closed its stdin before that.
    """

    __slots__ = (
        "_object",
        "_over_now",
        "_text",
        "at_end",
        "end",
        "error",
        "heard",
        "in_object",
        "over",
        "refused",
        "stream",
    )

    def __init__(
        self, end: PipeEnd, object: Any, text: tuple[str, str] | None, over_now: Callable[[], None]
    ) -> None:
        """text: encoding and error handler for text objects. over_now: called at the end."""
        self.end = end
        self.stream = end.stream
        self.heard = 0
        self.error: BaseException | None = None
        self.over = self.at_end = False
        self.in_object = True  # until the thread runs
        self.refused = False
        self._object = object
        self._text = text or UTF8
        self._over_now = over_now

    @property
    def feeds(self) -> bool:
        """Is it the child's stdin that it serves?"""
        return self.end.writable()

    def start(self) -> None:
        """Starts the thread; RuntimeError where none can be had."""
        start_thread(self._run, self._lost)

    def _run(self) -> None:
        try:
            if self.feeds:
                self._feed()
            else:
                self._gather()
        except BaseException as error:
            if not self.end.closed:  # else it only says that the end was closed to stop us
                self.error = error
        finally:
            self._finish()

    def _finish(self) -> None:
        self.end.close_for_good()
        self._object = None  # it may lead back here
        self.over = True
        self._over_now()

    def _lost(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
        self._finish()

    def _feed(self) -> None:
        # read1 gives what is there, where read would wait for a full chunk.
        read = self._guarded(getattr(self._object, "read1", None) or self._object.read)
        encode = codecs.getincrementalencoder(self._text[0])(self._text[1]).encode
        text = False
        while not self.refused and (data := read(CHUNK)):
            text = isinstance(data, str)
            self._put(encode(data) if isinstance(data, str) else data)
        self.at_end = not self.refused
        if self.at_end and text and (last := encode("", True)):  # what leads out of a shift state
            self._put(last)
        if self.at_end and data is None:
            raise BlockingIOError(f"stdin: {self._object!r} is in non-blocking mode")

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
        write = self._guarded(self._object.write)
        if isinstance(self._object, io.TextIOBase):
            # Of a character that a chunk cuts in two, the decoder keeps the first half.
            decoder = codecs.getincrementaldecoder(self._text[0])(self._text[1])
            for data in self._chunks():
                write(decoder.decode(data))
            write(decoder.decode(b"", True))
            return
        may_be_short = isinstance(self._object, io.RawIOBase)
        for data in self._chunks():
            done = write(data)
            while (type(done) is int and done < len(data)) or (done is None and may_be_short):
                if done is None or done <= 0:
                    raise BlockingIOError(f"{self._object!r} took nothing of {len(data)} bytes")
                data = data[done:]
                done = write(data)

    def _chunks(self) -> Iterator[bytes]:
        take, size, seen = self.end.take, CHUNK, 0
        while data := take(size):
            self.heard = monotonic_ns()
            yield data
            seen += len(data)
            if seen > WIDE and size != WIDE:
                self.end.widen()
                size = WIDE
