"""`python -m soak.busy`: threads that write programs and execute them, while others spawn.

The kernel runs no file that is open for writing, and a child has a copy of every descriptor from
its clone to its exec: without the lock some starts meet ETXTBSY, and are tried again. Both are
counted, with `write_lock` and without. Without it the count shows that the race is there.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import spawnkit
from soak.programs import program
from soak.tally import Progress, Tally
from spawnkit import children
from support import oracle

CODE = 251  # what `ledger` exits with where there is no ledger

Lock = Callable[[], AbstractContextManager[object]]


class Retries:
    """Counts the starts that met ETXTBSY and were tried again: each makes a pause."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._sleep = children.time.sleep

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.count += 1
        self._sleep(seconds)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class Busy:
    """One round: so many programs written and executed by each of the writers."""

    def __init__(self, directory: Path, lock: Lock, retries: Retries) -> None:
        self.directory, self.lock, self.retries = directory, lock, retries
        self.content = Path(program("ledger")).read_bytes()
        self.next = itertools.count()
        self.executed = 0
        self.spawned = 0
        self.refused = 0  # ETXTBSY, for good
        self.wrong: list[str] = []
        self._count = threading.Lock()

    def _write(self, number: int) -> str:
        path = self.directory / f"program-{number}"
        with self.lock(), open(path, "wb", opener=_executable) as file:
            file.write(self.content)
        return str(path)

    def _execute(self, number: int) -> None:
        path = self._write(number)
        try:
            state = spawnkit.start_process(path, ["ledger", "7"]).wait()
            if state.exit_code != CODE:
                self.wrong.append(f"{path}: {state}")
        except spawnkit.SpawnError as error:
            if error.errno != errno.ETXTBSY:
                self.wrong.append(f"{path}: {error}")
            self.refused += error.errno == errno.ETXTBSY
        Path(path).unlink()

    def run(self, writers: int, spawners: int, programs: int, progress: Progress) -> None:
        over = threading.Event()

        def write() -> None:
            try:
                while (number := next(self.next)) < programs:
                    self._execute(number)
                    with self._count:
                        self.executed += 1
            except BaseException as error:
                self.wrong.append(repr(error))

        def spawn() -> None:
            try:
                while not over.is_set():
                    state = spawnkit.run([program("ledger"), "7"], check=False).state
                    if state.exit_code != CODE:
                        self.wrong.append(f"a spawn beside: {state}")
                    with self._count:
                        self.spawned += 1
            except BaseException as error:
                self.wrong.append(repr(error))

        beside = [threading.Thread(target=spawn) for _ in range(spawners)]
        writing = [threading.Thread(target=write) for _ in range(writers)]
        try:
            for thread in beside + writing:
                thread.start()
            while any(thread.is_alive() for thread in writing):
                writing[0].join(0.1) if writing[0].is_alive() else time.sleep(0.01)
                if progress.is_due():
                    progress.show(self.executed, f"{self.retries.count:,} retries")
        finally:
            over.set()  # also where a thread cannot be started
        for thread in beside + writing:
            thread.join()


def _executable(path: str, flags: int) -> int:
    import os

    return os.open(path, flags, 0o755)


def _round(name: str, lock: Lock, threads: int, programs: int, tally: Tally) -> int:
    """One of the two; returns how many starts met ETXTBSY."""
    directory = Path(tempfile.mkdtemp(prefix="busy-"))
    retries = Retries()
    children.time = retries  # type: ignore[assignment]
    try:
        busy = Busy(directory, lock, retries)
        progress = Progress(programs, f"busy, {name}")
        busy.run(threads, threads, programs, progress)
    finally:
        children.time = time
        shutil.rmtree(directory)
    tally.seconds += progress.seconds()
    tally.spawns += busy.executed + busy.spawned
    tally.wrong += busy.wrong[:20]
    tally.lost += len(busy.wrong) + (programs - busy.executed)
    tally.notes.append(
        f"{name}: {busy.executed:,} programs written and executed by {threads} threads, "
        f"{busy.spawned:,} spawns by {threads} others beside; "
        f"{retries.count:,} tries met ETXTBSY, {busy.refused} starts failed for good"
    )
    return retries.count + busy.refused


def busy(programs: int, threads: int) -> Tally:
    """With the lock, then without."""
    tally = Tally("busy")
    program("ledger")
    before = oracle.snapshot()
    with_it = _round("with write_lock", spawnkit.write_lock, threads, programs, tally)
    _round("without", nullcontext, threads, programs, tally)
    if with_it:
        tally.wrong.append(f"{with_it} tries met ETXTBSY under the lock")
    leaks = oracle.leaks_since(before)
    tally.leaked = len(leaks)
    tally.wrong += leaks
    return tally


def main() -> int:
    """The command; 1 where something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m soak.busy", description=__doc__)
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    oracle.prepare()
    tally = busy(options.programs, options.threads)
    tally.write(options.result)
    return 0 if tally.is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
