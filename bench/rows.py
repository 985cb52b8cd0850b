"""The rows of the table: which two sides are compared, and what the project promises."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from bench import build, dropin, floorlib, machine, pipelines, sides, streams
from bench.sides import Side
from bench.subjects import ATTRIBUTED, TIMEOUT, WAYS, Capture

BIG_PARENT = 1024
"""MiB that the large parent holds."""
GIB = 1024
"""MiB that a child of the rows gib/... writes."""


Group = Literal["spawning", "dropin"]
"""Rows that stand in one table."""


def _nothing() -> str | None:
    return None


def _memory(mebibytes: int) -> str | None:
    available = machine.available_mebibytes()
    return f"{available} MiB are free, not {mebibytes}" if available < mebibytes else None


@dataclass(frozen=True)
class Row:
    scenario: str
    subject: Side
    baseline: Side
    goal: float | None = None
    """What is promised of spawnkit: at most this ratio, or at least this where `throughput`."""
    throughput: bool = False
    """A ratio of runs per second (more is better) instead of one of time (less is better)."""
    threads: int = 1
    """How many do the runs of a block, each."""
    most_runs: int = 1_000_000
    """A bound on the runs of a block, for what takes milliseconds each."""
    most_blocks: int = 1_000_000
    """A bound on the blocks that are taken unasked, for what takes seconds each."""
    shows_cpu: bool = False
    """Are the children's own work and ours one task, whose processor time says something?"""
    why_not: Callable[[], str | None] = _nothing
    """Why this machine cannot measure it; None: it can."""
    group: Group = "spawning"

    @property
    def name(self) -> str:
        return f"{self.scenario}/{self.subject.name}"

    def reached(self, ratio: float) -> bool | None:
        """None: nothing is promised for this row."""
        if self.goal is None:
            return None
        return ratio >= self.goal if self.throughput else ratio <= self.goal


@dataclass(frozen=True)
class Children:
    """The programs that a group of rows runs: one that writes nothing, one whose output is read."""

    label: str
    quiet: list[str]
    writer: list[str]
    output: bytes
    promised: bool
    """The promises are for the static child. In /bin/true four fifths of the time are the child's
    own start, and every ratio is near 1."""

    def goal(self, way: str, value: float) -> float | None:
        return value if self.promised and way == "spawnkit" else None


def _plain(c: Children) -> Iterator[Row]:
    floor = sides.loop("floor", partial(floorlib.plain, c.quiet))
    for way, make in WAYS.items():
        subject = sides.single(way, partial(make, c.quiet))
        yield Row(f"{c.label}/plain", subject, floor, c.goal(way, 1.15))


def _captured(c: Children) -> Iterator[Row]:
    one = sides.loop("floor", partial(floorlib.one_pipe, c.writer, len(c.output)))
    two = sides.loop("floor", partial(floorlib.two_pipes, c.writer, len(c.output)))
    kinds: list[tuple[Capture, Side]] = [("stdout", one), ("both", two)]
    for capture, floor in kinds:
        for way, make in WAYS.items():
            subject = sides.single(way, partial(make, c.writer, capture, c.output))
            yield Row(f"{c.label}/{capture}", subject, floor, c.goal(way, 1.20))


def _timeout(c: Children) -> Iterator[Row]:
    """Against the same way without a timeout: what the deadline alone costs."""
    for way in ("spawnkit", "subprocess"):
        without = sides.single(f"{way} without", partial(WAYS[way], c.quiet))
        subject = sides.single(way, partial(WAYS[way], c.quiet, timeout=TIMEOUT))
        yield Row(f"{c.label}/timeout", subject, without, c.goal(way, 1.15))


def _threads(c: Children) -> Iterator[Row]:
    for count in (1, 2, 4):
        floor = sides.floor_threads(c.quiet, count)
        for way, make in WAYS.items():
            subject = sides.threads(way, partial(make, c.quiet), count)
            goal = c.goal(way, 0.80) if count == 4 else None
            scenario = f"{c.label}/threads-{count}"
            yield Row(scenario, subject, floor, goal, throughput=True, threads=count)
    floor = sides.floor_threads(c.quiet, 4)
    for way, make in WAYS.items():
        subject = sides.executor(way, partial(make, c.quiet), 4)
        scenario, goal = f"{c.label}/executor-4", c.goal(way, 0.65)
        yield Row(scenario, subject, floor, goal, throughput=True, threads=4)


def _parent(args: list[str]) -> Iterator[Row]:
    """The same way and the same attributes in two interpreters: 1 GiB against a small one."""
    for way in ATTRIBUTED:
        small = sides.peer(f"{way} small", way, 0, args)
        large = sides.peer(way, way, BIG_PARENT, args)
        goal = 1.10 if way == "spawnkit" else None
        most = 1_000_000 if way == "spawnkit" else 10  # a fork of 1 GiB: tens of milliseconds
        room = partial(_memory, BIG_PARENT * 3 // 2)
        yield Row("parent-1GiB", large, small, goal, most_runs=most, why_not=room)


def _gib(mebibytes: int) -> Iterator[Row]:
    args = [str(build.pour_child()), str(mebibytes)]
    size = mebibytes << 20
    floors: dict[streams.Use, Callable[[], Callable[[int], None]]] = {
        "discard": partial(floorlib.one_pipe, args, size),
        "keep": partial(floorlib.keep, args, size),
        "hash": lambda: floorlib.hash_(args, size, streams.digest_of(size)),
    }
    needs: dict[streams.Use, Callable[[], str | None]] = {
        "discard": _nothing,
        "keep": partial(_memory, 3 * mebibytes),  # twice the output, for who copies it, and room
        "hash": floorlib.why_no_hash,
    }
    for use in streams.USES:
        floor = sides.loop("floor", floors[use])
        for name, way in streams.WAYS.items():
            yield Row(
                f"gib/{use}",
                sides.single(name, partial(streams.once, way, use, args, size)),
                floor,
                0.90 if name == "spawnkit" else None,
                throughput=True,
                most_runs=1,
                most_blocks=15,
                shows_cpu=True,
                why_not=needs[use],
            )


def _pipelines(children: Children) -> Iterator[Row]:
    """Three that do nothing: all of it is the pipeline's own cost."""
    stages = [children.quiet] * 3
    floor = sides.loop("floor", partial(floorlib.pipeline, stages, -1))
    for way, make in pipelines.WAYS.items():
        subject = sides.single(way, partial(make, stages, False))
        why_not = pipelines.why_no_plumbum if way == "plumbum" else _nothing
        yield Row(f"pipeline-{children.label}", subject, floor, most_runs=20, why_not=why_not)


def _pipeline_gib(mebibytes: int) -> Iterator[Row]:
    """Through three cats, to /dev/null. The floor has pipes of the usual size."""
    cat = shutil.which("cat") or "/bin/cat"
    stages = [[str(build.pour_child()), str(mebibytes)], [cat], [cat], [cat]]
    floor = sides.pipeline_floor(stages)
    for way, make in pipelines.WAYS.items():
        yield Row(
            "pipeline-gib",
            sides.single(way, partial(make, stages, True)),
            floor,
            1.0 if way == "spawnkit" else None,
            throughput=True,
            most_runs=1,
            most_blocks=15,
            why_not=pipelines.why_no_plumbum if way == "plumbum" else _nothing,
        )


def _dropin(c: Children) -> Iterator[Row]:
    """Against the standard module, and not against C: what who changes one import gets."""
    goals = {"run": 0.80, "run-captured": 0.80, "timeout": 0.15}
    for makes, args, output in (dropin.QUIET, c.quiet, b""), (dropin.WRITING, c.writer, c.output):
        for what, make in makes.items():
            standard, ours = (
                sides.single(side, partial(dropin.maker(side, make), args, output))
                for side in ("subprocess", "spawnkit")
            )
            yield Row(f"dropin/{what}", ours, standard, goals.get(what), group="dropin")
    standard, ours = (
        sides.threads(side, partial(dropin.maker(side, dropin.QUIET["run"]), c.quiet), 8)
        for side in ("subprocess", "spawnkit")
    )
    scenario = "dropin/threads-8"
    yield Row(scenario, ours, standard, 1.5, throughput=True, threads=8, group="dropin")
    room = partial(_memory, BIG_PARENT * 3 // 2)
    for way, goal, most in ("session", 0.80, 1_000_000), ("preexec", 0.02, 10):
        # One interpreter for both sides: each pays for the same memory.
        ways = {"subprocess": f"subprocess-{way}", "spawnkit": "dropin-session"}
        standard, ours = sides.peers(ways, BIG_PARENT, c.quiet)
        scenario = f"dropin/1gib-{way}"
        yield Row(scenario, ours, standard, goal, most_runs=most, why_not=room, group="dropin")


def _imports() -> Iterator[Row]:
    """Loading the module, and loading it with its `run`: a package may put off its own loading."""
    for what, inside in (("process", False), ("inside", True)):
        for suffix, attribute in (("", ""), ("-run", ".run")):
            statements = {
                module: f"import {module}" + (f"; {module}{attribute}" if attribute else "")
                for module in ("subprocess", "spawnkit")
            }
            baseline = sides.fresh_interpreter("subprocess", statements["subprocess"], inside)
            subject = sides.fresh_interpreter("spawnkit", statements["spawnkit"], inside)
            yield Row(f"import{suffix}-{what}", subject, baseline, 1.3, most_runs=5)


def rows(gib: int = GIB) -> list[Row]:
    """All rows, in the order of the table. Compiles what they need; opens nothing.

    gib: what the children of the rows gib/... write, in MiB, for those who have less time.
    """
    build.floor_library()
    quiet = [str(build.exit_child())]
    static = Children("static", quiet, [str(build.hello_child())], build.HELLO, True)
    path = shutil.which("true") or "/bin/true"
    true = Children("true", [path], [path], b"", False)

    floor = sides.loop("floor", partial(floorlib.plain, quiet))
    # The floor against itself: how far from 1.00 the method alone can lead on this machine.
    result = [Row("control", floor, floor)]
    for children in (static, true):
        result += _plain(children)
        result += _captured(children)
        result += _timeout(children)
        result += _threads(children)
        result += _pipelines(children)
    result += _gib(gib)
    result += _pipeline_gib(gib)
    result += _parent(quiet)
    result += _imports()
    result += _dropin(static)
    return result
