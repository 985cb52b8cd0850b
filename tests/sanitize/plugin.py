"""For pytest under a tool: leaves out what cannot hold there, says why, and counts the rest."""

from __future__ import annotations

import fnmatch
import json
import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sanitize.left_out import LEFT_OUT, WITHOUT_LEAKS
from support import engines
from support.isolated import Isolate

TOOL = os.environ["SANITIZE_TOOL"]
RESULT = Path(os.environ["SANITIZE_RESULT"])

_terminal: Any = None
_left_out: Counter[str] = Counter()
_outcomes: Counter[str] = Counter()


@pytest.hookimpl(trylast=True)  # the reporter comes with the others
def pytest_configure(config: pytest.Config) -> None:
    global _terminal
    engines.memory_is_shared = TOOL != "memory"
    _terminal = config.pluginmanager.get_plugin("terminalreporter")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept, left = [], []
    for item in items:
        reason = _reason(item.nodeid)
        (left if reason else kept).append(item)
        if reason:
            _left_out[reason] += 1
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def _reason(name: str) -> str:
    for tools, pattern, reason in LEFT_OUT:
        if TOOL in tools.split() and fnmatch.fnmatchcase(name, f"*{pattern}"):
            return reason
    return ""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        _outcomes[report.outcome] += 1
    if report.failed:  # now: such a run is long
        _terminal.write_line(f"\n{report.nodeid} ({report.when}):\n{report.longreprtext}")


def pytest_sessionfinish() -> None:
    RESULT.write_text(json.dumps({"outcomes": _outcomes, "left out": _left_out}))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around all of a test, its oracle too: the variable may not change before its eyes."""
    without = any(fnmatch.fnmatchcase(item.nodeid, f"*{pattern}") for pattern, _ in WITHOUT_LEAKS)
    if without:
        os.environ["SANITIZE_LEAKS"] = "0"
    result = yield
    if without:
        del os.environ["SANITIZE_LEAKS"]
    return result


@pytest.fixture(scope="session", autouse=True)
def _no_look_for_leaks_where_calls_are_refused() -> Iterator[None]:
    """LeakSanitizer stops the threads with ptrace and a clone of its own, and both need a kernel
    that refuses nothing and nobody who traces already."""
    start = Isolate.start

    def without_leaks(self: Isolate, function: Any, *arguments: Any, **options: Any) -> Any:
        if options.get("deny") or options.get("later") or options.get("under"):
            options["env"] = {**(options.get("env") or {}), "SANITIZE_LEAKS": "0"}
        return start(self, function, *arguments, **options)

    Isolate.start = without_leaks  # type: ignore[method-assign]
    yield
    Isolate.start = start  # type: ignore[method-assign]
