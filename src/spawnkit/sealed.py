"""Sealed: what a kill reaches of a command in a PID namespace of its own: "namespace".

The namespace ends with its process 1, which is the command's own: before that one's end is told to
anybody the kernel has killed all others in it, whatever they have done to hide: new sessions, new
groups, a lost parent, another user (pid_namespaces(7)). Nobody has to be found to be killed; /proc
only says how many there were, and who does not die.
"""

from __future__ import annotations

from . import _core, proctable
from .killing import KillReport, Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .proctable import OtherProcess

_PATIENCE = 0.5  # seconds for those who were killed, to be gone
_GLANCE = 0.1  # seconds for a look at who is there


class Sealed(Scope):
    """Whoever is in the namespace of the command's process, and in those made inside it."""

    means = "namespace"
    reaches_others = is_wide = True

    def __init__(self, child: _core.Child) -> None:
        """child: the handle of its process 1."""
        super().__init__([child])
        self._first = child

    def kill(self) -> KillReport:
        """Sends SIGKILL to its process 1; returns when all are gone, or after half a second."""
        others = [pid for pid in self._inside() or () if pid != self._first.pid]
        killed = self._strike(self.children) + len(others)
        _core.wait(self._first, _core.deadline_after(_PATIENCE))
        survivors, complete = self._survivors()
        return KillReport(self.means, killed, survivors, complete)

    def _survivors(self) -> tuple[tuple[OtherProcess, ...], bool]:
        """Those who are still there, and whether those are all."""
        if _core.is_over(self._first):
            return (), True
        pids = self._inside()
        named = [self._first.pid] if pids is None else pids
        return tuple(proctable.describe(pid) for pid in named), pids is not None

    def _inside(self) -> list[int] | None:
        """Who lives in it; None where /proc does not tell."""
        until = _core.deadline_after(_GLANCE)
        pid = self._first.pid
        try:
            pids = proctable.newest_first()
        except OSError:
            return None
        first, space = proctable.look(pid), proctable.pid_namespace_of(pid)
        if first is None or _core.is_over(self._first):
            return []  # reaped, and the number may be another's
        table = []
        for pid in pids:
            entry = proctable.look(pid)
            # Nobody in it is older.
            if entry is not None and entry.start >= first.start and not entry.is_gone:
                table.append(entry)
            if _core.is_past(until):
                return None
        # By the namespace, which one who was sent into it has too (setns(2)); and by descent, for
        # that of a descendant may be another one inside it.
        inside = {e.pid for e in table if e.pid == first.pid}
        inside |= {e.pid for e in table if space and proctable.pid_namespace_of(e.pid) == space}
        grown = 0
        while grown != len(inside):
            grown = len(inside)
            inside |= {e.pid for e in table if e.parent in inside}
        return sorted(inside)
