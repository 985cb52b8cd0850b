"""Who started what."""

from __future__ import annotations

import os
import threading

__all__ = ["Stats", "stats"]


class Stats:
    """How many processes were started since the package was loaded, by whom.

    ours: by spawnkit's own engines.
    standard: {reason: how many} by the standard implementation, since spawnkit cannot do what was
        asked for: "preexec_fn", "user", "group", "extra_groups", or "parameters" that a newer
        Python brought.

    A start that failed counts too, and each try of one whose program was open for writing.
    """

    __slots__ = ("ours", "standard")

    def __init__(self, ours: int, standard: dict[str, int]) -> None:
        """See the class."""
        self.ours = ours
        self.standard = standard

    def __repr__(self) -> str:
        """Stats(ours=12, standard={'preexec_fn': 1})."""
        return f"Stats(ours={self.ours}, standard={self.standard})"


_counts: dict[str, int] = {}
_lock = threading.Lock()
_OURS = ""


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


# Another thread's fork may find it held, for good.
os.register_at_fork(after_in_child=_renew_lock)


def note(reason: str = _OURS) -> None:
    """One more process: by us, or by the standard implementation for a reason."""
    with _lock:
        _counts[reason] = _counts.get(reason, 0) + 1


def stats() -> Stats:
    """How many processes were started through `subprocess`, by whom and why; see `Stats`.

    >>> import spawnkit.subprocess
    >>> before = spawnkit.subprocess.stats().ours
    >>> _ = spawnkit.subprocess.run(["true"])
    >>> spawnkit.subprocess.stats().ours - before
    1
    """
    with _lock:
        counts = dict(_counts)
    return Stats(counts.pop(_OURS, 0), counts)
