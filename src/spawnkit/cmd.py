"""Cmd: one command, described, started, waited for. Go's `exec.Cmd`."""

from __future__ import annotations

import os
import sys

from . import _core, streams
from .errors import ExitError, TimeoutExpired
from .lookpath import find_program
from .plan import STANDARD, check_engine, encode, encode_args, pack
from .process import Process, encode_dir, end, spawn, started
from .state import ProcessState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .attributes import SysProcAttr
    from .plan import Arg, Dir, Environment
    from .streams import Stream

__all__ = ["Cmd"]

# After Ctrl-C at a terminal the child has had the signal too, and may be tidying up.
_INTERRUPT_GRACE = 0.25


class Cmd:
    """One command: a program, its arguments, and the surroundings it is to have.

    args: the program and its arguments, as str, bytes or PathLike. A program name without a slash
        is looked for on our PATH; with one it is taken literally, relative to `dir`.
    path: the program to execute where it is not args[0]; never looked up.
    env: the whole environment as a mapping; None: ours. {} is an empty one.
    dir: the working directory; None: ours.
    stdin, stdout, stderr: None: ours; DEVNULL; a descriptor; anything with fileno(). stdout and
        stderr also PIPE, which `spawnkit.run` captures; stderr also STDOUT, where stdout goes.
    attr: a SysProcAttr: session, group, umask, limits, signals.
    engine: which mechanism makes the process; None chooses.

    Everything else of ours is closed in the child. A Cmd is used once, also when its start failed,
    and belongs to one thread. Wrong values raise ValueError or TypeError when it is made or
    started, before any process is.

    Differs from Go: None means inherit, not /dev/null (docs/gotchas.md).
    """

    __slots__ = (
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
        "_used",
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
        if self.stdout is streams.PIPE or self.stderr is streams.PIPE:
            raise ValueError("PIPE: captured by spawnkit.run only; start() does not read it")
        opened = streams.Streams()
        try:
            plan, number = self._compile(opened, feed=False)
            self.process = started(plan, self._name(), number)
        finally:
            opened.close()

    def wait(self, timeout: float | None = None, check: bool = True) -> ProcessState:
        """Waits for a started command and returns how it ended.

        timeout: as for `Process.wait`; when it passes the command goes on. check: raise ExitError
        unless it was successful. Raises RuntimeError when it was not started.
        """
        if self.process is None:
            raise RuntimeError("Cmd: not started")
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
        if self.stdout is streams.PIPE or self.stderr is streams.PIPE:
            raise ValueError("PIPE: captured by spawnkit.run, not by Cmd.run")
        return self._execute(None, timeout, check)[0]

    def _name(self) -> str:
        """The program as messages call it."""
        return os.fsdecode(self.args[0]) if self.args else "(no command)"

    def _compile(self, opened: streams.Streams, feed: bool) -> tuple[bytes, int]:
        """All checks, then descriptors, then the plan; and the number of the engine."""
        if self._used:
            raise RuntimeError("Cmd: already started; a Cmd is used once")
        args = self.args
        if not args:
            raise ValueError("args: empty; args[0] is the program")
        argv = encode_args(args)
        if self.path is None:
            name = argv[: argv.index(b"\0")]
            path = name if b"/" in name else None
        else:
            path = encode(self.path, "path")
            if not path:
                raise ValueError("path: empty")
        dir = None if self.dir is None else encode_dir(self.dir)
        three = (
            streams.check(self.stdin, 0),
            streams.check(self.stdout, 1),
            streams.check(self.stderr, 2),
        )
        if feed and self.stdin is not None:
            raise ValueError("input: given together with stdin")
        self._used = True
        if path is None:
            path = find_program(name)
        sys.audit("spawnkit.spawn", path, args, dir, self.env)
        if feed or three != _INHERIT:
            opened.open(three, feed)
        plan = pack(path, argv, len(args), self.env, dir, opened.wanted, STANDARD, self.attr)
        return plan, 0 if self.engine is None else check_engine(plan, self.engine)

    def _execute(
        self, input: bytes | None, timeout: float | None, check: bool
    ) -> tuple[ProcessState, bytes | None, bytes | None]:
        """Start, feed, gather, wait, in two crossings into C. The state and both outputs."""
        deadline = _core.deadline_after(timeout)
        child = _core.new_child()
        opened = streams.Streams()
        flags = _core.PIDFD_IF_MAIN if timeout is None else _core.PIDFD
        try:
            plan, number = self._compile(opened, feed=input is not None)
            spawn(plan, number, flags, child)
            opened.spawned()
            pump = opened.pump
            if pump is None:
                result = _core.wait(child, deadline)
            else:
                kept = None if input is None else _core.feed_pump(pump, input)
                result = _core.pump(pump, child, deadline)
                del kept
            if result == _core.OK:
                state = self.process_state = ProcessState(child)
                out, err = self._outputs(pump)
                if check and not state.success:
                    raise ExitError(self._name(), state, out, err)
                return state, out, err
            if result == _core.TIMEOUT:
                raise self._expired(child, pump, timeout or 0.0)
            _core.raise_for(result, child, plan)
            raise AssertionError  # raise_for always raises
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt) and not self._own_group()
            end(child, _INTERRUPT_GRACE if interrupted else 0.0)
            raise
        finally:
            opened.close()

    def _outputs(self, pump: _core.Pump | None) -> tuple[bytes | None, bytes | None]:
        return (
            _core.gathered(pump, 1) if self.stdout is streams.PIPE else None,
            _core.gathered(pump, 2) if self.stderr is streams.PIPE else None,
        )

    def _expired(
        self, child: _core.Child, pump: _core.Pump | None, timeout: float
    ) -> TimeoutExpired:
        stage = _core.setup_stage(child)
        state = None
        if end(child) and stage is None:
            state = self.process_state = ProcessState(child)
        if pump is not None:
            _core.drain_pump(pump)
        return TimeoutExpired(self._name(), timeout, *self._outputs(pump), state, stage)

    def _own_group(self) -> bool:
        """Ctrl-C at the terminal does not reach it."""
        return self.attr is not None and (self.attr.setsid or self.attr.setpgid)

    def __repr__(self) -> str:
        """Cmd('ls', '-l')."""
        return f"Cmd({', '.join(map(repr, self.args))})"


_INHERIT = (None, None, None)
