"""subreaper: orphans among our descendants become our children instead of init's."""

from __future__ import annotations

import os

from . import _core

__all__ = ["subreaper"]

_depth = 0  # how many `with` blocks are in force
_before = 0  # what it was before the first


def is_subreaper() -> bool:
    """Is a `with subreaper()` in force?"""
    return _depth > 0


class subreaper:  # noqa: N801 - used like a function
    """Makes this process the parent of its descendants' orphans, until the end of the `with` block.

    >>> with subreaper() as orphans:
    ...     orphans.reap()
    []

    A process whose parent has ended belongs to us then, and not to init: it stays in our tree,
    where `ps` and others see it. What a command with `kill="group"` or "tree" leaves is reaped by
    its kill, at its end if it is still in its group or session, and else by a later start; what
    others leave stays a zombie until `reap`. May be nested; it is of the whole process, not of one
    thread.

    prctl(2), PR_SET_CHILD_SUBREAPER. Raises OSError where that is refused.
    """

    def __enter__(self) -> subreaper:
        """Begins."""
        global _depth, _before
        before = _core.subreaper(True)
        if _depth == 0:
            _before = before
        _depth += 1
        return self

    def __exit__(self, *exception: object) -> None:
        """Puts back what was before; orphans that are our children stay so."""
        global _depth
        _depth -= 1
        if _depth == 0:
            _core.subreaper(bool(_before))

    def reap(self) -> list[int]:
        """Takes all zombies among our children, as an init does; their pids.

        For a moment when nothing else of this process has children that it waits for (a running
        command, subprocess, multiprocessing, os.fork): it could lose their status.
        """
        reaped: list[int] = []
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                return reaped
            if ended is None:
                return reaped
            reaped.append(ended.si_pid)
