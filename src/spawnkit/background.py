"""One thread looks after all commands that were started and are not waited for yet.

A thread for each would cost a stack, and a thousand of them a thousand. Here each command takes
one step whenever something of it is ready or due; no step waits. What may wait (the caller's
readers and writers, a kill that walks through /proc) is not for this thread, nor a child without a
pidfd, whose end nothing tells.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock
from time import monotonic_ns

from . import _core
from .threads import start_thread

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
    """The thread, which is there as long as it has something to look after.

    Whoever starts a command takes no lock here: an interrupt could leave it taken for all others.
    In its place, a command that comes is put into a list, and the thread woken by the bell of one
    that it has already. Nobody is lost:
        1. the thread says whom to ring (`_someone`), then looks into the list, then sleeps;
        2. who comes writes into the list, then asks whom to ring;
        3. if the thread has not seen him in the list, he sees whom it said, which it sleeps on; if
           that is nobody, he starts a thread, which finds the old one gone, or is not needed.
    """

    def __init__(self) -> None:
        self._arrivals: list[_Entry] = []
        self._entries: dict[_Entry, None] = {}
        self._someone: _Entry | None = None
        self._by_fd: dict[int, _Entry] = {}
        self._poll = select.poll()
        self._running = allocate_lock()  # only tried, and only by threads of ours

    def add(self, entry: _Entry) -> None:
        """From now on this command is looked after. RuntimeError where no thread can be had."""
        self._arrivals.append(entry)
        someone = self._someone
        if someone is None:
            start_thread(self._run, self._lost)
        else:
            someone.supervision.ring()

    def _run(self) -> None:
        while self._arrivals and self._running.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._running.release()

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
        while True:
            self._someone = next(iter(self._entries), None)
            if not self._arrivals:
                return self._someone is not None
            entry = self._arrivals.pop(0)
            self._entries[entry] = None
            self._step(entry)

    def _pause(self) -> float:
        dues = [e.supervision.due for e in self._entries if e.supervision.due != _core.FOREVER]
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
        """The thread is gone, for want of memory, or never came."""
        if not self._running.acquire(blocking=False):
            return  # another one is there, and takes them in
        left = [*self._entries, *self._arrivals]
        self._someone = None
        self._entries, self._arrivals, self._by_fd = {}, [], {}
        self._poll = select.poll()
        self._running.release()
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
