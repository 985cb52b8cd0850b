"""The short form of `make sanitize`: a few uses under ASan with UBSan and LSan, and under TSan."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sanitize.__main__ import PLANTED, find_planted
from sanitize.left_out import LEFT_OUT, WITHOUT_LEAKS
from sanitize.tools import TESTS, TOOLS, MissingError, Tool, read_reports, suppressions


@pytest.fixture(params=["address", "thread"])
def tool(request: pytest.FixtureRequest) -> Tool:
    """A tool, with the package built for it."""
    found = TOOLS[request.param]
    try:
        found.prepare()
    except MissingError as missing:
        pytest.skip(f"{found.checks}: {missing}")
    return found


def test_nothing_is_reported(tool: Tool, tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    done = subprocess.run(
        [tool.python, "-m", "sanitize.exercise"],
        env=tool.environment(reports),
        capture_output=True,
        text=True,
    )
    assert read_reports(reports) == []
    assert (done.stdout, done.returncode) == ("exercised\n", 0), done.stderr


def test_what_is_planted_is_found(tool: Tool) -> None:
    assert find_planted(tool, PLANTED[tool.name][-1:]) == []


def test_at_most_ten_suppressions() -> None:
    assert 0 < len(list(suppressions())) <= 10


def test_what_is_left_out_exists_and_says_why() -> None:
    everywhere = [("address", pattern, reason) for pattern, reason in WITHOUT_LEAKS]
    for tools, pattern, reason in LEFT_OUT + everywhere:
        file, _, name = pattern.partition("::")
        assert f"def {name.partition('*')[0]}" in (TESTS / file).read_text(), pattern
        assert reason
        assert set(tools.split()) <= TOOLS.keys()
