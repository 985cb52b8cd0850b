"""`Popen._communicate`: input and outputs through the pump of the core."""

from __future__ import annotations

import functools
import io
import subprocess
import time
from contextlib import suppress

from .. import _core
from . import standard
from .waiting import deadline_of, settle_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["communicate"]


class _Talk:
    """A communication under way. It survives a timeout, and goes on with the next call.

    The pump has duplicates of the pipes' ends: its own are closed at the end of each stream, those
    of the file objects by these.
    """

    def __init__(self, popen: Any, data: _core.Buffer | None) -> None:
        self.pump = _core.new_pump()
        self.guard = _core.guard_pump(self.pump)
        self.sinks: dict[int, io.BytesIO] = {}
        stdin, *outputs = (_end_of(file) for file in (popen.stdin, popen.stdout, popen.stderr))
        # What is no buffer is refused while stdin still blocks: the program may go on with it.
        view = memoryview(data).cast("B") if data else None
        _core.borrow_pipes(self.pump, stdin if data else -1, *outputs)
        if view is not None:
            self.view = _core.feed_pump(self.pump, view)
            # Ours is the last end now: the child sees the end of its input when all is written.
            popen.stdin.close()

    def gathered(self, stream: int) -> bytes:
        return _core.gathered(self.pump, stream, self.sinks)


def _end_of(file: Any) -> int:
    return -1 if file is None or file.closed else file.fileno()


def communicate(
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
    if talk is None:
        data = input
        if input and self.stdin and self.text_mode:
            data = input.encode(self.stdin.encoding, self.stdin.errors)
        talk = self._spawnkit_talk = _Talk(self, data if self.stdin else None)
    deadline = deadline_of(None if endtime is None else endtime - time.monotonic())
    result = _core.pump(talk.pump, child, deadline, talk.sinks)
    if result == _core.TIMEOUT:
        # The next call finds us even after `uninstall`: only we have what has come so far.
        self._communicate = functools.partial(communicate, self)
        raise subprocess.TimeoutExpired(
            self.args,
            orig_timeout,  # type: ignore[arg-type]
            output=talk.gathered(1) or None,
            stderr=talk.gathered(2) or None,
        )
    if result < 0 or (result == _core.OK and self.returncode is None):
        settle_up(self, child, result)  # a status that is lost is for `wait` to tell of
    # Where the standard implementation keeps it, for whoever asks once more.
    self._fileobj2output = {
        file: [talk.gathered(stream)]
        for stream, file in ((1, self.stdout), (2, self.stderr))
        if file is not None
    }
    self.__dict__.pop("_communicate", None)
    del self._spawnkit_talk
    return _taken(self, self.stdout), _taken(self, self.stderr)


def _taken(popen: Any, file: Any) -> Any:
    if file is None:
        return None
    file.close()
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
