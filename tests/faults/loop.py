"""`python -m faults.loop`: each use, each system call in it, each errno of it, n = 1, 2, 3, …

After SQLite's way (https://www.sqlite.org/testing.html, "anomaly testing"): the n-th call of a
kind fails, once or from then on, and n grows until a run is through without a fault. Each run must
end in success or in an error that says what failed, and leave the process as it was.

Needs a package built with SPAWNKIT_FAULTS=1 (`make faults`).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import faulthandler
import gc
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import spawnkit
from faults.errnos import ERRNOS, NAMES
from faults.uses import USES, Place, Use
from spawnkit import children
from spawnkit._native import ffi, lib
from support import oracle
from support.children import compile_helper

ENGINES = ("vfork", "vfork-waiting", "fork", "posix_spawn")

# Tells "ends" from "hangs": a use takes milliseconds, the longest patience in the package is 1 s.
HANGS_AFTER = 10.0

NOTHING = 0x7FFFFFFF  # the number of no system call
FOR_EVER = 0xFFFFFFFF

# "Try again", said for ever, asks for a loop without end; and where there is for ever no such
# process, there is nothing to be reaped or killed.
PASSING = frozenset((errno.EINTR, errno.EAGAIN, errno.ECHILD, errno.ESRCH))


class HangError(BaseException):
    """A use that does not end."""


@dataclass(frozen=True)
class Case:
    """One fault."""

    use: str
    engine: str
    number: int
    error: int
    nth: int
    for_ever: bool

    def __str__(self) -> str:
        """So that it can be asked for again."""
        what = f"{NAMES[self.number]}:{errno.errorcode[self.error]}:{self.nth}"
        return f"{self.use} {self.engine} {what}{'+' * self.for_ever}"


@dataclass
class Tally:
    """What came of the cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return sum(self.outcomes.values())


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    def hang(*_: object) -> None:
        faulthandler.dump_traceback(all_threads=True)
        raise HangError

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _attempt(use: Use, place: Place) -> tuple[str, str]:
    """The outcome in a word, and what is wrong with it."""
    try:
        with _watched():
            use(place)
    except HangError:
        return "hang", "it does not end"
    except AssertionError as failure:
        return "wrong answer", f"a wrong answer: {failure}"
    except MemoryError:
        return "MemoryError", ""
    except (spawnkit.Error, OSError, subprocess.SubprocessError) as failure:
        return type(failure).__name__, _unclear(failure)
    except BaseException as failure:
        return type(failure).__name__, f"not an error of ours: {failure!r}"
    return "success", ""


def _unclear(failure: BaseException) -> str:
    """Why an error does not say what failed; empty: it does."""
    if not str(failure):
        return f"{type(failure).__name__} without words"
    if isinstance(failure, spawnkit.SpawnError) and not failure.stage:
        return f"no stage: {failure}"
    if isinstance(failure, (spawnkit.StatusLost, spawnkit.ProcessDone)):
        return ""
    if isinstance(failure, OSError) and not failure.errno and "died before" not in str(failure):
        return f"no errno: {failure}"
    return ""


def _calls(use: Use, place: Place) -> list[int]:
    """The calls that a use makes, each number once."""
    room = lib.SK_FAULT_LOG
    numbers = ffi.new("int[]", room)
    assert lib.sk_fault_arm(NOTHING, 0, 1, 1) == 0
    use(place)
    lib.sk_fault_disarm()
    lib.sk_fault_put_back()
    made = lib.sk_fault_calls(numbers, room)
    return sorted(set(ffi.unpack(numbers, min(made, room))) & ERRNOS.keys())


def _one(case: Case, use: Use, place: Place, tally: Tally) -> bool:
    """Was there such a call?"""
    before = oracle.snapshot()
    last = FOR_EVER if case.for_ever else case.nth
    assert lib.sk_fault_arm(case.number, case.error, case.nth, last) == 0
    outcome, problem = _attempt(use, place)
    lib.sk_fault_disarm()
    injected: int = lib.sk_fault_injected()
    lib.sk_fault_put_back()
    _tidy(place.directory)
    leaks = _leaks(before)
    if not injected:
        return False
    tally.outcomes[outcome] += 1
    if problem or leaks:
        tally.wrong.append("\n    ".join([str(case), *filter(None, [problem]), *leaks]))
        oracle.reap_leftovers()
        children._orphans.clear()
    return True


def _leaks(before: oracle.Facts) -> list[str]:
    """What is left when handles that were dropped are collected, and their processes reaped."""
    _reap_killed()
    if not oracle.differences(before, oracle.snapshot()):
        return []
    gc.collect()
    _reap_killed()
    return oracle.leaks_since(before)


def _reap_killed() -> None:
    """Orphans have had their SIGKILL, and a moment later they are gone."""
    end = time.monotonic() + oracle.SETTLE_SECONDS
    _reap()
    while (children._orphans or subprocess._active) and time.monotonic() < end:  # type: ignore
        _reap()


def _reap() -> None:
    children.reap_orphans()
    subprocess._cleanup()  # type: ignore[attr-defined]  # dropped Popens


def _tidy(directory: Path) -> None:
    for path in directory.iterdir():
        if not path.is_fifo():
            path.unlink()


def loop(name: str, engine: str, directory: Path, tally: Tally, only: str, first: bool) -> None:
    """All faults of one use on one engine."""
    use, place = USES[name], Place(engine, directory)
    for _ in range(3):  # everything is imported, every answer of the kernel is known
        use(place)
        _tidy(directory)
    if first:
        lib.sk_fault_put_back()
    else:
        lib.sk_fault_keep()
    numbers = _calls(use, place)
    _tidy(directory)
    for number in numbers:
        for error in ERRNOS[number]:
            for for_ever in (False, True):
                if for_ever and error in PASSING:
                    continue
                for nth in range(1, 10_000):
                    case = Case(name, engine, number, error, nth, for_ever)
                    if only and not str(case).startswith(only):
                        break
                    if not _one(case, use, place, tally):
                        break


def _under(rules: str, options: list[str]) -> int:
    """The loop with other options, where tests/children/deny.c refuses system calls for good."""
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        deny = Path(directory, "deny")
        compile_helper("deny", deny)
        command = [str(deny), rules, "--", sys.executable, "-m", "faults.loop", *options]
        return subprocess.run(command).returncode


def main() -> int:
    """The command; 1 where something was wrong."""
    poor = argparse.ArgumentParser(add_help=False)
    poor.add_argument("--deny", metavar="RULES", help="besides, a kernel that refuses these calls")
    parser = argparse.ArgumentParser(
        prog="python -m faults.loop", description=__doc__, parents=[poor]
    )
    parser.add_argument("--use", action="append", choices=sorted(USES), help="only these")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="only these")
    parser.add_argument("--case", default="", help="only the cases that begin so")
    parser.add_argument(
        "--first",
        action="store_true",
        help="each as the first use in a process, which has yet to find out what the kernel can do",
    )
    options = parser.parse_args()
    if options.deny:
        return _under(options.deny, poor.parse_known_args()[1])
    if not hasattr(lib, "sk_fault_arm"):
        parser.error("this build has no faults in it: make faults")
    lib.sk_fault_keep()  # nothing is known yet
    oracle.prepare()
    tally = Tally()
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    began = time.monotonic()
    try:
        for engine in options.engine or ENGINES:
            for name in options.use or USES:
                counted = tally.cases
                loop(name, engine, directory, tally, options.case, options.first)
                if sys.stderr.isatty() or tally.cases > counted:
                    print(f"{engine:14} {name:16} {tally.cases - counted:6} cases", flush=True)
    finally:
        shutil.rmtree(directory)
    words = ", ".join(f"{count} {word}" for word, count in tally.outcomes.most_common())
    print(f"{tally.cases} faults in {time.monotonic() - began:.0f} s: {words}")
    for wrong in tally.wrong:
        print(f"WRONG: {wrong}")
    print(f"{len(tally.wrong)} wrong")
    return 1 if tally.wrong or not tally.cases else 0


if __name__ == "__main__":
    sys.exit(main())
