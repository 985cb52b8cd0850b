"""The three standard streams: from what the caller names to descriptors of ours.

Who owns what: descriptors the caller gave stay the caller's. Pipes belong to the pump. /dev/null is
ours, and is closed as soon as the child has its copy.
"""

from __future__ import annotations

import os

from . import _core
from .errors import spawn_error
from .plan import descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TypeAlias

    from .plan import File

    Stream: TypeAlias = "File | _Named | None"


class _Named:
    """A stream that is not a file: PIPE, DEVNULL, STDOUT."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"spawnkit.{self._name}"

    def __reduce__(self) -> str:
        return self._name


PIPE: Final = _Named("PIPE")
DEVNULL: Final = _Named("DEVNULL")
STDOUT: Final = _Named("STDOUT")

NAMES = ("stdin", "stdout", "stderr")


def check(three: tuple[object, object, object], feed: bool) -> tuple[Stream, Stream, Stream]:
    """The streams with every file as its number; raises ValueError and TypeError."""
    if feed and three[0] is not None:
        raise ValueError("input: given together with stdin")
    return _check(three[0], 0), _check(three[1], 1), _check(three[2], 2)


def _check(stream: object, index: int) -> Stream:
    if stream is None or stream is DEVNULL:
        return stream
    if stream is PIPE:
        if index == 0:
            raise ValueError("stdin: PIPE; give the data as input= instead")
        return stream
    if stream is STDOUT:
        if index != 2:
            raise ValueError(f"{NAMES[index]}: STDOUT is for stderr only")
        return stream
    return descriptor(stream, NAMES[index])


class Streams:
    """What three streams need, opened for one spawn.

    wanted: the map for the plan. pump: what is ours of it; C writes the descriptors into it, so
    that an exception at any point finds them there. captures: are stdout and stderr gathered?
    Whatever happens, all that is ours is closed at the latest with this object.
    """

    __slots__ = ("captures", "pump", "wanted")

    def __init__(self, three: tuple[Stream, Stream, Stream], feed: bool) -> None:
        """`three` as `check` returns them. feed: make a pipe for stdin. Raises SpawnError."""
        self.pump = pump = _core.new_pump()
        self.captures = (three[1] is PIPE, three[2] is PIPE)
        pipes = (1 if feed else 0) | self.captures[0] << 1 | self.captures[1] << 2
        named = False  # is there more to do than pipes?
        # The caller's first: a number that is not open must not come to mean a pipe of ours.
        for index, stream in enumerate(three):
            if stream is not None and stream is not PIPE:
                named = True
                if type(stream) is int:
                    check_open(stream, index)
                elif stream is DEVNULL:
                    pipes |= 8
                elif stream is STDOUT and three[1] is None:
                    check_open(1, 2)
        self.wanted = _core.open_pump(pump, pipes)
        if named:
            for index, stream in enumerate(three):
                if stream is DEVNULL:
                    self.wanted[index] = pump.null
                elif stream is STDOUT:
                    self.wanted[2] = self.wanted.get(1, 1)
                elif type(stream) is int:
                    self.wanted[index] = stream

    def close(self) -> None:
        """Closes all that is ours; harmless when repeated."""
        _core.close_pump(self.pump)

    def __del__(self) -> None:
        """For an exception that struck before there was a `try` around it."""
        try:
            pump = self.pump
        except AttributeError:  # so early that there was nothing yet
            return
        _core.close_pump(pump)


def check_open(fd: int, target: int) -> None:
    """Raises SpawnError if `fd` is not open."""
    try:
        os.get_inheritable(fd)
    except OSError as error:
        raise spawn_error(error.errno, "descriptors", f"fd {fd} → {target}") from None
