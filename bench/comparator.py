"""`python -m bench.comparator`: inputs that process libraries get wrong, through subprocess and
through spawnkit, side by side.

Each input is given to each side in an interpreter of its own (`bench.inputs`). What is printed is
what was seen there; "right" and "wrong" come from one rule per input, the same for both. Faults of
the kernel are made by strace.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

from bench.build import BENCH
from bench.inputs import INPUTS, Facts, Fault, Input

ROOT = BENCH.parent
SIDES = ("subprocess", "spawnkit")
HANGS_AFTER = 60.0  # tells "ends" from "hangs": the longest input takes two seconds


class LeftOutError(Exception):
    """This input cannot be given here; the message says why."""


@dataclass
class Seen:
    """What one side did with one input."""

    words: str
    right: bool | None  # None: there was nothing to judge


def _interpreter(one: Input, side: str) -> list[str]:
    return [sys.executable, "-m", "bench.inputs", one.name, side]


def _answer(process: subprocess.Popen[str]) -> Facts:
    try:
        out, err = process.communicate(timeout=HANGS_AFTER)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.communicate()
        raise LeftOutError(f"no answer within {HANGS_AFTER:.0f} s") from error
    lines = out.splitlines()
    if process.returncode or not lines:
        last = (err or "").strip().splitlines()[-1:]
        raise LeftOutError(f"its interpreter ended with {process.returncode}: {' '.join(last)}")
    facts: Facts = json.loads(lines[-1])
    return facts


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _attach(strace: list[str], process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """strace, watching a side that waits for it."""
    tracer = _start([*strace, "-p", str(process.pid)])
    assert tracer.stderr
    line = tracer.stderr.readline()  # "strace: Process … attached", or why not
    if "attached" not in line:
        process.kill()
        process.communicate()
        tracer.communicate()
        raise LeftOutError(line.strip())
    return tracer


def _under(fault: Fault, one: Input, side: str) -> Facts:
    """The facts of a side under a fault, which must have come."""
    strace = shutil.which("strace")
    if strace is None:
        raise LeftOutError("strace is not installed")
    call = fault.calls[side]
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        # The call must be among those that are traced, or nothing is injected.
        command = [strace, "-f", "-o", str(log), "-e", f"trace={call}"]
        command += ["-e", f"inject={call}:{fault.what}"]
        if not fault.attach:
            facts = _answer(_start([*command, *_interpreter(one, side)]))
        else:
            process = _start(_interpreter(one, side))
            assert process.stdin
            assert process.stdout
            process.stdout.readline()
            tracer = _attach(command, process)
            process.stdin.write("go\n")
            facts = _answer(process)
            tracer.communicate(timeout=HANGS_AFTER)
        text = log.read_text()
    if fault.mark not in text:
        raise LeftOutError(f"the fault in {call} never came")
    return facts


def look(one: Input, side: str) -> Seen:
    """Gives one input to one side."""
    try:
        facts = (
            _under(one.fault, one, side) if one.fault else _answer(_start(_interpreter(one, side)))
        )
    except LeftOutError as reason:
        return Seen(f"left out: {reason}", None)
    if "waits" in facts:
        return Seen(facts["waits"], None)
    if "left out" in facts:
        return Seen(f"left out: {facts['left out']}", None)
    return Seen(one.words(facts), one.is_right(facts))


def _show(one: Input, seen: dict[str, Seen]) -> None:
    print(f"{one.name:4} {one.what}")
    print(f"     must: {one.must}")
    for side, what in seen.items():
        verdict = {True: "right", False: "WRONG", None: ""}[what.right]
        head = f"     {side:11} {verdict:6} "
        for number, line in enumerate(textwrap.wrap(what.words, 100 - len(head))):
            print((head if number == 0 else " " * len(head)) + line)
    print(flush=True)


def _summary(all_seen: list[dict[str, Seen]]) -> None:
    for side in SIDES:
        judged = [right for seen in all_seen if (right := seen[side].right) is not None]
        rest = len(all_seen) - len(judged)
        more = f"; {rest} not judged, for the reason given" if rest else ""
        print(f"{side:11} right {sum(judged)} of {len(judged)}{more}")


def main() -> int:
    """The command; 1 where spawnkit did not do what it must."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.comparator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="*", help="only these, by name (C3)")
    options = parser.parse_args()
    names = [one.name for one in INPUTS]
    for name in options.inputs:
        if name not in names:
            parser.error(f"{name}: not among {', '.join(names)}")
    print(f"CPython {platform.python_version()}, Linux {platform.release()}\n")
    all_seen = []
    for one in INPUTS:
        if options.inputs and one.name not in options.inputs:
            continue
        seen = {side: look(one, side) for side in SIDES}
        _show(one, seen)
        all_seen.append(seen)
    _summary(all_seen)
    return 1 if any(seen["spawnkit"].right is False for seen in all_seen) else 0


if __name__ == "__main__":
    sys.exit(main())
