"""What /proc says about other processes: who descends from whom, and who holds a pipe.

A process is told from another that has the same pid later by its start time: field 22 of
/proc/PID/stat, in ticks since the machine's start (proc(5)).
"""

from __future__ import annotations

import errno
import os
import time
from io import FileIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC = "/proc"
_TICKS = os.sysconf("SC_CLK_TCK")
_SHOWN = 100  # characters of a command line
_PATIENCE = 0.1  # seconds for a look at everybody's descriptors: the call is to end
_GONE = frozenset("ZX")
_STREAMS = ("stdin", "stdout", "stderr")


class OtherProcess:
    """A process that is not the command's own: a survivor, or one that holds its streams.

    pid: its process id. command: its arguments as one line, cut to 100 characters, or its name in
    brackets where it has none; "" where it was gone before it could be asked.
    streams: which of the command's streams it holds ("stdout", "stderr"); empty if that is not
    the question.
    """

    __slots__ = ("command", "pid", "streams")

    def __init__(self, pid: int, command: str, streams: tuple[str, ...] = ()) -> None:
        """See the class."""
        self.pid = pid
        self.command = command
        self.streams = streams

    def _key(self) -> tuple[object, ...]:
        return self.pid, self.command, self.streams

    def __eq__(self, other: object) -> bool:
        """By value."""
        return self._key() == other._key() if isinstance(other, OtherProcess) else NotImplemented

    def __hash__(self) -> int:
        """By value."""
        return hash(self._key())

    def __str__(self) -> str:
        """Such as "pid 42 'sleep 100'"."""
        return f"pid {self.pid} {self.command!r}" if self.command else f"pid {self.pid}"

    def __repr__(self) -> str:
        """OtherProcess(42, 'sleep 100', ('stdout',))."""
        streams = f", {self.streams!r}" if self.streams else ""
        return f"OtherProcess({self.pid}, {self.command!r}{streams})"


class Entry:
    """One line of the table."""

    __slots__ = ("group", "name", "parent", "pid", "session", "start", "state", "threads")

    def __init__(self, pid: int, name: bytes, fields: list[bytes]) -> None:
        """fields: of /proc/PID/stat, from the third on."""
        self.pid = pid
        self.name = name
        self.state = chr(fields[0][0])
        self.parent, self.group, self.session = map(int, fields[1:4])
        self.threads = int(fields[17])
        self.start = int(fields[19])

    @property
    def key(self) -> tuple[int, int]:
        """What no other process has, now or later."""
        return self.pid, self.start

    @property
    def is_gone(self) -> bool:
        """Has it ended, though nobody may have waited for it?

        The state is that of its first thread. Where that one has ended alone, others run on.
        """
        return self.state in _GONE and self.threads <= 1


def now() -> int:
    """The time in the unit of `Entry.start`, rounded down."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)


def look(pid: int) -> Entry | None:
    """One process; None where there is none."""
    data = _read(pid, "stat")
    # The second field is the name, in parentheses, and may contain any of them and spaces.
    end = data.rfind(b")")
    fields = data[end + 2 :].split()
    return Entry(pid, data[data.find(b"(") + 1 : end], fields) if len(fields) > 19 else None


def newest_first() -> list[int]:
    """All pids, the highest first; but for a wrap-around those are the newest.

    Raises OSError where /proc is not mounted, or is that of another pid namespace.
    """
    return sorted(_pids(), reverse=True)


def newest() -> int:
    """The pid that was given last; 0 where /proc is not mounted, or is that of another pid
    namespace. Fifth field of /proc/loadavg.
    """
    try:
        _check_namespace()
        with FileIO(f"{_PROC}/loadavg") as file:
            return int(file.read(200).rsplit(None, 1)[1])
    except OSError:
        return 0


def environ_of(pid: int) -> bytes:
    """The environment it was started with; empty where we may not look (proc(5), ptrace(2))."""
    return _read(pid, "environ")


def pid_namespace_of(pid: int) -> str:
    """Such as "pid:[4026531836]"; "" where we may not look (namespaces(7), ptrace(2))."""
    try:
        return os.readlink(f"{_PROC}/{pid}/ns/pid")
    except OSError:
        return ""


def pid_namespace_for_children() -> str | None:
    """Where the calling thread's next child will be (unshare(2), setns(2)); "": in a new one, where
    nobody is yet. None: where we are, or /proc does not tell (namespaces(7), Linux 4.12).
    """
    directory = f"{_PROC}/thread-self/ns"
    try:
        ours = os.readlink(f"{directory}/pid")
        os.lstat(f"{directory}/pid_for_children")
    except OSError:
        return None
    try:
        theirs = os.readlink(f"{directory}/pid_for_children")
    except OSError:
        return ""
    return None if theirs == ours else theirs


def describe(pid: int, streams: tuple[str, ...] = ()) -> OtherProcess:
    """Its pid and command."""
    words = _read(pid, "cmdline").rstrip(b"\0").replace(b"\0", b" ")
    command = os.fsdecode(words)
    if not command and (entry := look(pid)) is not None:
        command = f"[{os.fsdecode(entry.name)}]"
    if len(command) > _SHOWN:
        command = command[: _SHOWN - 1] + "…"
    return OtherProcess(pid, command, streams)


def name_holders(pipes: dict[int, int]) -> list[OtherProcess]:
    """Who, but us, has these pipes open: {inode: number of the stream}.

    The newest processes are looked at first, as many as there is time for. Only those whose
    descriptors we may see: our own user's, or everyone's for root. Empty where /proc is not
    mounted, or is that of another pid namespace.
    """
    if not pipes:
        return []
    wanted = {f"pipe:[{inode}]": _STREAMS[stream] for inode, stream in pipes.items()}
    found = []
    try:
        pids = newest_first()
    except OSError:
        return []
    end = time.monotonic() + _PATIENCE
    for pid in pids:
        if pid == os.getpid():
            continue
        if time.monotonic() > end:
            break
        streams = {wanted[link] for link in _links(pid) if link in wanted}
        if streams:
            found.append(describe(pid, tuple(sorted(streams, reverse=True))))
    return found


def _pids() -> Iterator[int]:
    _check_namespace()
    return (int(name) for name in os.listdir(_PROC) if name.isdigit())


def _check_namespace() -> None:
    # `unshare --pid` leaves the /proc of the namespace outside. What is 42 there is nobody here, or
    # a stranger, who would be killed in the other one's place.
    if os.readlink(f"{_PROC}/self") != str(os.getpid()):
        raise OSError(errno.ESRCH, "of another pid namespace", _PROC)


def _links(pid: int) -> Iterator[str]:
    directory = f"{_PROC}/{pid}/fd"
    try:
        names = os.listdir(directory)
    except OSError:
        return  # gone, or not ours to see
    for name in names:
        try:
            yield os.readlink(f"{directory}/{name}")
        except OSError:  # noqa: PERF203 - closed meanwhile
            continue


def _read(pid: int, name: str) -> bytes:
    try:
        # An object, not a number: an exception between two instructions closes it.
        with FileIO(f"{_PROC}/{pid}/{name}") as file:
            parts = []
            while part := file.read(1 << 16):
                parts.append(part)
            return b"".join(parts)
    except OSError:
        return b""
