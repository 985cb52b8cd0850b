"""Processes by chance: start, signal, wait, time out, fork, drop, in any order, against a model.

A child is `block`: it ends when the other end of its pipe is closed, so that the model always
knows who may have ended, and no step has to wait for luck. `python -m fuzz.machine
-max_total_time=60` lets hypothesis make up one run after the other.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import spawnkit
from spawnkit import CancelToken, Cmd, ProcAttr, Process, ProcessDone, children
from support import oracle
from support.children import Children
from support.proc import PROC

ENGINES = ("vfork", "vfork-waiting", "fork", "posix_spawn")
DEADLY = (signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1)
HANGS_AFTER = 60.0

BLOCK = ""  # the program; set by `ready`
STEPS: Counter[str] = Counter()

End = tuple[str, int]


class Child:
    """A process and what the model knows of it.

    What a step may be chosen by follows from the steps before alone, never from how fast a process
    was: hypothesis wants the same choices to lead to the same place.
    """

    def __init__(self, process: Process, pipe: int) -> None:
        self.process: Process | None = process
        self.pid = process.pid
        self.pipe = pipe  # -1: closed, so that it will exit with 0
        self.stopped = False
        self.possible: set[End] = set()  # how it may end; empty: it runs until something is done
        self.certain = False  # it will end, whatever else is done
        self.over: spawnkit.ProcessState | None = None  # by chance: a poll may have found it
        self.waited = False  # surely over
        self.waiters: list[Waiter] = []

    @property
    def runs(self) -> bool:
        """It has certainly not ended."""
        return not self.possible

    def let_go(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
        if not self.stopped:
            self.possible.add(("exit", 0))
            self.certain = True

    def went(self, number: int) -> None:
        """What a signal that was sent does to it."""
        if number == signal.SIGSTOP:
            self.stopped = True
            self.certain = self.certain and ("signal", signal.SIGKILL) in self.possible
        elif number == signal.SIGCONT:
            self.stopped = False
            if self.pipe < 0:
                self.possible.add(("exit", 0))
            self.certain = bool(self.possible)
        elif number in DEADLY:
            self.possible.add(("signal", number))
            if number == signal.SIGKILL or not self.stopped:
                self.certain = True

    def check(self, state: spawnkit.ProcessState) -> None:
        end = ("signal", state.signal) if state.signal else ("exit", state.exit_code)
        assert end in self.possible, (end, self.possible)
        assert self.over is None or self.over is state
        self.over = state


class Waiter(threading.Thread):
    """Waits for a child in a thread of its own."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process: Process | None = process
        self.outcome: Any = None

    def run(self) -> None:
        assert self.process is not None
        try:
            self.outcome = self.process.wait()
        except BaseException as error:
            self.outcome = error
        self.process = None


@contextlib.contextmanager
def raises(wanted: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except wanted:
        return
    raise AssertionError(f"no {wanted.__name__}")


def in_a_fork(function: Callable[[], str]) -> str:
    """What it says in a forked interpreter; a traceback where it raises."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
        pid = os.fork()
    if pid == 0:
        try:
            try:
                words = function()
            except BaseException as error:
                words = repr(error)
            os.write(write, words.encode(errors="replace")[:4000])
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        words = pipe.read().decode()
    os.waitpid(pid, 0)
    return words


class Processes(RuleBasedStateMachine):
    """Any number of children, and everything that can be done with a handle."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[Child] = []
        self.lost: list[Child] = []  # released or dropped while they were there
        self.commands: list[tuple[Cmd, CancelToken, int]] = []
        self.before = oracle.snapshot()

    @initialize(engines=st.lists(st.sampled_from(ENGINES), min_size=1, max_size=3))
    def begin(self, engines: list[str]) -> None:
        for engine in engines:
            self.start(engine)

    def pick(self, data: st.DataObject) -> Child:
        child: Child = data.draw(st.sampled_from(self.children), label="child")
        return child

    # ---- starting --------------------------------------------------------------------------------

    @precondition(lambda self: len(self.children) < 5)
    @rule(engine=st.sampled_from(ENGINES))
    def start_another(self, engine: str) -> None:
        self.start(engine)

    def start(self, engine: str) -> None:
        STEPS["start"] += 1
        read, write = os.pipe()
        attr = ProcAttr(files=[read])
        try:
            process = spawnkit.start_process(BLOCK, ["block"], attr, engine=engine)
        finally:
            os.close(read)
        self.children.append(Child(process, write))

    @precondition(lambda self: len(self.commands) < 2)
    @rule(engine=st.sampled_from(ENGINES), captures=st.booleans())
    def start_a_command(self, engine: str, captures: bool) -> None:
        STEPS["command"] += 1
        token = CancelToken()
        read, write = os.pipe()
        options: Any = {"stdout": spawnkit.PIPE} if captures else {}
        command = Cmd(BLOCK, stdin=read, cancel=token, engine=engine, **options)
        try:
            command.start()
        finally:
            os.close(read)
        self.commands.append((command, token, write))

    # ---- looking and waiting ---------------------------------------------------------------------

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def poll(self, data: st.DataObject) -> None:
        STEPS["poll"] += 1
        child = self.pick(data)
        assert child.process is not None
        state = child.process.poll()
        assert state is None or not child.runs
        assert state is not None or child.over is None
        if state is not None:
            child.check(state)

    @precondition(lambda self: self.children)
    @rule(data=st.data(), timeout=st.sampled_from((0, -1, 0.001, 0.01)))
    def wait_for_a_time(self, data: st.DataObject, timeout: float) -> None:
        STEPS["wait_timeout"] += 1
        child = self.pick(data)
        assert child.process is not None
        try:
            state = child.process.wait(timeout)
        except spawnkit.TimeoutExpired:
            assert child.over is None
            return
        assert not child.runs
        child.check(state)

    @precondition(lambda self: any(child.certain for child in self.children))
    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        STEPS["wait"] += 1
        ending = [child for child in self.children if child.certain]
        child = data.draw(st.sampled_from(ending), label="child")
        assert child.process is not None
        child.check(child.process.wait(HANGS_AFTER))
        child.waited = True
        for waiter in child.waiters:
            waiter.join(HANGS_AFTER)
            assert waiter.outcome is child.over, waiter.outcome
        child.waiters.clear()

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def wait_in_a_thread(self, data: st.DataObject) -> None:
        STEPS["wait_thread"] += 1
        child = self.pick(data)
        if len(child.waiters) < 3:
            assert child.process is not None
            waiter = Waiter(child.process)
            waiter.start()
            child.waiters.append(waiter)

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def take_its_pidfd(self, data: st.DataObject) -> None:
        STEPS["handle"] += 1
        child = self.pick(data)
        assert child.process is not None
        try:
            with child.process.handle() as fd:
                assert not os.get_inheritable(fd)
                ended = bool(select.select([fd], [], [], 0)[0])
        except ProcessDone:
            assert not child.runs
            return
        except OSError as error:
            if error.errno != errno.ENOSYS:  # this kernel gives no pidfd
                raise
            return
        assert not (ended and child.runs)

    # ---- ending ----------------------------------------------------------------------------------

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        STEPS["let_go"] += 1
        self.pick(data).let_go()

    @precondition(lambda self: self.children)
    @rule(
        data=st.data(),
        number=st.sampled_from((0, signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD, *DEADLY)),
    )
    def send(self, data: st.DataObject, number: int) -> None:
        STEPS["signal"] += 1
        child = self.pick(data)
        assert child.process is not None
        try:
            child.process.signal(number)
        except ProcessDone:
            assert not child.runs
        else:
            assert child.over is None
        child.went(number)

    @precondition(lambda self: self.children)
    @rule(data=st.data(), how=st.sampled_from(("release", "drop")))
    def give_up(self, data: st.DataObject, how: str) -> None:
        STEPS[how] += 1
        child = self.pick(data)
        if child.waiters:
            return
        self.children.remove(child)
        assert child.process is not None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if how == "release":
                child.process.release()
                child.process.release()
                with raises(ProcessDone):
                    child.process.signal(0)
                assert child.process.pid == -1
            child.process = None
            gc.collect()
        warned = [w for w in caught if w.category is ResourceWarning]
        assert bool(warned) == (how == "drop" and child.over is None), (how, child.over, caught)
        self.lost.append(child)

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def end_what_was_lost(self, data: st.DataObject) -> None:
        STEPS["orphan"] += 1
        self._end_lost(data.draw(st.sampled_from(self.lost), label="lost"))

    def _end_lost(self, child: Child) -> None:
        self.lost.remove(child)
        if any(orphan.pid == child.pid for orphan in children._orphans):
            os.kill(child.pid, signal.SIGKILL)  # it is there: nobody has waited for it
        else:
            assert not child.runs
        if child.pipe >= 0:
            os.close(child.pipe)
        end = time.monotonic() + HANGS_AFTER
        while any(orphan.pid == child.pid for orphan in children._orphans):
            assert time.monotonic() < end, "a dropped child is not reaped"
            children.reap_orphans()

    @rule(engine=st.sampled_from(ENGINES), timeout=st.sampled_from((0.001, 0.01)))
    def run_out_of_time(self, engine: str, timeout: float) -> None:
        STEPS["run_timeout"] += 1
        read, write = os.pipe()
        try:
            spawnkit.run([BLOCK], stdin=read, timeout=timeout, capture=True, engine=engine)
        except spawnkit.TimeoutExpired as error:
            assert error.state is None or error.state.signal == signal.SIGKILL
        else:
            raise AssertionError("it ended by itself")
        finally:
            os.close(read)
            os.close(write)

    @rule(engine=st.sampled_from(ENGINES), how=st.sampled_from((None, HANGS_AFTER, "missing")))
    def run_to_the_end(self, engine: str, how: Any) -> None:
        STEPS["run"] += 1
        if how == "missing":
            with raises(FileNotFoundError):
                spawnkit.start_process("/no/such/program", ["x"], engine=engine)
            return
        argv = ["/bin/sh", "-c", "cat; exit 3"]
        result = spawnkit.run(
            argv, input=b"x", capture=True, check=False, timeout=how, engine=engine
        )
        assert (result.stdout, result.state.exit_code) == (b"x", 3)

    @precondition(lambda self: self.commands)
    @rule(data=st.data(), how=st.sampled_from(("cancel", "let_go", "kill")))
    def end_a_command(self, data: st.DataObject, how: str) -> None:
        STEPS[f"command_{how}"] += 1
        index = data.draw(st.integers(0, len(self.commands) - 1), label="command")
        command = self.commands[index][0]
        with raises(spawnkit.TimeoutExpired):
            command.wait(0.001)
        self._end_command(index, how)
        assert command.process is not None
        with raises(ProcessDone):
            command.process.signal(0)

    def _end_command(self, index: int, how: str) -> None:
        command, token, write = self.commands.pop(index)
        assert command.process is not None
        if how == "cancel":
            token.cancel()
            with raises(spawnkit.Cancelled):
                command.wait(HANGS_AFTER)
        elif how == "kill":
            command.process.kill()
            state = command.wait(HANGS_AFTER, check=False)
            assert state.signal == signal.SIGKILL
        os.close(write)
        if how == "let_go":
            assert command.wait(HANGS_AFTER).success

    # ---- other processes of this program ---------------------------------------------------------

    @precondition(lambda self: self.children)
    @rule(data=st.data(), drops=st.booleans())
    def fork(self, data: st.DataObject, drops: bool) -> None:
        """In a forked process the handles refuse, and touch nothing of ours."""
        STEPS["fork"] += 1
        handles = [child.process for child in self.children]
        assert in_a_fork(lambda: self._use_in_a_fork(handles, drops)) == "as it should be"
        for child in self.children:
            if child.runs:
                os.kill(child.pid, 0)
                assert child.process is not None
                child.process.signal(0)

    def _use_in_a_fork(self, handles: list[Any], drops: bool) -> str:
        for process in handles:
            for attempt in (process.poll, process.kill, lambda p=process: p.wait(0)):
                if process.state is not None:
                    continue
                try:
                    attempt()
                except RuntimeError as error:
                    if str(process.pid) not in str(error):
                        return f"it says {error}"
                else:
                    return "a handle of the parent's was used"
        fds = set(os.listdir(PROC / "self/fd"))
        if drops:
            warnings.simplefilter("ignore")
            for process in handles:
                process.release()
            handles.clear()
            gc.collect()
        if fds != set(os.listdir(PROC / "self/fd")):
            return "a descriptor was closed"
        if not spawnkit.run(["/bin/true"]).state.success:
            return "it cannot spawn"
        return "as it should be"

    @precondition(lambda self: self.children)
    @rule(data=st.data())
    def drop_a_cycle(self, data: st.DataObject) -> None:
        """A handle in a cycle of objects: the collector has it, at a time of its own."""
        STEPS["collect"] += 1
        child = self.pick(data)
        if child.waited and not child.waiters:
            self.children.remove(child)
            if child.pipe >= 0:
                os.close(child.pipe)
            cycle: list[Any] = [child.process]
            cycle.append(cycle)
            child.process = None
        gc.collect()

    # ---- what is always so -----------------------------------------------------------------------

    @invariant()
    def who_runs_is_there_and_who_is_over_is_not(self) -> None:
        for child in self.children:
            assert child.process is not None
            if child.runs:
                state = (PROC / f"{child.pid}/stat").read_text().rpartition(")")[2].split()[0]
                assert state not in "ZX", state
            if child.over is not None:
                assert child.process.state is child.over
                assert child.process.pidfd is None
                try:
                    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                except ChildProcessError:
                    continue
                raise AssertionError("its zombie is still there")

    @invariant()
    def no_descriptor_is_left(self) -> None:
        if self.commands or children._orphans or any(child.waiters for child in self.children):
            return
        ours = {child.pipe for child in (*self.children, *self.lost)} - {-1}
        ours |= {
            c.process.pidfd for c in self.children if c.process and c.process.pidfd is not None
        }
        then = {int(fact.split()[1]) for fact in self.before if fact.startswith("descriptor ")}
        listing = os.open(PROC / "self/fd", os.O_RDONLY | os.O_CLOEXEC)
        try:
            now = {int(number) for number in os.listdir(listing)} - {listing}
        finally:
            os.close(listing)
        # listdir duplicates the descriptor that it reads.
        now = {fd for fd in now if os.path.lexists(PROC / f"self/fd/{fd}")}
        assert now == ours | then, (now, ours, then)

    def teardown(self) -> None:
        try:
            while self.commands:
                self._end_command(0, "cancel")
            for child in self.children:
                assert child.process is not None
                if child.over is None:
                    with contextlib.suppress(ProcessDone):
                        child.process.kill()
                        child.went(signal.SIGKILL)
                    child.check(child.process.wait(HANGS_AFTER))
                for waiter in child.waiters:
                    waiter.join(HANGS_AFTER)
                    assert waiter.outcome is child.over, waiter.outcome
                child.waiters.clear()
                if child.pipe >= 0:
                    os.close(child.pipe)
            self.children.clear()
            while self.lost:
                self._end_lost(self.lost[0])
            children.reap_orphans()
            leaks = oracle.leaks_since(self.before)
            assert not leaks, "left behind:\n  " + "\n  ".join(leaks)
        finally:
            oracle.reap_leftovers()
            children._orphans.clear()


def ready(block: str) -> None:
    """Which program is `block`; and everything is loaded and found out."""
    global BLOCK
    BLOCK = block
    for engine in ENGINES:
        spawnkit.run(["/bin/true"], capture=True, timeout=HANGS_AFTER, engine=engine)
    with contextlib.suppress(spawnkit.SpawnError):
        spawnkit.run(["/no/such/program"])
    oracle.snapshot()
    # What there is by now stays, and need not be gone over at each collection.
    gc.collect()
    gc.freeze()


def run(examples: int, steps: int, by_rote: bool, shrink: bool = True) -> None:
    """So many runs of so many steps; by rote: the same ones each time.

    shrink: make what is found small, which takes minutes at worst.
    """
    phases = [hypothesis.Phase.generate, *[hypothesis.Phase.shrink] * shrink]
    run_state_machine_as_test(
        Processes,
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=by_rote,
            database=None,
            phases=phases,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            print_blob=not by_rote,
        ),
    )


def main() -> None:
    """The command, with libFuzzer's option."""
    given = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
    seconds = float(given.get("max_total_time", 10))
    oracle.prepare()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        ready(Children(Path(place))("block"))
        while time.monotonic() - began < seconds:
            run(20, 40, by_rote=False, shrink=given.get("shrink") != "0")
            print(f"#{STEPS.total()} ", file=sys.stderr)
    words = ", ".join(f"{name} {count}" for name, count in sorted(STEPS.items()))
    print(f"machine: {words}", file=sys.stderr)
    spent = time.monotonic() - began
    print(f"Done {STEPS.total()} runs in {spent:.0f} second(s)", file=sys.stderr)


if __name__ == "__main__":
    main()
