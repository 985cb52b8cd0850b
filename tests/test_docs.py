"""What the documents say is so: examples run, names exist, nothing public is left out.

`python tests/test_docs.py` writes the names of tests in docs/acceptance.md anew.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import spawnkit

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ACCEPTANCE = ROOT / "docs" / "acceptance.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]

ITEM = re.compile(r"- \*\*(A\d+)\*\* ")
NAME = re.compile(r"  - `(\w+\.py)::(\w+)`$")
NOT_YET = "  - not yet"
FENCE = re.compile(r"^```.*$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
# "A32:", "A11-A15, A18, A33:", "A71, A72 through …"
BEGINNING = re.compile(r"A\d+(?:-A\d+)?(?:, A\d+(?:-A\d+)?)*")


def items_of(docstring: str) -> list[str]:
    """The items a docstring begins with."""
    match = BEGINNING.match(docstring)
    items = []
    for part in match.group().split(", ") if match else ():
        first, _, last = part.replace("A", "").partition("-")
        items += [f"A{number}" for number in range(int(first), int(last or first) + 1)]
    return items


def claims_by_item() -> dict[str, list[str]]:
    """Every item that a docstring claims, with `file::test` in the order of files and lines."""
    found = defaultdict(list)
    for path in sorted(ROOT.glob("tests/test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for item in items_of(ast.get_docstring(node) or ""):
                    found[item].append(f"{path.name}::{node.name}")
    return found


def listed() -> dict[str, list[str]]:
    """The items of docs/acceptance.md, each with the tests named under it."""
    found: dict[str, list[str]] = {}
    item = ""
    for line in ACCEPTANCE.read_text(encoding="utf-8").splitlines():
        if match := ITEM.match(line):
            item = match.group(1)
            found[item] = []
        elif match := NAME.match(line):
            found[item].append("::".join(match.groups()))
    return found


def rewritten() -> str:
    """docs/acceptance.md with the tests that there are now."""
    tests = claims_by_item()
    lines = []
    for line in ACCEPTANCE.read_text(encoding="utf-8").splitlines():
        if NAME.match(line) or line == NOT_YET:
            continue
        lines.append(line)
        if match := ITEM.match(line):
            names = tests.get(match.group(1), [])
            lines += [f"  - `{name}`" for name in names] or [NOT_YET]
    return "\n".join(lines) + "\n"


def code_of_documents() -> str:
    """All that stands in the documents as code."""
    return "\n".join(
        code for path in DOCUMENTS for code in CODE.findall(path.read_text(encoding="utf-8"))
    )


def test_the_examples_of_the_readme_run() -> None:
    # A fence is no output that an example expects; the line stays, so that numbers are right.
    text = FENCE.sub("", README.read_text(encoding="utf-8"))
    examples = doctest.DocTestParser().get_doctest(text, {}, README.name, str(README), 0)
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=said.append)
    assert result.attempted == len(examples.examples) > 20
    assert not result.failed, "".join(said)


def test_the_readme_has_its_place_for_figures() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    marks = [n for n, line in enumerate(lines) if line.startswith("<!-- figures: ")]
    assert [lines[n] for n in marks] == ["<!-- figures: begin -->", "<!-- figures: end -->"]


def test_every_item_has_a_test() -> None:
    without = [item for item, names in listed().items() if not names]
    assert not without, f"no test is named for {without}; see `python tests/test_docs.py`"


def test_every_named_test_exists_and_claims_its_item() -> None:
    tests = claims_by_item()
    wrong = [
        f"{item}: {name}"
        for item, names in listed().items()
        for name in names
        if name not in tests[item]
    ]
    assert not wrong, "; ".join(wrong)


def test_the_items_are_those_that_were_asked_for() -> None:
    ranges = [(1, 89), (91, 95), (122, 122), (124, 124), (126, 138)]
    wanted = [f"A{n}" for first, last in ranges for n in range(first, last + 1)]
    assert list(listed()) == wanted


@pytest.mark.parametrize("name", spawnkit.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", code_of_documents()), f"{name} is in no document"
    value = getattr(spawnkit, name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return  # a constant has no docstring of its own
    assert inspect.getdoc(value)
    if inspect.isclass(value):
        public = {key: member for key, member in vars(value).items() if key[0] != "_"}
        for key, member in public.items():
            if inspect.isfunction(member) or isinstance(member, property):
                assert inspect.getdoc(member), f"{name}.{key} has no docstring"


def test_every_source_file_is_in_the_map() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    package = ROOT / "src" / "spawnkit"
    files = [path.name for path in (ROOT / "csrc").iterdir() if path.suffix in (".c", ".h", ".py")]
    files += [str(path.relative_to(package)) for path in package.rglob("*.py")]
    missing = [name for name in sorted(files) if f"| `{name}` |" not in text]
    assert not missing, f"docs/architecture.md has no line for {missing}"
    mapped = re.findall(r"^\| `([\w/]+\.(?:py|c|h))` \|", text, re.MULTILINE)
    assert sorted(mapped) == sorted(files), "docs/architecture.md has lines for files that are gone"


def test_every_operation_is_in_the_table() -> None:
    header = (ROOT / "csrc" / "plan.h").read_text(encoding="utf-8")
    operations = re.findall(r'^    OP\(\w+,\s+"(\w+)"', header, re.MULTILINE)
    assert operations
    text = ARCHITECTURE.read_text(encoding="utf-8")
    assert [name for name in operations if f"\n| `{name}`" not in text] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        file = path.parent / target if target else path
        assert file.exists(), f"{path.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            # As GitHub makes them: lower case, no punctuation, a dash for each space.
            anchors = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in anchors, f"{path.name} links to {target}#{anchor}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], b"COMMAND"),
        (["run", "--help"], b"--timeout"),
        (["py", "--help"], b"--children"),
        (["doctor", "--help"], b"--json"),
        (["doctor"], b"chosen by itself"),
        (["--version"], spawnkit.__version__.encode()),
    ],
    ids=["help", "run-help", "py-help", "doctor-help", "doctor", "version"],
)
def test_the_command_line_tells_about_itself(arguments: list[str], said: bytes) -> None:
    command = [sys.executable, "-m", "spawnkit", *arguments]
    assert said in spawnkit.run(command, capture=True).stdout


if __name__ == "__main__":
    ACCEPTANCE.write_text(rewritten(), encoding="utf-8")
