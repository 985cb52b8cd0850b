"""`make degrade` in short: each condition with a few tests of the core; and that it has force."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from degrade.__main__ import SHORT, run
from degrade.conditions import ROWS, TESTS

# Tells "ends" from "hangs".
HANGS_AFTER = 300.0


@pytest.mark.parametrize("row", ROWS)
def test_a_few_core_tests_pass_in_each_row(row: str, tmp_path: Path) -> None:
    """A126, A127, A128, A39, A131: the rest of the suite by `make degrade`."""
    done = subprocess.run(
        [sys.executable, "-m", "degrade", "--short", "--logs", str(tmp_path), row],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
    )
    cannot = [line for line in done.stdout.splitlines() if "cannot be made here" in line]
    if cannot:
        pytest.skip(cannot[0])
    assert done.stdout.endswith("Degrade: 1 of 1 rows green.\n"), done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("row", ROWS)
def test_a_row_without_force_is_not_green(row: str, tmp_path: Path) -> None:
    """Nothing is taken away: then no test runs, and the run says why."""
    without = dataclasses.replace(ROWS[row][0], enter=lambda _: [])
    if row == "unprivileged" and os.geteuid() != 0:
        pytest.skip("we have no rights that could be kept")
    counts = run(row, without, list(SHORT), tmp_path / "log")
    assert not counts.green
    assert counts.passed == 0
    assert "the condition is not in force" in (tmp_path / "log").read_text()
