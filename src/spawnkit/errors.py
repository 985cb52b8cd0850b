"""Every exception spawnkit raises on its own account.

Error
├── SpawnError            the program never ran           (an OSError; also FileNotFoundError, …)
│   └── DotError          it lies in a relative directory of PATH
├── ExitError             it ran and was not successful
│   └── PipelineError     one of several did and was not
├── TimeoutExpired        it took too long                (a TimeoutError)
├── Cancelled             it was told to end before it did
├── OutputLimitError      it wrote more than it was allowed
├── WaitDelayError        it is over, its streams are not
├── StatusLost            nobody can say how it ended     (a ChildProcessError)
└── ProcessDone           it is over: nothing to signal   (a ProcessLookupError)

Bad input is a plain ValueError or TypeError, raised before any system call.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .killing import KillReport
    from .ordered import Record
    from .proctable import OtherProcess
    from .state import ProcessState

__all__ = [
    "Cancelled",
    "DotError",
    "Error",
    "ExitError",
    "OutputLimitError",
    "PipelineError",
    "ProcessDone",
    "SpawnError",
    "StatusLost",
    "TimeoutExpired",
    "WaitDelayError",
]


def plain(output: Any) -> Any:
    """An output as it can be pickled: bytes in the place of a memoryview."""
    return output.tobytes() if isinstance(output, memoryview) else output


class Error(Exception):
    """Base of all exceptions here. Never raised directly.

    ordered: `Result.ordered` of a command that came to an end, where its streams were ORDERED; else
        None.
    states: where a Pipeline raises it after its start, the ProcessState of each stage, None for one
        that could not be killed; else ().
    kill: where a command was killed, a KillReport; else None.
    holders: where streams were closed before their end, an `OtherProcess` for each that still had
        them open: empty where those were another user's, gone a moment later, or sockets (ORDERED).
    """

    ordered: list[Record] | None = None
    states: tuple[ProcessState | None, ...] = ()
    kill: KillReport | None = None
    holders: Sequence[OtherProcess] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles with bytes in the place of a memoryview."""
        parts: tuple[Any, ...] = super().__reduce__()  # type: ignore[assignment]
        make, arguments, *state = parts
        if state:
            state = [{name: plain(value) for name, value in state[0].items()}]
        return make, tuple(plain(value) for value in arguments), *state


class SpawnError(Error, OSError):
    """The program was not started, and nothing of the attempt is left.

    It is also the built-in class of its errno (`FileNotFoundError`, `PermissionError`, …).

    stage: what was being done: "lookpath", "pipe", "memory", "thread" (that makes children which
        die with us), "clone", an operation's stage ("chdir", "descriptors", "rlimit", …), or
        "exec".
    item: that step and the thing it was done to, such as "chdir '/nope'" or "fd 7 → 3".
    errno: as the system call gave it; None when no call failed but the child died.
    filename: the path concerned, else None.
    signal: what killed the child before its program ran, else None.
    hint: what is known about the cause beyond the errno, such as the limit that was exceeded and
        by how much; "" when nothing is. Wording, not an interface.

    Follows Go's `*PathError` from os.StartProcess, with the failing step named.
    """

    stage: str
    item: str
    signal: int | None
    hint: str

    def __str__(self) -> str:
        """The item, what went wrong with it, and the hint in parentheses."""
        if self.signal is not None:
            return f"{self.item}: died before exec (signal {self.signal})"
        text = f"{self.item}: {self.strerror or 'died before exec'}"
        return f"{text} ({self.hint})" if self.hint else text

    def __repr__(self) -> str:
        """SpawnError(stage='chdir', item="chdir '/nope'", errno=2)."""
        facts = f"stage={self.stage!r}, item={self.item!r}, errno={self.errno!r}"
        return f"SpawnError({facts}{'' if self.signal is None else f', signal={self.signal}'})"

    def __reduce__(self) -> tuple[Callable[..., SpawnError], tuple[object, ...]]:
        """Pickles by its facts: the class is looked up again."""
        facts = (self.errno, self.stage, self.item, self.filename, self.signal, self.hint)
        return spawn_error, facts


_classes: dict[type, type[SpawnError]] = {}


def spawn_error(
    number: int | None,
    stage: str,
    item: str,
    filename: str | bytes | None = None,
    signal: int | None = None,
    hint: str = "",
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
    error.hint = hint
    return error


class DotError(SpawnError):
    """The search of PATH found the program in a directory relative to the current one.

    Whatever lies in the current directory would run in the place of the program that was meant.

    stage: "lookpath". errno: None, no system call failed.
    path, filename: what was found, such as "./ls" or "bin/ls"; always with a slash. It is what to
        run if that file is meant.

    Go's `exec.ErrDot`.
    """

    def __init__(self, name: str, path: str) -> None:
        """`name` is the program as it was looked for."""
        super().__init__(name, path)
        self.name = name
        self.path = path
        self.filename = path
        self.stage = "lookpath"
        self.item = f"program {name!r}"
        self.signal = None
        self.hint = ""
        # OSError has read the two arguments as errno and strerror.
        self.errno = self.strerror = None

    def __str__(self) -> str:
        """Where it was found, and how to run it nevertheless."""
        where = f"found as {self.path!r}, through a relative element of PATH"
        return f"{self.item}: {where} (to run that file, write {self.path!r})"

    def __reduce__(self) -> tuple[type[DotError], tuple[str, str]]:
        """Pickles by its two arguments."""
        return type(self), (self.name, self.path)


_LAST_WORDS = 1 << 16  # of a file in memory, bytes in which the last line is looked for


class ExitError(Error):
    """The program ran and did not succeed.

    state: its ProcessState.
    stdout, stderr: what was captured: bytes, or str where an encoding was given; None where
        nothing was captured. From `output` stderr may lack its middle, and says so there.
    __cause__: what a reader or writer raised, or a WaitDelayError; else None.

    Go's `*exec.ExitError`.
    """

    def __init__(
        self,
        name: str,
        state: ProcessState,
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
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
        said = self.stderr or ""
        if not isinstance(said, str):
            # Decoded whole, the rest of a large capture would cost as much again.
            if isinstance(said, memoryview):
                said = said[-_LAST_WORDS:].tobytes()
            said = said.strip().rpartition(b"\n")[2].decode(errors="replace")
        last = said.strip().rpartition("\n")[2]
        return f"{text}: {last}" if last else text


class PipelineError(ExitError):
    """A stage of a Pipeline ran and did not succeed: the one that decides (`pipefail`).

    name, state, stderr: of that stage; stderr is the pipeline's where all share one.
    stdout: of the pipeline, that is of its last stage.
    index: which stage it is, from 0. states: of all, by stage.
    """

    def __init__(
        self,
        name: str,
        index: int,
        states: tuple[ProcessState, ...],
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
    ) -> None:
        """`name` is the stage's program as the caller wrote it."""
        super().__init__(name, states[index], stdout, stderr)
        self.args = (name, index, states, stdout, stderr)
        self.index = index
        self.states = states

    def __str__(self) -> str:
        """As of an ExitError, with the stage's place before it."""
        return f"stage {self.index + 1} of {len(self.states)}: {super().__str__()}"


class TimeoutExpired(Error, TimeoutError):  # noqa: N818 - the field's name for it
    """The time was over before the program was.

    Where it was the command's time (`timeout=` of `run`, `output`, `Cmd` and `Cmd.run`) the process
    has been ended and reaped; where it was that of a `wait(timeout=)` it is as it was.

    timeout: the time that was allowed, in seconds. idle: it is the time without any output.
    stdout, stderr: what had been captured: bytes, or str where an encoding was given; None where
        nothing was captured, and from `wait(timeout=)`.
    state: its ProcessState; None from `wait(timeout=)`, where its program never ran (`stage`), and
        where the kill did not take effect within a second (a process in an uninterruptible system
        call, or another user's, which we may not signal). Of a program that ended by itself, at
        the action or while a descendant of its held the pipe, it is the program's own.
    stage: None once the program was running; else the step of its setup that had not returned.

    Go returns `context.DeadlineExceeded`, or the kill as an ExitError.
    """

    def __init__(
        self,
        name: str,
        timeout: float,
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
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
        self.idle = False

    def __str__(self) -> str:
        """Says whether the program or its setup took too long, and who is left of it."""
        if self.idle:
            return f"{self.name}: silent for {self.timeout:g} s{_rest(self.kill, self.holders)}"
        where = "" if self.stage is None else f" before its program ran, at stage {self.stage!r}"
        rest = _rest(self.kill, self.holders)
        return f"{self.name}: not over after {self.timeout:g} s{where}{rest}"


class Cancelled(Error):  # noqa: N818 - the field's name for it
    """The command's CancelToken was cancelled, whatever the status was then.

    state: its ProcessState; None where its program never ran, as with a token that was cancelled
        before the start.
    stdout, stderr: what had been captured: bytes, or str where an encoding was given; None where
        nothing was captured.

    Go returns `context.Canceled`.
    """

    def __init__(
        self,
        name: str,
        state: ProcessState | None = None,
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
    ) -> None:
        """`name` is the program as the caller wrote it."""
        super().__init__(name, state, stdout, stderr)
        self.name = name
        self.state = state
        self.stdout = stdout
        self.stderr = stderr

    def __str__(self) -> str:
        """The program, that it was cancelled, and who is left of it."""
        return f"{self.name}: cancelled{_rest(self.kill, self.holders)}"


class OutputLimitError(Error):
    """The program wrote more than `max_output` to a captured stream, with overflow="error".

    limit: the `max_output`, in bytes.
    stdout, stderr: what came first of each, up to the limit: bytes, or str where an encoding was
        given; None where nothing was captured.
    state: its ProcessState; None where the kill did not take effect within a second.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        state: ProcessState | None = None,
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
    ) -> None:
        """`name` is the program as the caller wrote it."""
        super().__init__(name, limit, state, stdout, stderr)
        self.name = name
        self.limit = limit
        self.state = state
        self.stdout = stdout
        self.stderr = stderr

    def __str__(self) -> str:
        """The program, the limit, and who is left of it."""
        rest = _rest(self.kill, self.holders)
        return f"{self.name}: more than {self.limit} bytes of output{rest}"


class WaitDelayError(Error):
    """The program succeeded; something that it started held its streams longer than `wait_delay`.

    What came afterwards is lost.

    delay: the `wait_delay`, in seconds.
    state: its ProcessState.
    stdout, stderr: what had been captured until then: bytes, or str where an encoding was given;
        None where nothing was captured.

    Go's `exec.ErrWaitDelay`.
    """

    def __init__(
        self,
        name: str,
        delay: float,
        state: ProcessState,
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
    ) -> None:
        """`name` is the program as the caller wrote it."""
        super().__init__(name, delay, state, stdout, stderr)
        self.name = name
        self.delay = delay
        self.state = state
        self.stdout = stdout
        self.stderr = stderr

    def __str__(self) -> str:
        """The program, how long its streams were given, and who holds them."""
        rest = _rest(self.kill, self.holders)
        return f"{self.name}: its streams were still open {self.delay:g} s after its end{rest}"


class StatusLost(Error, ChildProcessError):  # noqa: N818 - the field's name for it
    """How the process ended cannot be known.

    Somebody else waited for it, or SIGCHLD is ignored, and this kernel cannot tell any more. Where
    a pidfd can still tell (Linux 6.15), the status is recovered and this is not raised.
    """


class ProcessDone(Error, ProcessLookupError):  # noqa: N818 - the field's name for it
    """The process is over or the handle was released. Go's `os.ErrProcessDone`."""


_NAMED = 5  # processes in one message


def _rest(kill: KillReport | None, holders: Sequence[OtherProcess]) -> str:
    """What a message says of processes that are left."""
    text = ""
    if kill is not None and kill.survivors:
        text += f"; still alive: {_list(kill.survivors)}"
    elif kill is not None and kill.complete is False:
        text += "; some of it may be alive"
    for stream in "stdout", "stderr":
        those = [process for process in holders if stream in process.streams]
        if those:
            text += f"; its {stream} is held by {_list(those)}"
    return text


def _list(processes: Sequence[OtherProcess]) -> str:
    shown = ", ".join(str(process) for process in processes[:_NAMED])
    more = len(processes) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown
