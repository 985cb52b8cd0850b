"""docs/go-tests.md and docs/coverage.md: every test they name exists, and no row is empty.

The check is a function of the documents' text and of the tests' names, so that it can be tried on
documents that are wrong. Names are read from the sources; nothing is imported.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
GO_TESTS = DOCS / "go-tests.md"
COVERAGE = DOCS / "coverage.md"

NAMED = re.compile(r"`([\w./-]+\.py)::(\w+)`")
REASON = re.compile(r"\bnot yet: \S|\bno meaning here: \S")
NOT_YET = re.compile(r"\bnot yet\b")
GO_NAME = re.compile(r"`(Test\w+)`")
# """Go TestPipes: …""", """A22: Go TestStart_twice: …""", """… Go TestExitStatus: the text."""
CLAIM = re.compile(r"\bGo (Test\w+)[:,]")


def claims_by_test() -> dict[str, set[str]]:
    """Every `file::test` there is, with the Go tests that its docstring claims."""
    found = {}
    for path in sorted(TESTS.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                claims = CLAIM.findall(ast.get_docstring(node) or "")
                found[f"{path.name}::{node.name}"] = set(claims)
    return found


def rows(text: str) -> list[tuple[str, list[str]]]:
    """The cells of every table row, each with the headings above it."""
    found = []
    headings: dict[int, str] = {}
    for line in text.splitlines():
        if match := re.match(r"(#+) (.*)", line):
            level = len(match[1])
            headings = {n: words for n, words in headings.items() if n < level}
            headings[level] = match[2]
        elif line.startswith("|") and not line.startswith("|---"):
            cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
            found.append((" / ".join(headings[n] for n in sorted(headings) if n > 1), cells))
    # The first row under each heading is the heading of the table.
    places = [place for place, _ in found]
    return [row for n, row in enumerate(found) if n and places[n] == places[n - 1]]


def missing_tests(text: str, tests: set[str]) -> list[str]:
    """Tests that the text names and that do not exist."""
    return [
        f"{file}::{name}" for file, name in NAMED.findall(text) if f"{file}::{name}" not in tests
    ]


def faults_of_rows(text: str, width: int) -> list[str]:
    """Rows of another width, with an empty cell, or with neither a test nor a reason."""
    faults = []
    for place, cells in rows(text):
        row = f"{place}: {cells[0]}"
        last = cells[-1]
        if len(cells) != width:
            faults.append(f"{row}: {len(cells)} cells")
        elif not all(cells):
            faults.append(f"{row}: an empty cell")
        elif not (NAMED.search(last) or NOT_YET.search(last) or REASON.search(last)):
            faults.append(f"{row}: neither a test nor a reason")
    return faults


def faults_of_go_tests(text: str, tests: dict[str, set[str]]) -> list[str]:
    """What is wrong with docs/go-tests.md: names, and what docstrings claim and it does not say."""
    faults = faults_of_rows(text, 3)
    listed: dict[str, set[str]] = {}
    seen = set()
    for place, cells in rows(text):
        match = GO_NAME.fullmatch(cells[0])
        if not match:
            faults.append(f"{place}: {cells[0]} is no name of a test")
            continue
        package = place.split(" / ")[0]
        if (package, match[1]) in seen:
            faults.append(f"{package}: {match[1]} is there twice")
        seen.add((package, match[1]))
        ours = {f"{file}::{name}" for file, name in NAMED.findall(cells[-1])}
        listed.setdefault(match[1], set()).update(ours)
        if not ours and not REASON.search(cells[-1]):
            faults.append(f"{place}: {cells[0]}: what does it wait for, or why not?")
    for test, claims in tests.items():
        for claim in sorted(claims):
            if claim not in listed:
                faults.append(f"{test} claims {claim}, which is not listed")
            elif test not in listed[claim]:
                faults.append(f"{test} claims {claim}, and is not named there")
    return faults


@pytest.mark.parametrize("path", [GO_TESTS, COVERAGE], ids=lambda path: path.name)
def test_every_test_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(NAMED.findall(text)) > 50
    assert missing_tests(text, set(claims_by_test())) == []


def test_every_go_test_is_there_once_with_a_test_or_a_reason() -> None:
    text = GO_TESTS.read_text(encoding="utf-8")
    assert len(rows(text)) > 100
    assert faults_of_go_tests(text, claims_by_test()) == []


def test_every_concept_has_a_test_or_the_words_not_yet() -> None:
    text = COVERAGE.read_text(encoding="utf-8")
    assert len(rows(text)) > 40
    assert faults_of_rows(text, 3) == []


GOOD = """\
# Title

## os

### a_test.go

| Go | claim | ours |
|---|---|---|
| `TestOne` | a claim | `test_x.py::test_one`, `test_x.py::test_two` |
| `TestTwo` | a claim | not yet: a feature |
| `TestThree` | a claim | no meaning here: a reason |

## syscall

### b_test.go

| Go | claim | ours |
|---|---|---|
| `TestOne` | of another package | `test_x.py::test_two`; the rest: not yet |
"""
TESTS_THERE = {"test_x.py::test_one": {"TestOne"}, "test_x.py::test_two": set()}


def test_a_good_document_has_no_faults() -> None:
    assert [cells[0] for _, cells in rows(GOOD)] == [
        "`TestOne`",
        "`TestTwo`",
        "`TestThree`",
        "`TestOne`",
    ]
    assert rows(GOOD)[-1][0] == "syscall / b_test.go"
    assert faults_of_go_tests(GOOD, TESTS_THERE) == []
    assert faults_of_rows(GOOD, 3) == []
    assert missing_tests(GOOD, set(TESTS_THERE)) == []


@pytest.mark.parametrize(
    ("was", "becomes", "fault"),
    [
        ("| `TestTwo` |", "| `TestOne` |", "os: TestOne is there twice"),
        ("| `TestTwo` |", "| Two |", "Two is no name of a test"),
        ("not yet: a feature", "later", "neither a test nor a reason"),
        ("not yet: a feature", "not yet", "what does it wait for"),
        ("no meaning here: a reason", "no meaning here", "neither a test nor a reason"),
        ("not yet: a feature", "", "`TestTwo`"),
        ("| `TestTwo` | a claim |", "| `TestTwo` |", "2 cells"),
        ("`TestThree` | a claim", "`TestThree` | ", "`TestThree`"),
        ("`test_x.py::test_one`, ", "", "claims TestOne, and is not named there"),
        ("`TestOne`", "`TestFour`", "claims TestOne, which is not listed"),
    ],
)
def test_a_broken_document_is_found_out(was: str, becomes: str, fault: str) -> None:
    broken = GOOD.replace(was, becomes)
    assert broken != GOOD
    faults = faults_of_go_tests(broken, TESTS_THERE)
    assert any(fault in line for line in faults), faults


def test_a_name_without_a_test_is_found_out() -> None:
    assert missing_tests(GOOD, {"test_x.py::test_two"}) == ["test_x.py::test_one"]
    assert missing_tests("`test_y.py::test_one`", set(TESTS_THERE)) == ["test_y.py::test_one"]


def test_a_concept_without_anything_is_found_out() -> None:
    good = "## Files\n\n| concept | home | shown by |\n|---|---|---|\n| a | b | not yet |\n"
    assert faults_of_rows(good, 3) == []
    assert faults_of_rows(good.replace("not yet", "soon"), 3) == [
        "Files: a: neither a test nor a reason"
    ]
    assert faults_of_rows(good.replace("not yet", ""), 3)


def test_claims_are_read_from_docstrings() -> None:
    assert CLAIM.findall("Go TestOne: x. Go TestTwo, and") == ["TestOne", "TestTwo"]
    assert CLAIM.findall("A1: Go TestStart_twice: x") == ["TestStart_twice"]
    assert CLAIM.findall("Differs from Go: TestOne") == []
    found = claims_by_test()
    assert f"{Path(__file__).name}::test_claims_are_read_from_docstrings" in found
    assert "TestPipes" in found["test_cmd_pipes.py::test_lines_go_through_the_pipes_one_by_one"]
