"""How two sides are compared: neighbouring blocks, the ratio of each pair, median and quartiles.

A machine's speed drifts by more than the differences of interest: the clock changes, other work
comes and goes. Two blocks of a few milliseconds that follow each other see nearly the same machine,
so only their ratio is believed. The pairs run in the order A B, B A, A B, ... : whatever one side
leaves behind (warm caches, a woken core) then falls on both alike.

The garbage collector stays as the interpreter has it, on, for every side.
"""

from __future__ import annotations

import math
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Block = Callable[[int], float]
"""Does n runs, returns the seconds they took."""

WORTHLESS = 0.05
"""A row is marked when its median is known no better than this, as a part of the median. The goals
allow 0.10 to 0.20 over parity: a figure that moves by a third of that decides nothing."""

LEAST_SECONDS = 4.0
"""A row of quick blocks takes more than it must, until so much time has passed: a burst of other
work on the machine lasts about a second, and should not fill a whole row."""


@dataclass
class Comparison:
    """Two sides, block by block. Times are seconds per run."""

    baseline: list[float] = field(default_factory=list)
    subject: list[float] = field(default_factory=list)
    baseline_cpu: list[float] = field(default_factory=list)
    """User and system seconds per run, of this process and its children."""
    subject_cpu: list[float] = field(default_factory=list)
    invert: bool = False
    """False: subject's time over the baseline's, less is better. True: throughput, more is."""

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.baseline, self.subject, strict=True)
        return [b / s if self.invert else s / b for b, s in pairs]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        ratios = self.ratios
        if len(ratios) < 2:
            return ratios[0], ratios[0], ratios[0]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return low, middle, high

    @property
    def cpu_ratio(self) -> float:
        """Median of the subject's processor time over the baseline's."""
        pairs = zip(self.baseline_cpu, self.subject_cpu, strict=True)
        return statistics.median(s / b for b, s in pairs)

    @property
    def uncertainty(self) -> float:
        """Half the interval in which the true median lies, 19 times of 20, in units of the ratio.

        The notch of McGill, Tukey and Larsen (1978): 1.57 times the distance of the quartiles, by
        the root of the number of blocks. More blocks make it smaller, noise makes it larger.
        """
        low, _, high = self.quartiles
        return 1.57 * (high - low) / math.sqrt(len(self.baseline))

    @property
    def worthless(self) -> bool:
        _, middle, _ = self.quartiles
        return len(self.baseline) < 2 or self.uncertainty > WORTHLESS * middle

    def decides(self, goal: float) -> bool:
        """Is the true median on one side of `goal`, 19 times of 20? The sign test.

        It can be, however far the ratios scatter. Those of gib/... have two heaps: child and reader
        share a core, or wake each other across two.
        """
        count = len(self.ratios)
        fewer = min(sum(r < goal for r in self.ratios), sum(r > goal for r in self.ratios))
        chance: float = 2 * sum(math.comb(count, k) for k in range(fewer + 1)) / 2**count
        return chance <= 0.05


def timed(block: Callable[[int], object]) -> Block:
    """A block that takes its own time."""

    def run(runs: int) -> float:
        start = time.perf_counter_ns()
        block(runs)
        return (time.perf_counter_ns() - start) / 1e9

    return run


def _cpu() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def repeated(once: Callable[[], None]) -> Callable[[int], None]:
    def block(runs: int) -> None:
        for _ in range(runs):
            once()

    return block


def compare(
    baseline: Block,
    subject: Block,
    *,
    blocks: int,
    runs: int,
    threads: int = 1,
    seconds: float = 0.0,
    invert: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Pairs of blocks of `runs` runs (in each of `threads` threads), after a pair that is thrown
    away: `blocks` of them, and more until `seconds` have passed. The time decides the end, never
    the figures."""
    result = Comparison(invert=invert)

    def measure(block: Block, times: list[float], cpu: list[float]) -> None:
        start = _cpu()
        times.append(block(runs) / (runs * threads))
        cpu.append((_cpu() - start) / (runs * threads))

    def first() -> None:
        measure(baseline, result.baseline, result.baseline_cpu)

    def second() -> None:
        measure(subject, result.subject, result.subject_cpu)

    baseline(runs)
    subject(runs)
    end = time.monotonic() + seconds
    pair = 0
    while pair < blocks or time.monotonic() < end:
        progress(pair)
        if pair % 2 == 0:
            first()
            second()
        else:
            second()
            first()
        pair += 1
    return result
