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


def start_thread(run: Callable[[], None]) -> None:
    """Runs it in a thread of its own, with signals blocked; RuntimeError where none can be had.

    Not threading.Thread: its start waits with a Condition, which a Ctrl-C may break. And for these
    threads nobody waits at the interpreter's exit: a child may live on.
    """
    mask = _core.new_mask()
    try:
        _core.hold_signals(mask)
        start_new_thread(run, ())
    finally:
        _core.release_signals(mask)


def with_signals(mask: object, call: Callable[[], object]) -> None:
    """Calls it with another thread's signal mask: what it starts inherits that."""
    own = _core.new_mask()
    _core.hold_signals(own)
    try:
        _core.take_mask(mask)
        call()
    finally:
        _core.release_signals(own)
