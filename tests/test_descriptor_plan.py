"""The descriptor planner against a model: its moves are replayed on a table of descriptors."""

from __future__ import annotations

import itertools
import random

from spawnkit._core import descriptor_moves

Wanted = dict[int, "int | None"]
Table = dict[int, str]


def replay(wanted: Wanted, table: Table) -> tuple[Table, set[int], int]:
    """Do the moves as the kernel would: the table after them, who is close-on-exec, how many."""
    table = dict(table)
    close_on_exec = set(table)  # as Python opens everything
    moves = descriptor_moves(wanted)
    for source, target, scratch in moves:
        if source == -1:
            table.pop(target, None)
        elif source == target:
            assert source in table, f"{source} is not open"
            close_on_exec.discard(source)
        else:
            assert source in table, f"{source} is not open"
            table[target] = table[source]
            close_on_exec.discard(target)
            if scratch:
                assert target not in wanted
                close_on_exec.add(target)
    return table, close_on_exec, len(moves)


def rings(wanted: Wanted) -> int:
    """How many closed rings of two or more descriptors a map has."""
    count = 0
    seen: set[int] = set()
    for start in wanted:
        path = []
        at: int | None = start
        while at is not None and at in wanted and at not in seen:
            seen.add(at)
            path.append(at)
            at = wanted[at]
        if at in path and wanted[at] != at:
            count += 1
    return count


def check(wanted: Wanted, table: Table) -> None:
    after, close_on_exec, count = replay(wanted, table)
    for target, source in wanted.items():
        if source is None:
            assert target not in after, wanted
        else:
            assert after[target] == table[source], wanted
            assert target not in close_on_exec, wanted
    assert count <= len(wanted) + rings(wanted), wanted


def test_the_rings_are_counted_right() -> None:
    assert rings({1: 2, 2: 1}) == 1
    assert rings({0: 0, 1: 1}) == 0
    assert rings({1: 2, 2: 3, 3: 1, 4: 1, 5: 6, 6: 5}) == 2
    assert rings({1: 2, 2: None}) == 0


def test_every_map_of_six_targets_from_six_sources_is_done() -> None:
    """A27: all 6^6 = 46,656 maps of targets 0..5 from sources 0..5 equal the model."""
    table = {fd: f"file {fd}" for fd in range(6)}
    count = 0
    for sources in itertools.product(range(6), repeat=6):
        check(dict(enumerate(sources)), table)
        count += 1
    assert count == 46_656


def test_every_map_of_four_targets_with_closes_is_done() -> None:
    """A27: the same with None among the sources, and sources that are no targets."""
    table = {fd: f"file {fd}" for fd in range(6)}
    for sources in itertools.product([None, *range(6)], repeat=4):
        check(dict(enumerate(sources)), table)


def test_random_large_maps_are_done() -> None:
    """A27: up to 64 targets anywhere below 1024, gaps, closes, shared sources."""
    generator = random.Random(20261120)
    for _ in range(2_000):
        table = {fd: f"file {fd}" for fd in generator.sample(range(1024), 80)}
        open_fds = list(table)
        targets = generator.sample(range(1024), 20) + generator.sample(open_fds, 44)
        wanted: Wanted = {
            target: generator.choice([None, *generator.sample(open_fds, 9)]) for target in targets
        }
        check(wanted, table)


def test_random_permutations_are_done() -> None:
    """A27: nothing but rings."""
    generator = random.Random(27)
    for size in range(2, 60):
        fds = list(range(size))
        table = {fd: f"file {fd}" for fd in fds}
        shuffled = fds[:]
        generator.shuffle(shuffled)
        check(dict(zip(fds, shuffled, strict=True)), table)


def test_the_order_in_which_the_map_is_written_does_not_matter() -> None:
    assert descriptor_moves({2: 1, 1: 2, 0: 5}) == descriptor_moves({0: 5, 1: 2, 2: 1})


def test_an_empty_map_needs_no_moves() -> None:
    assert descriptor_moves({}) == []
