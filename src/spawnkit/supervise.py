"""Supervision: sees one command to its end, streams and all, in Go's order of things.

    running ──time over, silence, token, too much──▶ asked ──grace──▶ killed ──1 s──▶ given up
       │                                               │                 │
       └───────────────── its process ends ────────────┴─────────────────┘
                                 │
                                 ▼
                            draining ──wait_delay──▶ cutting ──1 s──▶ over
                                 └───── streams end ───────┴──────────▶ over

Where a kill reaches further than the process, a process that ends when it is asked leaves the
others what is left of the grace; then whoever is found is killed.

Signals go out before pipes are closed: a program is to die of what was decided, not of SIGPIPE.
Follows `Wait`, `watchCtx` and `awaitGoroutines` of Go's os/exec/exec.go, without a thread for the
clock: whoever waits keeps the time. Everything that can change comes as a return value of one call
into C, which sleeps on the streams, the process, the deadline, and a bell that other threads ring.
"""

from __future__ import annotations

from _thread import RLock, get_ident
from select import POLLIN
from time import monotonic_ns

from . import _core
from .children import adopt
from .copying import Copier
from .errors import ProcessDone
from .proctable import name_holders
from .threads import let_go, start_thread, with_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cmd import Cmd
    from .ending import Ending
    from .killing import KillReport, Scope
    from .pipeline import Pipeline
    from .proctable import OtherProcess
    from .result import Text
    from .stages import JobStreams
    from .streams import Streams

# How long a killed process may take to die, or a reader or writer of the caller's to return. Then
# we go on without it: a call must end.
_PATIENCE = 1.0

# How often the others of a group or tree are looked after, when the process itself has ended.
_LOOK_AGAIN = 0.05


class Supervision:
    """One command from its start to the end of its streams. `see_through` does the work.

    Resumable: `see_through` may be left by its limit or an exception and called again.
    cancelled: "timeout", "idle_timeout", "token", "max_output" or "callable", if the command was
        cut short by it. killed: what the kill reached, if there was one.
    action_error: what the caller's action raised. cut: streams were closed before their end;
        holders: by whom they were held then.
    """

    def __init__(
        self,
        cmd: Cmd | Pipeline,
        streams: Streams | JobStreams,
        text: Text | None,
        ending: Ending,
        scope: Scope,
    ) -> None:
        """Makes the bell and the copiers; SpawnError. Nothing runs yet."""
        self.cancelled: str | None = None
        self.killed: KillReport | None = None
        self.action_error: BaseException | None = None
        self.cut = False
        self.holders: list[OtherProcess] = []
        self.mask: object = None  # what the action runs with, where that is not the thread's own
        self._streams: Any = streams
        self._pumps = [streams.pump]
        self._token, self._action = ending.token, ending.action
        self._cmd = None if self._action is None else cmd  # no cycle where none is needed
        self._ending, self._scope = ending, scope
        self._child: _core.Child = None
        self._deadline = self._due = _core.FOREVER  # of the command; of the present phase
        self._delay_ends = _core.FOREVER  # of the streams, once something has ended
        self._kill_at = _core.FOREVER  # once it was asked to end
        self._heard = 0  # when it was started, or said something last
        self._asked = False  # told to end, whether by signal or by the caller's action
        self._act_until: int | None = None
        self._ended = False  # the process is reaped, or given up
        self._pumped = False  # the streams that C serves have ended
        self._cutting = False
        self._lock = RLock()  # re-entrant: a signal handler may ring
        self._closed = self._stopped = False
        self._inside: int | None = None  # the thread that is in `see_through`
        self._acting = False  # the action has not returned
        _core.open_pump(streams.pump, _core.BELL)
        if ending.idle_timeout is not None or ending.limit:
            _core.be_attentive(streams.pump, ending.limit if ending.overflow != "truncate" else 0)
        self.copiers = [Copier(end, obj, text, self.ring_at_last) for end, obj in streams.copied]

    @property
    def refused(self) -> bool:
        """Did the child leave some of a reader's data unread?"""
        return any(copier.refused for copier in self.copiers)

    @property
    def copy_error(self) -> BaseException | None:
        """The first error of a reader or writer."""
        errors = [copier.error for copier in self.copiers if copier.error is not None]
        return errors[0] if errors else None

    @property
    def call_error(self) -> BaseException | None:
        """The first error of a callable, for which the command has to end."""
        errors = [copier.error for copier in self.copiers if copier.ends_command]
        return errors[0] if errors else None

    @property
    def calls(self) -> bool:
        """Is there a callable? Then somebody has to be there when it fails."""
        return any(copier.calls for copier in self.copiers)

    # ---- from outside ---------------------------------------------------------------------------

    def ring(self) -> None:
        """Makes `see_through` look around; from any thread, at any time."""
        # Not for ever: an exception that a tracer raises in `close`, before the lock is left, keeps
        # it taken, and a thread of ours would wait for one that is gone.
        if self._lock.acquire(timeout=_PATIENCE):
            try:
                if not self._closed:
                    _core.ring(self._streams.pump)
            finally:
                self._lock.release()

    def ring_at_last(self) -> None:
        """`ring`, by a thread of ours, perhaps at its end, which may lack memory to leave it."""
        try:
            self.ring()
        finally:
            let_go(self._lock)

    def begin(self, child: _core.Child, deadline: int) -> None:
        """The program runs: starts copying, and watching the token."""
        self._child = child
        self._deadline = deadline
        self._heard = monotonic_ns()
        self._due = self._time_to_look()
        for copier in self.copiers:
            copier.start()
        if self._token is not None:
            self._token.attach(self.ring)
            if self._token.cancelled:
                self.ring()

    @property
    def due(self) -> int:
        """When the next step is to be taken, whatever happens; FOREVER: not by the clock."""
        return self._due

    def descriptors(self) -> list[tuple[int, int]]:
        """What tells that a step can be taken, for poll(2). Only where `may_share`."""
        if self._pumped:
            return [(_core.bell(self._streams.pump), POLLIN)]
        return _core.descriptors(self._streams.pump, self._child)

    @property
    def may_share(self) -> bool:
        """Can it go on step by step, without ever waiting within one?"""
        if self.copiers or self._scope.is_wide or self._streams.ordered:
            return False
        return _core.has_pidfd(self._child)

    def stop(self) -> None:
        """Makes `see_through` return, in whatever thread it is."""
        self._stopped = True
        self.ring()

    def close(self) -> None:
        """Gives everything back. Copiers are told to stop, and waited for, but for one that is
        inside the caller's reader or writer.
        """
        if self._token is not None:
            self._token.detach(self.ring)
        patience = _core.deadline_after(_PATIENCE)
        for copier in self.copiers:
            copier.end.close()
        while any(not (copier.over or copier.in_object) for copier in self.copiers):
            # It rings when it is over, but not when it enters the caller's code: look again soon.
            _core.listen(self._streams.pump, False, _core.deadline_after(0.01))
            if _core.is_past(patience):
                break
        self.copiers = []  # they lead back here
        with self._lock:
            self._closed = True
            self._streams.close()

    # ---- the loop -------------------------------------------------------------------------------

    def see_through(self, limit: int = _core.FOREVER) -> bool:
        """Goes on until everything is over: True; or until `limit`: False."""
        if _core.is_stale(self._child):
            _core.raise_for(_core.STALE, self._child, None)
        me = get_ident()
        # This thread may have been interrupted just before it could leave.
        if self._inside not in (None, me):
            raise RuntimeError("Cmd: another thread waits for it already")
        try:
            self._inside = me
            return self._see_through(limit)
        finally:
            self._inside = None

    def _see_through(self, limit: int) -> bool:
        while not self._all_done():
            due = self._due
            ours = limit != _core.FOREVER and (due == _core.FOREVER or limit < due)
            outcome = self._sleep(limit if ours else due)
            if outcome == _core.TIMEOUT:
                if ours:
                    return False
                self._time_is_up()
            elif outcome == _core.DONE:
                self._nobody_reads()
            elif outcome == _core.OK:
                self._pumped = True
            elif outcome == _core.OVER:
                self._cancel("max_output")
            elif outcome not in (_core.WOKEN, _core.EXITED):
                _core.raise_for(outcome, self._child, None)
        return True

    def _all_done(self) -> bool:
        """Takes notice of everything that does not announce itself a second time.

        Asked before each sleep: an exception (Ctrl-C) may have struck between an event and what is
        done about it.
        """
        if _core.has_exited(self._streams.pump):
            self._process_ended()
        if not self._is_over():
            self._look()  # which may end it here and now
        if self._is_over():
            return not self._acting or self._action_is_late()
        return self._stopped

    def _is_over(self) -> bool:
        if self._asked and self._scope.is_wide and self.killed is None and self.cancelled:
            return False  # others of its group or tree may be left
        return self._ended and self._pumped and all(copier.over for copier in self.copiers)

    def _action_is_late(self) -> bool:
        """An action that has not returned though all is over has a while, but not for ever."""
        if self._act_until is None:
            self._act_until = self._due = _core.deadline_after(_PATIENCE)
        return _core.is_past(self._act_until)

    def _sleep(self, until: int) -> int:
        if self._pumped:
            feeding = any(copier.feeds and not copier.over for copier in self.copiers)
            return _core.listen(self._streams.pump, feeding, until)
        return self._serve(until)

    def _serve(self, until: int) -> int:
        return _core.pump(self._streams.pump, self._child, until, self._streams.sinks)

    def _look(self) -> None:
        if self._asked:
            return
        if self._token is not None and self._token.cancelled:
            self._cancel("token")
        elif self.call_error is not None:
            self._cancel("callable")

    def _time_is_up(self) -> None:
        if self._act_until is not None:
            return  # `_all_done` sees to it
        if self._cutting:
            self._leave_behind()
        elif self.killed is not None:
            if not self._ended:
                # Inside an uninterruptible system call: a later spawn reaps it.
                for child in self._scope.children:
                    adopt(child)
                self._ended = True
            self._cut()
        elif self._asked:
            self._grace_is_over()
        elif _core.is_past(self._deadline):
            self._cancel("timeout")
        elif self._ended and _core.is_past(self._delay_ends):
            if self._scope.is_wide:
                self.killed = self._scope.kill()
            self._cut()
        elif self._is_silent():
            self._cancel("idle_timeout")
        else:
            self._due = self._time_to_look()

    def _grace_is_over(self) -> None:
        """Or, where others than the process are given one, it is time to look after them."""
        if not self._ended:
            self._kill()
        elif not self._scope.is_wide:
            self._cut()
        elif _core.is_past(self._kill_at) or self._scope.is_empty():
            self._kill()
        else:
            self._due = _earlier(self._kill_at, _core.deadline_after(_LOOK_AGAIN))

    def _time_to_look(self) -> int:
        """While it runs, and while its streams end: when something may have to be done."""
        idle = self._ending.idle_timeout
        due = self._deadline
        if idle is not None:
            due = _earlier(due, self._last_heard() + int(idle * 1e9))
        return _earlier(due, self._delay_ends) if self._ended else due

    def _last_heard(self) -> int:
        times = [copier.heard for copier in self.copiers if not copier.feeds]
        return max(self._heard, _core.last_heard(self._streams.pump), *times)

    def _is_silent(self) -> bool:
        idle = self._ending.idle_timeout
        return idle is not None and _core.is_past(self._last_heard() + int(idle * 1e9))

    def _cancel(self, why: str) -> None:
        if self._asked:
            return
        self._asked, self.cancelled = True, why
        if self._ended and not self._scope.is_wide:
            self._cut()
            return
        grace, delay = self._ending.grace, self._ending.wait_delay
        self._delay_ends = _core.deadline_after(delay)
        if self._ended or (grace is None and self._action is None):
            self._kill()
            return
        self._kill_at = self._due = (
            self._delay_ends if grace is None else _core.deadline_after(grace)
        )
        if self._action is None:
            self._scope.ask()
            return
        # In a thread of its own: it may wait for the process, which may wait for us to read.
        mask = _core.current_mask() if self.mask is None else self.mask
        self._acting = True
        try:
            start_thread(lambda: with_signals(mask, self._act), self._action_lost)
        except BaseException:
            self._acting = False
            raise

    def _act(self) -> None:
        try:
            self._action(self._cmd)  # type: ignore[misc]
        except ProcessDone:
            self.cancelled = None  # it was over before: nothing to complain about
        except BaseException as error:
            self.action_error = error
        finally:
            self._acting = False
            self.ring_at_last()

    def _action_lost(self, error: BaseException) -> None:
        if self._acting:
            self.action_error = error
        self._acting = False
        self.ring_at_last()

    def _kill(self) -> None:
        self.killed = self._scope.kill()
        if self._ending.grace is not None:
            self._delay_ends = _core.deadline_after(self._ending.wait_delay)
        if self._ended:
            self._streams_may_end()
        else:
            self._due = _core.deadline_after(_PATIENCE)

    def _process_ended(self) -> None:
        if self._ended:
            return
        self._ended = True
        if not self._asked:
            self._delay_ends = _core.deadline_after(self._ending.wait_delay)
            self._due = self._time_to_look()
        elif self.killed is not None:
            self._streams_may_end()
        elif self._scope.is_wide:
            self._due = _core.NOW  # to look after the others
        elif self._ending.grace is not None and self._ending.wait_delay is not None:
            self._due = _core.deadline_after(self._ending.wait_delay)

    def _streams_may_end(self) -> None:
        """After the kill: in their own time, or at once, taking what is in them."""
        self._due = self._delay_ends
        if self._ending.wait_delay is None:
            self._cut()

    def _nobody_reads(self) -> None:
        """What a blocked reader may still give nobody will read: it is not waited for."""
        for copier in self.copiers:
            if copier.feeds and not copier.over:
                copier.refused = not copier.at_end
                copier.over = True
                copier.end.close()

    def _cut(self) -> None:
        """Takes what is in the pipes now, and ends the streams."""
        self.holders = self._who_holds()
        if not self._pumped:
            self._pumped = self.cut = True
            for pump in self._pumps:
                _core.drain_pump(pump)
        self._cutting = True
        self._due = _core.deadline_after(_PATIENCE)
        for copier in self.copiers:
            if not copier.over:
                self.cut = True
                if copier.feeds:
                    copier.end.close()
                    copier.over |= copier.in_object  # the caller's reader is not waited for
                else:
                    copier.end.finish()

    def _who_holds(self) -> list[OtherProcess]:
        """Who has the other ends of the streams that have not ended."""
        pipes: dict[int, int] = {}
        for pump in () if self._pumped else self._pumps:
            pipes |= _core.open_pipes(pump)
        for copier in self.copiers:
            inode = None if copier.over or copier.feeds else copier.end.pipe_if_open()
            if inode is not None:
                pipes[inode] = copier.stream
        return name_holders(pipes)

    def _leave_behind(self) -> None:
        """Readers and writers of the caller's that do not return."""
        for copier in self.copiers:
            copier.end.close()
            copier.over = True


def _earlier(one: int, other: int) -> int:
    """The earlier of two deadlines."""
    if one == _core.FOREVER or other == _core.FOREVER:
        return max(one, other)
    return min(one, other)
