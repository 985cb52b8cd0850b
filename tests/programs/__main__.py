"""`python -m programs`: real programs with spawnkit below them and without, and what differs.

Each runs as `python ARGS`, as `python -m spawnkit py --children --stats=FILE ARGS`, and the latter
once more under strace, which counts who started whom without asking us. Statuses, outputs and files
are compared; what is never the same twice is named, with its reason, in programs/programs.py.

Records, logs and results are in build/programs. The status is 0 where every program did the same
and at least 95 of 100 starts were spawnkit's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from programs.program import Program
from programs.programs import PROGRAMS
from programs.runs import OURS, PLAIN, TRACED, Outcome, Where, run_program
from programs.starts import Starts
from programs.traced import STRACE
from programs.verdict import Verdict, differences, judge
from support.groups import collect_orphans

WANTED = 95  # of 100 starts

Row = tuple[Program, dict[str, Outcome], Verdict]

VERSIONS = """
import sys
from importlib.metadata import version
print(", ".join(f"{name} {version(name)}" for name in sys.argv[1:]))
"""


def compare(programs: Sequence[Program], where: Where) -> int:
    """Runs all of them and prints what came of it; 0 where nothing is wrong."""
    ways = [PLAIN, OURS]
    why = why_not_traced()
    if why:
        print(f"Counted is what the processes themselves say: {why}.")
    else:
        ways.append(TRACED)
    rows = [_run(program, ways, where) for program in programs]
    starts = Starts()
    for _, outcomes, _ in rows:
        starts += outcomes[ways[-1]].starts
    where.out.mkdir(parents=True, exist_ok=True)
    (where.out / "results.json").write_text(json.dumps(_results(rows), indent=1))
    _tell(rows, ways[-1])
    same = sum(verdict.same for _, _, verdict in rows)
    share = _share(starts)
    print(f"Programs: {same} of {len(rows)} the same, {share} of {starts.all} starts by spawnkit.")
    enough = starts.all and 100 * starts.ours >= WANTED * starts.all
    if not enough:
        print(f"That is less than {WANTED} %.")
    return int(same < len(rows) or not enough)


def why_not_traced() -> str:
    """Why strace cannot be used; "": it can."""
    if not shutil.which(STRACE[0]):
        return "there is no strace"
    tried = subprocess.run([*STRACE, "-o", os.devnull, "true"], capture_output=True, text=True)
    return f"strace cannot trace: {tried.stderr.strip()}" if tried.returncode else ""


def _run(program: Program, ways: Sequence[str], where: Where) -> Row:
    live = sys.stdout.isatty()
    outcomes = {}
    for way in ways:
        if live:
            print(f"\r\033[K{program.name}: {way}", end="", flush=True)
        outcomes[way] = run_program(program, way, where)
    verdict = judge(program, outcomes)
    if not verdict.same and not outcomes[PLAIN].hung:
        # Perhaps it is not we who make the difference: then a Change is missing.
        again = run_program(program, PLAIN, where)
        for text in differences(outcomes[PLAIN], again):
            verdict.wrong.append(f"{PLAIN}, a second time, differs from itself: {text}")
    shutil.rmtree(where.place, ignore_errors=True)
    seconds = ", ".join(f"{way} {outcome.seconds:.0f} s" for way, outcome in outcomes.items())
    state = "the same" if verdict.same else "NOT THE SAME"
    print(f"{chr(13)}{chr(27)}[K" if live else "", end="")
    print(f"{program.name}: {state}, {verdict.facts} facts ({seconds})", flush=True)
    return program, outcomes, verdict


def _share(starts: Starts) -> str:
    """Rounded down: 95 % is never said of less."""
    return f"{1000 * starts.ours // starts.all / 10} %" if starts.all else "none"


HEAD = ("program", "exit", "same", "starts", "spawnkit", "share", "lines")
TEXTS = 3  # columns


def _tell(rows: Sequence[Row], counted: str) -> None:
    table = [HEAD]
    for program, outcomes, verdict in rows:
        starts = outcomes[counted].starts
        table.append((
            program.name, " ".join(outcomes[PLAIN].statuses), "yes" if verdict.same else "NO",
            str(starts.all), str(starts.ours), _share(starts), str(starts.lines),
        ))  # fmt: skip
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    print()
    for line in table:
        cells = [
            cell.ljust(width) if column < TEXTS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    if counted == TRACED:
        print("\nstarts: processes that any Python made, as strace saw it. lines: processes that")
        print("said themselves how many they had started; never fewer, or it is told below.")
    else:
        print("\nstarts: what the processes that wrote a line (--stats=FILE) say of themselves.")
    _tell_rest(rows, counted)
    for program, _, verdict in rows:
        for text in verdict.wrong:
            print(f"\nNOT THE SAME {program.name}, {text}")
    print()


def _tell_rest(rows: Sequence[Row], counted: str) -> None:
    reasons: Counter[tuple[str, str]] = Counter()
    mute: list[tuple[str, str]] = []
    for program, outcomes, _ in rows:
        starts = outcomes[counted].starts
        reasons.update({(program.name, why): count for why, count in starts.reasons.items()})
        mute += [(program.name, argv) for argv in starts.mute]
    if reasons:
        print("\nnot by spawnkit:")
    for (name, why), count in sorted(reasons.items()):
        print(f"  {name}: {count}: {why}")
    if counted == TRACED:
        print(f"\nprocesses that started others and wrote no line: {len(mute)}")
    for name, argv in mute:
        print(f"  {name}: {argv}")


def _results(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [
        {
            "program": program.name,
            "wrong": verdict.wrong,
            "facts": verdict.facts,
            "runs": {
                way: {
                    "statuses": outcome.statuses,
                    "seconds": outcome.seconds,
                    "left running": outcome.left,
                    "starts": vars(outcome.starts),
                }
                for way, outcome in outcomes.items()
            },
            "made the same": [dataclasses.asdict(change) for change in program.changes],
            "content not compared": [dataclasses.asdict(one) for one in program.left_out],
            "lines sorted": program.sorted_lines,
        }
        for program, outcomes, verdict in rows
    ]


def main() -> int:
    """The command; 1 where something differs, 2 where nothing could be run."""
    parser = argparse.ArgumentParser(
        prog="python -m programs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = {program.name: program for program in PROGRAMS}
    parser.add_argument("program", nargs="*", help=f"only these, of {', '.join(names)}")
    parser.add_argument("--python", default=sys.executable, help="the Python that has them")
    parser.add_argument("--path", type=Path, required=True, help="where it finds spawnkit")
    parser.add_argument("--wheels", type=Path, required=True, help="what pip may install")
    parser.add_argument("--out", type=Path, default=Path("build/programs"))
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for a step (300)")
    given = parser.parse_args()
    for name in set(given.program) - set(names):
        parser.error(f"there is no program {name!r}; there are {', '.join(names)}")
    programs = []
    for program in [names[name] for name in given.program or names]:
        missing = [command for command in program.needs if not shutil.which(command)]
        if missing:
            print(f"{program.name}: left out: there is no {', no '.join(missing)}")
        else:
            programs.append(program)
    # Whatever ends us must end what we run as well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    collect_orphans()
    # resolve() would leave the virtual environment.
    python = str(Path(given.python).absolute())
    distributions = [name for program in programs for name in program.distributions]
    asked = subprocess.run([python, "-c", VERSIONS, *distributions], capture_output=True, text=True)
    if asked.returncode:
        print(f"Programs: {python} does not have them all:\n{asked.stderr}", end="")
        return 2
    print(asked.stdout, end="", flush=True)
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(given.wheels.absolute())}
    with tempfile.TemporaryDirectory(prefix="programs-") as place:
        path = (str(given.path.absolute()),)
        where = Where(python, path, Path(place) / "run", given.out, given.limit, pip)
        return compare(programs, where)


if __name__ == "__main__":
    sys.exit(main())
