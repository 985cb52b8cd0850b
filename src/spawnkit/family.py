"""Family: who belongs to a command besides its own processes, each found in /proc and held."""

from __future__ import annotations

import os
import select
from contextlib import suppress

from . import _core, proctable
from .environment import MARK
from .errors import ProcessDone
from .process import Process, find_process, leave_to_orphans
from .proctable import Entry, OtherProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_EXECS_WITHIN = 0.05  # seconds
_QUIET = 20  # rounds of looks
_NEWEST = 8  # looks in a round, of some 15 µs each

_LOOK_AGAIN = 0.005  # seconds, where there is no pidfd to wait for


class Family:
    """The others of a command. `walk` looks for them, the rest is about those it has found.

    missed: processes of the last walk that were gone before they could be held; they may have left
    children. vanished: how many were gone before it could be told whose they were.
    blank: how many show no environment, as while they are inside an exec.
    unfinished: /proc could not be read, or not all of it in time.
    """

    def __init__(self, children: Sequence[_core.Child], mark: bytes, group: bool) -> None:
        """children: handles of the command's own processes. mark: what is in its variable MARK.

        group: only those in the group that the first process leads.
        """
        self.missed: list[Entry] = []
        self.vanished = 0
        self.blank = 0
        self.unfinished = False
        self._children = children
        self._mark = mark
        self._group = group
        self._signalled = 0  # a group that has had the signal of this walk
        self._since = proctable.now() - 1  # nobody of it is older
        self._others: dict[tuple[int, int], Process] = {}
        self._strangers: set[tuple[int, int]] = set()  # without the mark: they never get it
        self._blank: dict[tuple[int, int], int] = {}  # until when it may be inside an exec
        self._dead: set[tuple[int, int]] = set()
        self._seen: OtherProcess | None = None  # the last one that was gone before it was held

    def own(self) -> list[_core.Child]:
        """The command's own processes that nobody has waited for."""
        return [child for child in self._children if child.pid and not _core.is_over(child)]

    def walk(self, until: int, number: int, but_group: int = 0) -> bool:
        """Looks at every process once, and signals those of ours that were not known yet.

        True: there were such, or there may have been. until: a deadline of the core's. but_group:
        whose members have had the signal.
        """
        self._signalled = but_group
        self.missed, self.vanished, self.blank, self.unfinished = [], 0, 0, False
        own = {child.pid for child in self.own()}
        known = len(self._others)
        table: list[Entry] = []
        try:
            # The newest first, and each at once: it may be about to fork the next one and end.
            for pid in proctable.newest_first():
                if _core.is_past(until):
                    self.unfinished = True
                    break
                entry = proctable.look(pid)
                if entry is None:
                    self.vanished += 1
                elif pid in own or entry.start < self._since:
                    continue
                elif entry.is_gone:
                    self._note_dead(entry)
                else:
                    table.append(entry)
                    self._take_if_proved(entry, number)
        except OSError:
            self.unfinished = True
        if not self._group:
            self._take_descendants(table, own, number)
        return len(self._others) > known or bool(self.missed)

    def living(self, patience: float = 0.0) -> list[Process]:
        """Those found that have not ended when `patience` seconds have passed."""
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

    def chase(self, until: int, number: int) -> None:
        """For those who fork the next one and end faster than a walk comes by: looks at the newest
        few only, over and over, and signals them.

        Until nobody was new so many times, or `until`. The very newest may not have begun yet, and
        one that waits for its turn at the processor is a few pids old.
        """
        quiet, last = 0, 0
        while quiet < _QUIET and not _core.is_past(until):
            newest = proctable.newest()
            quiet = quiet + 1 if newest == last else 0
            last = newest
            for pid in range(newest, max(1, newest - _NEWEST), -1):
                self._catch(pid, number)

    def _catch(self, pid: int, number: int) -> None:
        try:
            other = find_process(pid)
        except (OSError, ValueError):
            return
        # Its handle first: if it is marked now, the handle is of that one, or of one who is dead. A
        # thread, which has a number of the same kind, has no pidfd.
        if other.pidfd is None or not self._has_mark(proctable.environ_of(pid)):
            return
        send(other, number)
        entry = proctable.look(pid)
        if entry is None or entry.is_gone:
            self._seen = OtherProcess(pid, "")
        elif pid not in {child.pid for child in self.own()}:
            self._others.setdefault(entry.key, other)

    @property
    def seen_any(self) -> bool:
        """Was there one of the family that could not be held?"""
        return self._seen is not None

    @property
    def complete(self) -> bool:
        """Has the last walk seen everyone, and known of each whether it is of the family?"""
        return not (self.unfinished or self.missed or self.vanished or self.blank)

    def survivors(self) -> tuple[OtherProcess, ...]:
        """Those who live, and, unless all were found, those who were seen and not caught: they have
        ended, but someone may carry on their name under another pid.
        """
        alive = [proctable.describe(other.pid) for other in self.living()]
        seen = [] if self.complete or self._seen is None else [self._seen]
        return (*alive, *seen)

    def reap_group(self) -> None:
        """As a subreaper: zombies that were orphaned and ended before anybody saw them alive.

        They have no environment any more, but are still in the group or session of the process,
        whose number they hold: it is nobody else's.
        """
        own = {child.pid for child in self._children}
        with suppress(OSError):
            for pid in proctable.newest_first():
                entry = proctable.look(pid)
                if entry is None or not entry.is_gone or entry.parent != os.getpid():
                    continue
                if pid not in own and (entry.group in own or entry.session in own):
                    with suppress(ChildProcessError):
                        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)

    def close(self, adopt: bool) -> None:
        """Gives the handles back; with `adopt` those that are our children are reaped, by a later
        start if they live on.
        """
        while self._others:
            _, other = self._others.popitem()
            if adopt and _lives_on(other):
                leave_to_orphans(other)
            else:
                other.release()

    def _note_dead(self, entry: Entry) -> None:
        """One that ended before we came: nobody can tell whose it was."""
        if entry.key not in self._others and entry.key not in self._dead:
            self._dead.add(entry.key)
            self.vanished += 1

    def _take_if_proved(self, entry: Entry, number: int) -> None:
        """By the group, while its number cannot be another's; else by the mark."""
        if entry.key in self._others:
            return
        if self._group:
            leader = self._children[0] if self._children else None
            if leader is None or entry.group != leader.pid:
                return
            if not _core.is_over(leader):
                self._take(entry, None, number)
                return
        if self._is_marked(entry):
            self._take(entry, None, number)

    def _take_descendants(self, table: list[Entry], own: set[int], number: int) -> None:
        family = own | {entry.pid for entry in table if entry.key in self._others}
        by_pid = {entry.pid: entry for entry in table}
        rest = [entry for entry in table if entry.key not in self._others]
        while True:
            fresh = [entry for entry in rest if entry.parent in family]
            if not fresh:
                return
            rest = [entry for entry in rest if entry.parent not in family]
            for entry in fresh:
                # Who is missed proves nothing about its children: its own parent may have been
                # another process with the pid of one of ours.
                if self._take(entry, by_pid.get(entry.parent), number):
                    family.add(entry.pid)

    def _take(self, entry: Entry, parent: Entry | None, number: int) -> bool:
        """Holds and signals one; False: it is missed.

        parent: who proves that it is of the family; None: it does, or one of our own children.
        """
        try:
            other = find_process(entry.pid)
        except OSError:  # no descriptor is free
            self._miss(entry)
            return False
        # The handle may be of one who got the pid meanwhile, and so may its parent's pid be.
        if not (_is_still(entry) and (parent is None or _is_still(parent))):
            self._miss(entry)
            return False
        self._others[entry.key] = other
        if entry.group != self._signalled:
            send(other, number)
        return True

    def _miss(self, entry: Entry) -> None:
        self.missed.append(entry)
        self._seen = OtherProcess(entry.pid, f"[{os.fsdecode(entry.name)}]")

    def _is_marked(self, entry: Entry) -> bool:
        if entry.key in self._strangers:
            return False
        environment = proctable.environ_of(entry.pid)
        if self._has_mark(environment):
            return True
        if environment:
            self._strangers.add(entry.key)
        elif not _is_still(entry):
            self.vanished += 1
        elif _core.is_past(self._blank.setdefault(entry.key, _core.deadline_after(_EXECS_WITHIN))):
            self._strangers.add(entry.key)  # it has none, or none for us to see
        else:
            self.blank += 1
        return False

    def _has_mark(self, environment: bytes) -> bool:
        for variable in environment.split(b"\0"):
            name, _, value = variable.partition(b"=")
            if name == MARK:
                return self._mark in value.split(b"/")
        return False

    def _is_there(self, other: Process) -> bool:
        entry = proctable.look(other.pid)
        return entry is not None and entry.key in self._others and not entry.is_gone


def send(other: Process, number: int) -> None:
    """Signals it, if it is there and we may: who may not be signalled is a survivor."""
    with suppress(ProcessDone, PermissionError):
        other.signal(number)


def _lives_on(other: Process) -> bool:
    """Reaps it, if it is our child and has ended."""
    try:
        return other.poll() is None
    except (ChildProcessError, ProcessDone):
        return False


def _is_still(entry: Entry) -> bool:
    """Is that process alive, and the child of the same parent?"""
    now = proctable.look(entry.pid)
    if now is None or now.is_gone:
        return False
    return now.key == entry.key and now.parent == entry.parent
