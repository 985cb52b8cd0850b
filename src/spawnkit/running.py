"""Running: a Cmd between its start and its end."""

from __future__ import annotations

import errno
from _thread import allocate_lock

from . import _core
from .cancel import CancelToken
from .children import LOCKED, end
from .errors import Cancelled, ExitError, SpawnError, TimeoutExpired, WaitDelayError
from .execution import execute, grace_for
from .prepare import prepare
from .process import Process, give_up, started
from .result import Result, check_text
from .streams import Streams, check_streams, is_copied
from .threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from typing import Any

    from .cmd import Cmd
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
    try:
        running.start(cmd, in_background=False)
        running.await_end(_core.FOREVER)
        return running.conclude(cmd, check)
    except BaseException as error:
        cmd.process_state = running.abort(error)
        raise


def exit_error(name: str, result: Result) -> ExitError:
    """For a result that is no success."""
    return ExitError(name, result.state, result.stdout, result.stderr)


class Running:
    """One use of a Cmd: its process, its streams, and whoever looks after them."""

    def __init__(self, cmd: Cmd, timeout: float | None, three: Three, kept: int = 0) -> None:
        """Checks what can be checked. Raises ValueError, TypeError, and Cancelled."""
        # Not the Cmd itself, which has this: what nobody uses is to go without a collector.
        self._name = cmd.name
        self._attr = cmd.attr
        self._wait_delay = cmd.wait_delay
        self._early = cmd._streams
        self._ends = cmd._ends
        self._kept = kept
        self._timeout = timeout
        self._process: Process | None = None
        self._streams: Streams | None = None
        self._supervision: Supervision | None = None
        self._finished: LockType | None = None  # released by the thread that looks after it
        self._begun = self._over = False  # has that thread begun, has it come to its end?
        self._failure: BaseException | None = None  # what ended that thread
        try:
            self._deadline = _core.deadline_after(timeout)
            _core.deadline_after(cmd.wait_delay, "wait_delay")
            self._text: Text | None = check_text(cmd.encoding, cmd.errors)
            self._watched = self._check_cancel(cmd) or self._deadline != _core.FOREVER
            self._checked: CheckedThree | None = None
            if three[0] is not None or three[1] is not None or three[2] is not None:
                self._checked = check_streams(three)
        except BaseException:
            self._close()
            raise

    def _check_cancel(self, cmd: Cmd) -> bool:
        """Is there a token?"""
        if cmd.cancel is None:
            return False
        if isinstance(cmd.cancel, CancelToken):
            if cmd.cancel.cancelled:
                raise Cancelled(cmd.name)
            return True
        if not callable(cmd.cancel):
            raise TypeError(f"cancel: a CancelToken or something to call, not {cmd.cancel!r}")
        if self._timeout is None:
            raise ValueError("cancel: what is to be done at the timeout, but there is none")
        return False

    def is_simple(self, cmd: Cmd) -> bool:
        """Can `execute` do it?"""
        copied = self._checked is not None and is_copied(self._checked)
        return cmd.cancel is None and cmd.wait_delay is None and not cmd._ends and not copied

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
            cmd.attr,
            cmd.engine,
            self._early,
        )
        assert streams is None or isinstance(streams, Streams)
        self._streams = streams
        if self._kept and streams is not None:
            _core.keep_ends(streams.pump, 2, self._kept)
        return plan, engine, streams

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
                self._timeout,
                self._deadline,
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

    def start(self, cmd: Cmd, in_background: bool) -> None:
        """Starts it, and whatever has to go on while nobody waits.

        in_background: somebody may read its pipes, or nobody wait for it in time.
        """
        try:
            plan, engine, streams = self._prepare(cmd)
            pumped = streams is not None and (streams.fed or any(streams.captures))
            if pumped or self._watched or (streams is not None and streams.copied):
                if streams is None:
                    streams = self._streams = Streams()
                self._supervise(cmd, streams)
            self._process = Process(_core.new_child(), cmd.name)
            if not started(self._process, plan, engine, self._deadline):
                child = self._process._child
                stage = _core.stage_name(child.stage) if child.pid else LOCKED
                raise TimeoutExpired(cmd.name, self._timeout or 0.0, stage=stage)
            cmd.process = self._process
            cmd._running = self
            if streams is not None:
                _core.streams_started(streams.pump)
            if self._supervision is not None:
                self._supervision.begin(self._process._child, self._deadline)
                if in_background and (pumped or self._watched):
                    self._look_after_it()
        except BaseException:
            if self._process is not None:
                give_up(self._process)
            cmd.process = cmd._running = None
            self._close()
            raise

    def _supervise(self, cmd: Cmd, streams: Streams) -> None:
        from .supervise import Supervision

        self._supervision = Supervision(cmd, streams, self._text)

    def _look_after_it(self) -> None:
        supervision = self._supervision
        self._finished = finished = allocate_lock()
        finished.acquire()

        def look_after_it() -> None:
            self._begun = True
            try:
                supervision.see_through()  # type: ignore[union-attr]
            except BaseException as error:
                self._failure = error
            finally:
                self._over = True
                finished.release()

        def lost(error: BaseException) -> None:
            if self._failure is None:
                self._failure = error
            self._over = True  # and whoever waits for `finished` looks at it every _SLICE

        assert supervision is not None
        supervision.mask = _core.current_mask()
        start_thread(look_after_it, lost)

    def await_end(self, limit: int) -> bool:
        """Waits for process and streams. False: `limit` came first."""
        process = self._process
        assert process is not None
        if self._supervision is None:
            return process.wait_until(limit) is not None
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

    def conclude(self, cmd: Cmd, check: bool) -> ProcessState:
        """After the end: how it ended, or the exception that it comes to."""
        assert self._process is not None
        state = self._process.note_end()
        cmd.process_state = state
        if state is None and self._process.pid < 0:  # the caller has released it
            cmd._running = None
            self._close()
            self._process.wait()
        problem = None
        try:
            result = self._take_result(state)
            if state is not None:  # it is None for a process that could not be killed
                cmd.result = result
            problem = self._raise_cancellation(result)
            failed = check and state is not None and not state.success
            if self._kept and not failed and problem is None:
                result.stderr = None  # it was for an error, and there is none
            self._decode(result, somehow=failed or problem is not None)
            if failed:
                raise exit_error(self._name, result) from problem
            if problem is not None:
                raise problem
        finally:
            problem = None  # its traceback leads back here: a cycle, with all that was captured
            cmd._running = None
            self._close()
        assert state is not None
        return state

    def _take_result(self, state: Any) -> Result:
        result = Result(state)
        if self._streams is not None:
            result.stdout = self._streams.output(1)
            result.stderr = self._streams.output(2)
            result.broken_pipe = self._streams.refused
        if self._supervision is not None:
            result.broken_pipe |= self._supervision.refused
        return result

    def _raise_cancellation(self, result: Result) -> BaseException | None:
        """Raises it, or returns what else went wrong with the streams."""
        name, supervision = self._name, self._supervision
        if supervision is None:
            return None
        if supervision.action_error is not None:
            self._decode(result, somehow=True)
            raise supervision.action_error
        if supervision.cancelled:
            self._decode(result, somehow=True)
            if supervision.cancelled == "timeout":
                raise TimeoutExpired(
                    name, self._timeout or 0.0, result.stdout, result.stderr, result.state
                )
            raise Cancelled(name, result.state, result.stdout, result.stderr)
        if supervision.cut and result.state is not None:
            self._decode(result, somehow=True)
            delay = max(0.0, self._wait_delay or 0.0)
            return WaitDelayError(name, delay, result.state, result.stdout, result.stderr)
        return supervision.copy_error

    def _decode(self, result: Result, somehow: bool) -> None:
        if self._text is not None:
            (result.decode_somehow if somehow else result.decode)(self._text)

    def abort(self, error: BaseException) -> ProcessState | None:
        """Ends the process, whatever it is doing, and closes everything."""
        state = None
        if self._process is not None:
            end(self._process._child, grace_for(error, self._attr))
            state = self._process.note_end()
        self._close()
        return state

    def _close(self) -> None:
        if self._supervision is not None:
            if self._finished is not None and not self._over:
                self._supervision.stop()
                if self._begun:  # else it will find out before it does anything
                    self._finished.acquire(timeout=_PATIENCE)
            self._supervision.close()
        for streams in (self._streams, self._early):
            if streams is not None:
                streams.close()
        for held in self._ends:
            held.close()
