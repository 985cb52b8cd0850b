"""Cgroup: a control group of the kernel's for the programs of a command: limits, and a sure end."""

from __future__ import annotations

import errno
import math
import os
import time
import warnings
from _thread import RLock
from contextlib import suppress

from . import _core
from .attributes import _number
from .cgroup_homes import FREEZER, UNIFIED, failure, find_homes
from .cgroup_kill import kill, signal_all
from .cgroup_tree import members, read_value, tree
from .errors import SpawnError
from .plan import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .plan import Arg

__all__ = ["Cgroup", "CgroupUsage"]

_PERIOD = 100_000  # microseconds; the kernel's default, and so what a cpu_max of 1 stands for
_PATIENCE = 1.0  # seconds for everything killed to be gone, and for the directories as well

# What sets a limit: version 2's file, version 1's.
_FILES = {
    "memory": ("memory.max", "memory.limit_in_bytes"),
    "pids": ("pids.max", "pids.max"),
    "cpu": ("cpu.max", "cpu.cfs_quota_us"),
}


class CgroupUsage:
    """What the programs in a Cgroup have used so far, together. None: the kernel does not say.

    memory_peak: bytes, the highest so far (Linux 5.19, or a memory_max of version 1).
    oom_kills: how many processes were killed because the memory was used up (Linux 4.13).
    cpu_time: processor seconds, user and system.
    pids_peak: the most processes and threads at a time (Linux 6.1).

    cgroups(7), and cgroup-v2.rst of the kernel.
    """

    __slots__ = ("cpu_time", "memory_peak", "oom_kills", "pids_peak")

    def __init__(
        self,
        memory_peak: int | None = None,
        oom_kills: int | None = None,
        cpu_time: float | None = None,
        pids_peak: int | None = None,
    ) -> None:
        """See the class."""
        self.memory_peak = memory_peak
        self.oom_kills = oom_kills
        self.cpu_time = cpu_time
        self.pids_peak = pids_peak

    def _fields(self) -> tuple[object, ...]:
        return self.memory_peak, self.oom_kills, self.cpu_time, self.pids_peak

    def __eq__(self, other: object) -> bool:
        """Equal when all fields are."""
        return (
            self._fields() == other._fields() if isinstance(other, CgroupUsage) else NotImplemented
        )

    def __hash__(self) -> int:
        """By value."""
        return hash(self._fields())

    def __repr__(self) -> str:
        """CgroupUsage(memory_peak=…, oom_kills=…, cpu_time=…, pids_peak=…)."""
        names = ("memory_peak", "oom_kills", "cpu_time", "pids_peak")
        return f"CgroupUsage({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"


class Cgroup:
    """A control group: limits for all programs in it together, and an end that none escapes.

    >>> with Cgroup(pids_max=50) as group:  # doctest: +SKIP
    ...     run(["make", "-j8"], cgroup=group)

    memory_max: bytes; a program that needs more is killed. Swap is not counted. None: no limit.
    pids_max: how many processes and threads at a time; one more fork fails with EAGAIN. What we
        start ourselves gets in nevertheless. None: no limit.
    cpu_max: how many processors' time, such as 0.5 or 2.5; at least 0.01. None: no limit.
    parent: the directory of the version 2 cgroup in which it is made; controllers that are wanted
        and not enabled there are, and stay so. None: our own cgroups, as /proc/self/cgroup names
        them, unchanged: version 2 where it has the controller, else version 1.
    name: of the directory, which must not be there yet; None: one that nobody has.

    Programs get into it by `cgroup=` of `run`, `output` and `Cmd`, from their first instruction on,
    and so do their descendants, whatever session they make; only who may write to other cgroups can
    leave. Without limits it serves for `kill` and `usage` alone. Nothing else here needs a cgroup.

    It is made by `with`, `open` or its first use. `close`, or the end of the `with` block, kills
    what is still in it and removes it. A Cgroup that is dropped without that raises
    ResourceWarning, and is removed only if it is empty. Any number of commands and threads may use
    one.

    Wrong values raise ValueError or TypeError here, naming them. A cgroup that cannot be made is a
    SpawnError with stage "cgroup" that names the file and what is to be done; after `close` all
    but `close` raise ValueError, in a process forked since RuntimeError. cgroups(7).
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_directories",
        "_killed",
        "_limits",
        "_lock",
        "_name",
        "_owner",
        "_parent",
        "_paths",
    )

    def __init__(
        self,
        *,
        memory_max: int | None = None,
        pids_max: int | None = None,
        cpu_max: float | None = None,
        parent: Arg | None = None,
        name: str | None = None,
    ) -> None:
        """See the class."""
        self._directories: list[str] = []  # that we have made, or were about to
        self._limits: dict[str, int] = {}
        if memory_max is not None:
            self._limits["memory"] = _number("memory_max", memory_max, 1, 2**63 - 1)
        if pids_max is not None:
            self._limits["pids"] = _number("pids_max", pids_max, 1, 1 << 22)
        if cpu_max is not None:
            self._limits["cpu"] = _quota(cpu_max)
        self._parent = None if parent is None else os.fsdecode(encode(parent, "parent"))
        if self._parent == "":
            raise ValueError("parent: empty; None is our own cgroup")
        self._name = None if name is None else _checked_name(name)
        self._paths: dict[str, str] = {}  # by what serves there; empty: not made
        self._closed = self._killed = False
        self._owner = os.getpid()
        self._lock = RLock()  # re-entrant: a signal handler may interrupt its own thread in here

    # ---- made and removed -----------------------------------------------------------------------

    def open(self) -> Cgroup:
        """Makes it, unless it is there; returns itself. SpawnError."""
        self._check()
        with self._lock:
            self._check()
            if not self._paths:
                try:
                    self._paths = self._make()
                except BaseException:
                    self._remove(0.0)
                    raise
        return self

    def _check(self) -> None:
        # Before the lock is taken, too: in a forked process whoever held it may not exist.
        if self._owner != os.getpid():
            raise RuntimeError("cgroup: it is one of the process this one was forked from")
        if self._closed:
            raise ValueError("cgroup: closed")

    def _make(self) -> dict[str, str]:
        parent = None if self._parent is None else os.path.abspath(self._parent)
        name = self._name or f"spawnkit-{os.getpid()}-{os.urandom(4).hex()}"
        paths = {}
        try:
            homes = find_homes(list(self._limits), parent)
        except SpawnError:
            raise
        except OSError as error:  # no descriptor is left
            raise failure(error, "cgroup") from None
        for what, home in homes.items():
            paths[what] = path = f"{home}/{name}"
            if path in self._directories:
                continue
            try:
                if os.path.lexists(path):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
                # Noted first: a Ctrl-C finds what there is to remove.
                self._directories.append(path)
                os.mkdir(path)
            except OSError as error:
                if isinstance(error, FileExistsError) and path in self._directories:
                    self._directories.remove(path)  # somebody else's
                raise failure(error, "cgroup") from None
        for controller, value in self._limits.items():
            self._limit(controller, value, paths[controller], paths.get(UNIFIED))
        return paths

    def _limit(self, controller: str, value: int, path: str, unified: str | None) -> None:
        new, old = _FILES[controller]
        text = str(value)
        if path == unified and controller == "cpu":
            text = f"{value} {_PERIOD}"
        file = f"{path}/{new if path == unified else old}"
        result = _core.write_file(file, text)
        if result:
            error = OSError(-result, os.strerror(-result), file)
            raise failure(error, f"cgroup limit {text!r} for")

    def close(self) -> None:
        """Kills what is in it and removes it, with the cgroups that its programs have made below.

        Takes at most 2 s. Harmless when repeated; in a process forked since it does nothing.
        OSError names the directory that could not be removed and who is in it; it may be called
        again. A Ctrl-C in it goes on when it is through.
        """
        if self._owner != os.getpid():
            return
        with self._lock:
            self._closed = True
            if not self._directories:
                return
            try:
                self._end()
            except KeyboardInterrupt:
                self._end()  # it is bounded, and what is in there would run on
                raise

    def _end(self) -> None:
        if self._paths:
            with suppress(OSError):  # no descriptor is free: whoever is in it is in the way below
                kill(*self._killed_by(), _PATIENCE)
        self._remove(_PATIENCE)

    def _remove(self, patience: float) -> None:
        """Members that have been killed take a moment."""
        end = time.monotonic() + patience
        problem = None
        for path in reversed(self._directories.copy()):
            while (error := _try_to_remove(path)) is not None and time.monotonic() < end:
                time.sleep(0.001)
            if error is None:
                self._directories.remove(path)
            else:
                problem = error
        if problem is not None and patience:
            left: list[int] = []
            with suppress(OSError):
                left = sorted(members(problem.filename))
            text = f"{problem.strerror}, processes {left} are in it" if left else problem.strerror
            raise OSError(problem.errno, f"cgroup: {text}", problem.filename)

    def __enter__(self) -> Cgroup:
        """`open`."""
        return self.open()

    def __exit__(self, *exception: object) -> None:
        """`close`."""
        self.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        """Warns about one that nobody closed."""
        try:
            if not self._directories or self._owner != os.getpid():
                return
        except AttributeError:  # __init__ did not finish
            return
        self._remove(0.0)
        _warn(f"{self!r} was dropped", ResourceWarning, source=self, stacklevel=2)

    # ---- what is in it --------------------------------------------------------------------------

    @property
    def path(self) -> str | None:
        """Its directory of version 2; None where only version 1 is mounted."""
        return self.paths.get(UNIFIED)

    @property
    def paths(self) -> dict[str, str]:
        """Its directories by what they serve for.

        "unified", or "freezer" where only version 1 is mounted: for `kill` and `procs`; "memory",
        "pids" and "cpu" for the limits that were given.
        """
        self.open()
        return dict(self._paths)

    def _places(self) -> list[tuple[bytes, bool]]:
        """For the launch plan: the directories, and whether a child can be born in each.

        Into one that was killed it moves: Linux 6.18, for one, takes a birth there for a fork that
        the kill has missed, and kills it.
        """
        paths = self.paths
        unified = None if self._killed else paths.get(UNIFIED)
        return [(os.fsencode(path), path == unified) for path in dict.fromkeys(paths.values())]

    def procs(self) -> list[int]:
        """The pids of the processes in it, and in cgroups that these have made below."""
        self.open()
        return sorted(members(self._killed_by()[0]))

    def kill(self) -> tuple[int, list[int]]:
        """Kills all processes in it: how many are gone, and the pids of those that are not.

        Returns when it is empty, after 1 s at the latest: a process inside an uninterruptible
        system call dies later, and before Linux 5.14 another user's may be beyond us. What is
        forked meanwhile is killed too; it is counted if it was seen. RuntimeError if this process
        itself is in it. Through cgroup.kill; before Linux 5.14, and with version 1, it is frozen,
        each is sent SIGKILL by pidfd, and it is thawed. OSError where no descriptor is left.
        """
        self.open()
        self._killed = True
        return kill(*self._killed_by(), _PATIENCE)

    def _ask(self, number: int) -> None:
        """Signals all programs in it."""
        signal_all(self._killed_by()[0], number)

    def _killed_by(self) -> tuple[str, bool]:
        unified = self._paths.get(UNIFIED)
        return (self._paths[FREEZER], False) if unified is None else (unified, True)

    def usage(self) -> CgroupUsage:
        """What its programs have used so far, those that have ended included."""
        self.open()
        by_kill, _ = self._killed_by()
        pids = self._paths.get("pids", by_kill)
        memory = self._paths.get("memory", by_kill)
        cpu = self._paths.get("cpu", by_kill)
        peak = read_value(memory, "memory.peak")
        if peak is None:
            peak = read_value(memory, "memory.max_usage_in_bytes")
        killed = read_value(memory, "memory.events", "oom_kill")
        if killed is None:
            killed = read_value(memory, "memory.oom_control", "oom_kill")
        seconds = None
        if (microseconds := read_value(by_kill, "cpu.stat", "usage_usec")) is not None:
            seconds = microseconds / 1e6
        elif (nanoseconds := read_value(cpu, "cpuacct.usage")) is not None:
            seconds = nanoseconds / 1e9
        return CgroupUsage(peak, killed, seconds, read_value(pids, "pids.peak"))

    def __repr__(self) -> str:
        """<Cgroup '/sys/fs/cgroup/…': open>."""
        paths = self._paths
        place = paths.get(UNIFIED) or paths.get(FREEZER) or self._name or ""
        state = "closed" if self._closed else "open" if paths else "not made"
        return f"<Cgroup {place!r}: {state}>"

    def __reduce__(self) -> str:
        """Refused: two would remove one directory."""
        raise TypeError("a Cgroup can be neither copied nor pickled")


def check(value: object) -> None:
    """Is it a Cgroup that a command can be given? TypeError, ValueError, RuntimeError."""
    if not isinstance(value, Cgroup):
        raise TypeError(f"cgroup: a Cgroup wanted, not {value!r}")
    value._check()


def _quota(cpus: float) -> int:
    """Microseconds of processor time in each period; the kernel wants a millisecond at least."""
    if type(cpus) is bool or not isinstance(cpus, (int, float)):
        raise TypeError(f"cpu_max: a number of processors wanted, not {cpus!r}")
    if not math.isfinite(cpus) or cpus < 0.01:
        raise ValueError(f"cpu_max: {cpus} is not a number of processors from 0.01 on")
    return round(cpus * _PERIOD)


def _checked_name(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name: a str wanted, not {name!r}")
    encode(name, "name")
    if name in ("", ".", "..") or "/" in name or "\n" in name:
        raise ValueError(f"name: {name!r} is no name of a directory")
    return name


def _try_to_remove(path: str) -> OSError | None:
    """What is in the way of it; None: it is gone."""
    below: list[str] = []
    with suppress(OSError):  # a look takes a descriptor, the removal does not
        below = tree(path)
    problems = [_rmdir(each) for each in below or [path]]
    return problems[-1]


def _rmdir(path: str) -> OSError | None:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None
