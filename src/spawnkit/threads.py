"""Threads of ours: for copying, and for commands that are looked after in the background.

They take no signals, for as long as they live. Otherwise
  1. the main thread's signals are blocked for a moment, as pthread_create does it;
  2. a signal arrives, and the kernel gives it to a thread of ours;
  3. the main thread looks for signals, finds none, and goes to sleep;
  4. the handler runs in our thread and sets the interpreter's flag: nobody acts on it.
"""

from __future__ import annotations

from _thread import start_new_thread

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Fate:
    """Goes away with its thread, which has to say before that it came to its end.

    A thread that gets no memory for its first line, or none for its last, ends without a word;
    whoever waits for what it was to do would wait for ever.
    """

    __slots__ = ("_error", "_lost", "settled")

    def __init__(self, lost: Callable[[BaseException], None]) -> None:
        """Has everything ready for the time when there is no memory."""
        self.settled = True
        self._lost = lost
        self._error = MemoryError("no memory for a thread")
        self.settled = False

    def __del__(self) -> None:
        """Tells, where the thread did not."""
        if not self.settled:
            self._lost(self._error)


def _begin(run: Callable[[], None], fate: _Fate) -> None:
    run()
    fate.settled = True


def start_thread(run: Callable[[], None], lost: Callable[[BaseException], None]) -> None:
    """Runs it in a thread of its own, with signals blocked; RuntimeError where none can be had.

    lost: called with a MemoryError where `run` did not begin or did not come to its end; also
    after it has done a part, and also where no thread could be had.

    Not threading.Thread: its start waits with a Condition, which a Ctrl-C may break. And for these
    threads nobody waits at the interpreter's exit: a child may live on.
    """
    mask = _core.new_mask()
    try:
        _core.hold_signals(mask)
        start_new_thread(_begin, (run, _Fate(lost)))
    finally:
        _core.release_signals(mask)


def let_go(lock: Any) -> None:
    """Releases an RLock that a thread of ours, at its end, still holds.

    Leaving a `with` needs memory too (for the arguments of __exit__); without it the lock stays
    taken, and everyone else waits for a thread that is gone. Only for threads of ours: elsewhere
    this may be a signal handler, and the lock that of the code it interrupted.
    """
    while lock._is_owned():
        lock.release()


def with_signals(mask: object, call: Callable[[], object]) -> None:
    """Calls it with another thread's signal mask: what it starts inherits that."""
    own = _core.new_mask()
    _core.hold_signals(own)
    try:
        _core.take_mask(mask)
        call()
    finally:
        _core.release_signals(own)
