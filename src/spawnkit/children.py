"""The life of a child below its handle: spawned, tried again, ended, or left to a later spawn."""

from __future__ import annotations

import errno
import time

from . import _core
from .errors import SpawnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")

KILL = 9  # SIGKILL: Go's os.Kill

_BUSY_FOR = 250.0  # milliseconds

# Children nobody will wait for any more: dropped handles, and processes that outlived a SIGKILL.
# Each spawn takes the ones that have ended, so none stays a zombie for long.
_orphans: list[_core.Child] = []


def adopt(child: _core.Child) -> None:
    """Takes over a child whose handle is going away."""
    _orphans.append(child)


def reap_orphans() -> None:
    """Reaps those that have ended."""
    for _ in range(len(_orphans)):
        try:
            child = _orphans.pop(0)
        except IndexError:
            return  # another thread was faster
        outcome = _core.wait(child, _core.NOW)
        if outcome == _core.TIMEOUT or (outcome < 0 and not child.attached):
            _orphans.append(child)
        else:
            _core.drop(child)


LOCKED = "write lock"  # the stage of a start that was still waiting for it


def spawn(
    plan: bytes, engine: int, flags: int, child: _core.Child, deadline: int = _core.FOREVER
) -> bool:
    """The one way to a child: tidy up, spawn. False: the deadline came first, and there is none.

    RuntimeError if this thread holds the write lock; while others do, it waits.
    """
    if _orphans:
        reap_orphans()
    if _core.spawn(child, plan, engine, flags):
        return True
    return _core.spawn_in_turn(child, plan, engine, flags, deadline)


def run(
    plan: bytes,
    engine: int,
    flags: int,
    child: _core.Child,
    pump: _core.Pump | None,
    deadline: int,
) -> int:
    """The same, and at once on to the end where that can be: results as from `_core.run`.

    LOCKED: the deadline came first, and there is none.
    """
    if _orphans:
        reap_orphans()
    outcome = _core.run(child, plan, engine, flags, pump, deadline)
    if outcome == _core.LOCKED and _core.spawn_in_turn(child, plan, engine, flags, deadline):
        return _core.AGAIN
    return outcome


def retry_busy(attempt: Callable[[], T], deadline: int = _core.FOREVER) -> T:
    """What `attempt` returns, tried again while its program is open for writing (ETXTBSY).

    A writer that has closed the file may have left a copy of its descriptor in a child, which
    closes it at its exec: a matter of milliseconds. Pauses of 1, 2, 4, … ms, 0.25 s altogether,
    none beyond `deadline` (as _core.deadline_after gives it); then the last attempt's SpawnError.
    """
    pause, paused = 1.0, 0.0
    while True:
        try:
            return attempt()
        except SpawnError as error:
            if error.errno != errno.ETXTBSY or error.stage not in ("exec", "posix_spawn"):
                raise
            pause = min(pause, _BUSY_FOR - paused)
            if deadline != _core.FOREVER:
                pause = min(pause, (deadline - time.monotonic_ns()) / 1e6)
            if pause <= 0:
                error.hint = "open for writing elsewhere"
                if paused:
                    error.hint += f", still so after {paused / 1000:.2g} s of retries"
                raise
        time.sleep(pause / 1000)
        paused += pause
        pause *= 2


def spawn_and_settle(
    child: _core.Child, plan: bytes, engine: int, deadline: int = _core.FOREVER
) -> bool:
    """Spawns with a pidfd, and waits until the program runs; False: the deadline came first.

    child: may have been spawned already. Raises SpawnError. Whoever calls this calls `end` when an
    exception strikes.
    """

    try:
        return _spawn_and_settle(child, plan, engine, deadline)
    except SpawnError as error:
        if error.errno != errno.ETXTBSY:
            raise
    return retry_busy(lambda: _spawn_and_settle(child, plan, engine, deadline), deadline)


def _spawn_and_settle(child: _core.Child, plan: bytes, engine: int, deadline: int) -> bool:
    if not _core.is_made(child):
        _core.renew_child(child)
        if not spawn(plan, engine, _core.PIDFD, child, deadline):
            return False
    return _core.settle(child, plan, deadline)


def end(child: _core.Child, grace: float = 0.0) -> bool:
    """Ends a child for good, after `grace` seconds in which it may end by itself.

    True once it is reaped. A process that does not die within a second of SIGKILL (it is inside an
    uninterruptible system call), or cannot be waited for, is left to the orphans.
    """
    if not child.pid:
        return True
    try:
        outcome = _core.wait(child, _core.deadline_after(grace)) if grace else _core.TIMEOUT
        if outcome == _core.TIMEOUT or outcome < 0:
            _core.signal(child, KILL)
            outcome = _core.wait(child, _core.deadline_after(1.0))
            if outcome == _core.TIMEOUT or outcome < 0:  # an errno: not waited for either
                adopt(child)
                return False
    except BaseException:
        # A second Ctrl-C, say, in the time of grace: no more waiting, but no survivor either.
        _core.signal(child, KILL)
        adopt(child)
        raise
    _core.drop(child)
    return True


def end_all(children: Sequence[_core.Child], grace: float = 0.0) -> None:
    """`end` for several."""
    for index, child in enumerate(children):
        try:
            end(child, grace)
        except BaseException:  # noqa: PERF203 - it has seen to that one
            for other in children[index + 1 :]:
                _core.signal(other, KILL)
                adopt(other)
            raise
