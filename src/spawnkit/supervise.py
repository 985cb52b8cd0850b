"""Supervision: sees one command to its end, streams and all, in Go's order of things.

    running ──time over, token──▶ cancelled ──wait_delay──▶ killed ──1 s──▶ given up
       │                              │                        │
       └────────── its process ends ──┴────────────────────────┘
                        │
                        ▼
                   draining ──wait_delay──▶ cutting ──1 s──▶ over
                        └───── streams end ───────┴──────────▶ over

Signals go out before pipes are closed: a program is to die of what was decided, not of SIGPIPE.
Follows `Wait`, `watchCtx` and `awaitGoroutines` of Go's os/exec/exec.go, without a thread for the
clock: whoever waits keeps the time. Everything that can change comes as a return value of one call
into C, which sleeps on the streams, the process, the deadline, and a bell that other threads ring.
"""

from __future__ import annotations

from _thread import RLock, get_ident

from . import _core
from .cancel import CancelToken
from .children import KILL, adopt
from .copying import Copier
from .errors import ProcessDone
from .threads import let_go, start_thread, with_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cmd import Cmd
    from .result import Text
    from .streams import Streams

# How long a killed process may take to die, or a reader or writer of the caller's to return. Then
# we go on without it: a call must end.
_PATIENCE = 1.0


class Supervision:
    """One command from its start to the end of its streams. `see_through` does the work.

    Resumable: `see_through` may be left by its limit or an exception and called again.
    cancelled: "timeout" or "token", if the command was cut short by it.
    action_error: what the caller's action raised. cut: streams were closed before their end.
    """

    def __init__(self, cmd: Cmd, streams: Streams, text: Text | None) -> None:
        """Makes the bell and the copiers; SpawnError. Nothing runs yet."""
        self.cancelled: str | None = None
        self.action_error: BaseException | None = None
        self.cut = False
        self.mask: object = None  # what the action runs with, where that is not the thread's own
        self._streams = streams
        self._token = cmd.cancel if isinstance(cmd.cancel, CancelToken) else None
        self._action = cmd.cancel if self._token is None else self._token.action
        self._cmd = None if self._action is None else cmd  # no cycle where none is needed
        self._wait_delay = cmd.wait_delay
        self._child: _core.Child = None
        self._deadline = self._due = _core.FOREVER  # of the command; of the present phase
        self._asked = False  # the action has been taken
        self._act_until: int | None = None
        self._killed = False
        self._ended = False  # the process is reaped, or given up
        self._pumped = False  # the streams that C serves have ended
        self._cutting = False
        self._lock = RLock()  # re-entrant: a signal handler may ring
        self._closed = self._stopped = False
        self._inside: int | None = None  # the thread that is in `see_through`
        self._acting = False  # the action has not returned
        _core.open_pump(streams.pump, _core.BELL)
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

    # ---- from outside ---------------------------------------------------------------------------

    def ring(self) -> None:
        """Makes `see_through` look around; from any thread, at any time."""
        with self._lock:
            if not self._closed:
                _core.ring(self._streams.pump)

    def ring_at_last(self) -> None:
        """`ring`, by a thread of ours that is at its end."""
        try:
            self.ring()
        finally:
            let_go(self._lock)

    def begin(self, child: _core.Child, deadline: int) -> None:
        """The program runs: starts copying, and watching the token."""
        self._child = child
        self._deadline = self._due = deadline
        for copier in self.copiers:
            copier.start()
        if self._token is not None:
            self._token.attach(self.ring)
            if self._token.cancelled:
                self.ring()

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
        return _core.pump(self._streams.pump, self._child, until, self._streams.sinks)

    def _look(self) -> None:
        if self._token is not None and self._token.cancelled and not self._asked:
            self._cancel("token")

    def _time_is_up(self) -> None:
        if self._act_until is not None:
            return  # `_all_done` sees to it
        if self._cutting:
            self._leave_behind()
        elif self._ended:
            if not self._asked and self._due == self._deadline:
                self._asked, self.cancelled = True, "timeout"
            self._cut()
        elif not self._asked:
            self._cancel("timeout")
        elif not self._killed:
            self._kill()
        else:
            # Inside an uninterruptible system call: a later spawn reaps it.
            adopt(self._child)
            self._ended = True
            self._cut()

    def _cancel(self, why: str) -> None:
        self._asked, self.cancelled = True, why
        if self._ended:
            self._cut()
            return
        self._delay_ends = self._due = _core.deadline_after(self._wait_delay)
        if self._action is None:
            self._kill()
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
            self._action(self._cmd)  # type: ignore[operator, arg-type, misc]
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
        self._killed = True
        _core.signal(self._child, KILL)
        self._due = _core.deadline_after(_PATIENCE)

    def _process_ended(self) -> None:
        if self._ended:
            return
        self._ended = True
        if not self._asked:
            self._due = self._deadline
            delay_ends = _core.deadline_after(self._wait_delay)
            if self._due == _core.FOREVER or _core.FOREVER != delay_ends < self._due:
                self._due = delay_ends
        elif self._killed:
            # Killed by the clock (after a delay that is over), or at once (the delay is its own).
            self._due = self._delay_ends
            if self._wait_delay is None:
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
        if not self._pumped:
            self._pumped = self.cut = True
            _core.drain_pump(self._streams.pump)
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

    def _leave_behind(self) -> None:
        """Readers and writers of the caller's that do not return."""
        for copier in self.copiers:
            copier.end.close()
            copier.over = True
