"""How a process ended: ProcessState, WaitStatus, Rusage. Values: compared, printed, pickled."""

from __future__ import annotations

import os
import sys

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ProcessState", "Rusage", "WaitStatus"]


class WaitStatus(int):
    """A status as wait(2) gives it, with the macros of <sys/wait.h> as properties.

    Go's `syscall.WaitStatus`. Of a process that has ended, exactly one of `exited` and `signaled`
    is true; `stopped` and `continued` come only from waits that ask for them.
    """

    __slots__ = ()

    @property
    def exited(self) -> bool:
        """It returned from main or called exit (WIFEXITED)."""
        return os.WIFEXITED(self)

    @property
    def exit_status(self) -> int:
        """The low 8 bits it exited with; -1 if it did not exit (WEXITSTATUS)."""
        return os.WEXITSTATUS(self) if self.exited else -1

    @property
    def signaled(self) -> bool:
        """A signal ended it (WIFSIGNALED)."""
        return os.WIFSIGNALED(self)

    @property
    def signal(self) -> int | None:
        """The signal that ended it; None if none did (WTERMSIG)."""
        return os.WTERMSIG(self) if self.signaled else None

    @property
    def core_dumped(self) -> bool:
        """A signal ended it and it left a core dump (WCOREDUMP)."""
        return self.signaled and os.WCOREDUMP(self)

    @property
    def stopped(self) -> bool:
        """It is stopped (WIFSTOPPED)."""
        return os.WIFSTOPPED(self)

    @property
    def stop_signal(self) -> int | None:
        """The signal that stopped it; None if it is not stopped (WSTOPSIG)."""
        return os.WSTOPSIG(self) if self.stopped else None

    @property
    def continued(self) -> bool:
        """It was continued by SIGCONT (WIFCONTINUED)."""
        return os.WIFCONTINUED(self)

    def __str__(self) -> str:
        """In Go's words: "exit status 1", "signal: killed (core dumped)"."""
        if self.exited:
            return f"exit status {self.exit_status}"
        if self.stopped:
            return f"stop signal: {_core.signal_name(self.stop_signal or 0)}"
        if self.continued:
            return "continued"
        dumped = " (core dumped)" if self.core_dumped else ""
        return f"signal: {_core.signal_name(self.signal or 0)}{dumped}"

    def __repr__(self) -> str:
        """WaitStatus(256: exit status 1)."""
        return f"WaitStatus({int(self)}: {self})"


class Rusage:
    """What a process and the descendants it waited for have used: struct rusage, all 16 fields.

    utime, stime: seconds. maxrss: bytes (the kernel counts KiB), and see
    `ProcessState.max_rss_exact`. minflt, majflt: page faults without and with input. inblock,
    oublock: block input and output operations. nvcsw, nivcsw: voluntary and involuntary context
    switches. Linux keeps ixrss, idrss, isrss, nswap, msgsnd, msgrcv and nsignals at 0
    (getrusage(2)).
    """

    __slots__ = (  # noqa: RUF023 - in the order of struct rusage, which __init__ relies on
        "utime",
        "stime",
        "maxrss",
        "ixrss",
        "idrss",
        "isrss",
        "minflt",
        "majflt",
        "nswap",
        "inblock",
        "oublock",
        "msgsnd",
        "msgrcv",
        "nsignals",
        "nvcsw",
        "nivcsw",
    )

    utime: float
    stime: float
    maxrss: int
    ixrss: int
    idrss: int
    isrss: int
    minflt: int
    majflt: int
    nswap: int
    inblock: int
    oublock: int
    msgsnd: int
    msgrcv: int
    nsignals: int
    nvcsw: int
    nivcsw: int

    def __init__(self, words: tuple[int, ...]) -> None:
        """`words`: the 18 words of struct rusage, the two times as seconds and microseconds."""
        times = (words[0] + words[1] * 1e-6, words[2] + words[3] * 1e-6)
        values = (*times, words[4] * 1024, *words[5:])
        for name, value in zip(self.__slots__, values, strict=True):
            setattr(self, name, value)

    def _values(self) -> tuple[float, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        """Equal when all 16 fields are."""
        return self._values() == other._values() if isinstance(other, Rusage) else NotImplemented

    def __hash__(self) -> int:
        """By value."""
        return hash(self._values())

    def __repr__(self) -> str:
        """Rusage(utime=0.01, …)."""
        fields = zip(self.__slots__, self._values(), strict=True)
        return f"Rusage({', '.join(f'{name}={value!r}' for name, value in fields)})"


class _Facts:
    """The fields of a child's handle that its state is made of, once the handle is gone."""

    NAMES = (
        "pid",
        "status",
        "status_known",
        "usage_known",
        "engine",
        "started",
        "ended",
    )
    pid: int
    status: int
    status_known: int
    usage_known: int
    engine: int
    started: int
    ended: int
    rusage: tuple[int, ...]
    own_peak: int

    def __init__(self, values: tuple[int, ...], rusage: tuple[int, ...], own_peak: int) -> None:
        for name, value in zip(self.NAMES, values, strict=True):
            setattr(self, name, value)
        self.rusage = rusage
        self.own_peak = own_peak


class ProcessState:
    """How a process ended and what it used. Go's `os.ProcessState`.

    Made by the waits, never by hand. A value: it does not change, whatever happens to its Process.
    """

    __slots__ = ("_of", "_own_peak")

    def __init__(self, of: _core.Child | _Facts) -> None:
        """`of`: a handle that has been waited for."""
        self._of = of
        self._own_peak: int | None = None

    @property
    def pid(self) -> int:
        """The process id it had; by now it may be another's."""
        pid: int = self._of.pid
        return pid

    @property
    def exited(self) -> bool:
        """It exited by itself, with whatever code."""
        return self.sys().exited

    @property
    def success(self) -> bool:
        """It exited with code 0."""
        return bool(self._of.status == 0)

    @property
    def exit_code(self) -> int:
        """The code it exited with, 0 to 255; -1 if a signal ended it."""
        return self.sys().exit_status

    @property
    def signal(self) -> int | None:
        """The signal that ended it; None if it exited."""
        return self.sys().signal

    @property
    def core_dumped(self) -> bool:
        """A signal ended it and it left a core dump."""
        return self.sys().core_dumped

    @property
    def user_time(self) -> float | None:
        """Processor seconds in user code, of it and the descendants it waited for.

        None if someone else's wait took the figures (`sys_usage`).
        """
        usage = self.sys_usage()
        return None if usage is None else usage.utime

    @property
    def system_time(self) -> float | None:
        """Processor seconds in the kernel on its behalf; None as for `user_time`."""
        usage = self.sys_usage()
        return None if usage is None else usage.stime

    @property
    def wall_time(self) -> float:
        """Seconds from the start of the spawn until it was waited for."""
        seconds: float = (self._of.ended - self._of.started) / 1e9
        return seconds

    @property
    def max_rss(self) -> int | None:
        """Peak resident memory in bytes: an upper bound unless `max_rss_exact`.

        The kernel folds the memory of the program that was replaced by exec into this figure, and
        with vfork and fork that is the parent's. None as for `user_time`.
        """
        usage = self.sys_usage()
        return None if usage is None else usage.maxrss

    @property
    def max_rss_exact(self) -> bool:
        """Is `max_rss` the program's own peak?

        True only when it is above everything this process ever used itself, looked up when this is
        first asked: never wrongly true, but false for programs smaller than their parent.
        """
        usage = self.sys_usage()
        return usage is not None and usage.maxrss > self._peak()

    def _peak(self) -> int:
        """Our own peak memory, if it was ours that could be in the child's figure."""
        if isinstance(self._of, _Facts):
            return self._of.own_peak
        if _core.is_stale(self._of):
            return sys.maxsize
        if self._own_peak is None:
            self._own_peak = _core.own_peak()
        return self._own_peak

    @property
    def engine(self) -> str:
        """What made the process: "vfork", "vfork-waiting", "fork", "posix_spawn".

        "attached" for one that was found by its pid.
        """
        return _core.ENGINE_NAMES.get(self._of.engine, "attached")

    def sys(self) -> WaitStatus:
        """The status as wait(2) gives it."""
        return WaitStatus(self._of.status)

    def sys_usage(self) -> Rusage | None:
        """All of struct rusage; None if only the status was saved from someone else's wait."""
        return Rusage(self._words()) if self._of.usage_known else None

    def _words(self) -> tuple[int, ...]:
        return self._of.rusage if isinstance(self._of, _Facts) else _core.rusage(self._of)

    def _key(self) -> tuple[object, ...]:
        return (tuple(int(getattr(self._of, name)) for name in _Facts.NAMES), self._words())

    def __eq__(self, other: object) -> bool:
        """Equal when every fact is."""
        return self._key() == other._key() if isinstance(other, ProcessState) else NotImplemented

    def __hash__(self) -> int:
        """By value."""
        return hash(self._key())

    def __reduce__(self) -> tuple[Callable[..., ProcessState], tuple[object, ...]]:
        """Pickles by its facts."""
        return _rebuild, (*self._key(), self._peak())

    def __str__(self) -> str:
        """In Go's words: "exit status 1", "signal: killed"."""
        return str(self.sys())

    def __repr__(self) -> str:
        """<ProcessState pid 42: exit status 0>."""
        return f"<ProcessState pid {self.pid}: {self}>"


def _rebuild(values: tuple[int, ...], rusage: tuple[int, ...], own_peak: int) -> ProcessState:
    return ProcessState(_Facts(values, rusage, own_peak))
