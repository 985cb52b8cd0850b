"""How long another thread stands still while something is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic_ns


@contextmanager
def ticking() -> Iterator[list[int]]:
    """Nanoseconds between the ticks of a thread of its own, of the block; complete after it."""
    gaps: list[int] = []
    over, begun = threading.Event(), threading.Event()

    def tick() -> None:
        last = monotonic_ns()
        ended = False
        while not ended:  # one more after the end: the longest stall may be the last
            ended = over.wait(0.0005)
            now = monotonic_ns()
            gaps.append(now - last)
            last = now
            begun.set()

    ticker = threading.Thread(target=tick)
    ticker.start()
    begun.wait()  # before its first tick there is nothing to be stalled
    try:
        yield gaps
    finally:
        over.set()
        ticker.join()
