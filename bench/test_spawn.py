"""The rows of `python -m bench` for pytest-benchmark, to save runs and compare them.

    pytest bench/test_spawn.py --benchmark-save=before
    pytest bench/test_spawn.py --benchmark-compare      # against the last one saved
    pytest bench/test_spawn.py -k 'static and plain'

A group is a row; its members are the floor and the ways of spawning. A round is a block of runs, so
the times shown are those of a block (`runs` in the extra info). pytest-benchmark measures one
member after the other: it shows how a way changed from one saved run to the next, but ratios
between ways are better taken from `python -m bench`, which alternates them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest

from bench import machine
from bench.rows import rows
from bench.sides import Side
from bench.subjects import why_no_spawnkit

ROUNDS = 60
RUNS = 100


class Benchmark(Protocol):
    """The part of pytest-benchmark's fixture that is used here."""

    group: str | None
    extra_info: dict[str, Any]

    def pedantic(
        self,
        target: Callable[[int], float],
        args: tuple[int],
        *,
        rounds: int,
        warmup_rounds: int,
    ) -> object: ...


def _members() -> list[Any]:
    """Every side of every row, once."""
    members: dict[str, tuple[str, Side, int, int]] = {}
    for row in rows():
        runs = min(RUNS, row.most_runs)
        rounds = min(ROUNDS, row.most_blocks)
        if row.why_not() is not None:
            continue
        for side in (row.baseline, row.subject):
            member = (row.scenario, side, runs, rounds)
            members.setdefault(f"{row.scenario}/{side.name}", member)
    return [pytest.param(*values, id=name) for name, values in members.items()]


@pytest.fixture(scope="module", autouse=True)
def _descriptors() -> None:
    machine.keep_to_ourselves()


@pytest.mark.parametrize(("scenario", "side", "runs", "rounds"), _members())
def test_spawn(scenario: str, side: Side, runs: int, rounds: int, benchmark: Benchmark) -> None:
    """One block per round, after one that is thrown away."""
    missing = why_no_spawnkit()
    if side.name.startswith("spawnkit") and missing is not None:
        pytest.skip(f"spawnkit cannot be measured: {missing}")
    benchmark.group = scenario
    benchmark.extra_info["runs"] = runs
    with side.open() as block:
        benchmark.pedantic(block, (runs,), rounds=rounds, warmup_rounds=1)
