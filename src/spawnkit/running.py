"""Running: a Cmd between its start and its end."""

from __future__ import annotations

import errno
from _thread import RLock, allocate_lock

from . import _core, killing
from .children import LOCKED, end_all
from .ending import Ending
from .errors import (
    Cancelled,
    Error,
    ExitError,
    OutputLimitError,
    SpawnError,
    TimeoutExpired,
    WaitDelayError,
)
from .execution import execute, grace_for
from .prepare import prepare
from .process import Process, give_up, started
from .result import Result, check_text
from .streams import NAMES, Streams, check_streams, is_supervised
from .threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from typing import Any

    from .cmd import Cmd
    from .pipeline import Pipeline
    from .pipes import PipeEnd
    from .result import Text
    from .state import ProcessState
    from .streams import CheckedThree, Three
    from .supervise import Supervision


_PATIENCE = 1.0  # seconds that a thread which was told to stop may take
_SLICE = 0.1  # seconds; as SK_SLICE in csrc/core.h


def run_to_the_end(
    cmd: Cmd, timeout: float | None, check: bool, three: Three, kept: int = 0
) -> ProcessState:
    """Cmd.run and its kin: the short way (execution.py) where it will do.

    three: the streams. kept: bytes that are wanted from each end of stderr; 0: all.
    """
    running = Running(cmd, timeout, three, kept)
    if running.is_simple(cmd):
        try:
            return running.execute(cmd, check)
        except SpawnError as error:
            if error.errno != errno.ETXTBSY:
                raise
        running = Running(cmd, timeout, three, kept)
    state = running.see_to_the_end(cmd, check)
    assert state is not None
    return state


def exit_error(name: str, result: Result) -> ExitError:
    """For a result that is no success."""
    return ExitError(name, result.state, result.stdout, result.stderr)


def take_result(state: Any, streams: Streams | None) -> Result:
    """What a process left: its state, and what C has gathered from it."""
    result = Result(state)
    if streams is not None:
        streams.take(result)
        result.broken_pipe = streams.refused
    return result


class Running:
    """One use of a Cmd: its process, its streams, and whoever looks after them.

    Job (job.py) is that of a Pipeline: what differs for several processes is a method here.
    """

    def __init__(
        self, cmd: Cmd | Pipeline, timeout: float | None, three: Three, kept: int = 0
    ) -> None:
        """Checks what can be checked. Raises ValueError, TypeError, and Cancelled."""
        # Not the Cmd itself, which has this: what nobody uses is to go without a collector.
        self._name = cmd.name
        self._kept = kept
        self._scope: killing.Scope | None = None
        self._process: Process | None = None
        self._early: Streams | None = None
        self._ends: list[PipeEnd] = []
        self._streams: Any = None  # Streams, or JobStreams
        self._supervision: Supervision | None = None
        self._finished: LockType | None = None  # released by the thread that looks after it
        self._begun = self._over = False  # has that thread begun, has it come to its end?
        self._failure: BaseException | None = None  # what ended that thread
        self.concluding = RLock()  # held by the caller of `conclude`, where others may wait too
        try:
            self._ending = self._check(cmd, timeout, three)
        except BaseException:
            self._close()
            raise

    def _check(self, cmd: Any, timeout: float | None, three: Three) -> Ending:
        """What it is made of, and how it is to end."""
        self._early = cmd._streams
        self._ends = cmd._ends
        self._text: Text | None = check_text(cmd.encoding, cmd.errors)
        self._checked: CheckedThree | None = None
        if three[0] is not None or three[1] is not None or three[2] is not None:
            self._checked = check_streams(three)
        return Ending(cmd, timeout, self._checked)

    def is_simple(self, cmd: Cmd) -> bool:
        """Can `execute` do it?"""
        supervised = self._checked is not None and is_supervised(self._checked)
        return self._ending.is_plain and not cmd._ends and not supervised

    def _prepare(self, cmd: Cmd) -> tuple[bytes, int, Streams | None]:
        plan, engine, streams = prepare(
            cmd.args,
            cmd._program(),
            cmd.env,
            cmd.dir,
            self._checked,
            cmd.extra_files,
            cmd.fd_map,
            cmd.exec_fd,
            self._ending.attr,
            cmd.engine,
            self._ending.cgroup,
            self._early,
            self._ending.mark,
        )
        assert streams is None or isinstance(streams, Streams)
        self._streams = streams
        if streams is not None:
            self._keep_ends(streams)
        return plan, engine, streams

    def _keep_ends(self, streams: Streams) -> None:
        limit = self._ending.limit
        if limit:
            # Beyond a limit that ends the command too: until it has ended it may write on.
            ends = (limit + 1) // 2 if self._ending.overflow == "truncate" else limit
            for stream in 1, 2:
                _core.keep_ends(streams.pump, stream, ends)
        if self._kept:
            _core.keep_ends(streams.pump, 2, min(self._kept, limit or self._kept))

    def execute(self, cmd: Cmd, check: bool) -> ProcessState:
        """The short way, from start to end."""
        plan, engine, streams = self._prepare(cmd)
        process = Process(_core.new_child(), cmd.name)
        stage = None
        try:
            cmd.result = execute(
                process._child,
                plan,
                engine,
                streams,
                cmd.args[0],
                self._ending.timeout,
                self._ending.deadline,
                check,
                cmd.attr,
                self._text,
            )
        except (ExitError, TimeoutExpired) as error:
            stage = getattr(error, "stage", None)
            if error.state is not None:
                cmd.result = Result(error.state, error.stdout, error.stderr)
            raise
        finally:
            if streams is not None:
                streams.close()
            state = process.note_end()
            if stage is None and state is not None:  # else its program never ran
                cmd.process, cmd.process_state = process, state
        if self._kept and cmd.result.state.success:
            cmd.result.stderr = None  # it was for an error, and there is none
        self._decode(cmd.result, somehow=False)
        return cmd.result.state

    def see_to_the_end(self, cmd: Any, check: bool) -> ProcessState | None:
        """Starts it, waits for it, and concludes; whatever interrupts that ends it."""
        try:
            self.start(cmd, in_background=False)
            self.await_end(_core.FOREVER)
            return self.conclude(cmd, check)
        except BaseException as error:
            try:
                self.abort(error)
            finally:  # a second Ctrl-C, say
                self._note_end(cmd)
            raise

    def start(self, cmd: Any, in_background: bool) -> None:
        """Starts it, and whatever has to go on while nobody waits.

        in_background: somebody may read its pipes, or nobody wait for it in time.
        """
        try:
            process = Process(_core.new_child(), cmd.name)
            self._scope = self._ending.scope([process._child])  # first: it may have to be closed
            plan, engine, streams = self._prepare(cmd)
            pumped = streams is not None and streams.pumped
            watched = self._ending.is_watched
            if pumped or watched or (streams is not None and streams.copied):
                if streams is None:
                    streams = self._streams = Streams()
                self._supervise(cmd, streams, self._scope)
            self._process = process
            if not started(process, plan, engine, self._ending.deadline):
                child = process._child
                stage = _core.stage_name(child.stage) if child.pid else LOCKED
                raise TimeoutExpired(cmd.name, self._ending.timeout or 0.0, stage=stage)
            cmd.process = self._process
            cmd._running = self
            if streams is not None:
                _core.streams_started(streams.pump)
            self._begin_supervision(in_background, pumped or watched)
        except BaseException:
            try:
                self._give_up()
            finally:
                cmd.process = cmd._running = None
                self._close()
            raise

    def _give_up(self) -> None:
        """Ends what a start that failed may have left."""
        process, scope = self._process, self._scope
        if process is None:
            return
        runs = _core.is_running(process._child) and not _core.is_stale(process._child)
        try:
            if scope is not None and scope.is_wide and runs:
                killing.kill_surely(scope)
        finally:
            give_up(process)

    def _supervise(self, cmd: Cmd, streams: Streams, scope: killing.Scope) -> None:
        from .supervise import Supervision

        self._supervision = Supervision(cmd, streams, self._text, self._ending, scope)

    def _begin_supervision(self, in_background: bool, busy: bool) -> None:
        """busy: there is something to be done while nobody waits."""
        if self._supervision is not None and self._process is not None:
            self._supervision.begin(self._process._child, self._ending.deadline)
            if in_background and (busy or self._supervision.calls):
                self._look_after_it()

    def _look_after_it(self) -> None:
        supervision = self._supervision
        assert supervision is not None
        self._finished = finished = allocate_lock()
        finished.acquire()

        def over(error: BaseException | None) -> None:
            self._failure = error
            self._over = True
            finished.release()

        def look_after_it() -> None:
            self._begun = True
            error = None
            try:
                supervision.see_through()
            except BaseException as failure:
                error = failure
            finally:
                over(error)

        def lost(error: BaseException) -> None:
            if self._failure is None:
                self._failure = error
            self._over = True  # and whoever waits for `finished` looks at it every _SLICE

        supervision.mask = _core.current_mask()
        if supervision.may_share:
            from .background import look_after

            self._begun = True
            look_after(supervision, over)
        else:
            start_thread(look_after_it, lost)

    def await_end(self, limit: int) -> bool:
        """Waits for process and streams. False: `limit` came first."""
        process = self._process
        assert process is not None
        if self._supervision is None:
            return self._await_process(limit)
        if self._finished is None:
            return self._supervision.see_through(limit)
        if _core.is_stale(process._child):
            _core.raise_for(_core.STALE, process._child, None)
        while not self._over:
            # In slices: a signal that arrives just before acquire sleeps does not wake it. And
            # whoever is interrupted between acquire and release finds it over the next time.
            left = _core.seconds_until(limit)
            if self._finished.acquire(timeout=_SLICE if left < 0 else min(left, _SLICE)):
                self._finished.release()
            elif _core.is_past(limit):
                return False
        if self._failure is not None:
            self.abort(self._failure)  # nobody looks after it any more
            raise self._failure
        return True

    def _await_process(self, limit: int) -> bool:
        assert self._process is not None
        return self._process.wait_until(limit) is not None

    def conclude(self, cmd: Any, check: bool) -> ProcessState | None:
        """After the end: how it ended, or the exception that it comes to."""
        state = self._note_end(cmd)
        released = self._released()
        if state is None and released is not None:
            cmd._running = None
            self._close()
            released.wait()
        problem = None
        try:
            result = self._take_result(state)
            if state is not None:  # it is None for a process that could not be killed
                cmd.result = result
            problem = self._raise_cancellation(result)
            failed = check and state is not None and not state.success and not self._is_cut_short()
            if self._kept and not failed and problem is None:
                result.stderr = None  # it was for an error, and there is none
            self._decode(result, somehow=failed or problem is not None)
            if failed:
                raise self._exit_error(result) from problem
            if problem is not None:
                raise problem
        except Error as error:
            error.ordered = getattr(result, "ordered", None)
            raise
        finally:
            problem = None  # its traceback leads back here: a cycle, with all that was captured
            cmd._running = None
            self._close()
        return state

    def _note_end(self, cmd: Any) -> ProcessState | None:
        """Its state, where it is known, also for the caller."""
        state = cmd.process_state = None if self._process is None else self._process.note_end()
        return state

    def _released(self) -> Process | None:
        """A process whose handle the caller has given up: nobody can say how it ended."""
        return self._process if self._process is not None and self._process.pid < 0 else None

    def _exit_error(self, result: Any) -> ExitError:
        return exit_error(self._name, result)

    def _is_cut_short(self) -> bool:
        """Was it ended for its output, of which the beginning is the result?"""
        why = None if self._supervision is None else self._supervision.cancelled
        return why == "max_output" and self._ending.overflow == "kill"

    def _take_result(self, state: Any) -> Any:
        result = take_result(state, self._streams)
        for stream in (1, 2) if self._ending.limit else ():
            if self._streams.captures[stream - 1]:
                dropped = _core.left_out(self._streams.pump, stream)
                setattr(result, f"{NAMES[stream]}_dropped", dropped)
        if self._supervision is not None:
            result.broken_pipe |= self._supervision.refused
        return result

    def _raise_cancellation(self, result: Any) -> BaseException | None:
        """Raises it, or returns what else went wrong with the streams."""
        name, supervision, ending = self._name, self._supervision, self._ending
        if supervision is None:
            return None
        why = supervision.cancelled
        if supervision.action_error is not None:
            self._decode(result, somehow=True)
            raise supervision.action_error
        if supervision.call_error is not None and why in (None, "callable"):
            self._decode(result, somehow=True)
            raise supervision.call_error
        if self._is_cut_short():
            result.kill = supervision.killed or killing.KillReport(ending.kill, 0)
            return supervision.copy_error
        if why:
            self._decode(result, somehow=True)
            outputs = result.stdout, result.stderr
            error: Cancelled | TimeoutExpired | OutputLimitError
            if why == "token":
                error = Cancelled(name, result.state, *outputs)
            elif why == "max_output":
                error = OutputLimitError(name, ending.limit, result.state, *outputs)
            else:
                idle = why == "idle_timeout"
                seconds = ending.idle_timeout if idle else ending.timeout
                error = TimeoutExpired(name, seconds or 0.0, *outputs, result.state)
                error.idle = idle
            error.kill, error.holders = supervision.killed, supervision.holders
            raise error
        if supervision.cut and result.state is not None:
            self._decode(result, somehow=True)
            delay = max(0.0, ending.wait_delay or 0.0)
            late = WaitDelayError(name, delay, result.state, result.stdout, result.stderr)
            late.kill, late.holders = supervision.killed, supervision.holders
            return late
        return supervision.copy_error

    def _decode(self, result: Any, somehow: bool) -> None:
        if self._text is not None:
            (result.decode_somehow if somehow else result.decode)(self._text)

    def abort(self, error: BaseException) -> None:
        """Ends the process, whatever it is doing, and closes everything."""
        try:
            self._end(error)
        finally:
            for process in self._processes():
                process.note_end()
            self._close()

    def _processes(self) -> list[Process]:
        return [] if self._process is None else [self._process]

    def _end(self, error: BaseException) -> None:
        """Ends the process, and whoever else the kill is to reach."""
        scope, ending = self._scope, self._ending
        # Not in a process that was forked meanwhile, by a signal handler: it is not its command.
        children = [
            child
            for child in ([] if scope is None else scope.children)
            if child.pid and not _core.is_stale(child)
        ]
        if scope is None or not children:
            return
        grace = grace_for(error, ending.attr)
        if isinstance(error, KeyboardInterrupt) and ending.grace is not None:
            grace = ending.grace
        try:
            if grace and ending.grace is not None:
                scope.ask()
            if grace and scope.reaches_others:
                until = _core.deadline_after(grace)
                for child in children:
                    _core.wait(child, until)
        finally:
            try:
                if scope.reaches_others:
                    killing.kill_surely(scope)
            finally:
                end_all(children, 0.0 if scope.reaches_others else grace)

    def _close(self) -> None:
        if self._supervision is not None:
            if self._finished is not None and not self._over:
                self._supervision.stop()
                if self._begun:  # else it will find out before it does anything
                    self._finished.acquire(timeout=_PATIENCE)
            self._supervision.close()
        if self._scope is not None:
            self._scope.close()
            self._scope = None  # what is closed is not killed again
        for streams in (self._streams, self._early):
            if streams is not None:
                streams.close()
        for held in self._ends:
            held.close()
