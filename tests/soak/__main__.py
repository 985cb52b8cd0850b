"""`python -m soak`: the parts of the soak one after the other, and their figures in one table.

    python -m soak --spawns 1000000 --reuses 1000       the full figures
    python -m soak --part storm --spawns 50000 --threads 4

Each part is an interpreter of its own, in a session of its own: the storm is its group's alone.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from soak import reuse
from soak.tally import Tally, say


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    engine = ["--engine", options.engine] if options.engine else []
    module = [sys.executable, "-m"]
    return {
        "storm": [
            *module, "soak.storm", "--spawns", str(options.spawns),
            "--threads", str(options.threads), "--hertz", str(options.hertz), *engine,
        ],
        "reuse": reuse.command("--reuses", str(options.reuses)),
        "busy": [*module, "soak.busy", "--programs", str(options.programs)],
    }  # fmt: skip


def run(part: str, command: list[str], result: Path) -> Tally:
    """Runs one part to its end; its figures, or what became of it."""
    process = subprocess.Popen([*command, "--result", str(result)], start_new_session=True)
    try:
        code = process.wait()
    except BaseException:
        # The storm's handlers take SIGINT for part of the storm.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if not result.exists():
        return Tally(part, wrong=[f"it ended with {code} and left no result"])
    tally = Tally.read(result)
    if code != (0 if tally.is_good else 1):
        tally.wrong.append(f"it ended with {code}")
    return tally


HEAD = ("", "spawns", "lost", "doubled", "leaked", "strangers hit", "RSS growth", "seconds")


def table(tallies: list[Tally]) -> str:
    """The figures; below them what they were made of, and what was wrong."""
    rows = [HEAD]
    for one in tallies:
        rss = "-" if one.rss is None else f"{one.rss:,} KiB"
        counts = (one.spawns, one.lost, one.doubled, one.leaked, one.strangers)
        rows.append((one.part, *(f"{count:,}" for count in counts), rss, f"{one.seconds:.0f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
             for row in rows]  # fmt: skip
    for one in tallies:
        lines += ["", one.part, *(f"  {note}" for note in one.notes)]
        lines += [f"  WRONG: {wrong}" for wrong in one.wrong]
    return "\n".join(lines)


def main() -> int:
    """The command; 1 where something was lost, doubled, leaked, hit or otherwise wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=("storm", "reuse", "busy"))
    parser.add_argument("--spawns", type=int, default=100_000, help="in the storm (100,000)")
    parser.add_argument("--threads", type=int, default=16, help="in the storm (16)")
    parser.add_argument("--hertz", type=int, default=1000, help="signals a second (1,000)")
    parser.add_argument("--engine", help="of the storm's spawns; chosen if not given")
    parser.add_argument("--reuses", type=int, default=1000, help="forced pid reuses (1,000)")
    parser.add_argument("--programs", type=int, default=2000, help="written and executed (2,000)")
    options = parser.parse_args()
    # In the background of a shell SIGINT is ignored; whatever ends us must end the part as well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    tallies = []
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        for part, command in commands(options).items():
            if options.part and part not in options.part:
                continue
            if part == "reuse" and (reason := reuse.why_not()):
                say(f"reuse: left out, no pid can be chosen here: {reason}")
                continue
            tallies.append(run(part, command, Path(directory) / part))
    say("")
    say(table(tallies))
    return 0 if tallies and all(one.is_good for one in tallies) else 1


if __name__ == "__main__":
    raise SystemExit(main())
