"""`python -m conformance`: CPython's own tests of subprocess, through spawnkit.

The tests are those of the interpreter. Each suite runs with the standard module and with ours, as
`spawnkit.subprocess` or after `spawnkit.install()`. A test that the standard module passes has to
pass; a skip is no pass. Excepted are the tests of private.ini, which replace CPython's private
functions, each with its reason.

    python -m conformance -p 3.13                     one interpreter
    python -m conformance -s test_subprocess -k kill  tests of one suite by a part of their names

Records, logs and results are in build/conformance. The status is 0 where nothing failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance import interpreters, private
from conformance.interpreters import VERSIONS, CannotError, Interpreter
from conformance.runs import Options, Run, run_suite
from conformance.suites import DROPIN, INSTALLED, PLAIN, SUITES, Suite
from conformance.verdict import Verdict, judge, useless
from support.groups import collect_orphans

LAST_LINES = 12


@dataclass
class Row:
    """One suite on one interpreter in one mode."""

    interpreter: Interpreter
    suite: Suite
    mode: str
    plain: Run
    ours: Run
    verdict: Verdict


def conform(
    judged: Sequence[Interpreter],
    suites: Sequence[Suite],
    entries: Sequence[private.Entry],
    options: Options,
) -> int:
    """Runs all of it and prints what came of it; 0 where nothing failed."""
    rows = []
    for interpreter in judged:
        place = dataclasses.replace(options, out=options.out / interpreter.name)
        for suite in suites:
            plain = _run(interpreter, suite, PLAIN, place)
            for mode in suite.modes:
                ours = _run(interpreter, suite, mode, place)
                verdict = judge(interpreter.version, plain, ours, entries)
                if mode != PLAIN and not options.only and not ours.broken:
                    verdict.broken += nothing_of_ours(ours)
                rows.append(Row(interpreter, suite, mode, plain, ours, verdict))
    ran = [(row.interpreter.version, row.suite.module, row.plain, row.ours) for row in rows]
    needless = useless(entries, ran)
    (options.out / "results.json").write_text(json.dumps(_results(rows, needless), indent=1))
    _tell(rows, entries, needless)
    failed = sum(not row.verdict.good for row in rows)
    tests = sum(row.verdict.tests for row in rows)
    if not tests:
        print("Conformance: no test was run.")
        return 1
    entry = f"; {len(needless)} entries of {private.LIST.name} that nothing needs"
    print(f"Conformance: {len(rows) - failed} of {len(rows)} suites good, {tests} tests"
          f"{entry if needless else ''}.")  # fmt: skip
    return int(bool(failed or needless))


def nothing_of_ours(ours: Run) -> list[str]:
    """A drop-in that leaves everything to the standard module passes every test."""
    if ours.skipped or any(counts.get("spawnkit") for counts in ours.spawned):
        return []
    return [f"not one process was made by spawnkit: {ours.spawned}"]


def _run(interpreter: Interpreter, suite: Suite, mode: str, options: Options) -> Run:
    head = f"{interpreter.name} {suite.module} {mode}"
    live = sys.stdout.isatty()

    def progress(test: str, done: int, of: int) -> None:
        name = ".".join(test.split(".")[-2:])
        print(f"\r\033[K{head}: {done}/{of} {name}"[:110], end="", flush=True)

    if live:
        options = dataclasses.replace(options, progress=progress)
    run = run_suite(interpreter, suite, mode, options)
    counts: dict[str, int] = {}
    for record in run.records.values():
        counts[record.outcome] = counts.get(record.outcome, 0) + 1
    words = [f"{count} {outcome}" for outcome, count in sorted(counts.items())]
    words += [f"skipped: {run.skipped}"] * bool(run.skipped) + ["BROKEN"] * bool(run.broken)
    print(f"{chr(13)}{chr(27)}[K" if live else "", end="")
    print(f"{head}: {', '.join(words)}, {run.seconds:.0f} s", flush=True)
    return run


def _results(rows: list[Row], needless: list[str]) -> dict[str, object]:
    return {
        "useless entries": needless,
        "suites": [
            {
                "interpreter": row.interpreter.name,
                "suite": row.suite.module,
                "mode": row.mode,
                "seconds": {"plain": row.plain.seconds, "ours": row.ours.seconds},
                "spawned": row.ours.spawned,
                "left running": {"plain": row.plain.left_running, "ours": row.ours.left_running},
                **dataclasses.asdict(row.verdict),
                "records": {
                    "plain": [dataclasses.asdict(one) for one in row.plain.records.values()],
                    "ours": [dataclasses.asdict(one) for one in row.ours.records.values()],
                },
            }
            for row in rows
        ],
    }


HEAD = ("", "suite", "as", "tests", "same", "excepted", "failed", "plain does not pass", "seconds")
NAMES = 3  # columns


def _tell(rows: list[Row], entries: Sequence[private.Entry], needless: list[str]) -> None:
    table = [HEAD]
    for row in rows:
        verdict = row.verdict
        table.append((
            row.interpreter.name, row.suite.module, row.mode, str(verdict.tests),
            str(verdict.same), str(len(verdict.excepted)),
            "BROKEN" if verdict.broken else str(len(verdict.failed)),
            str(len(verdict.plain_does_not_pass)),
            f"{row.ours.seconds:.0f} ({row.plain.seconds:.0f})",
        ))  # fmt: skip
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    print()
    for line in table:
        names = zip(line[:NAMES], widths[:NAMES], strict=True)
        figures = zip(line[NAMES:], widths[NAMES:], strict=True)
        words = [cell.ljust(width) for cell, width in names]
        words += [cell.rjust(width) for cell, width in figures]
        print("  ".join(words).rstrip())
    _tell_plain(rows)
    _tell_excepted(rows, entries)
    for row in rows:
        head = f"{row.interpreter.name} {row.mode}"
        for text in row.verdict.broken:
            print(f"\nBROKEN {head} {row.suite.module}: {text}\n    all of it: {row.ours.log}")
        for failed in row.verdict.failed:
            print(f"\nFAILED {head} {failed.test}: {failed.what}")
            for text in failed.ours.why.rstrip().splitlines()[-LAST_LINES:]:
                print(f"    {text}")
        if row.verdict.failed:
            print(f"all of it: {row.ours.log}")
    for text in needless:
        print(f"\nUSELESS in {private.LIST.name}: {text}")
    print()


def _tell_plain(rows: list[Row]) -> None:
    """What the standard module does not pass itself: skips by their reason, failures by name."""
    where: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        for one in row.verdict.plain_does_not_pass:
            why = " ".join(one.plain.why.split())
            if one.plain.outcome != "skipped":
                last = (one.plain.why.rstrip().splitlines() or [""])[-1]
                why = f"{one.test}: {last}"
            names = where.setdefault(f"{one.plain.outcome}: {why}", {})
            names.setdefault(row.interpreter.name, set()).add(one.test)
    if where:
        print("\nthe standard module itself does not pass:")
    for what, names in where.items():
        counts = [f"{name}: {len(tests)}" for name, tests in names.items()]
        print(f"  {what} ({', '.join(counts)})")


def _tell_excepted(rows: list[Row], entries: Sequence[private.Entry]) -> None:
    used = {test for row in rows for test in row.verdict.excepted}
    if used:
        print("\nexcepted:")
    for entry in entries:
        if entry.test in used:
            print(f"  {entry.test}: replaces {entry.replaces}: {entry.reason}")


def _prepare(versions: Sequence[str], named: bool, out: Path) -> list[Interpreter] | None:
    """Those that are there, with spawnkit in them; None where one that was named is not."""
    found, missing = [], False
    for version in versions:
        try:
            found.append(interpreters.find(version))
        except CannotError as reason:
            print(f"{version}: left out: {reason}")
            missing |= named
    if missing or not found:
        return None
    print("building the wheel", flush=True)
    wheel = interpreters.build_wheel(out)
    ready = []
    for one in found:
        print(f"{one.name}: {one.python}", flush=True)
        ready.append(interpreters.install(one, wheel, out))
    return ready


def main() -> int:
    """The command; 1 where something failed, 2 where nothing could be judged."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = {suite.module.removeprefix("test."): suite for suite in SUITES}
    parser.add_argument("-p", "--python", action="append", choices=VERSIONS, help="only these")
    parser.add_argument("-s", "--suite", action="append", choices=names, help="only these")
    parser.add_argument("-m", "--mode", action="append", choices=(DROPIN, INSTALLED))
    parser.add_argument("-k", dest="only", action="append", default=[], metavar="PART",
                        help="only tests with this in their names")  # fmt: skip
    parser.add_argument("--hangs-after", type=float, default=300.0, metavar="SECONDS",
                        help="without a test that begins or ends (300)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("build/conformance"))
    given = parser.parse_args()
    # Whatever ends us must end what we run as well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # Children of the tests that leave the session come to us, and are ended.
    collect_orphans()
    suites = [names[name] for name in given.suite or names]
    if given.mode:
        kept = [[mode for mode in suite.modes if mode in given.mode] for suite in suites]
        suites = [dataclasses.replace(suite, modes=modes)
                  for suite, modes in zip(suites, kept, strict=True) if modes]  # fmt: skip
    try:
        entries = private.read()
        given.out.mkdir(parents=True, exist_ok=True)
        judged = _prepare(given.python or VERSIONS, bool(given.python), given.out)
    except (private.ListError, CannotError) as error:
        print(f"Conformance: {error}")
        return 2
    if not judged:
        print("Conformance: no interpreter to judge on.")
        return 2
    options = Options(given.out, given.only, given.hangs_after)
    return conform(judged, suites, entries, options)


if __name__ == "__main__":
    sys.exit(main())
