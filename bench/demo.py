"""`python -m bench.demo`: real commands over real input, through subprocess and through spawnkit.

One process per file: a checksum tool over the headers of this machine. Each side is a fresh
interpreter of its own, so that its memory and its processor time are its own; they take turns, a
chunk of files each, so that both see the same machine. Every byte of output is compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.build import BENCH
from bench.subjects import why_no_spawnkit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bench.demo_side import Answer, Triple

ROOT = BENCH.parent
TOOLS = ("/usr/bin/cksum", "/usr/bin/sha256sum", "/bin/cksum", "/bin/sha256sum")
MOST_FILES = 2000
CHUNK = 100
MOST_SECONDS = 40.0
"""The files left when this has passed are left out, and the result says so."""


class SideError(Exception):
    """A side's interpreter ended before it answered."""


@dataclass
class Side:
    name: str
    process: subprocess.Popen[str]
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: int = 0

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SideError(f"the {self.name} side ended early; its message is above")
        return line

    def run(self, commands: list[list[str]]) -> list[Triple]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(commands) + "\n")
        self.process.stdin.flush()
        answer: Answer = json.loads(self._line())
        self.seconds.append(answer["seconds"])
        self.cpu.append(answer["cpu"])
        return answer["results"]

    def finish(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.peak = int(self._line())


@contextmanager
def _opened(name: str) -> Iterator[Side]:
    command = [sys.executable, "-m", "bench.demo_side", name]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Side(name, process)
        except BaseException:
            # The other side failed, or Ctrl-C: this one has nobody left to answer to.
            process.kill()
            raise


def _tool() -> str | None:
    return next((tool for tool in TOOLS if os.access(tool, os.X_OK)), None)


def _files(most: int) -> tuple[list[str], str, int]:
    """The input, where it comes from, and how many there were to choose from."""
    for place, kinds in ((Path("/usr/include"), ("*.h",)), (ROOT, ("csrc/*.[ch]", "src/**/*.py"))):
        found = sorted(str(p) for kind in kinds for p in place.rglob(kind) if p.is_file())
        if found:
            # Spread over the whole tree: the first of the alphabet are one library's.
            step = max(1, len(found) / most)
            chosen = [found[int(i * step)] for i in range(min(most, len(found)))]
            return chosen, str(place), len(found)
    return [], "", 0


def _warm(files: list[str]) -> int:
    """Reads every file, so that neither side is the one that waits for the disk. Bytes in all."""
    return sum(len(Path(file).read_bytes()) for file in files)


def _difference(file: str, ours: Triple, theirs: Triple) -> str:
    return f"{file}\n  subprocess: {theirs!r}\n  spawnkit:   {ours!r}"


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        width = 30
        bar = "#" * (width * done // total)
        print(f"\r  [{bar:<{width}}] {done}/{total}", end="", file=sys.stderr, flush=True)
        if done == total:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _compare(files: list[str], tool: str, old: Side, new: Side) -> tuple[int, str | None]:
    """How many files both sides did, and the first difference, if there is one."""
    start = time.monotonic()
    done = 0
    for turn in itertools.count():
        chunk = files[done : done + CHUNK]
        if not chunk or time.monotonic() - start > MOST_SECONDS:
            break
        commands = [[tool, file] for file in chunk]
        # Who goes first changes with each chunk, so that neither always finds the warmer caches.
        order = (old, new) if turn % 2 == 0 else (new, old)
        answers = {one.name: one.run(commands) for one in order}
        for file, theirs, ours in zip(chunk, answers[old.name], answers[new.name], strict=True):
            if ours != theirs:
                return done, _difference(file, ours, theirs)
        done += len(chunk)
        _progress(done, len(files))
    return done, None


def _report(old: Side, new: Side, done: int) -> None:
    def line(label: str, values: list[str], better: str) -> None:
        print(f"  {label:<26}{values[0]:>14}{values[1]:>14}   {better}")

    rate = [done / sum(one.seconds) for one in (old, new)]
    cpu = [sum(one.cpu) / done for one in (old, new)]
    # Neighbouring chunks see the same machine; the median of their ratios is steadier than the
    # ratio of the sums.
    faster = statistics.median(o / n for o, n in zip(old.seconds, new.seconds, strict=True))
    less = statistics.median(n / o for o, n in zip(old.cpu, new.cpu, strict=True))

    line("", ["subprocess", "spawnkit"], "")
    line("processes per second", [f"{value:,.0f}" for value in rate], f"{faster:.2f} times as many")
    line(
        "CPU per process", [f"{value * 1e6:,.0f} µs" for value in cpu], f"{less:.2f} times as much"
    )
    peaks = [one.peak / 2**20 for one in (old, new)]
    line(
        "peak memory of the caller",
        [f"{value:.1f} MiB" for value in peaks],
        f"{peaks[1] / peaks[0]:.2f} times as much",
    )


def demo(most: int) -> int:
    missing = why_no_spawnkit()
    if missing is not None:
        print(f"demo: spawnkit is not ready ({missing}); run make first", file=sys.stderr)
        return 2
    tool = _tool()
    if tool is None:
        print(f"demo: none of {', '.join(TOOLS)} is here", file=sys.stderr)
        return 2
    files, place, found = _files(most)
    if not files:
        print("demo: no headers in /usr/include and no sources of our own", file=sys.stderr)
        return 2
    kibibytes = _warm(files) / 1024
    print(f"{tool} over {len(files)} of {found} files below {place} ({kibibytes:,.0f} KiB),")
    print("one process per file, output captured, once through each:\n")

    with _opened("subprocess") as old, _opened("spawnkit") as new:
        # Both load their modules and start a child before anything counts.
        warm = [[tool, files[0]]] * 5
        for one in (old, new):
            one.run(warm)
            one.seconds.clear()
            one.cpu.clear()
        done, difference = _compare(files, tool, old, new)
        for one in (old, new):
            one.finish()
    if difference is not None:
        print(f"demo: THE OUTPUTS DIFFER for {difference}", file=sys.stderr)
        return 1

    _report(old, new, done)
    print(f"\n  {done} outputs compared byte for byte: all the same.")
    if done < len(files):
        print(f"  {len(files) - done} files were left out: {MOST_SECONDS:.0f} seconds had passed.")
    print("  How much of this is the tool's own start, and how near to plain C: python -m bench")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--files", type=int, default=MOST_FILES, help=f"at most ({MOST_FILES})")
    options = parser.parse_args()
    if options.files < 1:
        parser.error("--files must be at least 1")
    try:
        return demo(options.files)
    except SideError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
