"""Cmd: one command, described, started, waited for. Go's `exec.Cmd`."""

from __future__ import annotations

import os

from . import _core
from ._run import execute
from .errors import ExitError
from .prepare import prepare
from .process import Process, give_up, started
from .streams import PIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .attributes import SysProcAttr
    from .plan import Arg, Dir, Environment
    from .state import ProcessState
    from .streams import Stream, Streams

__all__ = ["Cmd"]


class Cmd:
    """One command: a program, its arguments, and the surroundings it is to have.

    args: the program and its arguments, as str, bytes or PathLike. A program name without a slash
        is looked for on our PATH; with one it is taken literally, relative to `dir`.
    path: the program to execute where it is not args[0]; never looked up.
    env: the whole environment as a mapping; None: ours. {} is an empty one.
    dir: the working directory; None: ours.
    stdin, stdout, stderr: None: ours; DEVNULL; a descriptor; anything with fileno(). stdout and
        stderr also PIPE, which `spawnkit.run` captures; stderr also STDOUT, where stdout goes.
    attr: a SysProcAttr: session, group, umask, limits, signals. None: nothing special.
    engine: "vfork", "vfork-waiting", "fork" or "posix_spawn"; None chooses. Where memory cannot be
        shared, "fork" serves for both of the first; `ProcessState.engine` says which one did.

    Everything else of ours is closed in the child. A Cmd is used once, also when its start failed,
    and belongs to one thread. Wrong values raise ValueError or TypeError when it is started, before
    any process is.

    Differs from Go: None means inherit, not /dev/null (docs/gotchas.md).
    """

    __slots__ = (
        "_used",
        "args",
        "attr",
        "dir",
        "engine",
        "env",
        "path",
        "process",
        "process_state",
        "stderr",
        "stdin",
        "stdout",
    )

    def __init__(
        self,
        *args: Arg,
        path: Arg | None = None,
        env: Environment | None = None,
        dir: Dir | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        attr: SysProcAttr | None = None,
        engine: str | None = None,
    ) -> None:
        """See the class."""
        self.args = args
        self.path = path
        self.env = env
        self.dir = dir
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.attr = attr
        self.engine = engine
        self.process: Process | None = None
        self.process_state: ProcessState | None = None
        self._used = False

    def start(self) -> None:
        """Starts the command; returns once its program runs.

        Raises SpawnError when it cannot run, ValueError or TypeError for bad input, RuntimeError
        when the Cmd was used before.
        """
        plan, engine, streams = self._prepare()
        process = Process(_core.new_child(), self._name())
        try:
            started(process, plan, engine)
            if streams is not None:
                streams.close()
            self.process = process
        except BaseException:
            give_up(process)
            if streams is not None:
                streams.close()
            raise

    def wait(self, timeout: float | None = None, check: bool = True) -> ProcessState:
        """Waits for a started command and returns how it ended.

        timeout: as for `Process.wait`; when it passes the command goes on. check: raise ExitError
        unless it was successful. Raises RuntimeError when it was not started.
        """
        if self.process is None:
            raise RuntimeError("Cmd: was run already" if self._used else "Cmd: not started")
        state = self.process_state = self.process.wait(timeout)
        if check and not state.success:
            raise ExitError(self._name(), state)
        return state

    def run(self, timeout: float | None = None, check: bool = True) -> ProcessState:
        """Starts the command, waits for it, and returns how it ended.

        timeout: seconds for start and program together; when they pass the process is killed and
        reaped and TimeoutExpired raised. None: no limit. check: raise ExitError unless it was
        successful. Otherwise raises as `start` and `Process.wait`.
        """
        deadline = _core.deadline_after(timeout)
        plan, engine, streams = self._prepare()
        result = execute(
            plan, engine, streams, self.args[0], None, timeout, deadline, False, self.attr
        )
        self.process_state = result.state
        if check and not result.state.success:
            raise ExitError(self._name(), result.state)
        return result.state

    def _prepare(self) -> tuple[bytes, int, Streams | None]:
        if self._used:
            raise RuntimeError("Cmd: already started; a Cmd is used once")
        self._used = True
        if self.stdout is PIPE or self.stderr is PIPE:
            raise ValueError("PIPE: captured by spawnkit.run; nobody reads it here")
        three = (self.stdin, self.stdout, self.stderr)
        return prepare(self.args, self.path, self.env, self.dir, three, self.attr, self.engine)

    def _name(self) -> str:
        return os.fsdecode(self.args[0])

    def __repr__(self) -> str:
        """Cmd('ls', '-l')."""
        return f"Cmd({', '.join(map(repr, self.args))})"
