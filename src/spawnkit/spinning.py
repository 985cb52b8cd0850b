"""set_spin: how long a wait stays awake."""

from __future__ import annotations

from . import _core

__all__ = ["set_spin"]

_LONGEST = 0.01


def set_spin(seconds: float) -> float:
    """For how long of a child's life its parent waits awake before it sleeps; what it was before.

    >>> before = set_spin(0)
    >>> set_spin(before)
    0.0

    At first 0.0003. To wake a processor that has nothing to do takes longer than a small program,
    so whoever waits for a young child gives up the processor again and again (sched_yield(2)) and
    looks in between, instead of sleeping at once. It costs processor time that nobody else wants,
    and that a quota (cpu.max, RLIMIT_CPU) counts all the same: no more than this per child, one
    thread of the process at a time, and hardly any where children turn out to live longer. 0: every
    wait sleeps at once. For all threads of the process, from its next wait on; a process that is
    forked has the same, a program that is executed begins anew.

    Raises TypeError for what is no number, and ValueError for less than 0 or more than 0.01: a
    signal handler of Python runs only after it.
    """
    if type(seconds) is bool or not isinstance(seconds, (int, float)):
        raise TypeError(f"set_spin: seconds wanted, not {seconds!r}")
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"set_spin: 0 to {_LONGEST} seconds wanted, not {seconds!r}")
    return _core.set_spin(round(seconds * 1_000_000_000)) / 1_000_000_000
