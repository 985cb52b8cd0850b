"""`python -m sanitize [TOOL ...] [-- PYTEST OPTIONS]`: the tests under each tool.

First each tool has to find the planted defects of its kind (planted.c): a tool that was not
switched on reports nothing either. Then the tests run, every interpreter under the tool; any report
is a failure, and so is a test that fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence

from sanitize.tools import BUILD, TOOLS, MissingError, Tool, describe, read_reports

# Which defect of planted.c each tool has to find.
PLANTED = {
    "address": ("use_after_free", "overflow", "undefined", "leak"),
    "thread": ("race",),
    "memory": ("use_after_free", "overflow", "leak", "uninitialised", "uninitialised_in_a_call"),
}

# Which tests, where the options do not say. Nothing: all of them. TSan sees what threads do to each
# other; under valgrind everything takes twenty times as long and more.
TESTS: dict[str, tuple[str, ...]] = {
    "address": (),
    "thread": (
        *("test_write_lock.py", "test_waiting.py", "test_handle.py", "test_held.py"),
        *("test_pump.py", "test_signalling.py", "test_fork.py"),
        *("test_cmd_pipes.py", "test_cmd_streams.py", "test_cmd_ending.py"),
    ),
    # (Nothing that needs pidfd_open: valgrind 3.19 does not know it.)
    "memory": ("test_input.py", "test_pump.py", "test_state.py"),
}


def find_planted(tool: Tool, names: Sequence[str]) -> list[str]:
    """Those of the planted defects that the tool did not find."""
    library = tool.planted()
    missed = []
    for name in names:
        reports = tool.place / "planted"
        call = f"import ctypes; ctypes.CDLL({str(library)!r}).{name}(100)"
        subprocess.run(
            [str(tool.python), "-c", call],
            env=tool.environment(reports),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if not any(name in report for report in read_reports(reports)):
            missed.append(name)
    return missed


def run_tests(tool: Tool, options: list[str]) -> tuple[str, bool]:
    """The line of the table, and whether all is well."""
    reports, result = tool.place / "reports", tool.place / "result.json"
    result.unlink(missing_ok=True)
    tests = [f"tests/{name}" for name in TESTS[tool.name]] or ["tests"]
    pytest = [
        "-m",
        "pytest",
        "-p",
        "sanitize.plugin",
        "-p",
        "no:cacheprovider",
        "-q",
        "--tb=short",
        "--no-summary",
    ]
    began = time.monotonic()
    code = subprocess.run(
        [str(tool.python), *pytest, *(options or tests)],
        env=tool.environment(reports, SANITIZE_TOOL=tool.name, SANITIZE_RESULT=str(result)),
        stdin=subprocess.DEVNULL,
    ).returncode
    seconds = time.monotonic() - began
    found = read_reports(reports)
    for report in found:
        print(f"\n{tool.checks} REPORTS:\n{report}")
    if not result.exists():
        return f"FAILED: pytest did not get to its end (it ended with {code})", False
    counted = json.loads(result.read_text())
    for reason, count in counted["left out"].items():
        print(f"{tool.name}: {count} tests left out: {reason}")
    outcomes = counted["outcomes"]
    words = ", ".join(f"{outcomes.get(word, 0)} {word}" for word in ("passed", "failed", "skipped"))
    line = f"{words}, {sum(counted['left out'].values())} left out, {seconds:.0f} s"
    if code not in (0, 1):
        line += f", NOT ALL (pytest ended with {code})"
    well = code == 0 and not found and bool(outcomes.get("passed"))
    return f"{len(found)} reports; {line}", well


def main() -> int:
    """The command; 1 where a tool reports something, misses a planted defect, or a test fails."""
    arguments = sys.argv[1:]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    names, options = arguments[:at] or list(TOOLS), arguments[at + 1 :]
    table, failed = [], False
    for unknown in set(names) - TOOLS.keys():
        print(f"no tool is called {unknown!r}: {', '.join(TOOLS)}", file=sys.stderr)
        return 2
    print(describe(), flush=True)
    for name in names:
        tool = TOOLS[name]
        try:
            print(f"==> {name}: building for {tool.checks}", flush=True)
            tool.prepare()
            planted = PLANTED[name]
            missed = find_planted(tool, planted)
            print(
                f"==> {name}: {len(planted) - len(missed)} of {len(planted)} planted defects found"
            )
            print(f"==> {name}: the tests", flush=True)
            line, well = run_tests(tool, options)
        except MissingError as missing:
            line, well, missed = f"LEFT OUT: {missing}", False, []
        if missed:
            line += f"; planted and NOT FOUND: {', '.join(missed)}"
        failed |= not well or bool(missed)
        table.append((tool.checks, line))
    print(f"\nunder {BUILD}:" if failed else "")
    for checks, line in table:
        print(f"{checks:18} {line}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
