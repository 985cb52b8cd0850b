"""In pytest, under the condition: proves it, leaves out what cannot hold, counts.

`-p degrade.plugin --condition ROW/NAME --counts FILE`
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from degrade.conditions import ROWS, TESTS, Condition
from support import engines

# The one runs the rows itself; the other builds the package for tools that have needs of their own.
NOT_IN_A_ROW = frozenset(("test_degrade_rows.py", "test_sanitize.py"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--condition", help="row and name of the condition we are under")
    parser.addoption("--counts", help="where the counts go")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Row(config), "row")


class Row:
    """One run of the suite under one condition."""

    def __init__(self, config: pytest.Config) -> None:
        row, _, name = config.getoption("--condition").partition("/")
        self.condition: Condition = next(each for each in ROWS[row] if each.name == name)
        # Now, because at the end there may be no descriptor left.
        self.counts = os.open(config.getoption("--counts"), os.O_WRONLY | os.O_CREAT)
        engines.memory_is_shared = self.condition.memory_is_shared
        self.passed = 0
        self.failed: list[str] = []
        self.left_out: Counter[str] = Counter()

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if collection_path.name in NOT_IN_A_ROW else None

    def pytest_sessionstart(self) -> None:
        wrong = self.condition.proof()
        if wrong:
            raise pytest.UsageError(f"the condition is not in force: {wrong}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        unused = set(self.condition.left_out)
        for item in items:
            for pattern, reason in self.condition.left_out.items():
                name = item.nodeid.removeprefix(f"{TESTS.name}/")
                if fnmatch.fnmatchcase(name, pattern):
                    item.add_marker(pytest.mark.skip(reason=reason))
                    unused.discard(pattern)
        collected = {item.path for item in items}
        everything = {path for path in TESTS.glob("test_*.py") if path.name not in NOT_IN_A_ROW}
        if unused and collected >= everything:
            raise pytest.UsageError(f"left out, but not there: {', '.join(sorted(unused))}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self.left_out[report.longrepr[2].removeprefix("Skipped: ")] += 1
        elif report.failed:
            self.failed.append(f"{report.nodeid} ({report.when})")
        elif report.when == "call":
            self.passed += 1

    def pytest_sessionfinish(self) -> None:
        found: dict[str, Any] = {
            "passed": self.passed,
            "failed": self.failed,
            "left_out": self.left_out,
        }
        os.write(self.counts, json.dumps(found).encode())
