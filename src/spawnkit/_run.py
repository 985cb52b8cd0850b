"""run: a command in one call, and `execute`, the supervision that it shares with Cmd.run."""

from __future__ import annotations

import os

from . import _core, process
from .errors import ExitError, TimeoutExpired
from .prepare import prepare
from .state import ProcessState
from .streams import PIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .attributes import SysProcAttr
    from .plan import Arg, Dir, Environment
    from .streams import Stream, Streams

__all__ = ["Result", "execute", "run"]

# After Ctrl-C at a terminal the child has had the signal too, and may be tidying up.
_INTERRUPT_GRACE = 0.25


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
    input: _core.Buffer | None = None,
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

    args: a list or tuple: the program and its arguments; see `Cmd`, also for the other parameters.
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
    if capture:
        if stdout is not None or stderr is not None:
            raise ValueError("capture: given together with stdout or stderr")
        stdout = stderr = PIPE
    if input is not None and type(input) is not bytes:
        _check_input(input)
    deadline = _core.FOREVER if timeout is None else _core.deadline_after(timeout)
    plan, number, streams = prepare(
        args, path, env, dir, (stdin, stdout, stderr), attr, engine, input is not None
    )
    return execute(plan, number, streams, args[0], input, timeout, deadline, check, attr)


def _check_input(input: object) -> None:
    if not isinstance(input, (bytes, bytearray, memoryview)):
        raise TypeError(f"input: bytes wanted, not {type(input).__name__}")
    try:
        contiguous = memoryview(input).contiguous
    except ValueError as error:  # a memoryview that was released
        raise ValueError(f"input: {error}") from None
    if not contiguous:
        raise ValueError("input: the bytes of this memoryview do not lie together")


def execute(
    plan: bytes,
    engine: int,
    streams: Streams | None,
    name: Arg,
    input: _core.Buffer | None,
    timeout: float | None,
    deadline: int,
    check: bool,
    attr: SysProcAttr | None,
) -> Result:
    """Starts a plan, feeds and gathers, waits: two crossings into C. Closes the streams."""
    child = _core.new_child()
    try:
        flags = _core.PIDFD_IF_NEEDED if timeout is None else _core.PIDFD
        process.spawn(plan, engine, flags, child)
        # From here on the child is at work too: what can be done now costs no time.
        result = Result(ProcessState(child))
        if streams is None:
            outcome = _core.wait(child, deadline)
        else:
            fed = None if input is None else _core.feed_pump(streams.pump, input)
            outcome = _core.pump(streams.pump, child, deadline)
            del fed
            _outputs(streams, result)
        if outcome != _core.OK:
            if outcome == _core.TIMEOUT:
                raise _expired(child, streams, result, name, timeout or 0.0)
            _core.raise_for(outcome, child, plan)
        if check and child.status != 0:
            raise ExitError(_shown(name), result.state, result.stdout, result.stderr)
        return result
    except BaseException as error:
        # A child in a group of its own has not had the Ctrl-C.
        grouped = attr is None or not (attr.setsid or attr.setpgid)
        wait = grouped and isinstance(error, KeyboardInterrupt)
        process.end(child, _INTERRUPT_GRACE if wait else 0.0)
        raise
    finally:
        if streams is not None:
            streams.close()


def _outputs(streams: Streams, result: Result) -> None:
    if streams.captures[0]:
        result.stdout = _core.gathered(streams.pump, 1)
    if streams.captures[1]:
        result.stderr = _core.gathered(streams.pump, 2)


def _expired(
    child: _core.Child, streams: Streams | None, result: Result, name: Arg, timeout: float
) -> TimeoutExpired:
    stage = _core.setup_stage(child)
    ended = process.end(child)
    if streams is not None:
        _core.drain_pump(streams.pump)
        _outputs(streams, result)
    state = result.state if ended and stage is None and child.status_known else None
    return TimeoutExpired(_shown(name), timeout, result.stdout, result.stderr, state, stage)


def _shown(name: Arg) -> str:
    return os.fsdecode(name)
