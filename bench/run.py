"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import machine
from bench.build import BuildError
from bench.method import LEAST_SECONDS, compare
from bench.report import Measured, tables, write_json
from bench.rows import GIB, Row, rows
from bench.subjects import why_no_spawnkit

EPILOG = """\
rows are named scenario/subject, for example static/plain/spawnkit:
  static/...   a static program of a few instructions: shows the cost of spawning itself
  true/...     /bin/true: what is left of a difference beside a real program's start
  plain        run and wait           stdout, both  the same with the output captured
  timeout      timeout=10 against the same call without
  threads-N    runs per second of N threads        executor-4  through ThreadPoolExecutor(4)
  gib/...      MiB per second of a child that writes 1 GiB (--quick: 128 MiB) to one pipe:
    discard    to a write() that only counts    keep  to one bytes object
    hash       to the update() of a SHA-256; the floor calls the same libcrypto
               The floor leaves the pipe at the size the kernel gave it.
  pipeline-static, pipeline-true    a | b | c that do nothing, beside subprocess, sh and plumbum
  pipeline-gib     MiB per second of 1 GiB through cat | cat | cat, beside the same
  parent-1GiB  setsid, umask, a limit and a directory, from a process of 1 GiB and a small one
  import-...   a fresh interpreter that imports the module; -run: and takes its `run`
  dropin/...   spawnkit.subprocess against the standard subprocess in the same interpreter, with
               the static child; in a table of its own, since nothing there is a ratio to C
    run, run-captured, run-captured-text, check_output, call, env (env= is a dict)
    popen-wait, popen-communicate   the same through Popen
    timeout          run with timeout=10, on both sides
    threads-8        runs per second of 8 threads
    1gib-session     start_new_session=True on both sides, from one process of 1 GiB
    1gib-preexec     start_new_session=True against preexec_fn=os.setsid, from the same
  control      the floor against itself: how far from 1.00 the method can lead

examples:
  python -m bench --quick
  python -m bench --rows '*/spawnkit' --json build/bench/result.json
  python -m bench --rows static/plain --rows static/both --blocks 200
  python -m bench --rows dropin
"""


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures spawnkit, subprocess and os.posix_spawn against plain C that does\n"
        "the same work inside the same interpreter, and prints the ratios.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--rows",
        action="append",
        metavar="NAME",
        help="only rows whose name contains NAME, or "
        "matches it as a pattern with *; may be given more than once",
    )
    add("--quick", action="store_true", help="12 blocks of 50: a first look in about a minute")
    add(
        "--blocks",
        type=_positive,
        metavar="N",
        help="pairs of blocks per row (60, and "
        f"more until {LEAST_SECONDS:.0f} seconds have passed; gib/... 15)",
    )
    add("--runs", type=_positive, metavar="N", help="runs in a block (100)")
    add(
        "--cpu",
        type=int,
        metavar="N",
        help="bind this process and its children to one core: "
        "less noise, another question (no wake-up crosses cores)",
    )
    add("--json", type=Path, metavar="FILE", help="also write every ratio and the machine's facts")
    add("--list", action="store_true", help="print the names of the rows and end")
    return parser


def _chosen(row: Row, patterns: list[str] | None) -> bool:
    if not patterns:
        return True
    return any(p in row.name or fnmatch.fnmatch(row.name, p) for p in patterns)


def _uses_spawnkit(row: Row) -> bool:
    return row.subject.name == "spawnkit"


def _measurable(chosen: list[Row]) -> list[Row]:
    """Without those that this machine has no memory or no library for, which are named."""
    possible = []
    told = ""
    for row in chosen:
        why_not = row.why_not()
        if why_not is None:
            possible.append(row)
        elif row.scenario != told:
            told = row.scenario
            print(f"bench: {row.scenario} is left out: {why_not}", file=sys.stderr)
    return possible


def _progress(text: str) -> Callable[[int], None]:
    """A line on stderr, written between blocks and never by a thread of its own: a thread that
    wakes during a block would be measured with it."""
    if not sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
        return lambda done: None
    last = 0.0

    def show(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.2:
            last = now
            print(f"\r\033[K{text}: block {done}", end="", file=sys.stderr, flush=True)

    return show


def _measure(row: Row, blocks: int, runs: int, seconds: float, text: str) -> Measured:
    runs = min(runs, row.most_runs)
    with row.baseline.open() as baseline, row.subject.open() as subject:
        comparison = compare(
            baseline,
            subject,
            blocks=blocks,
            runs=runs,
            threads=row.threads,
            seconds=seconds,
            invert=row.throughput,
            progress=_progress(text),
        )
    return Measured(row, runs, comparison)


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    usual = 12 if options.quick else 60
    seconds = 0.0 if options.blocks or options.quick else LEAST_SECONDS
    runs = options.runs or (50 if options.quick else 100)
    gib = GIB // 8 if options.quick else GIB
    try:
        chosen = [row for row in rows(gib) if _chosen(row, options.rows)]
    except BuildError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if not chosen:
        print(f"bench: no row is called {options.rows}; --list shows them", file=sys.stderr)
        return 2
    if options.list:
        for row in chosen:
            print(row.name)
        return 0

    left_out = why_no_spawnkit()
    if left_out is not None:
        print(f"bench: spawnkit's rows are left out: {left_out}", file=sys.stderr)
        chosen = [row for row in chosen if not _uses_spawnkit(row)]
    chosen = _measurable(chosen)
    if not chosen:
        return 1

    try:
        if options.cpu is not None:
            os.sched_setaffinity(0, {options.cpu})
        if options.json:
            # Now, not after minutes of measuring.
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.touch()
    except OSError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2

    machine.keep_to_ourselves()
    # Before the first block: the load this benchmark makes itself says nothing.
    facts = machine.facts()
    results: list[Measured] = []
    try:
        for number, row in enumerate(chosen, 1):
            text = f"[{number}/{len(chosen)}] {row.name}"
            blocks = options.blocks or min(usual, row.most_blocks)
            results.append(_measure(row, blocks, runs, seconds, text))
    except KeyboardInterrupt:
        print("\nbench: interrupted; the rows not measured are missing", file=sys.stderr)
        return 130
    finally:
        # What was measured is shown even when a row failed.
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        if results:
            tables(results, sys.stdout)
            print(", ".join(f"{key} {facts[key]}" for key in ("kernel", "cpu", "cores", "libc")))
            print(f"python {facts['python']}")
            if options.json:
                write_json(results, facts, left_out, options.json)
    return 0
