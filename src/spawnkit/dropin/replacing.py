"""Attributes of other people's modules and classes, replaced and put back."""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Replaced", "lock", "name_of"]

_ABSENT = object()


class _Lock:
    """One for all that replaces or puts back; a signal handler may come back into it."""

    def __init__(self) -> None:
        self._renew()
        # Another thread's fork may find it held, for good.
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc: object) -> None:
        self._lock.release()


lock = _Lock()


def name_of(owner: Any, name: str) -> str:
    """What messages call it: "subprocess.Popen.wait"."""
    prefix = (
        f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else owner.__name__
    )
    return f"{prefix}.{name}"


class Replaced:
    """What was replaced, in order; `undo` goes backwards. For whoever holds `lock`."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._places: list[tuple[Any, str, Any, Any]] = []

    def put(self, owner: Any, name: str, ours: Any) -> None:
        """Replaces an attribute of a module or class; of a class its own, not an inherited one."""
        self._places.append((owner, name, vars(owner).get(name, _ABSENT), ours))
        setattr(owner, name, ours)

    def strangers(self) -> list[str]:
        """What somebody else has replaced since, each as "NAME is WHAT"."""
        return [
            f"{name_of(owner, name)} is {vars(owner).get(name, 'gone')!r}"
            for owner, name, _, ours in self._places
            if vars(owner).get(name, _ABSENT) is not ours
        ]

    def undo(self) -> None:
        """Puts everything back, exactly as it was."""
        while self._places:
            owner, name, before, _ = self._places[-1]
            if before is not _ABSENT:
                setattr(owner, name, before)
            elif name in vars(owner):
                delattr(owner, name)
            self._places.pop()
