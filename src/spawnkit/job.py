"""Job: a Pipeline between its start and its end, as Running is it for a Cmd.

One process group, one loop that serves all (csrc/job.c), one supervision. The first stage leads the
group. Its number is the group's as long as any member is not reaped, also a zombie, and nobody is
reaped before all have started. Otherwise
  1. the first stage ends, and is reaped;
  2. the group has no member, and its number is free;
  3. the second stage cannot join it any more, or joins a stranger's.

All are spawned before the first has settled: their setups, most of which is exec, go on at the same
time. The others can join the group before its leader has come to make it: we make it too.
"""

from __future__ import annotations

import errno
from itertools import pairwise

from . import _core
from .ending import Ending
from .errors import Error, PipelineError, SpawnError
from .outcome import PipelineResult, deciding
from .running import Running, take_result
from .stages import JobStreams, Stage, children_of
from .streams import DEVNULL, STDOUT, check_streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cmd import Cmd
    from .job_supervision import JobSupervision
    from .pipeline import Pipeline
    from .process import Process
    from .state import ProcessState
    from .streams import Three

# Bytes of the pipes between stages: twice the default, as much as cat and its kin move at a time. A
# seventh more throughput for 1.3 µs. Not more: all pipes of a user share 64 MiB (pipe(7)).
WIDTH = 128 << 10


class Job(Running):
    """One use of a Pipeline."""

    _stages: list[Stage]
    _supervision: JobSupervision | None
    _holder: int | None  # which stage has opened the stderr that stages share

    def _check(self, pipeline: Pipeline, timeout: float | None, three: Three) -> Ending:
        cmds: tuple[Cmd, ...] = tuple(pipeline.cmds)
        self._stages = [Stage(cmd, index, len(cmds)) for index, cmd in enumerate(cmds)]
        self._streams = JobStreams(self._stages)
        self._ends = [held for cmd in cmds for held in cmd._ends]
        self._job: _core.Job | None = None
        if type(pipeline.pipefail) is not bool:
            raise TypeError(f"pipefail: True or False wanted, not {pipeline.pipefail!r}")
        self._pipefail = pipeline.pipefail
        for stage in self._stages:
            stage.check(three[1] if stage is self._stages[-1] else None)
        self._holder = self._share(three[2])
        return Ending(pipeline, timeout, None)

    def _share(self, stderr: Any) -> int | None:
        """Gives it to the stages that have none. What has to be opened is opened by one of them."""
        checked = check_streams((None, None, stderr))[2]
        takers = [index for index, stage in enumerate(self._stages) if stage.cmd.stderr is None]
        if checked is None or not takers:
            return None
        if type(checked) is int or checked is DEVNULL or checked is STDOUT:
            for index in takers:
                self._stages[index].take_stderr(checked, None)
            return None
        *others, holder = takers
        self._stages[holder].take_stderr(checked, None)
        for index in others:
            self._stages[index].take_stderr(None, self._stages[holder].streams)
        return holder

    # ---- its start ------------------------------------------------------------------------------

    def start(self, pipeline: Pipeline, in_background: bool) -> None:
        """Starts all stages, or none that is left; then as Running.start."""
        stages, ending = self._stages, self._ending
        try:
            self._scope = ending.scope([])
            for stage in stages:
                stage.find(ending.cgroup, ending.mark)
            for upper, lower in pairwise(stages):
                _core.join_pumps(upper.streams.pump, lower.streams.pump, WIDTH)
            for stage in stages:
                stage.open()
            if self._holder is not None and self._kept:
                _core.keep_ends(stages[self._holder].streams.pump, 2, self._kept)
            busy = ending.is_watched or any(stage.streams.pumped for stage in stages)
            if busy or any(stage.streams.copied for stage in stages):
                from .job_supervision import JobSupervision

                self._supervision = JobSupervision(
                    pipeline, self._streams, stages, ending, self._scope
                )
            self._start_stages()
            for stage in stages:
                stage.cmd.process = stage.process
            pipeline._running = self
            self._begin_supervision(in_background, busy)
        except BaseException as error:
            try:
                self._end(error)
            finally:
                for stage in stages:
                    if stage.process is not None:
                        stage.process._over = "its start failed"
                    stage.cmd.process = None
                pipeline._running = None
                self._close()
            raise

    def _start_stages(self) -> None:
        assert self._scope is not None
        first, *others = self._stages
        for stage in self._stages:
            self._in_time(stage, stage.spawn(self._scope, self._ending.deadline))
            if stage is first and stage.process is not None:
                if not stage.process.pid:
                    self._settle(stage)
                _core.lead_group(stage.process._child)
                self._scope.group = stage.process.pid
        for stage in others:
            self._settle(stage)
        # Last: one that has failed is reaped. If it is spawned again, it joins what it has led.
        self._settle(first)
        for stage in self._stages:  # not sooner: one that is spawned again needs another's stderr
            _core.streams_started(stage.streams.pump)
        self._process = first.process
        pumps = [stage.streams.pump for stage in self._stages]
        self._job = _core.new_job(children_of(self._stages), pumps)

    def _settle(self, stage: Stage) -> None:
        assert self._scope is not None
        group = self._scope.group if len(self._stages) > 1 else 0
        try:
            in_time = stage.settle(group, self._ending.deadline)
        except SpawnError as error:
            if not self._is_gone(stage, error):
                raise
            in_time = stage.settle(0, self._ending.deadline)
            self._scope.group = 0 if stage.process is None else stage.process.pid
        self._in_time(stage, in_time)

    def _is_gone(self, stage: Stage, error: SpawnError) -> bool:
        """Could its group not be joined because nobody is in it any more?

        So where a stranger, or the kernel when SIGCHLD is ignored, has reaped them all.
        """
        refused = error.errno in (errno.EPERM, errno.ESRCH)
        others = [other for other in self._stages if other is not stage]
        return (
            refused
            and error.stage in ("setpgid", "posix_spawn")
            and all(_core.signal(child, 0) == _core.DONE for child in children_of(others[:1]))
        )

    def _in_time(self, stage: Stage, in_time: bool) -> None:
        if not in_time:
            raise stage.late(self._name, self._ending.timeout)

    def _begin_supervision(self, in_background: bool, busy: bool) -> None:
        if self._supervision is not None and self._job is not None:
            self._supervision.job = self._job
        super()._begin_supervision(in_background, busy)

    # ---- its end --------------------------------------------------------------------------------

    def await_end(self, limit: int) -> bool:
        """As Running's. StatusLost where nobody can say how one of them ended."""
        ended = super().await_end(limit)
        for stage in self._stages if ended else ():
            process = stage.process
            if process is not None and process._child.ended and not process._child.status_known:
                process.wait_until(_core.NOW)  # which says so
        return ended

    def _await_process(self, limit: int) -> bool:
        assert self._process is not None
        assert self._job is not None
        outcome = _core.serve_job(self._job, limit, [])
        if outcome not in (_core.OK, _core.TIMEOUT):
            _core.raise_for(outcome, self._process._child, None)
        return outcome == _core.OK

    def _note_end(self, pipeline: Pipeline) -> ProcessState | None:
        """That of the stage which decides; None where one of them could not be killed."""
        states = [stage.note_end() for stage in self._stages]
        return None if None in states else states[deciding(states, self._pipefail)]

    def _processes(self) -> list[Process]:
        return [stage.process for stage in self._stages if stage.process is not None]

    def _released(self) -> Process | None:
        for stage in self._stages:
            if stage.process is not None and stage.process.pid < 0:
                return stage.process
        return None

    def _take_result(self, state: ProcessState | None) -> PipelineResult:
        states = [stage.cmd.process_state for stage in self._stages]
        each = zip(states, self._stages, strict=True)
        results = tuple(take_result(state, stage.streams) for state, stage in each)
        if self._supervision is not None:
            results[0].broken_pipe |= self._supervision.refused
        shared = None
        if self._holder is not None:
            shared, results[self._holder].stderr = results[self._holder].stderr, None
        for stage, result in zip(self._stages, results, strict=True):
            if result.state is not None:
                stage.cmd.result = result
        return PipelineResult(results, deciding(states, self._pipefail), shared)

    def _decode(self, result: PipelineResult, somehow: bool) -> None:
        result.decode([stage.text for stage in self._stages], somehow)

    def _exit_error(self, result: PipelineResult) -> PipelineError:
        return result.error([stage.cmd.name for stage in self._stages])

    def _raise_cancellation(self, result: PipelineResult) -> BaseException | None:
        try:
            problem = super()._raise_cancellation(result)
        except Error as error:
            error.states = result.states
            raise
        if isinstance(problem, Error):
            problem.states = result.states
        return problem
