"""One thread looks after all commands that were started and are not waited for yet.

A thread for each would cost a stack, and a thousand of them a thousand. Here each command takes
one step whenever something of it is ready or due; no step waits. What may wait (the caller's
readers and writers, a kill that walks through /proc) is not for this thread, nor a child without a
pidfd, whose end nothing tells.
"""

from __future__ import annotations

import os
import select
from _thread import RLock
from time import monotonic_ns

from . import _core
from .threads import let_go, start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .supervise import Supervision

_LONGEST = 3_600_000.0  # milliseconds; poll(2) takes no more than an int


class _Entry:
    """One command. over: called once, with None or with what went wrong."""

    __slots__ = ("fds", "over", "supervision")

    def __init__(
        self, supervision: Supervision, over: Callable[[BaseException | None], None]
    ) -> None:
        self.supervision = supervision
        self.over = over
        self.fds: list[tuple[int, int]] = []


class _Looker:
    """The thread, which is there as long as it has something to look after."""

    def __init__(self) -> None:
        self._lock = RLock()  # re-entrant: a signal handler may start a command
        self._arrivals: list[_Entry] = []
        self._entries: dict[_Entry, None] = {}
        self._by_fd: dict[int, _Entry] = {}
        self._runs = False
        self._poll = select.poll()
        self._door = self._guard = _core.new_pump()  # its bell is the thread's

    def add(self, entry: _Entry) -> None:
        """From now on this command is looked after. RuntimeError where no thread can be had."""
        with self._lock:
            self._arrivals.append(entry)
            if self._runs:
                _core.ring(self._door)
                return
        # Whatever interrupts this, the thread itself says whether it runs. If two are started at
        # once, the second finds nothing to do.
        start_thread(self._run, self._lost)

    def _run(self) -> None:
        try:
            if self._begin():
                self._look()
        finally:
            let_go(self._lock)

    def _begin(self) -> bool:
        with self._lock:
            if self._runs:
                return False
            self._door = _core.new_pump()
            self._guard = _core.guard_pump(self._door)
            _core.open_pump(self._door, _core.BELL)
            self._poll.register(_core.bell(self._door), select.POLLIN)
            self._runs = True
            return True

    def _look(self) -> None:
        while self._take_in():
            events = self._poll.poll(self._pause())
            ready = {self._by_fd[fd]: None for fd, _ in events if fd in self._by_fd}
            now = monotonic_ns()
            for entry in list(self._entries):
                if entry in ready or _core.comes_before(entry.supervision.due, now):
                    self._step(entry)

    def _take_in(self) -> bool:
        """The new ones. False: there is nobody, and the thread may go."""
        with self._lock:
            _core.listen(self._door, False, _core.NOW)
            arrivals, self._arrivals = self._arrivals, []
            if not (arrivals or self._entries):
                self._runs = False
                self._poll.unregister(_core.bell(self._door))
                _core.close_pump(self._door)
                return False
        for entry in arrivals:
            self._entries[entry] = None
            self._step(entry)
        return True

    def _pause(self) -> float:
        dues = [e.supervision.due for e in self._entries if e.supervision.due != _core.FOREVER]
        if self._arrivals or not self._entries:
            return 0.0
        if not dues:
            return _LONGEST
        # Rounded up: a millisecond too early would be a step for nothing, and then another.
        return min(_LONGEST, max(0.0, (min(dues) - monotonic_ns()) // 1_000_000 + 1))

    def _step(self, entry: _Entry) -> None:
        error = None
        try:
            if not entry.supervision.see_through(monotonic_ns()):
                self._watch(entry, entry.supervision.descriptors())
                return
        except BaseException as failure:
            error = failure
        self._watch(entry, [])
        del self._entries[entry]
        entry.over(error)

    def _watch(self, entry: _Entry, fds: list[tuple[int, int]]) -> None:
        if fds == entry.fds:
            return
        for fd, _ in entry.fds:
            if self._by_fd.get(fd) is entry:  # else it was closed, and is another's by now
                del self._by_fd[fd]
                self._poll.unregister(fd)
        for fd, events in fds:
            self._poll.register(fd, events)
            self._by_fd[fd] = entry
        entry.fds = fds

    def _lost(self, error: BaseException) -> None:
        """The thread is gone, for want of memory or of a descriptor for its bell; or never came."""
        with self._lock:
            self._runs = False
            left = [*self._entries, *self._arrivals]
            self._entries, self._arrivals, self._by_fd = {}, [], {}
            self._poll = select.poll()
            _core.close_pump(self._door)
        for entry in left:
            entry.over(error)


_lookers: dict[int, _Looker] = {}  # by process: a fork leaves the thread behind


def look_after(supervision: Supervision, over: Callable[[BaseException | None], None]) -> None:
    """Sees a command through, in a thread that it shares with others.

    over: called in that thread when it is over, or with the exception that has ended it.
    RuntimeError where no thread can be had.
    """
    pid = os.getpid()
    looker = _lookers.get(pid)
    if looker is None:
        looker = _lookers.setdefault(pid, _Looker())
    looker.add(_Entry(supervision, over))
