"""A wait that is awake for a moment: the same answers, however long it looks."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import spawnkit
from spawnkit import Cmd, ProcAttr
from support.children import Children

TESTS = Path(__file__).parent
FAULTS = TESTS.parent / "build/faults/lib"


@pytest.fixture(params=[0, 1e-6, 0.0003, 0.01])
def spin(request: pytest.FixtureRequest) -> Iterator[float]:
    before = spawnkit.set_spin(request.param)
    yield request.param
    assert spawnkit.set_spin(before) == pytest.approx(request.param)


def test_it_says_what_it_was() -> None:
    before = spawnkit.set_spin(0.005)
    assert before == pytest.approx(0.0003)
    assert spawnkit.set_spin(before) == pytest.approx(0.005)


@pytest.mark.parametrize("bad", [-1e-9, 0.011, 1, math.nan, math.inf, -math.inf])
def test_a_number_out_of_range_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"^set_spin: 0 to 0\.01 seconds wanted, not "):
        spawnkit.set_spin(bad)


@pytest.mark.parametrize("bad", [True, None, "0", b"0", [0]])
def test_what_is_no_number_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match=r"^set_spin: seconds wanted, not "):
        spawnkit.set_spin(bad)  # type: ignore[arg-type]


def test_each_way_of_waiting_has_the_same_answers(
    spin: float, children: Children, engine: str
) -> None:
    exits = [children("exit"), "7"]
    for _ in range(20):  # more than it takes to lose patience
        assert spawnkit.run(exits, check=False, engine=engine).state.exit_code == 7
        process = spawnkit.start_process(exits[0], exits, engine=engine)
        assert process.wait().exit_code == 7
        assert process.wait() is process.wait()
        both = ["sh", "-c", "echo out; echo err >&2; exit 3"]
        done = spawnkit.run(both, capture=True, check=False, engine=engine)
        assert (done.state.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
        fed = spawnkit.run(["cat"], input=b"x" * 100_000, capture=True, engine=engine)
        assert fed.stdout == b"x" * 100_000


def test_a_pipeline(spin: float) -> None:
    assert (Cmd("echo", "a b") | Cmd("wc", "-w")).output().strip() == b"2"


def test_threads_side_by_side(spin: float, children: Children) -> None:
    found: list[list[int]] = [[] for _ in range(6)]

    def start(n: int) -> None:
        for code in range(30):
            args = [children("exit"), str(code + n)]
            found[n].append(spawnkit.run(args, check=False).state.exit_code)

    threads = [threading.Thread(target=start, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[code + n for code in range(30)] for n in range(6)]


def test_a_deadline_is_shorter(spin: float, children: Children) -> None:
    """Also one that comes while the wait is awake; and of a poll, which has none at all."""
    read, write = os.pipe()
    attr = ProcAttr(files=[read])
    process = spawnkit.start_process(children("block"), ["block"], attr)
    os.close(read)
    assert process.poll() is None
    for timeout in (0, 1e-5, 1e-3):
        with pytest.raises(spawnkit.TimeoutExpired):
            process.wait(timeout)
    os.close(write)
    assert process.wait().exit_code == 0


def test_a_handler_runs_although_the_wait_is_awake(spin: float) -> None:
    """Its signal comes at any moment of the wait: awake, between, or asleep."""
    caught = []
    read, write = os.pipe()

    def let_it_end(*_: object) -> None:
        caught.append(1)
        os.write(write, b"\n")

    before = signal.signal(signal.SIGALRM, let_it_end)
    try:
        for step in range(1, 40):
            signal.setitimer(signal.ITIMER_REAL, step * 2e-5)
            # It ends only when the handler has run.
            assert spawnkit.run(["/bin/sh", "-c", "read x"], stdin=read).state.exit_code == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(read)
        os.close(write)
    assert len(caught) == 39


def test_a_fork_while_another_thread_waits(children: Children) -> None:
    """The one that was awake is not in the new process, which waits as well as before."""
    before = spawnkit.set_spin(0.01)
    stop = threading.Event()

    def wait_again_and_again() -> None:
        while not stop.is_set():
            spawnkit.run([children("exit"), "0"])

    thread = threading.Thread(target=wait_again_and_again)
    thread.start()
    try:
        for _ in range(30):
            pid = os.fork()
            if pid == 0:
                try:
                    done = spawnkit.run([children("exit"), "5"], check=False)
                    os._exit(done.state.exit_code)
                finally:
                    os._exit(99)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    finally:
        stop.set()
        thread.join()
        spawnkit.set_spin(before)


def test_where_the_processor_cannot_be_given_up(children: Children) -> None:
    code = "import spawnkit; print(spawnkit.run(['echo', 'x'], capture=True).stdout)"
    command = [children("deny"), "sched_yield:EPERM", "--", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "b'x\\n'\n"), done.stderr


several = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="with one processor no wait is awake, see below"
)


def with_faults(code: str, *arguments: str) -> str:
    """What a program prints where the core notes its calls."""
    if not FAULTS.exists():
        pytest.skip("the package was not built with faults in it (make test does that)")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(FAULTS)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


COUNTED = """
import ctypes, spawnkit, sys
from spawnkit._native import ffi, lib
exec(sys.argv[1])
numbers = ffi.new("int[]", lib.SK_FAULT_LOG)
counts = []
for _ in range(int(sys.argv[2])):
    assert lib.sk_fault_arm(0x7FFFFFFF, 0, 1, 1) == 0
    {start}
    lib.sk_fault_disarm()
    made = lib.sk_fault_calls(numbers, lib.SK_FAULT_LOG)
    counts.append(ffi.unpack(numbers, min(made, lib.SK_FAULT_LOG)).count({yields}))
print(counts)
"""

YIELDS = {"x86_64": 24, "aarch64": 124}  # the number of sched_yield


def yields(before: str, start: str, times: int) -> list[int]:
    """How often each start gave up the processor, counted by the core."""
    code = COUNTED.format(start=start, yields=YIELDS[os.uname().machine])
    counts = with_faults(code, before, str(times)).strip("[]\n").split(",")
    return [int(count) for count in counts]


BACK = """
import spawnkit, sys
from spawnkit import _core
from spawnkit._native import ffi, lib

SLEEPS = {sleeps}
numbers = ffi.new("int[]", lib.SK_FAULT_LOG)
seen = []


def noted(call):
    def call_and_note(*arguments):
        lib.sk_fault_arm(0x7FFFFFFF, 0, 1, 1)
        result = call(*arguments)
        lib.sk_fault_disarm()
        made = lib.sk_fault_calls(numbers, lib.SK_FAULT_LOG)
        if made <= lib.SK_FAULT_LOG:
            calls = ffi.unpack(numbers, made)
            if {yields} in calls:
                last = len(calls) - 1 - calls[::-1].index({yields})
                seen.append((result == lib.SK_AGAIN, sum(n in SLEEPS for n in calls[last:])))
        return result

    return call_and_note


class Lib:
    def __getattr__(self, name):
        return getattr(lib, name)


_core.lib = Lib()
_core.lib.sk_job_run = noted(lib.sk_job_run)
_core._wait, _core._pump_run = noted(lib.sk_wait), noted(lib.sk_pump_run)
Cmd, start = spawnkit.Cmd, spawnkit.start_process
spawnkit.set_spin(0.001)
for _ in range(200):  # on a busy machine a child may be too old to be waited for awake
    if len(seen) < 3:
        {start}
print(*[f"{{again:d}}{{sleeps}}" for again, sleeps in seen])
"""


@several
@pytest.mark.parametrize(
    ("start", "looks"),
    [
        ("start('/bin/sleep', ['sleep', '0.05']).wait(5)", 0),
        ("start('/bin/sleep', ['sleep', '0.05']).wait()", 0),
        ("spawnkit.run(['/bin/sleep', '0.05'], capture=True, timeout=5)", 1),
        ("(Cmd('/bin/sleep', '0.05') | Cmd('/bin/sleep', '0.05')).run(5)", 1),
    ],
    ids=["timed", "untimed", "captured", "pipeline"],
)
def test_it_goes_back_to_the_interpreter_before_it_sleeps(start: str, looks: int) -> None:
    """Or a signal that came while it was awake would interrupt nothing, and its handler wait.

    looks: what the last look is itself of the calls that could sleep.
    """
    machine = os.uname().machine
    sleeps = {"x86_64": (271, 202), "aarch64": (73, 98)}[machine]  # ppoll, futex
    seen = with_faults(BACK.format(start=start, yields=YIELDS[machine], sleeps=sleeps)).split()
    assert len(seen) >= 3  # it was awake at all
    assert set(seen) == {f"1{looks}"}  # each time: again, and no call after the last look


RUN = "spawnkit.run(['/bin/true'])"
LONG = "spawnkit.run(['/bin/sleep', '0.05'])"
STARTED = "c = spawnkit.Cmd('/bin/true'); c.start(); c.wait()"


@several
@pytest.mark.parametrize("start", [RUN, STARTED])
def test_it_is_awake_only_where_that_was_not_switched_off(start: str) -> None:
    assert yields("spawnkit.set_spin(0.01)", start, 1)[0] > 0
    assert yields("spawnkit.set_spin(0)", start, 5) == [0] * 5


def test_it_is_never_awake_on_a_single_processor() -> None:
    """There is none that could halt: this one is busy with the child."""
    bind = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    assert yields(bind + "spawnkit.set_spin(0.01)", RUN, 5) == [0] * 5


def test_what_it_may_run_on_is_asked_each_time() -> None:
    """Not once for many: another thread has another mask, and this one's may change."""
    toggle = "os.sched_setaffinity(0, [min(both)] if len(counts) % 2 else both)\n    "
    before = "import os; both = os.sched_getaffinity(0); spawnkit.set_spin(0.01)"
    counts = yields(before, toggle + RUN, 6)
    assert counts[1::2] == [0, 0, 0]
    assert [count > 0 for count in counts[::2]] == [len(os.sched_getaffinity(0)) > 1] * 3


def test_it_is_never_awake_for_a_process_that_was_found() -> None:
    """Which may be of any age; and eight of them in vain would cost the children their turns."""
    before = "spawnkit.set_spin(0.01)\n"
    before += "c = [spawnkit.start_process('/bin/sleep', ['sleep', '0.1']) for _ in range(3)]"
    wait = "spawnkit.find_process(c[len(counts)].pid).wait()"
    assert yields(before, wait, 3) == [0] * 3


def test_it_is_never_awake_for_a_child_that_has_yet_to_be_started() -> None:
    """So it looks after setns(2) into a time namespace with an earlier clock: for days, maybe."""
    before = "import atexit, contextlib; spawnkit.set_spin(0.01)\n"
    before += "p = spawnkit.start_process('/bin/sleep', ['sleep', '0.1'])\n"
    before += "p._child.started += 10**15; atexit.register(p.wait)"
    wait = "with contextlib.suppress(spawnkit.TimeoutExpired): p.wait(0.001)"
    assert yields(before, wait, 3) == [0] * 3


POLICY = """
import ctypes, os, struct
number = {{"x86_64": 314, "aarch64": 274}}[os.uname().machine]  # sched_setattr
libc = ctypes.CDLL(None, use_errno=True)
# struct sched_attr: the policy, its flags, nice, priority; runtime, deadline and period in ns
attr = struct.pack("IIQiI3Q", 48, {policy}, {flags}, 0, {priority}, *{times})
if libc.syscall(number, 0, attr, 0):
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""
RESET_ON_FORK = 1  # SCHED_FLAG_RESET_ON_FORK
DEADLINE = 6  # SCHED_DEADLINE


@several
@pytest.mark.parametrize("policy", [os.SCHED_BATCH, os.SCHED_IDLE])
def test_it_is_awake_under_each_ordinary_policy(policy: int) -> None:
    code = POLICY.format(policy=policy, flags=RESET_ON_FORK, priority=0, times=[0] * 3)
    assert yields(code + "spawnkit.set_spin(0.01)", RUN, 1)[0] > 0


@pytest.mark.parametrize(
    ("policy", "priority", "times"),
    [
        (os.SCHED_FIFO, 1, [0] * 3),
        (os.SCHED_RR, 1, [0] * 3),
        (DEADLINE, 0, [5_000_000, 100_000_000, 100_000_000]),
    ],
)
def test_it_is_never_awake_under_a_real_time_policy(
    policy: int, priority: int, times: list[int]
) -> None:
    """There sched_yield lets by its equals only, or sleeps until the next period begins."""
    code = POLICY.format(policy=policy, flags=RESET_ON_FORK, priority=priority, times=times)
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"the policy cannot be had here: {tried.stderr.splitlines()[-1]}")
    assert yields(code + "spawnkit.set_spin(0.01)", RUN, 3) == [0] * 3


@several
def test_it_loses_patience_with_long_children_and_comes_back() -> None:
    """Eight in vain; then one of sixteen; and a short one that is found brings it back."""
    longest = "spawnkit.set_spin(0.01)\n"  # a busy machine may take a while from start to wait
    counts = yields(longest, LONG, 8 + 33)
    assert all(counts[:8])
    assert 1 <= sum(count > 0 for count in counts[8:]) <= 3
    forgiven = longest + f"for _ in range(20): {LONG}\nfor _ in range(40): {RUN}"
    assert all(yields(forgiven, LONG, 8))
