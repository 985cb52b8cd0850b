"""The three streams, as far as the short ways know them: what may be given, and what is opened."""

from __future__ import annotations

from subprocess import DEVNULL, PIPE, STDOUT

from .. import _core
from ..errors import SpawnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Three: TypeAlias = tuple[Any, Any, Any]

__all__ = ["NOT_GIVEN", "Streams", "are_known"]

NOT_GIVEN = (None, None, None)


def are_known(stdin: Any, stdout: Any, stderr: Any) -> bool:
    """Is each None, PIPE, DEVNULL, a descriptor, a file, or STDOUT beside a stdout?"""
    return (
        (stdin is None or stdin is PIPE or stdin is DEVNULL or _is_file(stdin))
        and (stdout is None or stdout is PIPE or stdout is DEVNULL or _is_file(stdout))
        and (
            stderr is None
            or stderr is PIPE
            or stderr is DEVNULL
            or (stderr is STDOUT and stdout is not None)
            or _is_file(stderr)
        )
    )


def _is_file(stream: Any) -> bool:
    # What else can equal PIPE, a number of another type, say, is for the standard module.
    return stream >= 0 if type(stream) is int else hasattr(stream, "fileno")


class Streams:
    """Pipes and /dev/null of one child. They are in a pump of the core, so that nothing stays open
    whatever strikes in between: that of the child's, ours until `_core.close_pump`.
    """

    __slots__ = ("_guard", "_three", "pump")

    def __init__(self, *three: Any) -> None:
        """Nothing is open yet."""
        self._three = three
        self.pump = _core.new_pump()
        self._guard = _core.guard_pump(self.pump)

    def open(self) -> tuple[int, int, int]:
        """The child's ends, -1 where it has what we have; OSError, and what `fileno` raises."""
        stdin, stdout, stderr = self._three
        parts = (stdin is PIPE) | (stdout is PIPE) << 1 | (stderr is PIPE) << 2
        if DEVNULL in self._three:
            parts |= _core.NULL_DEVICE
        if parts:
            try:
                _core.open_pump(self.pump, parts)
            except SpawnError as error:
                raise OSError(error.errno, error.strerror) from error
        write = self._end(1, stdout)
        return self._end(0, stdin), write, write if stderr is STDOUT else self._end(2, stderr)

    def _end(self, number: int, stream: Any) -> int:
        if stream is None:
            return -1
        if stream is PIPE:
            return int(self.pump.theirs[number])
        if stream is DEVNULL:
            return int(self.pump.null)
        fd: int = stream if type(stream) is int else stream.fileno()
        return fd

    def is_pipe(self, number: int) -> bool:
        """Is that stream one?"""
        return self._three[number] is PIPE
