"""`python -m soak.storm`: spawns from many threads, in a storm of signals.

Each child has a number. It appends it to a ledger, and its exit status, and for some its output,
follow from it: a spawn that was lost, made twice, or told another's result shows. Every second
signal goes to the whole process group: to the children as well. A child that is hit before its
program starts must die and say so, and is started again; afterwards the signals are blocked in it.
"""

from __future__ import annotations

import argparse
import array
import ctypes
import fcntl
import itertools
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import spawnkit
from soak.programs import program
from soak.tally import Progress, Tally, resident
from spawnkit import _core
from support import oracle
from support.proc import PROC

STORM = (signal.SIGUSR1, signal.SIGALRM, signal.SIGINT)
HERTZ = 1000
LEDGER = 3  # the child's descriptor
WARM = 0.05  # of all spawns, before anything is compared
RSS_ALLOWED = 1024  # KiB: what the interpreter's and the C library's allocators may take later on


class Handlers:
    """Python handlers for the storm, each of which asks where it runs."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.heard: Counter[int] = Counter()
        self.elsewhere = 0
        self.library = ctypes.CDLL(program("watch"))
        self.library.watched.restype = ctypes.c_long
        self.before = {number: signal.signal(number, self._handle) for number in STORM}
        for number in STORM:
            assert self.library.watch(int(number)) == 0

    def _handle(self, number: int, _: object) -> None:
        self.heard[number] += 1
        self.elsewhere += os.getpid() != self.pid

    def in_other_processes(self) -> int:
        return self.elsewhere + int(self.library.watched(1))

    def restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


class Storm:
    """The process that sends the signals."""

    def __init__(self, hertz: int) -> None:
        command = [program("tick"), str(hertz), str(os.getpid()), *(str(int(n)) for n in STORM)]
        # In a session of its own: the group that it signals is ours.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def end(self) -> int:
        """How many signals it has sent."""
        sent, _ = self.process.communicate()
        assert self.process.returncode == 0, f"tick ended with {self.process.returncode}"
        return int(sent)


class Soak:
    """Spawns numbers, and checks what comes back."""

    def __init__(self, engine: str | None) -> None:
        self.engine = engine
        self.ledger = os.memfd_create("ledger", os.MFD_CLOEXEC)
        fcntl.fcntl(self.ledger, fcntl.F_SETFL, os.O_APPEND)
        self.path = program("ledger")
        self.attr = spawnkit.SysProcAttr(sigmask=STORM)
        self.files = spawnkit.ProcAttr(files={LEDGER: self.ledger}, sys=self.attr)
        self.done = itertools.count()
        self.lock = threading.Lock()
        self.struck: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.samples: list[tuple[int, int]] = []  # spawns, KiB

    def _run(self, number: int) -> tuple[spawnkit.ProcessState, bytes | None]:
        """The ways to a child, in turn."""
        way, text = number % 8, str(number)
        options: dict[str, Any] = {
            "extra_files": [self.ledger],
            "attr": self.attr,
            "engine": self.engine,
        }
        if way == 0:
            process = spawnkit.start_process(
                self.path, ["ledger", text], self.files, engine=self.engine
            )
            return process.wait(), None
        if way == 1:
            done = spawnkit.run([self.path, text, "say"], capture=True, check=False, **options)
            return done.state, done.stdout  # type: ignore[return-value]
        if way == 2:
            return spawnkit.run([self.path, text], timeout=600, check=False, **options).state, None
        if way == 3:
            cmd = spawnkit.Cmd(self.path, text, **options)
            cmd.start()
            return cmd.wait(check=False), None
        return spawnkit.run([self.path, text], check=False, **options).state, None

    def spawn(self, number: int) -> None:
        """One number, until its program has run."""
        while True:
            try:
                state, out = self._run(number)
                break
            except spawnkit.SpawnError as error:
                if error.errno is not None or error.signal not in STORM:
                    self.wrong.append(f"{number}: {error}")
                    return
                with self.lock:
                    self.struck[error.signal] += 1
            except Exception as error:
                self.wrong.append(f"{number}: {error!r}")
                return
        if state.exit_code != number % 250:
            self.wrong.append(f"{number}: {state}, not exit code {number % 250}")
        elif number % 8 == 1 and out != str(number).encode():
            self.wrong.append(f"{number}: its output is {out!r}")

    def phase(self, threads: int, until: int, progress: Progress | None) -> None:
        """Spawns on all threads, this one among them, up to the number `until`."""

        def work(after_each: Callable[[int], None] = lambda _: None) -> None:
            while (number := next(self.done)) < until:
                self.spawn(number)
                after_each(number)

        def look(number: int) -> None:
            if progress and progress.is_due():
                self.samples.append((number, resident()))
                struck = f"{sum(self.struck.values()):,} hit before exec"
                progress.show(number, f"{struck}, RSS {self.samples[-1][1]:,} KiB")

        others = [threading.Thread(target=work) for _ in range(threads - 1)]
        for thread in others:
            thread.start()
        work(look)
        for thread in others:
            thread.join()
        self.done = itertools.count(until)

    def check_ledger(self, spawns: int, tally: Tally) -> None:
        """Each number once."""
        size = os.fstat(self.ledger).st_size
        numbers = array.array("I")
        numbers.frombytes(os.pread(self.ledger, size, 0))
        times = Counter(numbers)
        missing = [number for number in range(spawns) if not times[number]]
        twice = [number for number, count in times.items() if count > 1]
        foreign = [number for number in times if number >= spawns]
        tally.lost += len(missing)
        tally.doubled += len(twice) + len(foreign)
        if missing or twice or foreign:
            tally.wrong.append(f"ledger: missing {missing[:5]}, twice {twice[:5]}, {foreign[:5]}")

    def close(self) -> None:
        os.close(self.ledger)


def _counts() -> str:
    _core.trim()
    tasks, fds = len(os.listdir(PROC / "self/task")), len(os.listdir(PROC / "self/fd")) - 1
    maps = (PROC / "self/maps").read_bytes().count(b"\n")
    return f"{fds} descriptors, {tasks} threads, {maps} mappings, RSS {resident():,} KiB"


def soak(spawns: int, threads: int, hertz: int, engine: str | None) -> Tally:
    """All of it, in this process, whose group nobody else may be in."""
    tally = Tally("storm")
    handlers = Handlers()
    run = Soak(engine)
    # There before anything is compared, as what stays for the whole run must be; and the last that
    # is made without the mask that the children have.
    storm = Storm(hertz)
    try:
        run.phase(threads, int(spawns * WARM), None)
        before, counts = oracle.snapshot(), _counts()
        progress = Progress(spawns, "storm")
        run.phase(threads, spawns, progress)
        tally.seconds = progress.seconds()
        sent = storm.end()
        after = _counts()
        # The storm's own process and its two pipes were there at first.
        ours = {f"child {storm.process.pid}", "child"}
        leaks = [
            line
            for line in oracle.leaks_since(before)
            if line.split(" is ")[0] not in ours and not _is_gone(line)
        ]
        tally.spawns = spawns
        run.check_ledger(spawns, tally)
        tally.lost += len(run.wrong)
        tally.leaked = len(leaks)
        tally.wrong += run.wrong[:20] + leaks
        _check_memory(run.samples, tally)
    finally:
        run.close()
        handlers.restore()
    elsewhere = handlers.in_other_processes()
    tally.strangers += elsewhere
    if elsewhere:
        tally.wrong.append(f"a handler ran {elsewhere} times in another process")
    if not sent or not sum(handlers.heard.values()):
        tally.wrong.append("there was no storm")
    heard = ", ".join(f"{n} {signal.Signals(k).name}" for k, n in sorted(handlers.heard.items()))
    tally.notes += [
        f"{threads} threads, {spawns / max(tally.seconds, 1e-9) * (1 - WARM):,.0f} spawns a second",
        f"{sent:,} signals sent in {tally.seconds:.0f} s and the warm-up; handlers ran: {heard}, "
        f"{elsewhere} times in another process",
        f"{sum(run.struck.values()):,} children hit before their program: each said so, and was "
        "started again",
        f"before: {counts}",
        f"after:  {after}",
    ]
    return tally


def _is_gone(line: str) -> bool:
    return line.startswith("descriptor") and " is gone" in line


def _check_memory(samples: list[tuple[int, int]], tally: Tally) -> None:
    """From the first tenth of the samples on: until then caches fill."""
    if len(samples) < 10:
        tally.notes.append("too short to say anything about memory")
        return
    (first, low), (last, high) = samples[len(samples) // 10], samples[-1]
    tally.rss = high - low
    per = tally.rss * 100_000 / max(last - first, 1)
    tally.notes.append(f"RSS {low:,} KiB at {first:,}, {high:,} KiB at {last:,}: "
                       f"{per:+.1f} KiB per 100,000 spawns")  # fmt: skip
    if tally.rss > RSS_ALLOWED:
        tally.wrong.append(f"RSS grew by {tally.rss:,} KiB")


def main() -> int:
    """The command; 1 where something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m soak.storm", description=__doc__)
    parser.add_argument("--spawns", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--hertz", type=int, default=HERTZ)
    parser.add_argument("--engine")
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    oracle.prepare()
    if os.getpgid(0) != os.getpid():
        parser.error("it signals its own group, so it must lead one: python -m soak")
    tally = soak(options.spawns, options.threads, options.hertz, options.engine)
    tally.write(options.result)
    return 0 if tally.is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
