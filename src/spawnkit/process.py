"""Process: a handle for one running process. Go's `os.Process`."""

from __future__ import annotations

import errno
import os
import sys
import warnings

from . import _core
from .attributes import ProcAttr, SysProcAttr
from .children import KILL, adopt, end, spawn_and_settle
from .environment import resolve
from .errors import ProcessDone, TimeoutExpired
from .plan import STANDARD, check_engine, descriptor, encode, encode_args, pack
from .prepare import encode_dir
from .state import ProcessState
from .streams import check_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from .plan import Arg, File

__all__ = ["INTERRUPT", "KILL", "Process", "find_process", "start_process"]

INTERRUPT = 2  # SIGINT: Go's os.Interrupt

_RELEASED = "the process handle was released"


class Process:
    """A process that was started (`Cmd.start`, `start_process`) or found (`find_process`).

    May be used from several threads. A handle that is dropped before the process was waited for
    raises ResourceWarning; the process lives on, and is reaped by a later spawn.
    """

    __slots__ = ("__weakref__", "_child", "_final", "_name", "_over", "_state")

    def __init__(self, child: _core.Child, name: str) -> None:
        """Use `start_process`, `find_process` or `Cmd.start` to get one."""
        self._over: str | None = None  # why there is nothing to wait for or signal
        self._state: ProcessState | None = None
        self._final = ProcessState(child)  # one object for every thread that waits
        self._name = name
        self._child = child  # last: until now there is nothing to give back

    @property
    def pid(self) -> int:
        """Its process id; -1 after `release`."""
        return -1 if self._over == _RELEASED else int(self._child.pid)

    @property
    def name(self) -> str:
        """The program as it was asked for, for messages."""
        return self._name

    @property
    def pidfd(self) -> int | None:
        """Its pidfd (pidfd_open(2)), close-on-exec, readable once it has ended.

        Ours: it is closed when the process has been waited for. None then, and where the kernel
        gives none.
        """
        fd = self._child.pidfd
        # After the wait it may be open still: another thread that waits is the last one out. That
        # closes it at any moment, and the number then is another file's.
        return None if self._over or self._state is not None or fd < 0 else int(fd)

    def handle(self) -> AbstractContextManager[int]:
        """A pidfd that is valid until the end of the `with` block, whoever waits meanwhile.

        >>> with process.handle() as pidfd:  # doctest: +SKIP
        ...     select.select([pidfd], [], [])

        A duplicate of our own, close-on-exec, closed with the block. It means this process also
        after its end. The `with` raises ProcessDone once the process was waited for or the handle
        released, OSError with ENOSYS where the kernel gives no pidfd, another OSError when no
        descriptor is free, RuntimeError in a process forked since. Go's `Process.WithHandle`.
        """
        return _Handle(self)

    @property
    def state(self) -> ProcessState | None:
        """How it ended; None while it was not waited for."""
        return self._state

    def wait(self, timeout: float | None = None) -> ProcessState:
        """Waits until it has ended and returns how; never raises for a status.

        timeout: seconds; None or infinity waits for ever, 0 or less only asks. When it passes,
        TimeoutExpired is raised and the process is as it was.

        Again, or from another thread, it returns the same state. Raises StatusLost when the status
        went to someone else and cannot be recovered, ChildProcessError when the process is not our
        child, RuntimeError in a process forked since. Stops and continues do not end the wait.
        """
        state = self.wait_until(_core.deadline_after(timeout))
        if state is None:
            raise TimeoutExpired(self._name, timeout or 0.0)
        return state

    def wait_until(self, deadline: int) -> ProcessState | None:
        """`wait` with a deadline on time.monotonic_ns(), -1 for none; None when it comes first."""
        if self._state is not None:
            return self._state
        self._check()
        result = _core.wait(self._child, deadline)
        if result == _core.TIMEOUT:
            return None
        if result != _core.OK:
            _core.raise_for(result, self._child, None)
        self._state = self._final
        return self._final

    def note_end(self) -> ProcessState | None:
        """Its state, if somebody has waited for it below this handle (execution, supervision)."""
        if self._state is None and not self._over:
            if self._child.status_known:
                self._state = self._final
            elif self._child.pid:
                self._over = "it did not die when it was killed"  # an orphan by now
        return self._state

    def poll(self) -> ProcessState | None:
        """How it ended, or None while it runs. Does not wait; raises as `wait`."""
        return self.wait_until(_core.NOW)

    def signal(self, number: int) -> None:
        """Sends it a signal; 0 only asks whether it could.

        By pidfd where there is one, so never to another process that got the same pid. To a process
        that has ended and was not waited for it does nothing. Raises ProcessDone after it was
        waited for, PermissionError, ValueError for a number that is no signal (kill(2),
        pidfd_send_signal(2)).
        """
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"signal: a number wanted (signal.SIGTERM), not {number!r}")
        if not 0 <= number <= 64:
            raise ValueError(f"signal: {int(number)} is not in 0..64")
        self._check()
        result = _core.signal(self._child, int(number))
        if result == _core.DONE:
            raise ProcessDone(f"process {self._child.pid} is over")
        if result != _core.OK:
            _core.raise_for(result, self._child, None)

    def kill(self) -> None:
        """Sends SIGKILL; raises as `signal`."""
        self.signal(KILL)

    def terminate(self) -> None:
        """Sends SIGTERM; raises as `signal`."""
        self.signal(15)

    def release(self) -> None:
        """Gives the handle up: the process goes on, and cannot be waited for through it any more.

        Unlike in Go it does not stay a zombie: a later spawn reaps it.
        """
        if not self._over:
            if self._state is None and not self._child.attached:
                adopt(self._child)
            else:
                _core.drop(self._child)
            self._over = _RELEASED

    def _check(self) -> None:
        if self._over:
            raise ProcessDone(self._over)

    def __repr__(self) -> str:
        """<Process pid 42 'ls': running>."""
        state = self._over or str(self._state or "not waited for")
        return f"<Process pid {self._child.pid} {self._name!r}: {state}>"

    def __reduce__(self) -> str:
        """Refused: two handles on one child would not know of each other's waits."""
        raise TypeError("a Process can be neither copied nor pickled")

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        """Warns about a process that nobody waited for."""
        try:
            child = self._child
        except AttributeError:  # __init__ did not finish
            return
        # Not its pid: that is a new object, and there may be no memory for it.
        if self._over or not child.state or _core is None:
            return
        lost = child.ended and not child.status_known  # waited for, in vain
        if self._state is None and not lost and not child.attached and not _core.is_stale(child):
            adopt(child)
            _warn(f"{self!r} was dropped", ResourceWarning, source=self, stacklevel=2)
        else:
            _core.drop(child)


class _Handle:
    """What `Process.handle` returns; for one `with` statement at a time."""

    __slots__ = ("_guard", "_pidfd", "_process")

    def __init__(self, process: Process) -> None:
        """Opens nothing yet."""
        self._process = process
        self._pidfd = _core.new_pidfd()
        self._guard = _core.guard_pidfd(self._pidfd)

    def __enter__(self) -> int:
        """The duplicate."""
        process, pidfd = self._process, self._pidfd
        if pidfd.open:
            raise RuntimeError("handle(): this one is in use; one for each with statement")
        process._check()
        child = process._child
        # C notes in `pidfd` what it has opened: Ctrl-C at any point finds what to close.
        try:
            result = _core.dup_pidfd(child, pidfd)
            if result == _core.OK:
                return int(pidfd.fd)
            if result == _core.DONE:
                raise ProcessDone(f"process {child.pid} is over")
            if result == -errno.ENOSYS:
                raise OSError(errno.ENOSYS, f"no pidfd for process {child.pid}")
            _core.raise_for(result, child, None)
        except BaseException:
            _core.close_pidfd(pidfd)
            raise

    def __exit__(self, *exception: object) -> None:
        """Closes it."""
        _core.close_pidfd(self._pidfd)


def start_process(
    path: Arg,
    argv: Sequence[Arg],
    attr: ProcAttr | None = None,
    *,
    engine: str | None = None,
) -> Process:
    """Starts the program at `path`; returns once it runs. Go's `os.StartProcess`.

    path: taken literally, PATH is not searched. argv: all of it, argv[0] included.
    attr: a ProcAttr; None: our directory, environment and standard streams.
    engine: as for `Cmd`; None chooses.

    A program that is open for writing (ETXTBSY) is tried again for at most 0.25 s.

    Raises SpawnError when the program cannot run, ValueError or TypeError for bad input.
    """
    program = encode(path, "path")
    if not program:
        raise ValueError("path: empty")
    dir, env, files, sys_attr = None, None, None, None
    if attr is not None:
        if not isinstance(attr, ProcAttr):
            raise TypeError(f"attr: a ProcAttr wanted, not {attr!r}")
        dir = None if attr.dir is None else encode_dir(attr.dir)
        env, files, sys_attr = attr.env, attr.files, attr.sys
    wanted = _files(files)
    arguments = encode_args(argv, "argv")
    if sys_attr is not None and not isinstance(sys_attr, SysProcAttr):
        raise TypeError(f"sys: a SysProcAttr wanted, not {sys_attr!r}")
    number = check_engine(engine, dir, sys_attr)
    variables = resolve(env, None)  # os.StartProcess does not touch PWD; only a Cmd does
    kept = STANDARD if files is None else frozenset()
    plan = pack(program, arguments, len(argv), variables, dir, wanted, kept, sys_attr)
    for target, source in wanted.items():
        if source is not None:
            check_open(source, target)
    name = os.fsdecode(arguments[: arguments.index(b"\0")])
    sys.audit("spawnkit.spawn", program, argv, dir, env)
    process = Process(_core.new_child(), name)
    try:
        started(process, plan, number)
        return process
    except BaseException:
        give_up(process)
        raise


def started(process: Process, plan: bytes, engine: int, deadline: int = _core.FOREVER) -> bool:
    """Spawns into a new handle and waits until the program runs; False: the deadline came first.

    process: may have been spawned already. Whoever calls this calls `give_up` when an exception
    strikes before the handle is handed out.
    """
    return spawn_and_settle(process._child, plan, engine, deadline)


def give_up(process: Process) -> None:
    """Ends what a start that failed may have left."""
    process._over = "its start failed"
    end(process._child)


def leave_to_orphans(process: Process) -> None:
    """Gives up the handle of one that was found; if it is our child a later spawn reaps it."""
    adopt(process._child)
    process._over = _RELEASED


def _files(
    files: Sequence[File | None] | Mapping[int, File | None] | None,
) -> dict[int, int | None]:
    if files is None:
        return {}
    if hasattr(files, "items"):
        pairs = [(descriptor(key, f"files[{key!r}]"), value) for key, value in files.items()]
    elif isinstance(files, (list, tuple)):
        pairs = list(enumerate(files))
    else:
        raise TypeError(f"files: a list, a tuple or a mapping wanted, not {files!r}")
    return {
        target: None if value is None else descriptor(value, f"files[{target}]")
        for target, value in pairs
    }


def find_process(pid: int) -> Process:
    """A handle for the process with this pid, whoever started it. Go's `os.FindProcess`.

    Never fails for a pid that no process has: the handle then says ProcessDone. It can be
    signalled; only our own child can be waited for. ValueError for a pid below 1, which would mean
    a group or everyone to kill(2).
    """
    if not isinstance(pid, int) or isinstance(pid, bool):
        raise TypeError(f"pid: a number wanted, not {pid!r}")
    if not 1 <= pid < 2**31:
        raise ValueError(f"pid: {pid} is no process id")
    process = Process(_core.new_child(), f"pid {pid}")
    result = _core.attach(process._child, pid)
    if result < 0:
        process._over = f"process {pid} does not exist"
        if result != -errno.ESRCH:
            raise OSError(-result, os.strerror(-result))
    return process
