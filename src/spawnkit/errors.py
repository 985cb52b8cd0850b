"""Every exception spawnkit raises on its own account.

Error
├── SpawnError            the program never ran         (an OSError; also FileNotFoundError, …)
├── ExitError             it ran and was not successful
├── TimeoutExpired        it took too long              (a TimeoutError)
├── StatusLost            nobody can say how it ended   (a ChildProcessError)
└── ProcessDone           it is over: nothing to signal (a ProcessLookupError)

Bad input is a plain ValueError or TypeError, raised before any system call.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .state import ProcessState

__all__ = ["Error", "ExitError", "ProcessDone", "SpawnError", "StatusLost", "TimeoutExpired"]


class Error(Exception):
    """Base of all exceptions here. Never raised directly."""


class SpawnError(Error, OSError):
    """The program was not started, and nothing of the attempt is left.

    It is also the built-in class of its errno (`FileNotFoundError`, `PermissionError`, …).

    stage: what was being done: "lookpath", "pipe", "memory", "clone", an operation's stage
        ("chdir", "descriptors", "rlimit", …), or "exec".
    item: that step and the thing it was done to, such as "chdir '/nope'" or "fd 7 → 3".
    errno: as the system call gave it; None when no call failed but the child died.
    filename: the path concerned, else None.
    signal: what killed the child before its program ran, else None.
    hint: what is known beyond that, as its message ends; "" when nothing is.

    Follows Go's `*PathError` from os.StartProcess, with the failing step named.
    """

    stage: str
    item: str
    signal: int | None
    hint: str = ""

    def __str__(self) -> str:
        """The item and what went wrong with it."""
        if self.signal is not None:
            return f"{self.item}: died before exec (signal {self.signal})"
        return f"{self.item}: {self.strerror or 'died before exec'}{self.hint or self._hint()}"

    def __repr__(self) -> str:
        """SpawnError(stage='chdir', item="chdir '/nope'", errno=2)."""
        facts = f"stage={self.stage!r}, item={self.item!r}, errno={self.errno!r}"
        return f"SpawnError({facts}{'' if self.signal is None else f', signal={self.signal}'})"

    def _hint(self) -> str:
        if self.stage == "descriptors" and self.errno == errno.EBADF and "→" in self.item:
            return " (not open, or a target above RLIMIT_NOFILE)"
        if self.stage == "exec" and self.errno == errno.EAGAIN:
            return " (the limit on processes, RLIMIT_NPROC, is reached)"
        if self.stage == "exec" and self.errno == errno.ENOEXEC:
            return " (no #! line, and no shell is tried)"
        return ""

    def __reduce__(self) -> tuple[Callable[..., SpawnError], tuple[object, ...]]:
        """Pickles by its facts: the class is looked up again."""
        return spawn_error, (self.errno, self.stage, self.item, self.filename, self.signal)


_classes: dict[type, type[SpawnError]] = {}


def spawn_error(
    number: int | None,
    stage: str,
    item: str,
    filename: str | bytes | None = None,
    signal: int | None = None,
) -> SpawnError:
    """The SpawnError of the class that an errno calls for."""
    if number is None:
        error = SpawnError(f"{item}: died before exec")
    else:
        arguments = (number, os.strerror(number))
        builtin = type(OSError(*arguments))
        cls = _classes.get(builtin)
        if cls is None:
            cls = SpawnError
            if builtin is not OSError:
                cls = type("SpawnError", (SpawnError, builtin), {"__doc__": SpawnError.__doc__})
                cls.__module__ = __name__
            _classes[builtin] = cls
        error = cls(*arguments) if filename is None else cls(*arguments, filename)
    error.stage = stage
    error.item = item
    error.signal = signal
    return error


class ExitError(Error):
    """The program ran and did not succeed.

    state: its ProcessState.
    stdout, stderr: what was captured (bytes), None where nothing was.

    Go's `*exec.ExitError`.
    """

    def __init__(
        self,
        name: str,
        state: ProcessState,
        stdout: bytes | None = None,
        stderr: bytes | None = None,
    ) -> None:
        """`name` is the program as the caller wrote it."""
        super().__init__(name, state, stdout, stderr)
        self.name = name
        self.state = state
        self.stdout = stdout
        self.stderr = stderr

    def __str__(self) -> str:
        """The program, how it ended, and the last line it left on stderr."""
        text = f"{self.name}: {self.state}"
        last = (self.stderr or b"").strip().rpartition(b"\n")[2].decode(errors="replace")
        return f"{text}: {last}" if last else text


class TimeoutExpired(Error, TimeoutError):  # noqa: N818 - the field's name for it
    """The time was over before the program was.

    From `run` and `Cmd.run` the process has been killed and reaped; from `wait` it is as it was.

    timeout: the time that was allowed, in seconds.
    stdout, stderr: what had been captured (bytes), None where nothing was captured.
    state: its ProcessState; None from `wait`, where its program never ran (`stage`), and where the
        kill did not take effect within a second (a process in an uninterruptible system call). Of a
        program that had ended while a descendant of its held the pipe it is the program's own.
    stage: None once the program was running; else the step of its setup that had not returned.
    """

    def __init__(
        self,
        name: str,
        timeout: float,
        stdout: bytes | None = None,
        stderr: bytes | None = None,
        state: ProcessState | None = None,
        stage: str | None = None,
    ) -> None:
        """`name` is the program as the caller wrote it."""
        super().__init__(name, timeout, stdout, stderr, state, stage)
        self.name = name
        self.timeout = timeout
        self.stdout = stdout
        self.stderr = stderr
        self.state = state
        self.stage = stage

    def __str__(self) -> str:
        """Says whether it was the program or its setup that took too long."""
        where = "" if self.stage is None else f" before its program ran, at stage {self.stage!r}"
        return f"{self.name}: not over after {self.timeout:g} s{where}"


class StatusLost(Error, ChildProcessError):  # noqa: N818 - the field's name for it
    """How the process ended cannot be known.

    Somebody else waited for it, or SIGCHLD is ignored, and this kernel cannot tell any more. Where
    a pidfd can still tell (Linux 6.15), the status is recovered and this is not raised.
    """


class ProcessDone(Error, ProcessLookupError):  # noqa: N818 - the field's name for it
    """The process is over or the handle was released. Go's `os.ErrProcessDone`."""
