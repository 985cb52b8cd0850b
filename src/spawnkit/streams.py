"""The three standard streams: from what the caller names to descriptors of ours.

Who owns what: descriptors the caller gave stay the caller's. Pipes belong to the pump, but for an
end that is held (pipes.py), which belongs to its holder. Files and /dev/null that we opened are
closed as soon as the child has its copy.
"""

from __future__ import annotations

import errno
import io
import os
import sys

from . import _core
from .errors import spawn_error
from .plan import descriptor, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final, Protocol, TypeAlias

    from .pipes import PipeEnd
    from .plan import File
    from .result import Result, Text
    from .sinks import Each, OurFile, Tee

    class Reader(Protocol):
        """Anything that can be read: stdin."""

        def read(self, size: int, /) -> bytes | str | None:
            """Some of it; empty at the end."""

    class Writer(Protocol):
        """Anything that can be written: stdout, stderr."""

        def write(self, data: bytes, /) -> object:
            """Takes all of it, or says how much."""

    class TextWriter(Protocol):
        """A text stream."""

        def write(self, data: str, /) -> object:
            """Takes all of it."""

    Path: TypeAlias = str | os.PathLike[str] | os.PathLike[bytes]
    Items: TypeAlias = Iterator[_core.Buffer] | Iterator[str]
    Call: TypeAlias = Callable[[bytes], object] | Callable[[str], object]
    Source: TypeAlias = _core.Buffer | Reader | Items
    Target: TypeAlias = Writer | TextWriter | Call | Each | Tee
    Stream: TypeAlias = File | Path | Source | Target | "_Named" | None
    Three: TypeAlias = tuple[Stream, Stream, Stream]
    Checked: TypeAlias = "int | _Named | _core.Buffer | OpenedPath | Copied | None"
    CheckedThree: TypeAlias = tuple[Checked, Checked, Checked]


class _Named:
    """A stream that is not a file: PIPE, DEVNULL, STDOUT, MEMORY, ORDERED."""

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
MEMORY: Final = _Named("MEMORY")
ORDERED: Final = _Named("ORDERED")
HELD: Final = _Named("HELD")  # a pipe whose other end the caller has: Cmd.stdout_pipe()

NAMES = ("stdin", "stdout", "stderr")


class OpenedPath:
    """A file that we open for the child."""

    __slots__ = ("path",)

    def __init__(self, path: bytes) -> None:
        """path: as the kernel gets it."""
        self.path = path


class Copied:
    """Python code that reads or writes, which a thread copies from or to."""

    __slots__ = ("object",)

    def __init__(self, object: object) -> None:
        """object: a reader or iterator for stdin; for the others what `sinks.sink_for` takes, or a
        list of what is in a tee, to be opened.
        """
        self.object = object


def check_streams(three: Three) -> CheckedThree:
    """The streams by their kinds; raises ValueError and TypeError."""
    stdin, stdout, stderr = three
    if stderr is not None and _is_shared(stdout) and _are_the_same(stdout, stderr):
        stderr = STDOUT
    names = NAMES
    checked = _check(stdin, 0, names[0]), _check(stdout, 1, names[1]), _check(stderr, 2, names[2])
    if (
        type(checked[1]) is OpenedPath
        and type(checked[2]) is OpenedPath
        and checked[1].path == checked[2].path
    ):
        # Opened twice, each would write over what the other has written.
        return checked[0], checked[1], STDOUT
    if (checked[1] is ORDERED) is not (checked[2] is ORDERED):
        raise ValueError("ORDERED: given for one of stdout and stderr, and it is for both")
    return checked


def is_supervised(three: CheckedThree) -> bool:
    """Is there something among them that only supervise.py can serve?

    Python code; ORDERED, whose end does not show by itself.
    """
    stdin, stdout, stderr = three
    return (
        type(stdin) is Copied
        or type(stdout) is Copied
        or type(stderr) is Copied
        or stdout is ORDERED
    )


def _is_shared(stream: object) -> bool:
    return not isinstance(stream, (int, str, bytes, _Named))


def _are_the_same(stdout: object, stderr: object) -> bool:
    # A bound method is a new object each time it is named: lines.append is not lines.append.
    return stderr is stdout or (
        type(stdout) is type(stderr) and hasattr(stdout, "__self__") and stdout == stderr
    )


def _check(stream: Stream, index: int, name: str) -> Checked:
    if stream is None or stream is DEVNULL or stream is HELD:
        return stream
    if stream is PIPE:
        if index == 0:
            raise ValueError("stdin: PIPE; give the data, or use Cmd.stdin_pipe()")
        return PIPE
    if stream is STDOUT:
        if index != 2:
            raise ValueError(f"{name}: STDOUT is for stderr only")
        return STDOUT
    if stream is MEMORY or stream is ORDERED:
        if index == 0:
            raise ValueError(f"stdin: {stream!r} is for stdout and stderr only")
        return stream
    if isinstance(stream, (bytes, bytearray, memoryview)):
        if index:
            raise TypeError(f"{name}: a path is a str or PathLike, not {type(stream).__name__}")
        return check_input(stream, name)
    if isinstance(stream, (str, os.PathLike)):
        path = encode(stream, name)
        if not path:
            raise ValueError(f"{name}: empty path")
        return OpenedPath(path)
    if not has_descriptor(stream):
        if hasattr(stream, "write" if index else "read"):
            if getattr(stream, "closed", False) is True:
                raise ValueError(f"{name}: {stream!r} is closed")
            return Copied(stream)
        code = None if isinstance(stream, type) else _check_code(stream, index)
        if code is not None:
            return code
    fd = descriptor(stream, name)
    if type(stream) is not int:
        pipes = sys.modules.get(f"{__package__}.pipes")
        inner = getattr(stream, "raw", stream)
        if pipes is not None and isinstance(inner, pipes.PipeEnd):  # another Cmd's stdout_pipe()
            inner.share()
    return fd


def _check_code(stream: Any, index: int) -> Copied | None:
    """An iterator, a callable, a tee; else None."""
    from . import sinks

    if index == 0:
        return Copied(stream) if hasattr(stream, "__next__") else None
    if type(stream) is sinks.Tee:
        return Copied([_check_target(target, index) for target in stream.targets])
    return Copied(stream) if callable(stream) or type(stream) is sinks.Each else None


def _check_target(target: Any, index: int) -> object:
    """One of a tee, by its kind; None is the number it stands for."""
    from . import sinks

    if target is None:
        return index
    name = f"{NAMES[index]}: {target!r} in a tee"
    if target is STDOUT:
        raise ValueError(f"{name}: only stderr itself can be STDOUT")
    if target is MEMORY or target is ORDERED or target is HELD:
        raise ValueError(f"{name}: nobody reads that; PIPE gathers in a tee")
    if type(target) is not int and has_descriptor(target):
        descriptor(target, name)
        return sinks.file_for(target)
    return _check(target, index, name)


def as_input(data: object, text: Text | None) -> _core.Buffer:
    """`input` as bytes; str needs an encoding."""
    if isinstance(data, str):
        if text is None:
            raise TypeError("input: bytes wanted, not str; or give an encoding")
        return data.encode(*text)
    return check_input(data, "input")


def check_input(data: object, name: str) -> _core.Buffer:
    """Bytes to feed; raises TypeError and ValueError."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name}: bytes wanted, not {type(data).__name__}")
    try:
        contiguous = memoryview(data).contiguous
    except ValueError as error:  # a memoryview that was released
        raise ValueError(f"{name}: {error}") from None
    if not contiguous:
        raise ValueError(f"{name}: the bytes of this memoryview do not lie together")
    return data


def has_descriptor(file: object) -> bool:
    """Can the child be given this file's own descriptor, and would that mean the same?

    Not so for a GzipFile and its like: it has a descriptor, of the compressed file beneath.
    """
    if type(file) is int:
        return True
    fileno = getattr(file, "fileno", None)
    if fileno is None:
        return False
    inner = file
    try:
        if isinstance(inner, io.TextIOWrapper):
            inner = inner.buffer
        if isinstance(inner, (io.BufferedReader, io.BufferedWriter, io.BufferedRandom)):
            inner = inner.raw
        if isinstance(inner, (io.BufferedIOBase, io.TextIOBase)):
            return False
        fileno()
    except io.UnsupportedOperation:
        return False
    except (TypeError, ValueError):
        return True  # a class, closed, detached: `descriptor` will tell
    except Exception:
        return False  # it has the method and no descriptor
    return True


class Pipes:
    """Outputs that are gathered, and nothing else: what most captured runs need, at little cost.

    wanted: the map for the plan. pump: what is ours of it; C writes the descriptors into it, so
    that an exception at any point finds them there. guard: closes them with the last reference.
    captures: are stdout and stderr gathered?
    """

    __slots__ = ("captures", "guard", "pump", "sinks", "wanted")

    captures: tuple[bool, bool]
    wanted: dict[int, int | None]
    fed = False

    def __init__(self) -> None:
        """Nothing is open yet."""
        self.pump = _core.new_pump()
        self.guard = _core.guard_pump(self.pump)
        self.sinks: dict[int, io.BytesIO] = {}

    def open(self, three: CheckedThree) -> None:
        """Opens a pipe for each PIPE; the others are None. Raises SpawnError."""
        pump = self.pump
        stdout, stderr = self.captures = three[1] is PIPE, three[2] is PIPE
        _core.open_pump(pump, stdout << 1 | stderr << 2)
        _, *ends = pump.theirs
        self.wanted = wanted = {}
        if stdout:
            wanted[1] = ends[0]
        if stderr:
            wanted[2] = ends[1]

    @property
    def refused(self) -> bool:
        """Did the child close its stdin before it had all of the input?"""
        return bool(self.pump.refused)

    def take(self, result: Result) -> None:
        """Puts what came into a result, after the end."""
        if self.captures[0]:
            result.stdout = _core.gathered(self.pump, 1, self.sinks)
        if self.captures[1]:
            result.stderr = _core.gathered(self.pump, 2, self.sinks)


class Streams(Pipes):
    """What the streams of one child need, opened for one spawn.

    copied: ends of ours and the Python objects they are copied from or to.
    kept: what a tee gathers. files: what was opened for tees.
    remembered: are stdout and stderr files in memory? ordered: do both go through one receiver?
    Whatever happens, all that is ours is closed at the latest with this object and its PipeEnds.
    """

    __slots__ = ("_fed", "copied", "fed", "files", "kept", "ordered", "remembered")

    def __init__(self) -> None:
        """Nothing is open yet."""
        self.pump = _core.new_pump()
        self.guard = _core.guard_pump(self.pump)
        self.captures = self.remembered = (False, False)
        self.ordered = False
        self.copied: list[tuple[PipeEnd, object]] = []
        self.fed = False
        self.files: list[OurFile] = []
        self.kept: dict[int, io.BytesIO] = {}
        self.sinks = {}
        self.wanted = {}

    def open(self, three: CheckedThree) -> None:
        """Opens what is needed for `three`, as `check` returns them. Raises SpawnError."""
        try:
            self._open(three)
        except BaseException:
            self.close()  # not when the exception is collected: somebody may keep it
            raise

    def _open(self, three: CheckedThree) -> None:
        pump = self.pump
        parts = 0
        named = False  # is there more to do than pipes?
        self.captures = (three[1] is PIPE, three[2] is PIPE)
        self.remembered = (three[1] is MEMORY, three[2] is MEMORY)
        self.ordered = three[1] is ORDERED
        # The caller's first: a number that is not open must not come to mean a pipe of ours.
        for index, stream in enumerate(three):
            if stream is None or stream is HELD:
                continue
            if stream is PIPE:
                parts |= 1 << index
                continue
            named = True
            kind = type(stream)
            if kind is int:
                check_open(stream, index, self)  # type: ignore[arg-type]
            elif stream is DEVNULL:
                parts |= _core.NULL_DEVICE
            elif stream is STDOUT:
                if three[1] is None:
                    check_open(1, 2, self)
            elif kind is not OpenedPath and stream is not MEMORY and stream is not ORDERED:
                parts |= 1 << index
                for target in _targets(stream):
                    if type(target) is int:
                        check_open(target, index, self)
        _core.open_pump(pump, parts)
        if named:
            self._open_named(three)
        self.wanted = wanted = _core.ends_for_child(pump)
        if named:
            for index, stream in enumerate(three):
                if stream is DEVNULL:
                    wanted[index] = pump.null
                elif stream is STDOUT:
                    wanted[2] = wanted.get(1, 1)
                elif type(stream) is int:
                    wanted[index] = stream

    def _open_named(self, three: CheckedThree) -> None:
        if self.ordered:
            _core.open_ordered(self.pump)
        for index, stream in enumerate(three):
            if stream is MEMORY:
                _core.open_memory(self.pump, index)
            elif isinstance(stream, OpenedPath):
                item = f"{NAMES[index]} {os.fsdecode(stream.path)!r}"
                _core.open_path(self.pump, index, stream.path, item)
            elif isinstance(stream, Copied):
                tee = _targets(stream)
                target = self._open_tee(tee, index) if tee else stream.object
                self.copied.append((self.hold(index), target))
            elif isinstance(stream, (bytes, bytearray, memoryview)):
                self._fed = _core.feed_pump(self.pump, stream)
                self.fed = True

    def _open_tee(self, targets: list[object], index: int) -> list[object]:
        from . import sinks

        opened: list[object] = []
        for target in targets:
            if type(target) is int:
                opened.append(sinks.File(target))
            elif isinstance(target, OpenedPath):
                file = sinks.OurFile(index)
                opened.append(file)
                self.files.append(file)
                file.open(target.path, f"{NAMES[index]} {os.fsdecode(target.path)!r}")
            elif target is PIPE:
                if index not in self.kept:
                    self.kept[index] = io.BytesIO()
                    opened.append(self.kept[index])
            elif target is not DEVNULL:
                opened.append(target.object if isinstance(target, Copied) else target)
        return opened

    @property
    def pumped(self) -> bool:
        """Is there something for the pump to do while the program runs?"""
        return self.fed or self.ordered or any(self.captures)

    def take(self, result: Result) -> None:
        """See Pipes.take."""
        super().take(result)
        for index, kept in self.kept.items():
            setattr(result, NAMES[index], kept.getvalue())
        if self.remembered[0]:
            result.stdout = _core.sealed(self.pump, 1)
        if self.remembered[1]:
            result.stderr = _core.sealed(self.pump, 2)
        if self.ordered:
            from .ordered import joined, parse

            records = result.ordered = parse(_core.gathered(self.pump, 1, self.sinks))
            result.stdout, result.stderr = joined(records, 1), joined(records, 2)
        if self.fed:
            result.broken_pipe = self.refused

    def pipe(self, index: int) -> PipeEnd:
        """A pipe for one stream, whose other end is the caller's."""
        _core.open_pump(self.pump, 1 << index)
        return self.hold(index)

    def hold(self, index: int) -> PipeEnd:
        """Our end of a pipe that was made, for Python code to read or write."""
        from .pipes import PipeEnd

        return PipeEnd(self.pump, self.guard, index)

    def close(self) -> None:
        """Closes all that is ours, but not pipes that are the caller's; harmless when repeated."""
        for end, _ in self.copied:
            end.close()
        self.copied.clear()  # they lead to whoever has us
        for file in self.files:
            file.close_unless_begun()
        self.files.clear()
        if self.fed:
            # Until now the caller could not resize a bytearray; and a memoryview that is collected
            # in a cycle together with what was made from it crashes some interpreters.
            _core.release_view(self._fed)
        _core.close_pump(self.pump)


def _targets(stream: object) -> list[object]:
    """Those of a tee."""
    return stream.object if isinstance(stream, Copied) and type(stream.object) is list else []


def check_open(fd: int, target: int | str, opened: Pipes | None = None) -> None:
    """Raises SpawnError if `fd` is not open. target: what it is wanted for.

    opened: pipes that were made since the caller chose the number: those it cannot have meant.
    """
    try:
        os.get_inheritable(fd)
        if opened is not None and fd in _core.child_ends(opened.pump):
            raise OSError(errno.EBADF, "")
    except OSError as error:
        item = f"fd {fd} → {target}"
        raise spawn_error(error.errno, "descriptors", item, hint="not open") from None


def more_descriptors(
    extra_files: object, fd_map: object, three: CheckedThree
) -> dict[int, int | None]:
    """`extra_files` and `fd_map` as one map of the child's numbers to ours (None: closed).

    Raises ValueError and TypeError, also for a number that is given twice.
    """
    wanted: dict[int, int | None] = {}
    if extra_files:
        if not isinstance(extra_files, (list, tuple)):
            raise TypeError(f"extra_files: a list or tuple wanted, not {extra_files!r}")
        for index, file in enumerate(extra_files):
            item = f"extra_files[{index}]"
            wanted[3 + index] = None if file is None else descriptor(file, item)
    if fd_map is not None:
        if not hasattr(fd_map, "items"):
            raise TypeError(f"fd_map: a mapping wanted, not {fd_map!r}")
        for key, file in fd_map.items():
            target = descriptor(key, f"fd_map key {key!r}")
            if target in wanted:
                raise ValueError(f"fd_map: {target} is extra_files[{target - 3}] already")
            if target < 3 and three[target] is not None:
                raise ValueError(f"fd_map: {target} is given as {NAMES[target]} already")
            wanted[target] = None if file is None else descriptor(file, f"fd_map[{target}]")
    return wanted
