"""What stands on either side of a comparison: something that opens, runs blocks, and closes.

A side is opened only while its row is measured, so that no row runs beside another row's threads
or peers.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from bench import build, floorlib
from bench.method import Block, repeated, timed
from bench.subjects import Once

T = TypeVar("T")


@dataclass(frozen=True)
class Side:
    name: str
    open: Callable[[], AbstractContextManager[Block]]


def loop(name: str, make: Callable[[], Callable[[int], None]]) -> Side:
    """A block function as it is: the floor's."""

    @contextmanager
    def opened() -> Iterator[Block]:
        yield timed(make())

    return Side(name, opened)


def pipeline_floor(stages: list[list[str]]) -> Side:
    """Pipelines of C, one after the other, whose output goes nowhere."""

    @contextmanager
    def opened() -> Iterator[Block]:
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            yield timed(floorlib.pipeline(stages, null))
        finally:
            os.close(null)

    return Side("floor", opened)


def single(name: str, make: Callable[[], Once]) -> Side:
    """One run after the other, in this thread."""
    return loop(name, lambda: repeated(make()))


def floor_threads(args: list[str], count: int) -> Side:
    """A block is n runs in each of `count` threads of C."""

    @contextmanager
    def opened() -> Iterator[Block]:
        with floorlib.pool(args, count) as block:
            yield timed(block)

    return Side("floor", opened)


def threads(name: str, make: Callable[[], Once], count: int) -> Side:
    """A block is n runs in each of `count` threads, which live as long as the side."""

    @contextmanager
    def opened() -> Iterator[Block]:
        block = repeated(make())
        with ExitStack() as stack:
            # An executor of one thread is a plain thread with a queue of its own. One executor
            # for all would let a quick thread do two parts of a round, and a slow one none.
            each = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(count)]

            def round_(runs: int) -> None:
                for future in [one.submit(block, runs) for one in each]:
                    future.result()

            yield timed(round_)

    return Side(name, opened)


def executor(name: str, make: Callable[[], Once], count: int) -> Side:
    """The same n runs per thread, handed one by one to a ThreadPoolExecutor."""

    @contextmanager
    def opened() -> Iterator[Block]:
        once = make()
        with ThreadPoolExecutor(count) as pool:

            def round_(runs: int) -> None:
                for future in [pool.submit(once) for _ in range(runs * count)]:
                    future.result()

            yield timed(round_)

    return Side(name, opened)


def peer(name: str, way: str, mebibytes: int, args: list[str]) -> Side:
    """An interpreter of its own that holds so much touched memory; it takes the time itself."""
    (side,) = peers({name: way}, mebibytes, args)
    return side


def peers(ways: dict[str, str], mebibytes: int, args: list[str]) -> list[Side]:
    """Sides, {name: way}, of one such interpreter. It lives while any of them is open."""
    opened = _Shared(partial(_peer, list(ways.values()), mebibytes, args))

    @contextmanager
    def open_(way: str) -> Iterator[Block]:
        with opened.use() as order:
            yield partial(order, way)

    return [Side(name, partial(open_, way)) for name, way in ways.items()]


class _Shared(Generic[T]):
    """A context that is entered with its first user, and left with its last."""

    def __init__(self, make: Callable[[], AbstractContextManager[T]]) -> None:
        self._make = make
        self._users = 0
        self._stack = ExitStack()
        self._value: T

    @contextmanager
    def use(self) -> Iterator[T]:
        if not self._users:
            self._value = self._stack.enter_context(self._make())
        self._users += 1
        try:
            yield self._value
        finally:
            self._users -= 1
            if not self._users:
                self._stack.close()


@contextmanager
def _peer(
    ways: list[str], mebibytes: int, args: list[str]
) -> Iterator[Callable[[str, int], float]]:
    """Yields what has it do n runs one way, and returns the seconds they took."""
    command = [sys.executable, "-m", "bench.peer", str(mebibytes), ",".join(ways), *args]
    with subprocess.Popen(
        command,
        cwd=build.BENCH.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin
        assert process.stdout
        orders, answers = process.stdin, process.stdout

        def answer() -> int:
            line = answers.readline()
            if not line:
                raise RuntimeError(f"bench.peer {ways} ended early; its message is above")
            return int(line)

        def order(way: str, runs: int) -> float:
            orders.write(f"{way} {runs}\n")
            return answer() / 1e9

        answer()
        try:
            yield order
        finally:
            orders.close()


def fresh_interpreter(name: str, statement: str, inside: bool) -> Side:
    """A block is n interpreters that execute `statement` and end.

    inside: the time the statement took, by the interpreter's own clock. Otherwise the whole time
    from start to end of the process, with nothing subtracted.
    """
    program = (
        "from time import perf_counter_ns as now; start = now()\n"
        f"{statement}\n"
        "print(now() - start)\n"
    )
    # -I: neither the directory nor the environment decides what is imported.
    command = [sys.executable, "-I", "-c", program]

    @contextmanager
    def opened() -> Iterator[Block]:
        took: list[int] = []

        def block(runs: int) -> None:
            took.clear()
            for _ in range(runs):
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                took.append(int(done.stdout))

        def by_its_own_clock(runs: int) -> float:
            block(runs)
            return sum(took) / 1e9

        yield by_its_own_clock if inside else timed(block)

    return Side(name, opened)
