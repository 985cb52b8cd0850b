"""Commands of which nothing is left: each is a process group, and what leaves that comes to us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

from support.oracle import child_pids

PR_SET_CHILD_SUBREAPER = 36


def collect_orphans() -> None:
    """From now on the children of a dead process below us are ours: `end_orphans` sees them."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def ended(pid: int) -> os.waitid_result | None:
    """How the child ended, which stays unreaped: so long, nobody else has its number."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)


def end_group(pid: int) -> None:
    """Kills whoever is in the process group of this child, which is not reaped yet."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def end_orphans(others: set[int]) -> int:
    """Kills what left the process group: every child but these. How many.

    They are ours after `collect_orphans`; without it they are not seen.
    """
    gone: set[int] = set()
    while left := set(child_pids()) - others:
        gone |= left
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
    return len(gone)
