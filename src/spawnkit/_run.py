"""run: a command in one call."""

from __future__ import annotations

from . import streams
from .cmd import Cmd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .attributes import SysProcAttr
    from .plan import Arg, Dir, Environment
    from .state import ProcessState
    from .streams import Stream

__all__ = ["Result", "run"]


class Result:
    """What `run` returns: the state, and what was captured.

    state: a ProcessState. stdout, stderr: bytes; None for a stream that was not captured.
    """

    __slots__ = ("state", "stderr", "stdout")

    def __init__(
        self, state: ProcessState, stdout: bytes | None = None, stderr: bytes | None = None
    ) -> None:
        """See the class."""
        self.state = state
        self.stdout = stdout
        self.stderr = stderr

    def __eq__(self, other: object) -> bool:
        """Equal when state and outputs are."""
        if not isinstance(other, Result):
            return NotImplemented
        return (self.state, self.stdout, self.stderr) == (other.state, other.stdout, other.stderr)

    def __hash__(self) -> int:
        """By value."""
        return hash((self.state, self.stdout, self.stderr))

    def __repr__(self) -> str:
        """Result(<ProcessState …>, stdout=…, stderr=…)."""
        return f"Result({self.state!r}, stdout={self.stdout!r}, stderr={self.stderr!r})"


def run(
    args: Sequence[Arg],
    *,
    capture: bool = False,
    input: bytes | None = None,
    timeout: float | None = None,
    check: bool = True,
    path: Arg | None = None,
    env: Environment | None = None,
    dir: Dir | None = None,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    attr: SysProcAttr | None = None,
    engine: str | None = None,
) -> Result:
    """Runs a command to its end.

    args: a sequence: the program and its arguments; see `Cmd`, also for the other parameters.
    capture: gather stdout and stderr; the same as PIPE for both. PIPE for one gathers that one.
    input: bytes for its stdin; a program that does not read them all is no error. None: no pipe.
    timeout: seconds for start and program together; None: no limit. When they pass, the process is
        killed and reaped and TimeoutExpired raised, with what was captured.
    check: raise ExitError, with what was captured, unless it exits with 0.

    Ctrl-C gives a child in our own process group 0.25 s to end, then kills it; it is reaped, and
    KeyboardInterrupt goes on. Raises SpawnError when the program cannot run, StatusLost when nobody
    can say how it ended, ValueError and TypeError for bad input before any process is made.

    >>> run(["/bin/echo", "hello"], capture=True).stdout
    b'hello\\n'
    """
    if isinstance(args, (str, bytes)):
        raise TypeError(f"args: a sequence of arguments wanted, not {args!r}")
    if capture:
        if stdout is not None or stderr is not None:
            raise ValueError("capture: given together with stdout or stderr")
        stdout = stderr = streams.PIPE
    if input is not None and type(input) is not bytes:
        raise TypeError(f"input: bytes wanted, not {type(input).__name__}")
    cmd = Cmd(
        *args,
        path=path,
        env=env,
        dir=dir,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        attr=attr,
        engine=engine,
    )
    return Result(*cmd._execute(input, timeout, check))
