"""Pipeline: commands whose streams are connected, `a | b | c`, without a shell."""

from __future__ import annotations

from . import _core
from .cmd import KEPT_FOR_ERRORS, Cmd
from .errors import TimeoutExpired
from .job import Job
from .outcome import PipelineResult
from .streams import PIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .cancel import CancelToken
    from .process import Process
    from .state import ProcessState
    from .streams import Stream, Three

__all__ = ["Pipeline", "PipelineResult"]

_DEFAULTS: dict[str, Any] = {
    "pipefail": True,
    "stderr": None,
    "timeout": None,
    "cancel": None,
    "grace": None,
    "kill": None,
    "wait_delay": None,
}


class Pipeline:
    """Commands that run at the same time, each one's stdout the next one's stdin.

    >>> (Cmd("printf", "b\\na\\nb\\n") | Cmd("sort") | Cmd("uniq")).output()
    b'a\\nb\\n'

    Made with `|`, or from its stages. Each parameter is an attribute, which may be changed until
    the start. A pipeline is used once, also when its start failed, and so are its Cmds; it belongs
    to one thread.

    cmds: the stages, one or more Cmds, each of them once. The first one's stdin, the last one's
        stdout and each one's stderr may be whatever a Cmd takes, pipes by `stdin_pipe` and its kin
        included. Timeout, cancel and wait_delay are the pipeline's, and so is the process group: a
        stage may not ask for `setsid` or `setpgid`.
    pipefail: did the pipeline fail if any stage did? Then the last of those that failed decides; a
        stage but the last that SIGPIPE ended has not failed: its reader had enough. False: the last
        stage alone decides, as in a shell without `set -o pipefail`.
    stderr: for the stages that have none: as for a Cmd. PIPE: one stream of all of them, in the
        order of writing, in `PipelineResult.stderr`; a path is opened once. None: ours.
    timeout: seconds from the start until all processes and streams have to be over; then the whole
        group is killed, and TimeoutExpired raised. None or infinity: no limit; 0 or less: over at
        once.
    cancel: as for a Cmd, for the whole; an action is called with this Pipeline.
    grace: as for a Cmd, for the whole.
    kill: as for a Cmd. None: the group, and each stage that has left it.
    wait_delay: as for a Cmd: from the timeout or cancellation, and from the end of the last process
        to run.

    All stages are checked, and their programs found on PATH, before anything is opened or started.
    They are in one process group (setpgid(2)), whose number is the first one's pid. If one cannot
    start, those before it are killed and reaped.

    What it leaves: `processes` (from the start on), `states` and `result` (after the wait); and in
    each Cmd its `process`, `process_state` and `result`.

    Wrong values raise ValueError, TypeError or LookupError, naming the stage, when it is started.
    Go has no such thing; pipefail is that of POSIX.1-2024 sh, but for SIGPIPE. pipe(7).
    """

    # What only a Cmd can ask for; see Ending.
    idle_timeout = max_output = attr = cgroup = None
    overflow = "truncate"
    has_group = True

    def __init__(
        self,
        *cmds: Cmd,
        pipefail: bool = True,
        stderr: Stream = None,
        timeout: float | None = None,
        cancel: CancelToken | Callable[[Pipeline], object] | None = None,
        grace: float | None = None,
        kill: str | None = None,
        wait_delay: float | None = None,
    ) -> None:
        """See the class."""
        self.cmds: tuple[Cmd, ...] = cmds
        self.pipefail = pipefail
        self.stderr = stderr
        self.timeout = timeout
        self.cancel = cancel
        self.grace = grace
        self.kill = kill
        self.wait_delay = wait_delay
        self.result: PipelineResult | None = None
        self._used = False
        self._running: Job | None = None

    @property
    def name(self) -> str:
        """The programs as they were asked for, for messages: "grep | sort"."""
        return " | ".join(cmd.name for cmd in self.cmds)

    @property
    def processes(self) -> tuple[Process, ...]:
        """A Process for each stage; () before the start. The first one's pid is the group's."""
        found = (cmd.process for cmd in self.cmds)
        return tuple(process for process in found if self._used and process is not None)

    @property
    def states(self) -> tuple[ProcessState | None, ...]:
        """The ProcessState of each stage, None where it was not waited for; () before the start."""
        return tuple(process.state for process in self.processes)

    def __or__(self, other: Cmd | Pipeline) -> Pipeline:
        """Both, one after the other. ValueError for an option that both have set."""
        if isinstance(other, Cmd):
            other = Pipeline(other)
        if not isinstance(other, Pipeline):
            return NotImplemented
        options = self._options()
        for name, value in other._options().items():
            if name in options:
                raise ValueError(f"{name}: set in both pipelines")
            options[name] = value
        return Pipeline(*self.cmds, *other.cmds, **options)

    def clone(self) -> Pipeline:
        """A fresh Pipeline of fresh Cmds with the same descriptions; see `Cmd.clone`."""
        return Pipeline(*(cmd.clone() for cmd in self.cmds), **self._options())

    def __str__(self) -> str:
        """As a POSIX shell would take it."""
        return " | ".join(map(str, self.cmds))

    def __repr__(self) -> str:
        """Pipeline(Cmd('ls'), Cmd('sort'), timeout=1)."""
        shown = [repr(cmd) for cmd in self.cmds]
        shown += [f"{name}={value!r}" for name, value in self._options().items()]
        return f"Pipeline({', '.join(shown)})"

    # ---- running --------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts all stages; returns once their programs run. `wait` must follow.

        Raises as `Cmd.start`; the error names the stage, and nothing of the pipeline is left.
        """
        self._use()
        Job(self, self.timeout, self._three()).start(self, in_background=True)

    def wait(self, timeout: float | None = None, check: bool = True) -> PipelineResult:
        """Waits for all stages and their streams, and returns how they ended.

        timeout: seconds for this call only, as for `Cmd.wait`. check: raise PipelineError if the
        pipeline failed. Raises as `Cmd.wait`. `Error.states` tells how each stage has ended.
        """
        running = self._running
        if running is None:
            return self._ended(check)
        if not running.await_end(_core.deadline_after(timeout)):
            raise TimeoutExpired(self.name, timeout or 0.0)
        with running.concluding:
            if self._running is not None:  # else another thread was faster
                running.conclude(self, check)
        return self._ended(check)

    def run(self, timeout: float | None = None, check: bool = True) -> PipelineResult:
        """Starts all stages, waits for them and their streams, and returns how they ended.

        timeout: in place of the pipeline's own; None: that. Raises as `start` and `wait`, but ends
        all processes first; so does Ctrl-C, at once: their group is not the terminal's.
        """
        self._use()
        return self._run(timeout, check, self._three())

    def output(self) -> bytes | str:
        """Runs it and returns what the last stage wrote to its stdout; str with its encoding.

        The stderr of stages that have none, where the pipeline has none either, is not shown but
        kept for `PipelineError.stderr`: the first and the last 32 KiB of it all. ValueError where
        the last stage's stdout is set. Raises as `run`.
        """
        self._use()
        if self.cmds[-1].stdout is not None:
            raise ValueError(f"stage {len(self.cmds)} of {len(self.cmds)}: stdout: already set")
        captured: bytes | str
        if self.stderr is not None:
            captured = self._run(None, True, (None, PIPE, self.stderr)).stdout
        else:
            captured = self._run(None, True, (None, PIPE, PIPE), KEPT_FOR_ERRORS).stdout
        return captured

    def _run(
        self, timeout: float | None, check: bool, three: Three, kept: int = 0
    ) -> PipelineResult:
        job = Job(self, self.timeout if timeout is None else timeout, three, kept)
        job.see_to_the_end(self, check)
        assert self.result is not None
        return self.result

    def _three(self) -> Three:
        return None, None, self.stderr

    def _ended(self, check: bool) -> PipelineResult:
        result = self.result
        if result is None:
            why = "its start failed" if self._used else "not started"
            raise RuntimeError(f"Pipeline: {why}")
        if check and not result.success:
            raise result.error([cmd.name for cmd in self.cmds])
        return result

    def _options(self) -> dict[str, Any]:
        """Those that were set."""
        values = {name: getattr(self, name) for name in _DEFAULTS}
        return {name: value for name, value in values.items() if value is not _DEFAULTS[name]}

    def _use(self) -> None:
        if self._used:
            raise RuntimeError("Pipeline: already started; a Pipeline is used once")
        if not self.cmds:
            raise ValueError("cmds: a pipeline without stages")
        places: dict[int, int] = {}
        for number, cmd in enumerate(self.cmds, 1):
            where = f"stage {number} of {len(self.cmds)}"
            if not isinstance(cmd, Cmd):
                raise TypeError(f"{where}: a Cmd wanted, not {cmd!r}")
            if cmd._used:
                raise RuntimeError(f"{where}: already started; a Cmd is used once")
            if (first := places.setdefault(id(cmd), number)) != number:
                raise ValueError(f"{where}: the same Cmd as stage {first}; clone() makes another")
        self._used = True
        for cmd in self.cmds:
            cmd._used = True
