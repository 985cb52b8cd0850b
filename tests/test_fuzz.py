"""The targets of `make fuzz`, for a moment and by rote: the same inputs in every run."""

from __future__ import annotations

import gc
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import hypothesis
import pytest
from hypothesis import strategies as st

from fuzz import build, corpus, machine, planted, values
from support.children import Children

BY_ROTE = hypothesis.settings(
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the targets are compiled."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def programs(place: Path) -> dict[str, Path]:
    """The targets, compiled without libFuzzer."""
    watched = build.links("cc", build.WATCHED, place)
    return {target: build.build(target, place, None, watched) for target in build.SOURCES}


@pytest.fixture(scope="module")
def plans(place: Path) -> list[str]:
    """Files with what the packer makes."""
    return corpus.write(place / "corpus")


def by_chance(target: str, program: Path, *arguments: str) -> str:
    """What a target says."""
    longest = f"-max_len={build.LONGEST[target]}"
    done = subprocess.run(
        [program, "-seed=1", longest, *arguments],
        cwd=program.parent,
        capture_output=True,
        text=True,
        errors="replace",
        # Without leaks: LeakSanitizer wants ptrace, which not every container allows.
        env={"ASAN_OPTIONS": "detect_leaks=0"},
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_moves_of_any_map_make_it_true(programs: dict[str, Path]) -> None:
    """A27: the planner's moves, done on a table as the kernel does them, by 500,000 maps."""
    assert "Done 500000 runs" in by_chance("planner", programs["planner"], "-runs=500000")


def test_a_plan_that_is_let_through_is_replayed_within_its_bounds(
    programs: dict[str, Path], plans: list[str]
) -> None:
    """What the check accepts is replayed as it says, and nothing beside it is read."""
    said = by_chance("plans", programs["plans"], "-runs=20000", *plans)
    counts = re.search(r"(\d+) refused, (\d+) accepted, \2 replayed, (\d+) of them to exec", said)
    assert counts, said
    # Neither all refused, which would try nothing, nor all let through.
    assert all(int(count) > 2000 for count in counts.groups()), said


def test_every_plan_of_the_packer_is_let_through(
    programs: dict[str, Path], plans: list[str]
) -> None:
    said = by_chance("plans", programs["plans"], "-runs=0", *plans)
    assert f"plans: 0 refused, {len(plans)} accepted" in said


@pytest.mark.parametrize("target", ["planner", "plans"])
@pytest.mark.usefixtures("plans")
def test_a_planted_defect_is_found(target: str, place: Path) -> None:
    """`make fuzz` tries all of them; this is one of each C target."""
    defect = next(defect for defect in planted.DEFECTS if defect.target == target)
    assert planted.found(defect, place, None).startswith(f"{target}: ")


@pytest.fixture
def tree() -> Iterator[None]:
    with values.Place():
        yield


@pytest.mark.parametrize("name", values.PROPERTIES)
def test_values_are_as_their_model_from_seeds(name: str) -> None:
    assert values.run(name, 400) == 400


@pytest.mark.parametrize("name", values.PROPERTIES)
@pytest.mark.usefixtures("tree")
def test_values_are_as_their_model(name: str) -> None:
    """The same properties, with hypothesis to choose and to make small what it finds."""

    @BY_ROTE
    @hypothesis.given(st.randoms(use_true_random=False))
    def check(chance: Random) -> None:
        values.PROPERTIES[name](chance)

    check()


def test_processes_are_as_their_model(children: Children) -> None:
    """Start, signal, wait, time out, fork, drop, in orders that hypothesis makes up."""
    machine.STEPS.clear()
    machine.ready(children("block"))
    try:
        machine.run(8, 20, by_rote=True)
    finally:
        gc.unfreeze()
    assert len(machine.STEPS) > 10, machine.STEPS
