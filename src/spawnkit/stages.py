"""Stage: one Cmd of a pipeline, from its description to its process."""

from __future__ import annotations

from . import _core
from .attributes import SysProcAttr
from .children import LOCKED, spawn
from .errors import SpawnError, TimeoutExpired
from .prepare import find, to_plan
from .process import Process, started
from .result import check_text
from .streams import HELD, ORDERED, STDOUT, Streams, check_open, check_streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cgroups import Cgroup
    from .cmd import Cmd
    from .killing import Scope
    from .prepare import Found
    from .result import Text
    from .state import ProcessState
    from .streams import Checked, CheckedThree, Stream

_PLAIN = SysProcAttr()


class Stage:
    """A Cmd, its place, and what one use of it has: streams, later a process.

    `check`, `find`, `open`, `spawn`, `settle`: each of all stages before the next of any. Errors
    name it.
    """

    def __init__(self, cmd: Cmd, index: int, count: int) -> None:
        """Checks nothing yet. index: its place, from 0, among `count`."""
        self.cmd = cmd
        self.process: Process | None = None
        self.streams = cmd._streams or Streams()
        self.text: Text | None = None
        self._index, self._count = index, count
        self._checked: CheckedThree = (None, None, None)
        self._shares: Streams | None = None  # whose stderr is its own too
        self._found: Found | None = None
        self._plan, self._engine, self._group = b"", 0, 0
        self._attr = _PLAIN

    def check(self, stdout: Stream) -> None:
        """Its streams, and that nothing is asked of it which is the pipeline's to give.

        stdout: where its own is None. ValueError, TypeError, LookupError.
        """
        try:
            self._check(stdout)
        except (ValueError, TypeError, LookupError) as error:
            raise self._named(error) from None

    def _check(self, stdout: Stream) -> None:
        cmd = self.cmd
        for name in ("timeout", "cancel", "grace", "kill", "wait_delay"):
            if getattr(cmd, name) is not None:
                raise ValueError(f"{name}: for the whole pipeline, not for one stage")
        for name in ("idle_timeout", "max_output"):
            if getattr(cmd, name) is not None:
                raise ValueError(f"{name}: not for a stage of a pipeline")
        if cmd.stdout is ORDERED or cmd.stderr is ORDERED:
            raise ValueError("stdout, stderr: ORDERED is not for a stage of a pipeline")
        if isinstance(cmd.attr, SysProcAttr):
            if cmd.attr.setsid or cmd.attr.setpgid:
                name = "setsid" if cmd.attr.setsid else "setpgid"
                raise ValueError(f"attr: {name}; the stages of a pipeline share one group")
            self._attr = cmd.attr
        stdin, stdout = cmd.stdin, stdout if cmd.stdout is None else cmd.stdout
        if self._index:
            if stdin is not None:
                raise ValueError("stdin: set, but it comes from the stage before")
            stdin = HELD  # a pipe that is there when the rest is opened
        if self._index + 1 < self._count:
            if cmd.stdout is not None:
                raise ValueError("stdout: set, but it goes to the stage after")
            stdout = HELD
        self.text = check_text(cmd.encoding, cmd.errors)
        self._checked = check_streams((stdin, stdout, cmd.stderr))

    def take_stderr(self, stderr: Checked, shares: Streams | None) -> None:
        """The pipeline's stderr, for a stage that has none. shares: who opens it, if not itself."""
        self._checked = (*self._checked[:2], stderr)
        self._shares = shares

    def find(self, cgroup: Cgroup | None, mark: bytes | None) -> None:
        """Checks the rest, and searches PATH. ValueError, TypeError, SpawnError.

        cgroup: where it has none of its own. mark: as for `prepare.find`.
        """
        cmd = self.cmd
        try:
            # Before any stage opens anything: what is not open must not come to mean one of ours.
            for target, stream in enumerate(self._checked):
                if type(stream) is int:
                    check_open(stream, target, self.streams)
            if self._checked[2] is STDOUT and self._checked[1] is None:
                check_open(1, 2, self.streams)
            self._found = find(
                cmd.args,
                cmd._program(),
                cmd.env,
                cmd.dir,
                self._checked,
                cmd.extra_files,
                cmd.fd_map,
                cmd.exec_fd,
                cmd.attr,
                cmd.engine,
                cgroup if cmd.cgroup is None else cmd.cgroup,
                self.streams,
                mark,
            )
        except (ValueError, TypeError, SpawnError) as error:
            raise self._named(error) from None

    def open(self) -> None:
        """Opens its streams, but for those it has with other stages. SpawnError."""
        try:
            self.streams.open(self._checked)
        except SpawnError as error:
            raise self._named(error) from None

    def spawn(self, scope: Scope, deadline: int) -> bool:
        """Makes its process, in the scope's group, if it has one; False: the deadline came first.

        What goes wrong is for `settle`, which tries again: the C library's posix_spawn says here
        what others say there.
        """
        self._join(scope.group)
        self.process = process = Process(_core.new_child(), self.cmd.name)
        scope.children.append(process._child)
        try:
            return spawn(self._plan, self._engine, _core.PIDFD, process._child, deadline)
        except SpawnError:
            return True

    def settle(self, group: int, deadline: int) -> bool:
        """Waits until its program runs; one that was open for writing is spawned again.

        group: for that.
        """
        assert self.process is not None
        if group != self._group:
            self._join(group)
        try:
            return started(self.process, self._plan, self._engine, deadline)
        except SpawnError as error:
            raise self._named(error) from None

    def _join(self, group: int) -> None:
        assert self._found is not None
        wanted = self.streams.wanted
        if self._shares is not None:
            wanted = {**wanted, 2: self._shares.pump.theirs[2]}
        self._plan = to_plan(self._found, wanted, self._attr._in_group(group))
        self._engine = self._found[-1]
        self._group = group

    def late(self, name: str, timeout: float | None) -> TimeoutExpired:
        """For one that the deadline found before its program ran."""
        assert self.process is not None
        child = self.process._child
        stage = _core.stage_name(child.stage) if child.pid else LOCKED
        return TimeoutExpired(name, timeout or 0.0, stage=stage)

    def note_end(self) -> ProcessState | None:
        """Its state, where it is known, also for the caller."""
        state = self.cmd.process_state = None if self.process is None else self.process.note_end()
        return state

    def _named(self, error: Exception) -> Exception:
        where = f"stage {self._index + 1} of {self._count}"
        if isinstance(error, SpawnError):
            # A copy: a Cmd keeps what its search on PATH has raised.
            make, facts = error.__reduce__()
            named: SpawnError = make(*facts)
            named.item = f"{where}: {error.item}"
            return named
        if type(error) in (ValueError, TypeError, LookupError):
            return type(error)(f"{where}: {error}")
        return error


class JobStreams:
    """The streams of all stages, as a Supervision needs them."""

    def __init__(self, stages: list[Stage]) -> None:
        """Opens nothing."""
        self._all = [stage.streams for stage in stages]
        self.pump = self._all[0].pump  # it has the bell
        self.copied: tuple[()] = ()  # each stage has its own

    def close(self) -> None:
        """As Streams.close."""
        for streams in self._all:
            streams.close()


def children_of(stages: list[Stage]) -> list[_core.Child]:
    """Those that there are."""
    return [stage.process._child for stage in stages if stage.process is not None]
