"""What a command's end reaches: `kill="process"`, "group", "tree" or "cgroup".

With a PID namespace of its own the kernel answers for "group" and "tree": sealed.py. Elsewhere:

Only what is provably of the command is signalled, and only through a handle of its own:

- the process itself, through its handle;
- its group, by number, as long as the process is not reaped: its zombie still holds the number;
- whoever is in its cgroup, which the kernel knows;
- of /proc, whoever carries the command's marker in the environment it was started with, or descends
  from someone who does. Each gets a handle (a pidfd) first, and is then looked at once more.

A walk over /proc is never finished while those it looks for can fork, so each is stopped as it is
found, and the walk repeated until it finds nobody new; then all are killed.
"""

from __future__ import annotations

import os
from contextlib import suppress

from . import _core
from .children import KILL
from .family import Family, send
from .proctable import describe
from .reaping import is_subreaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .cgroups import Cgroup
    from .proctable import OtherProcess

__all__ = ["KillReport"]

TERM, STOP = 15, 19

_PATIENCE = 0.5  # seconds that a sweep may take
_DYING = 0.1  # seconds of them that are left for those who were killed, to be gone
_GLANCE = 0.1  # seconds for a look at who is there, on the way
_CHASE = 0.1  # seconds, of _PATIENCE, for those who fork faster than they are found
_UNSURE = 4  # walks that miss processes of which it cannot be told whose they are


class KillReport:
    """How a command was killed.

    means: "process", "group", "tree", "cgroup", or "namespace" where `attr` has a new PID
        namespace and `kill` is "group" or "tree": what was used.
    killed: how many processes got SIGKILL while they were alive; those that ended at SIGTERM do not
        count.
    survivors: an `OtherProcess` for each process of the command that was still alive half a second
        later: inside an uninterruptible system call, or another user's. Of one that forks and ends
        faster than it can be found, the pid it was seen with last.
    complete: everybody was looked for, and who was found is dead or named. False: /proc is not
        mounted or is that of another pid namespace, there were too many for the time, or some were
        gone before it could be told whose they were. None: nobody looked; the signal went to the
        process, or a pipeline's group.

    What has left its group, lost its parent and dropped the variable SPAWNKIT_RUN from its
    environment is not found; only a cgroup holds that.
    """

    __slots__ = ("complete", "killed", "means", "survivors")

    def __init__(
        self,
        means: str,
        killed: int,
        survivors: tuple[OtherProcess, ...] = (),
        complete: bool | None = None,
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
    reaches_others = False
    is_wide = False  # can there be others left when the processes have ended?

    def __init__(self, children: list[_core.Child]) -> None:
        """children: handles of the command's own processes; more may be added before a kill.

        group: the number of their process group, as soon as they have one of their own; 0: none.
        """
        self.children = children
        self.group = 0

    def ask(self) -> None:
        """Sends SIGTERM."""
        for child in self.children:
            _core.signal(child, TERM)

    def is_empty(self) -> bool:
        """Is nobody found, but for the processes themselves?"""
        return True

    def kill(self) -> KillReport:
        """Sends SIGKILL; returns within half a second. Again it kills what is there by then."""
        return KillReport(self.means, self._strike(self.children))

    def close(self) -> None:
        """Gives the handles back."""

    def _strike(self, alive: Iterable[_core.Child]) -> int:
        return sum(_core.signal(child, KILL) == _core.OK for child in alive)


def kill_surely(scope: Scope, attempts: int = 3) -> None:
    """Kills, and again when an exception strikes in it: a second Ctrl-C, the handler of a SIGTERM.

    A sweep that breaks off leaves the processes stopped that it has found, and nobody to go on.
    """
    try:
        scope.kill()
    except BaseException:
        if attempts > 1:
            kill_surely(scope, attempts - 1)
        raise


class Gang(Scope):
    """With all who are in their group now: what a pipeline has."""

    means = "group"
    reaches_others = True

    def ask(self) -> None:
        """Sends SIGTERM to the group, and to those of the processes that have left it.

        Nobody gets it twice: many a program takes the second one for an order to end at once.
        """
        reached = self._signal_group(TERM)
        for child in self.children:
            if not (reached and self._is_inside(child)):
                _core.signal(child, TERM)

    def kill(self) -> KillReport:
        """Sends SIGKILL likewise. Whoever is in the group without being of us does not count."""
        # The processes last: once they are reaped the number may be another group's.
        self._signal_group(KILL)
        return super().kill()

    def _signal_group(self, number: int) -> bool:
        # In one step, so that it reaches also whoever is about to be forked. By a member that is
        # not reaped: as long as there is one the number means this group.
        return self.group > 0 and any(
            _core.signal_group(child, self.group, number) == _core.OK for child in self.children
        )

    def _is_inside(self, child: _core.Child) -> bool:
        try:
            return os.getpgid(child.pid) == self.group
        except OSError:  # gone
            return False


class Wide(Gang):
    """With others, who are looked for in /proc: "group" and "tree"."""

    is_wide = True

    def __init__(self, means: str, children: list[_core.Child], mark: bytes, leads: bool) -> None:
        """mark: what is in their variable MARK. leads: the first leads a group of its own."""
        super().__init__(children)
        self.means = means
        self._leads = leads
        self._family = Family(self.children, mark, means == "group")

    def ask(self) -> None:
        """Sends SIGTERM to all who are there."""
        super().ask()
        self._family.walk(_core.deadline_after(_GLANCE), TERM, but_group=self.group)

    def is_empty(self) -> bool:
        """Is nobody found, but for the processes themselves?"""
        self._family.walk(_core.deadline_after(_GLANCE), TERM)
        return not self._family.living()

    def kill(self) -> KillReport:
        """Stops and kills until nobody is found; see the module."""
        until, search_until = map(_core.deadline_after, (_PATIENCE, _PATIENCE - _DYING))
        family, killed = self._family, 0
        while True:
            self._freeze(search_until)
            others = family.living()
            killed += self._strike(family.own()) + len(others)
            self._signal_group(KILL)
            for other in others:
                send(other, KILL)
            family.living(_core.seconds_until(until))
            if _core.is_past(search_until) or not family.walk(search_until, STOP):
                break
        return KillReport(self.means, killed, family.survivors(), family.complete)

    def close(self) -> None:
        """Gives the handles back; of a subreaper's orphans, reaps those that have ended."""
        if is_subreaper():
            self._family.walk(_core.deadline_after(_GLANCE), 0)
            self._family.reap_group()
        self._family.close(adopt=is_subreaper())

    def _signal_group(self, number: int) -> bool:
        if self._leads and not self.group and self.children:
            self.group = self.children[0].pid
        return super()._signal_group(number)

    def _freeze(self, until: int) -> None:
        self._signal_group(STOP)
        for child in self._family.own():
            _core.signal(child, STOP)
        family = self._family
        unsure = 0
        while not _core.is_past(until):
            # Short ones first: among thousands of zombies only the newest are of interest.
            pace = _GLANCE if unsure < 2 else _PATIENCE
            found = family.walk(min(_core.deadline_after(pace), until), STOP)
            if family.complete and not found:
                return
            if not family.complete:
                unsure += 1
                if unsure > _UNSURE and not (family.seen_any or family.blank):
                    return  # they are others' who come and go
                family.chase(min(_core.deadline_after(_CHASE), until), STOP)


class Caged(Scope):
    """Whoever is in the command's cgroup: "cgroup"."""

    means = "cgroup"
    reaches_others = is_wide = True

    def __init__(self, children: list[_core.Child], cgroup: Cgroup, ours: bool) -> None:
        """ours: made for this command alone, and removed with it."""
        super().__init__(children)
        self._cgroup = cgroup
        self._ours = ours

    def ask(self) -> None:
        """Sends SIGTERM to all who are in it."""
        super().ask()
        with suppress(ValueError, OSError):  # closed by its owner; or no descriptor is free
            self._cgroup._ask(TERM)

    def is_empty(self) -> bool:
        """Is nobody in it, but for the process itself?"""
        own = {child.pid for child in self.children}
        with suppress(ValueError, OSError):
            return own.issuperset(self._cgroup.procs())
        return True

    def kill(self) -> KillReport:
        """Kills until it is empty, for at most a second."""
        try:
            killed, left = self._cgroup.kill()
        except (ValueError, OSError):
            # Closed by its owner, who has killed all then. Or no descriptor is free, and only what
            # we hold already can be killed.
            return KillReport(self.means, self._strike(self.children), (), False)
        # One that has yet to move itself in is not listed; one that may write to other cgroups may
        # have left, and is killed all the same.
        for child in self.children:
            struck = _core.signal(child, KILL) == _core.OK
            killed += struck and not _core.is_running(child)
        return KillReport(self.means, killed, tuple(describe(pid) for pid in left), True)

    def close(self) -> None:
        """Removes it, if it is ours; who is still in it is killed."""
        if self._ours:
            with suppress(OSError):  # who could not be killed is named as a survivor
                self._cgroup.close()
