"""What a command's end reaches: `kill="process"`, "group", "tree" or "cgroup".

Only what is provably of the command is signalled, and only through a handle of its own:

- the process itself, through its handle;
- its group, by number, as long as the process is not reaped: its zombie still holds the number;
- of /proc, whoever carries the command's marker in the environment it was started with, or descends
  from someone who does. Each gets a handle (a pidfd) first, and is then looked at once more.

A walk over /proc is never finished while those it looks for can fork, so each is stopped as it is
found, and the walk repeated until it finds nobody new; then all are killed.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress

from . import _core, proctable
from .children import KILL
from .environment import MARK
from .errors import ProcessDone
from .process import Process, find_process, leave_to_orphans
from .proctable import Entry, OtherProcess
from .reaping import is_subreaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["KillReport"]

TERM, STOP = 15, 19

_PATIENCE = 0.5  # seconds that a sweep may take
_GLANCE = 0.1  # seconds for a look at who is there, on the way
_LOOK_AGAIN = 0.005  # seconds, where there is no pidfd to wait for


class KillReport:
    """How a command was killed.

    means: "process", "group", "tree" or "cgroup": what was used.
    killed: how many processes got SIGKILL while they were alive; those that ended at SIGTERM do not
        count.
    survivors: an `OtherProcess` for each process of the command that was still alive half a second
        later: inside an uninterruptible system call, or another user's, or one that forks faster
        than it can be found.
    complete: the whole of /proc was looked through, and everyone found is dead or named. False:
        nobody looked (means "process"), /proc is not mounted, or there were too many for the time.

    What has left its group, lost its parent and dropped the variable SPAWNKIT_RUN from its
    environment is not found; only a cgroup holds that.
    """

    __slots__ = ("complete", "killed", "means", "survivors")

    def __init__(
        self,
        means: str,
        killed: int,
        survivors: tuple[OtherProcess, ...] = (),
        complete: bool = False,
    ) -> None:
        """See the class."""
        self.means = means
        self.killed = killed
        self.survivors = survivors
        self.complete = complete

    def __repr__(self) -> str:
        """KillReport(means='tree', killed=3, survivors=(), complete=True)."""
        facts = f"means={self.means!r}, killed={self.killed}, survivors={self.survivors!r}"
        return f"KillReport({facts}, complete={self.complete})"


class Scope:
    """The processes themselves, and nobody else: "process"."""

    means = "process"
    is_wide = False

    def __init__(self, children: Sequence[_core.Child]) -> None:
        """children: handles of the command's own processes; more may be added before a kill."""
        self.children = children

    def ask(self) -> None:
        """Sends SIGTERM."""
        for child in self.children:
            _core.signal(child, TERM)

    def is_empty(self) -> bool:
        """Is nobody found, but for the processes themselves?"""
        return True

    def kill(self) -> KillReport:
        """Sends SIGKILL; returns within half a second. Again it kills what is there by then."""
        return KillReport(self.means, self._strike(self._alive()))

    def close(self) -> None:
        """Gives the handles back."""

    def _alive(self) -> list[_core.Child]:
        return [child for child in self.children if child.pid and not _core.is_over(child)]

    def _strike(self, alive: Iterable[_core.Child]) -> int:
        return sum(_core.signal(child, KILL) == _core.OK for child in alive)


class Wide(Scope):
    """With others, who are looked for in /proc. Base of Group and Tree."""

    is_wide = True

    def __init__(self, children: Sequence[_core.Child], mark: bytes, leads: bool) -> None:
        """mark: what is in its variable MARK. leads: the first process leads a group of its own."""
        super().__init__(children)
        self._mark = mark
        self._leads = leads
        self._since = proctable.now() - 1  # nobody of ours is older
        self._others: dict[tuple[int, int], Process] = {}
        self._strangers: set[tuple[int, int]] = set()  # without the mark, so they never get it
        self._blind = False  # /proc cannot be read
        self._hurried = False  # there was no time for all of it

    def ask(self) -> None:
        """Sends SIGTERM to all who are there."""
        super().ask()
        self._signal_group(TERM)
        for other in self._take(_core.deadline_after(_GLANCE)):
            _send(other, TERM)

    def is_empty(self) -> bool:
        """Is nobody found, but for the processes themselves?"""
        self._take(_core.deadline_after(_GLANCE))
        return not self._living(0.0)

    def kill(self) -> KillReport:
        """Stops and kills until nobody is found; see the module."""
        until = _core.deadline_after(_PATIENCE)
        killed = 0
        while True:
            self._freeze(until)
            own, others = self._alive(), self._living(0.0)
            killed += self._strike(own) + len(others)
            self._signal_group(KILL)
            for other in others:
                _send(other, KILL)
            left = self._living(_core.seconds_until(until))
            if _core.is_past(until) or not self._take_and_stop(until):
                break
        survivors = tuple(proctable.describe(other.pid) for other in left or self._living(0.0))
        return KillReport(self.means, killed, survivors, not (self._blind or self._hurried))

    def close(self) -> None:
        """Gives the handles back; of a subreaper's orphans, reaps those that have ended."""
        if is_subreaper():
            self._take(_core.deadline_after(_GLANCE))
            self._reap_group()
        while self._others:
            _, other = self._others.popitem()
            if is_subreaper():
                leave_to_orphans(other)
            else:
                other.release()

    def _belongs(self, entry: Entry, family: Collection[int]) -> bool:
        """Is it one of the command's, whose living processes are `family`?"""
        raise NotImplementedError

    def _signal_group(self, number: int) -> None:
        # Reaches, in one step, also whoever is about to be forked.
        if self._leads and self.children:
            _core.signal_group(self.children[0], number)

    def _freeze(self, until: int) -> None:
        self._signal_group(STOP)
        for child in self._alive():
            _core.signal(child, STOP)
        while self._take_and_stop(until) and not _core.is_past(until):
            pass

    def _take_and_stop(self, until: int) -> bool:
        taken = self._take(until)
        for other in taken:
            _send(other, STOP)
        return bool(taken)

    def _take(self, until: int) -> list[Process]:
        """Handles for those that were not known yet; as many as there is time for."""
        taken = []
        for entry, parent in self._find(until):
            if _core.is_past(until):
                self._hurried = True
                break
            other = find_process(entry.pid)
            # The handle may be of one who got the pid meanwhile, or the parent have been one.
            again = proctable.look(entry.pid)
            if again is None or again.key != entry.key or again.is_gone:
                continue
            if parent is not None and not self._is_parent(again, parent):
                continue
            self._others[entry.key] = other
            taken.append(other)
        return taken

    def _is_parent(self, entry: Entry, parent: Entry) -> bool:
        now = proctable.look(parent.pid)
        return now is not None and now.key == parent.key and entry.parent == parent.pid

    def _table(self, until: int) -> list[Entry]:
        """Living processes, no older than the command."""
        table = []
        try:
            for entry in proctable.scan():
                if not entry.is_gone and entry.start >= self._since:
                    table.append(entry)
                if _core.is_past(until):
                    self._hurried = True
                    break
        except OSError:
            self._blind = True
        return table

    def _find(self, until: int) -> list[tuple[Entry, Entry | None]]:
        """Living processes of the command that are not known yet, each with the parent that proves
        it, or None where it proves itself.
        """
        self._hurried = False
        own = {child.pid for child in self._alive()}
        table = [entry for entry in self._table(until) if entry.pid not in own]
        family = own | {entry.pid for entry in table if entry.key in self._others}
        by_pid = {entry.pid: entry for entry in table}
        unknown = [entry for entry in table if entry.key not in self._others]
        found: list[tuple[Entry, Entry | None]] = []
        while True:
            fresh = [entry for entry in unknown if self._belongs(entry, family)]
            if not fresh:
                return found
            for entry in fresh:
                marked = self._is_marked(entry)
                found.append((entry, None if marked else by_pid.get(entry.parent)))
                family.add(entry.pid)
            unknown = [entry for entry in unknown if entry.pid not in family]

    def _is_marked(self, entry: Entry) -> bool:
        if entry.key in self._strangers:
            return False
        for variable in proctable.environ_of(entry.pid).split(b"\0"):
            name, _, value = variable.partition(b"=")
            if name == MARK and self._mark in value.split(b"/"):
                return True
        self._strangers.add(entry.key)
        return False

    def _living(self, patience: float) -> list[Process]:
        """Those of the others that have not ended when `patience` seconds have passed."""
        poll = select.poll()
        waited: dict[int, Process] = {}
        unwaited = []
        for other in self._others.values():
            fd = other.pidfd
            if fd is None:
                unwaited.append(other)
            else:
                waited[fd] = other
                poll.register(fd, select.POLLIN)
        until = _core.deadline_after(patience)
        while waited or unwaited:
            pause = _LOOK_AGAIN if unwaited else _core.seconds_until(until)
            for fd, _ in poll.poll(0 if _core.is_past(until) else pause * 1000):
                poll.unregister(fd)
                del waited[fd]
            unwaited = [other for other in unwaited if self._is_there(other)]
            if _core.is_past(until):
                break
        return [*waited.values(), *unwaited]

    def _is_there(self, other: Process) -> bool:
        entry = proctable.look(other.pid)
        return entry is not None and entry.key in self._others and not entry.is_gone

    def _reap_group(self) -> None:
        """Zombies that were orphaned, and ended, before anybody saw them alive.

        They have no environment any more, but are still in the group or session of the process,
        whose number they hold: it is nobody else's.
        """
        own = {child.pid for child in self.children}
        try:
            table = proctable.scan()
        except OSError:
            return
        for entry in table:
            of_ours = entry.group in own or entry.session in own
            if entry.is_gone and entry.parent == os.getpid() and of_ours and entry.pid not in own:
                try:
                    os.waitid(os.P_PID, entry.pid, os.WEXITED | os.WNOHANG)
                except ChildProcessError:
                    continue


class Group(Wide):
    """The process group that the process leads: "group".

    Once the process is reaped the number may be another group's; then the mark decides.
    """

    means = "group"

    def _belongs(self, entry: Entry, family: Collection[int]) -> bool:
        if not self.children or entry.group != self.children[0].pid:
            return False
        return not _core.is_over(self.children[0]) or self._is_marked(entry)


class Tree(Wide):
    """All descendants that can be found: "tree"."""

    means = "tree"

    def _belongs(self, entry: Entry, family: Collection[int]) -> bool:
        return entry.parent in family or self._is_marked(entry)


def _send(other: Process, number: int) -> None:
    with suppress(ProcessDone, PermissionError):  # who may not be signalled is a survivor
        other.signal(number)
