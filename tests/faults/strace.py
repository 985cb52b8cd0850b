"""`python -m faults.strace`: the loop from outside, on the package as it is installed.

Each use, each system call on its way (of ours, of our threads, of the child up to its program),
each errno of that call's manual page, the n-th time: one run of an actor per case, under `strace`
that makes that one call fail. What the loop in the core cannot reach is reached here: the inside of
the C library's posix_spawn, and what the interpreter calls on the way.

strace counts the calls of each task (process, thread) by itself. So that "the child's first" is not
ours too, we make BURNT calls of the kind in vain before the use begins. Each run's log must show
that the fault was there, and where: it is no case otherwise.

Left out, in all tasks: close (strace leaves the descriptor open, where the kernel closes it
whatever it answers; the loop in the core does it right).
Left out in children of posix_spawn: rt_sigprocmask, whose result the C library does not look at.
Left out in ours: rt_sigaction and rt_sigprocmask (they cannot fail with the arguments they are
given, and undo what was done); wait4 (only the C library's posix_spawn calls it, with all signals
blocked and for a child of its own: it cannot fail either, and is not looked at); mmap, munmap, brk,
madvise and futex of the interpreter: its memory, for which there is faults.memory, and its lock,
without which it aborts; writes to an eventfd, which have no failure. Our own mmap, mprotect and
futex are known by their arguments.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from faults import loop
from faults.actor import Actor, Channel, GoneError, attempt, tidied, warm
from faults.errnos import ERRNOS, MEMORY, NAMES
from faults.tracing import BEGIN, END, Call, Log, Strace, mark
from faults.uses import USES, Place, Use
from support import oracle

BURNT = 120  # more than a child makes of any before its program (posix_spawn: 64 rt_sigaction)
ATTEMPTS = 4  # where threads run, the n-th call is not the same one each time

NUMBERS = {name: number for number, name in NAMES.items() if number != MEMORY}
# What only the C library calls.
ERRNOS_OF = {name: ERRNOS[number] for name, number in NUMBERS.items()}
ERRNOS_OF["dup2"] = ERRNOS_OF["dup3"]

NEVER = {"close"}
NOT_OURS = {"rt_sigaction", "rt_sigprocmask", "wait4"}

# With streams the parent does the same on all engines: the others have the uses that differ.
GROUPS = [("default", use) for use in USES]
GROUPS += [
    ("fork", use)
    for use in ("plain", "captured", "fed", "timed_out", "descriptors", "attributes", "missing")
]
GROUPS += [("fork", "process"), ("fork", "command")]
GROUPS += [
    ("posix_spawn", use) for use in ("plain", "captured", "attributes", "missing", "process")
]


@dataclass(frozen=True)
class Case:
    """One fault."""

    engine: str
    use: str
    who: str  # "ours": of the main thread; "thread"; "child"
    call: str
    error: int
    first: int
    last: int | None  # None: for ever

    def __str__(self) -> str:
        """So that it can be asked for again."""
        more = "+" if self.last is None else f"..{self.last}" if self.last > self.first else ""
        what = f"{self.call}:{errno.errorcode[self.error]}:{self.first}{more}"
        return f"{self.engine} {self.use} {self.who} {what}"

    @property
    def inject(self) -> str:
        """In strace's words."""
        before = BURNT if self.who == "ours" else 0
        when = f"{self.first + before}"
        if self.last is None:
            when += "+"
        elif self.last > self.first:
            when += f"..{self.last + before}"
        return f"{self.call}:error={errno.errorcode[self.error]}:when={when}"


@dataclass
class Tally:
    """What came of the cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    not_injected: list[str] = field(default_factory=list)
    into_the_program: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return sum(self.outcomes.values())

    def add(self, other: Tally) -> None:
        self.outcomes += other.outcomes
        self.calls += other.calls
        self.wrong += other.wrong
        self.not_injected += other.not_injected
        self.into_the_program += other.into_the_program


# ---- one run -------------------------------------------------------------------------------------


def _burn(name: str) -> None:
    """Calls it in vain: with arguments that no kernel takes."""
    arguments = _NOBODY.get(name, (-1, 1, -1, -1, -1, 1))
    for _ in range(BURNT):
        _syscall(NUMBERS[name], *map(ctypes.c_long, arguments))


_NOBODY = {"kill": (0x7FFFFFFF, 0), "mmap": (0, 0), "eventfd2": (0, -1)}


_syscall = ctypes.CDLL(None).syscall


def _allow_tracing() -> None:
    # Where only ancestors may trace (Yama): a PR_SET_PTRACER for anyone.
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)


def _play(use: Use, place: Place, burn: str) -> Actor:
    def play(channel: Channel) -> None:
        _allow_tracing()
        use(place)
        loop._tidy(place.directory)
        before = oracle.snapshot()
        channel.say("ready")
        channel.hear()
        if burn:
            _burn(burn)
        outcome, problem = attempt(use, place, lambda: mark(BEGIN), lambda: mark(END))
        channel.say("done")
        channel.hear()
        channel.say((outcome, problem, tidied(place, before)))
        channel.hear()

    return Actor(play)


@dataclass
class Run:
    outcome: str
    problem: str
    leaks: list[str]
    log: Log
    main: int


def _run(use: Use, place: Place, calls: str, inject: str = "", burn: str = "") -> Run:
    """One use, traced."""
    log = place.directory.parent / "log"
    actor = _play(use, place, burn)
    strace = None
    outcome, problem, leaks = "crash", "", []
    try:
        actor.hear()
        strace = Strace(actor.pid, log, calls, inject)
        actor.say("go")
        actor.hear()
        strace.detach()
        actor.say("look")
        outcome, problem, leaks = actor.hear()
        actor.say("end")
    except GoneError:
        problem = actor.end()
    else:
        actor.end()
    finally:
        if strace is not None:
            strace.detach()
    return Run(outcome, problem, leaks, strace.log() if strace else Log(""), actor.pid)


# ---- which cases there are -----------------------------------------------------------------------


def is_ours(call: Call, who: str) -> bool:
    """Not the interpreter's, and one that can fail."""
    if call.name not in ERRNOS_OF or call.name in NEVER:
        return False
    if who == "child":
        return True
    if call.name == "mmap":
        return "PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE," in call.text
    if call.name == "mprotect":
        return ", 65536, PROT_NONE" in call.text  # the guard of a block (csrc/launch.c)
    if call.name == "futex":
        # Of threads there are more of the interpreter's, and how many is a matter of luck.
        return who == "ours" and bool(re.search(r"FUTEX_(WAIT|WAKE),", call.text))
    if call.name == "read" and not re.match(r"read\(\d+<(pipe|anon_inode|socket)", call.text):
        return False  # of a file, by the use itself
    return call.name not in NOT_OURS and not _rings(call)


def _rings(call: Call) -> bool:
    """Of an eventfd, which takes every write but one that would overflow: see csrc/sys.h."""
    return bool(re.match(r"write\(\d+<anon_inode:\[?eventfd", call.text))


def _some(numbers: list[int]) -> list[int]:
    """Of many like calls the first and the last."""
    return numbers if len(numbers) <= 5 else [*numbers[:3], *numbers[-2:]]


def cases(engine: str, use: str, clean: Log, main: int) -> Iterator[Case]:
    """Of one use, by what a run without faults calls."""
    threads, children = clean.families(main)
    setup = {id(call) for call in clean.before_exec(children)}
    found: dict[tuple[str, str], list[int]] = {}
    rings = any(map(_rings, clean.calls))
    programs = set()  # what they call: they count from 1 too, and are not ours to fail
    for call in clean.calls:
        who = "ours" if call.task == main else "thread" if call.task in threads else "child"
        if who == "child" and id(call) not in setup:
            programs.add((call.name, call.task not in children))
        elif is_ours(call, who) and (call.inside or who != "ours"):
            found.setdefault((who, call.name), []).append(call.nth)
    for (who, name), all_numbers in found.items():
        numbers = sorted(set(all_numbers))
        if who != "ours" and (name, True) in programs:
            continue
        if (engine, who, name) == ("posix_spawn", "child", "rt_sigprocmask"):
            continue
        if who == "thread" and ((name, False) in programs or ("child", name) in found):
            continue
        for error in ERRNOS_OF[name]:
            for nth in _some(numbers):
                yield Case(engine, use, who, name, error, nth, nth)
            if error in loop.PASSING or (name == "write" and rings):
                continue
            if who == "ours":
                yield Case(engine, use, who, name, error, numbers[0], None)
            elif len(numbers) > 1:
                yield Case(engine, use, who, name, error, 1, numbers[-1])


def _where(run: Run) -> tuple[bool, bool]:
    """Was there a fault where it was meant; was there one in somebody else's code?"""
    threads, children = run.log.families(run.main)
    early = {id(call) for call in run.log.before_exec(children)}
    meant = elsewhere = False
    for call in run.log.calls:
        if not call.injected:
            continue
        if call.task == run.main:
            if call.inside:
                meant |= is_ours(call, "ours")
                elsewhere |= not is_ours(call, "ours")
        elif call.task in threads:
            meant |= is_ours(call, "thread")
            elsewhere |= not is_ours(call, "thread")
        else:
            meant |= id(call) in early
            elsewhere |= id(call) not in early
    return meant, elsewhere


# ---- all of them ---------------------------------------------------------------------------------


def _one(case: Case, place: Place, tally: Tally) -> None:
    for _ in range(ATTEMPTS):
        burn = case.call if case.call in NUMBERS else ""
        run = _run(USES[case.use], place, f"?{case.call}", case.inject, burn)
        meant, elsewhere = _where(run)
        if elsewhere and (run.problem or run.leaks):
            continue  # what hits the program itself, or the interpreter, is not ours to answer for
        if meant or run.problem or run.leaks:
            break
    if not meant and not (run.problem or run.leaks):
        tally.not_injected.append(str(case))
    elif elsewhere and (run.problem or run.leaks):
        tally.into_the_program.append(str(case))
    else:
        tally.outcomes[run.outcome] += 1
        tally.calls[f"{case.who} {case.call}"] += 1
        if run.problem or run.leaks:
            tally.wrong.append("\n    ".join([str(case), *filter(None, [run.problem]), *run.leaks]))


def group(engine: str, use: str, only: str = "", sparse: int = 1) -> Tally:
    """All faults of one use on one engine; with `sparse` every so manieth."""
    tally = Tally()
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        inner = directory / "place"
        inner.mkdir()
        place = Place(None if engine == "default" else engine, inner)
        warm(USES[use], place)
        clean = _run(USES[use], place, ",".join(f"?{name}" for name in ERRNOS_OF))
        if clean.problem or clean.leaks or clean.outcome == "crash":
            raise RuntimeError(f"{engine} {use}: without a fault: {clean.problem} {clean.leaks}")
        wanted = [
            case for case in cases(engine, use, clean.log, clean.main) if str(case).startswith(only)
        ]
        for case in wanted[::sparse]:
            _one(case, place, tally)
    finally:
        shutil.rmtree(directory)
    return tally


def _ready() -> None:
    oracle.prepare()


def main() -> int:
    """The command; 1 where something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m faults.strace", description=__doc__)
    parser.add_argument("--use", action="append", choices=sorted(USES), help="only these")
    parser.add_argument(
        "--engine",
        action="append",
        choices=sorted({group[0] for group in GROUPS}),
        help="only these",
    )
    parser.add_argument("--case", default="", help="only the cases that begin so")
    parser.add_argument("--sparse", type=int, default=1, help="only every n-th case")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    if not shutil.which("strace"):
        parser.error("strace is not installed")
    groups = [
        (engine, use)
        for engine, use in GROUPS
        if engine in (options.engine or [engine]) and use in (options.use or [use])
    ]
    tally = Tally()
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context, initializer=_ready) as pool:
        jobs = [pool.submit(group, *each, options.case, options.sparse) for each in groups]
        for (engine, use), job in zip(groups, jobs, strict=True):
            done = job.result()
            tally.add(done)
            print(f"{engine:14} {use:16} {done.cases:6} cases", *done.wrong, sep="\n  ", flush=True)
    words = ", ".join(f"{count} {word}" for word, count in tally.outcomes.most_common())
    calls = ", ".join(f"{word} {count}" for word, count in sorted(tally.calls.items()))
    print(f"{tally.cases} faults in {time.monotonic() - began:.0f} s: {words}")
    print(f"by call: {calls}")
    for case in tally.into_the_program:
        print(f"not counted, it met somebody else's call too: {case}")
    for case in tally.not_injected:
        print(f"not counted, nothing was injected: {case}")
    for wrong in tally.wrong:
        print(f"WRONG: {wrong}")
    uncounted = len(tally.into_the_program) + len(tally.not_injected)
    print(f"{len(tally.wrong)} wrong, {uncounted} not counted")
    return 1 if tally.wrong or not tally.cases else 0


if __name__ == "__main__":
    sys.exit(main())
