"""`python -m faults.memory`: each use, the n-th allocation fails, n = 1, 2, 3, … until none does.

Two kinds: Python's own allocations (`_testcapi.set_nomemory`, where this Python has it), and
malloc, calloc and realloc of the C library (`failing.so` of tests/children, loaded before it).
Each run must end in success, MemoryError, or an error of the package's, and leave nothing behind.

The runs of one use are made by actors, one after the other in each as long as it lives: a crash is
a result, and names its n.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from faults import loop
from faults.actor import Actor, Channel, GoneError, attempt, tidied, warm
from faults.loop import Tally
from faults.uses import USES, Place, Use
from support import oracle
from support.children import Children

try:
    import _testcapi
except ImportError:
    _testcapi = None  # type: ignore[assignment]

KINDS = ("python", "malloc")
ENGINES = ("default", "fork", "posix_spawn")
LIBRARY = "failing.so"

# What glibc does to a process where a new thread first touches the thread-local data of a library
# that was loaded late (of cffi's, here, for errno): there is no call that could fail.
C_LIBRARY_GIVES_UP = "cannot allocate memory for thread-local data: ABORT"

# More than any use allocates after what it allocated the last time.
PROBES = 20_000
AT_MOST = 100_000


class Python:
    """Python's allocations, of all its allocators and threads."""

    def __init__(self) -> None:
        self.failed = False

    def choose(self, nth: int) -> None:
        self._bounds = nth, nth + 1

    def arm(self) -> None:
        _testcapi.set_nomemory(*self._bounds)

    def disarm(self) -> None:
        # There is no call that tells whether it had come to the n-th. But if not, it comes now.
        try:
            for _ in range(PROBES):
                bytes(64)
            self.failed = True
        except MemoryError:
            self.failed = False
        finally:
            _testcapi.remove_mem_hooks()


class Malloc:
    """The C library's."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._arm, self._disarm = library.failing_arm, library.failing_disarm
        self.failed = False

    def choose(self, nth: int) -> None:
        self._nth = nth

    def arm(self) -> None:
        self._arm(self._nth)

    def disarm(self) -> None:
        self.failed = self._disarm() >= self._nth


def _play(kind: Any, use: Use, place: Place, first: int, step: int) -> Actor:
    def play(channel: Channel) -> None:
        use(place)
        loop._tidy(place.directory)
        for nth in range(first, AT_MOST, step):
            before = oracle.snapshot()
            channel.say(nth)
            kind.choose(nth)
            outcome, problem = attempt(use, place, kind.arm, kind.disarm)
            channel.say((kind.failed, outcome, problem, tidied(place, before)))
            if not kind.failed:
                return

    return Actor(play)


def loop_over(
    kind_name: str, engine: str, name: str, directory: Path, tally: Tally, first: int, step: int
) -> None:
    """All n of one use."""
    kind = Python() if kind_name == "python" else Malloc()
    place = Place(None if engine == "default" else engine, directory)
    warm(USES[name], place)
    nth, through = first, False
    while not through:
        actor = _play(kind, USES[name], place, nth, step)
        try:
            while True:
                nth = actor.hear()
                failed, outcome, problem, leaks = actor.hear()
                if failed:
                    tally.outcomes[outcome] += 1
                if problem or leaks:
                    what = f"{kind_name} {engine} {name} {nth}"
                    tally.wrong.append("\n    ".join([what, *filter(None, [problem]), *leaks]))
                if not failed:
                    through = True
                    break
            actor.end()
        except GoneError:
            how = actor.end()
            if kind_name == "malloc" and how.endswith(C_LIBRARY_GIVES_UP):
                tally.outcomes["the C library ended the process"] += 1
            else:
                tally.outcomes["crash"] += 1
                tally.wrong.append(f"{kind_name} {engine} {name} {nth}\n    {how}")
            nth += step
            through = nth >= AT_MOST


def run(
    kind: str, engines: list[str], uses: list[str], first: int = 1, step: int = 1
) -> tuple[Tally, dict[str, int]]:
    """The loops, in this process."""
    oracle.prepare()
    tally = Tally()
    counts = {}
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        for engine in engines:
            for name in uses:
                counted, began = tally.cases, time.monotonic()
                loop_over(kind, engine, name, directory, tally, first, step)
                counts[f"{engine} {name}"] = tally.cases - counted
                print(
                    f"{kind:8} {engine:12} {name:16} {tally.cases - counted:6} cases "
                    f"{time.monotonic() - began:4.0f} s",
                    flush=True,
                )
    finally:
        shutil.rmtree(directory)
    return tally, counts


def _with_malloc(arguments: list[str], library: str) -> int:
    """This command once more, with the library loaded before the C library."""
    return subprocess.run(
        [sys.executable, "-m", "faults.memory", "--kind", "malloc", *arguments],
        env={**os.environ, "LD_PRELOAD": library},
    ).returncode


def _loaded() -> bool:
    return hasattr(ctypes.CDLL(None), "failing_arm")


def main() -> int:
    """The command; 1 where something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m faults.memory", description=__doc__)
    parser.add_argument("--kind", action="append", choices=KINDS, help="only these")
    parser.add_argument("--use", action="append", choices=sorted(USES), help="only these")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="only these")
    parser.add_argument("--first", type=int, default=1, help="the first n")
    parser.add_argument("--step", type=int, default=1, help="every so manieth n")
    options = parser.parse_args()
    kinds = options.kind or list(KINDS)
    if "malloc" in kinds and not _loaded():
        kinds.remove("malloc")
        rest = ["--first", str(options.first), "--step", str(options.step)]
        rest += [word for name in options.use or [] for word in ("--use", name)]
        rest += [word for name in options.engine or [] for word in ("--engine", name)]
        with tempfile.TemporaryDirectory() as directory:
            result = _with_malloc(rest, Children(Path(directory))(LIBRARY))
    else:
        result = 0
    for kind in kinds:
        if kind == "python" and _testcapi is None:
            print("python: left out: this interpreter has no _testcapi")
            continue
        began = time.monotonic()
        tally, _ = run(
            kind,
            options.engine or list(ENGINES),
            options.use or list(USES),
            options.first,
            options.step,
        )
        words = ", ".join(f"{count} {word}" for word, count in tally.outcomes.most_common())
        seconds = time.monotonic() - began
        print(f"{kind}: {tally.cases} failed allocations in {seconds:.0f} s: {words}")
        for wrong in tally.wrong:
            print(f"WRONG: {wrong}")
        print(f"{kind}: {len(tally.wrong)} wrong", flush=True)
        if tally.wrong or not tally.cases:
            result = 1
    return result


if __name__ == "__main__":
    sys.exit(main())
