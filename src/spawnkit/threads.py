"""Threads of ours: for copying, and for commands that are looked after in the background."""

from __future__ import annotations

from _thread import start_new_thread

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def start_thread(run: Callable[[], None]) -> None:
    """Runs it in a thread of its own, which takes no signals; RuntimeError where none can be had.

    All signals are blocked in it. Otherwise
      1. pthread_create blocks the signals of the calling thread for a moment;
      2. a signal arrives then, and the new thread unblocks first and takes it;
      3. its handler sets the interpreter's flag, and the main thread, which should act on it, goes
         to sleep without having looked.

    Not threading.Thread: its start waits with a Condition, which a Ctrl-C may break. And for these
    threads nobody waits at the interpreter's exit: a child may live on.
    """
    mask = _core.new_mask()
    try:
        _core.hold_signals(mask)
        start_new_thread(run, ())
    finally:
        _core.release_signals(mask)
