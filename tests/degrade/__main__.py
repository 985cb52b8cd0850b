"""`python -m degrade [ROW...]`: the whole suite, once per condition; a table at the end.

A row is green when its condition was proven in the interpreter that ran the tests, some have
passed and none has failed. What is left out is printed with its reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from degrade.conditions import ROWS, TESTS, CannotError, Condition, Place
from support.children import compile_helper

# Tells "ends" from "hangs": the suite takes minutes, the slowest condition a few times that.
HANGS_AFTER = 3600.0

# A status, a capture, a failure and a deadline on each engine, in a second.
SHORT = (
    "test_state.py::test_a_state_is_a_value",
    "test_state.py::test_errors_are_values_too",
)


@dataclass
class Counts:
    """What came of a condition."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def green(self) -> bool:
        return self.passed > 0 and not self.failed


@contextlib.contextmanager
def _place() -> Iterator[Place]:
    directory = Path(tempfile.mkdtemp(prefix="degrade-"))
    try:
        deny = directory / "deny"
        compile_helper("deny", deny)
        room = directory / "room"
        room.mkdir()
        directory.chmod(0o755)
        yield Place(room, str(deny))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run(row: str, condition: Condition, tests: list[str], log: Path) -> Counts:
    """The suite under one condition."""
    with _place() as place:
        counts = place.directory / "counts.json"
        try:
            under = condition.enter(place)
        except CannotError as reason:
            return Counts(failed=[f"this condition cannot be made here: {reason}"])
        options = [f"--basetemp={place.directory / 'tmp'}", "-p", "no:cacheprovider", "-q"]
        ours = ["-p", "degrade.plugin", f"--condition={row}/{condition.name}", f"--counts={counts}"]
        chosen = [str(TESTS / test) for test in tests or condition.tests] or [str(TESTS)]
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTEST_CURRENT_TEST", None)
        with open(log, "wb") as output:
            try:
                subprocess.run(
                    [*under, sys.executable, "-m", "pytest", *options, *ours, *chosen],
                    cwd=TESTS.parent,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=HANGS_AFTER,
                )
            except subprocess.TimeoutExpired:
                return Counts(failed=[f"it does not end; see {log}"])
        if not counts.exists() or not counts.read_text():
            return Counts(failed=[f"pytest did not get through; see {log}", _last_lines(log)])
        return Counts(**json.loads(counts.read_text()))


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def main() -> int:
    """The command; 1 where a row is not green."""
    parser = argparse.ArgumentParser(prog="python -m degrade", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"only these: {', '.join(ROWS)}")
    parser.add_argument("--short", action="store_true", help="a few tests of each row")
    parser.add_argument("--logs", type=Path, default=Path("build/degrade"), help="pytest's output")
    parser.add_argument("-t", "--test", action="append", default=[], help="only these tests")
    options = parser.parse_args()
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    options.logs.mkdir(parents=True, exist_ok=True)
    tests = options.test or (list(SHORT) if options.short else [])
    found: dict[str, list[tuple[Condition, Counts]]] = {}
    for row in options.rows or ROWS:
        found[row] = []
        for condition in ROWS[row]:
            if options.short and condition.tests:
                print(f"{row} {condition.name}: not in the short form")
                continue
            began = time.monotonic()
            log = options.logs / f"{row}-{condition.name.replace(' ', '-')}.log"
            counts = run(row, condition, tests, log)
            found[row].append((condition, counts))
            word = "green" if counts.green else f"RED, see {log}"
            print(f"{row} {condition.name}: {word}, {time.monotonic() - began:.0f} s", flush=True)
    return _tell(found)


def _tell(found: dict[str, list[tuple[Condition, Counts]]]) -> int:
    print(f"\n{'row':28} passed  left out  failed")
    for row, conditions in found.items():
        for condition, counts in conditions:
            left_out = sum(counts.left_out.values())
            name = f"{row} {condition.name}"
            print(f"{name:28} {counts.passed:6}  {left_out:8}  {len(counts.failed):6}")
    reasons: dict[str, list[str]] = {}
    for row, conditions in found.items():
        for condition, counts in conditions:
            for reason, times in counts.left_out.items():
                reasons.setdefault(reason, []).append(f"{row} {condition.name} ({times})")
            for failed in counts.failed:
                print(f"FAILED {row} {condition.name}: {failed}")
    for reason, where in reasons.items():
        print(f"left out: {reason}: {', '.join(where)}")
    green = sum(all(counts.green for _, counts in row) for row in found.values())
    print(f"Degrade: {green} of {len(found)} rows green.")
    return 0 if green == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
