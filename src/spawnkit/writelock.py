"""write_lock: no child is made while a program file is being written."""

from __future__ import annotations

import os

from . import _core

__all__ = ["write_lock"]


class write_lock:  # noqa: N801 - used like a function
    """While it is held, this process makes no child through spawnkit.

    >>> with write_lock(), open("tool", "wb") as file:  # doctest: +SKIP
    ...     file.write(program)

    For who writes a program and then runs it. A child made meanwhile by another thread would have a
    copy of the open descriptor until it executes, and the kernel runs no file that is open for
    writing (ETXTBSY, execve(2)). Open and close the file inside the block: a descriptor opened
    before it may have been copied already.

    Any number of threads may hold it at a time. It waits for starts that are under way, not for the
    programs they start; other threads' starts wait for it, without holding up the interpreter.
    Neither side can keep the other out for ever. Re-entrant per thread. To start a process in the
    thread that holds it is a RuntimeError. What a fork copies of it is not held in the new process.

    Out of its reach are children made by others: os.fork, subprocess, multiprocessing, C libraries.
    Against those, and against writers in other processes, a start that meets ETXTBSY is tried again
    for at most 0.25 s.

    One object serves one `with` statement at a time: RuntimeError otherwise. An object that is
    dropped while held gives the lock back. Go has this lock inside (syscall.ForkLock), and leaves
    ETXTBSY to its users (golang.org/issue/22315).
    """

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        """Takes nothing yet; `with` does."""
        self._turns: dict[str, tuple[_core.Turn, _core.Guard]] = {}  # the one that is in use

    def __enter__(self) -> None:
        """Waits until no start is under way. Ctrl-C ends the wait, and the lock is not held."""
        # One for each call: who finds the object in use must have nothing of the other thread's in
        # its hands when it cleans up. `setdefault` and `pop` look and take in one step.
        #
        # C notes in `turn` what it has taken: an exception at any point finds what to give back.
        # Should one strike even in here, the lock goes with the last reference to its guard.
        turn = _core.new_turn()
        taken = turn, _core.guard_turn(turn)
        turns = self._turns
        try:
            if turns.setdefault("in use", taken) is not taken:
                raise RuntimeError("write_lock(): this one is in use; one for each with statement")
            result = _core.write_lock(turn)
            if turns.get("in use") is not taken:
                raise RuntimeError("write_lock(): given back by another thread during the wait")
            if result:
                raise OSError(-result, os.strerror(-result))
        except BaseException:
            if turns.get("in use") is taken:
                turns.clear()
            _core.end_turn(turn)
            raise

    def __exit__(self, *exception: object) -> None:
        """Gives it back."""
        turn, _ = self._turns.pop("in use", (None, None))
        if turn is not None:
            _core.end_turn(turn)
