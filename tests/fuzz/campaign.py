"""`make fuzz`: every target for its share of the time, and a table at the end.

Planted defects come first: a target that finds none of them shows nothing. Logs and the inputs that
failed are in build/fuzz; 1 where there is one. The seed is printed, and `--seed` takes it again.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fuzz import build, corpus, planted
from fuzz.values import PROPERTIES

ROOT = Path(__file__).parent.parent.parent
OUT = ROOT / "build" / "fuzz"
CRASHES = OUT / "crashes"

PLANNER_WANTED, REST_WANTED = 10**8, 10**6

DONE = re.compile(r"^Done (\d+) runs in", re.MULTILINE)
SO_FAR = re.compile(r"^#(\d+)\b", re.MULTILINE)
SAID = re.compile(r"^(?:plans|machine): (.*)$", re.MULTILINE)

SAYS_EVERY = 30.0  # seconds

# Without leaks: LeakSanitizer wants ptrace, and none of these keeps memory.
ASAN = "detect_leaks=0:quarantine_size_mb=8"


@dataclass
class Job:
    """One program that fuzzes, and what came of it."""

    name: str
    how: str
    share: float  # of the time
    command: list[str]
    wanted: int = 0  # executions; 0: as many as the time allows
    executions: int = 0
    failed: bool = False
    seconds: float = 0.0
    said: str = ""

    def run(self, budget: float) -> None:
        """To its end, with all that it says in a log."""
        seconds = max(1, round(budget * self.share))
        until = f"-runs={self.wanted}" if self.wanted else f"-max_total_time={seconds}"
        log = OUT / f"{self.name}-{self.how.replace(', ', '-').replace(' ', '-')}.log"
        print(f"    {self.name:10} {self.how:22} begins: {until}, {log.name}", flush=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "ASAN_OPTIONS": ASAN}
        began = time.monotonic()
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [*self.command, until],
                cwd=CRASHES,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            code = None
            while code is None:
                try:
                    code = process.wait(SAYS_EVERY)
                except subprocess.TimeoutExpired:
                    self._count(log)
                    print(f"    {self.name:10} {self.how:22} #{self.executions:,}", flush=True)
        self.seconds = time.monotonic() - began
        text = self._count(log)
        self.failed = code != 0 or not self.executions
        self.said = (SAID.findall(text) or [""])[-1]
        told = f"FAILED, see {log}" if self.failed else f"{self.executions:,} executions"
        print(f"    {self.name:10} {self.how:22} {told} in {self.seconds:.0f} s", flush=True)

    def _count(self, log: Path) -> str:
        text = log.read_text(encoding="utf-8", errors="replace")
        done = DONE.findall(text) or SO_FAR.findall(text)
        self.executions = int(done[-1]) if done else 0
        return text


def jobs(seed: int, reach: bool) -> list[Job]:
    """What there is to run, with its share of the time. reach: the aims, however long it takes."""
    clang = build.find_clang(OUT)
    by = "libFuzzer" if clang else "chance"
    print(f"{clang} has libFuzzer" if clang else "no clang with libFuzzer: by chance alone")
    watched = build.links(clang or "cc", build.WATCHED, OUT)
    if not watched:
        print("no sanitizers: what is read out of bounds is seen only where it crashes")
    plans = OUT / "plans"
    files = corpus.write(plans)
    found: list[Job] = []

    def of_c(target: str, share: float, libfuzzer: bool, asan: bool) -> None:
        program = build.build(target, OUT, clang if libfuzzer else None, asan)
        command = [str(program), f"-max_len={build.LONGEST[target]}", f"-seed={seed}"]
        if libfuzzer:
            kept = OUT / f"corpus-{target}"
            kept.mkdir(exist_ok=True)
            command += ["-timeout=10", "-rss_limit_mb=2048", str(kept)]
        if target == "plans":
            command += [str(plans)] if libfuzzer else files
        how = ("libFuzzer" if libfuzzer else "chance") + (", sanitizers" if asan else "")
        fastest = not libfuzzer and asan == (target == "plans" and watched)
        aim = PLANNER_WANTED if target == "planner" else REST_WANTED
        found.append(Job(target, how, share, command, aim if reach and fastest else 0))

    # Guided by coverage it is slow, blind it is fast: some of both.
    if clang:
        of_c("planner", 0.30, True, False)
        of_c("plans", 0.45, True, watched)
    of_c("planner", 0.20, False, False)
    of_c("planner", 0.05, False, watched)
    of_c("plans", 0.15, False, watched)
    python = [sys.executable, "-m"]
    for name in PROPERTIES:
        command = [*python, "fuzz.values", name, f"-seed={seed * 10**7}"]
        found.append(Job(name, "seeds, a model", 0.15, command))
    found.append(Job("machine", "hypothesis, a model", 0.25, [*python, "fuzz.machine"]))
    print(f"seed {seed}; by {by}")
    return found


def table(done: list[Job]) -> int:
    """The end of it; 1 where something failed."""
    print(f"\n{'target':10} {'how':24} {'executions':>14} {'seconds':>8} {'crashes':>8}")
    for job in done:
        row = f"{job.name:10} {job.how:24} {job.executions:>14,} {job.seconds:>8.0f}"
        print(f"{row} {int(job.failed):>8}  {job.said}".rstrip())
    planner = sum(job.executions for job in done if job.name == "planner")
    rest = sum(job.executions for job in done if job.name != "planner")
    crashes = sum(job.failed for job in done)
    print(f"planner: {planner:,} executions (of {PLANNER_WANTED:,}, the aim)")
    print(f"the rest: {rest:,} executions (of {REST_WANTED:,}, the aim)")
    print(f"{crashes} crashes")
    return 1 if crashes else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.campaign", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="by the clock, about")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 10**6))
    parser.add_argument("--no-planted", action="store_true", help="leave the planted defects out")
    parser.add_argument("--reach", action="store_true", help="the aims, however long it takes")
    parser.add_argument("--only", action="append", help="only these targets")
    options = parser.parse_args()
    CRASHES.mkdir(parents=True, exist_ok=True)
    sys.argv[1:] = options.only or []
    if not options.no_planted and planted.main():
        return 1
    todo = jobs(options.seed, options.reach)
    todo = [job for job in todo if not options.only or job.name in options.only]
    workers = min(2, os.cpu_count() or 1)
    # Shares are of the whole; with two at a time both get through twice as much.
    budget = options.seconds * workers / sum(job.share for job in todo)
    with ThreadPoolExecutor(workers) as pool:
        todo.sort(key=lambda job: (-job.wanted, -job.share))
        list(pool.map(lambda job: job.run(budget), todo))
    return table(todo)


if __name__ == "__main__":
    sys.exit(main())
