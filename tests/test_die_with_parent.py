"""A child that dies with its parent: with the process, and not with the thread that spawned it.

The package keeps one thread for such spawns from other threads than the first (csrc/home.c), for
good: what starts it runs in an interpreter of its own.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import SysProcAttr, _ops, plan
from support.children import Children, Report
from support.engines import serving
from support.isolated import Isolate
from support.proc import PROC

Reporter = Callable[..., Report]

pytestmark = pytest.mark.needs("pdeathsig")

# Tells "dies" from "lives on".
GONE_WITHIN = 10.0


def is_gone(pid: int) -> bool:
    """Whether a process ends that is not our child. A zombie has ended."""
    end = time.monotonic() + GONE_WITHIN
    while time.monotonic() < end:
        try:
            if (PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.001)
    return False


def made_by(engine: str) -> str:
    """Which engine serves another thread: there the kernel is to hold nobody until exec."""
    return serving("vfork" if engine == "vfork-waiting" else engine)


# ---- the value ----------------------------------------------------------------------------------


def test_there_is_one_value_under_two_names() -> None:
    killed = SysProcAttr(die_with_parent=True)
    assert killed.pdeathsig == signal.SIGKILL
    assert killed == SysProcAttr(pdeathsig=signal.SIGKILL)
    assert killed == SysProcAttr(pdeathsig=signal.SIGKILL, die_with_parent=True)
    assert hash(killed) == hash(SysProcAttr(pdeathsig=9))
    assert SysProcAttr(pdeathsig=9).die_with_parent
    told = SysProcAttr(pdeathsig=signal.SIGTERM, setsid=True)
    assert not told.die_with_parent
    assert told != killed
    assert told != SysProcAttr(setsid=True)
    for attr in killed, told:
        assert pickle.loads(pickle.dumps(attr)) == attr
    assert repr(told) == "SysProcAttr(pdeathsig=15, setsid=True)"
    assert repr(killed) == "SysProcAttr(pdeathsig=9)"
    assert SysProcAttr() == SysProcAttr(pdeathsig=0, die_with_parent=False)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"pdeathsig": 65}, ValueError, "pdeathsig: 65"),
        ({"pdeathsig": -1}, ValueError, "pdeathsig: -1"),
        ({"pdeathsig": True}, TypeError, "pdeathsig"),
        ({"pdeathsig": None}, TypeError, "pdeathsig"),
        ({"pdeathsig": "SIGTERM"}, TypeError, "pdeathsig"),
        ({"die_with_parent": 1}, TypeError, "die_with_parent"),
        ({"die_with_parent": True, "pdeathsig": 15}, ValueError, "pdeathsig: 15"),
    ],
)
def test_wrong_values_are_refused_by_name(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SysProcAttr(**fields)


def test_posix_spawn_cannot_do_it() -> None:
    with pytest.raises(ValueError, match="'posix_spawn' cannot do 'pdeathsig'"):
        spawnkit.run(["/bin/true"], attr=SysProcAttr(die_with_parent=True), engine="posix_spawn")


# ---- the child ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attr", "expected"),
    [
        (SysProcAttr(die_with_parent=True), 9),
        (SysProcAttr(pdeathsig=signal.SIGTERM), 15),
        (SysProcAttr(pdeathsig=64, setsid=True, umask=0o22, sigmask=[10]), 64),
        (SysProcAttr(), 0),
        (None, 0),
    ],
)
def test_the_program_starts_with_it(
    engine: str, attr: SysProcAttr | None, expected: int, report: Reporter
) -> None:
    """The first thread needs no other one for it: the oracle would find that."""
    seen = report(lambda argv: spawnkit.run(argv, attr=attr, engine=engine))
    assert seen["pdeathsig"] == expected
    assert seen["ppid"] == os.getpid()


def _fails(argv: list[str], engine: str) -> Any:
    import spawnkit

    try:
        spawnkit.run(argv, attr=spawnkit.SysProcAttr(die_with_parent=True), engine=engine)
    except spawnkit.SpawnError as error:
        return [error.errno, error.stage, error.item, error.hint]
    return "it has run"


def test_a_child_that_cannot_tell_its_parent_does_not_run(
    engine: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    argv = [children("report"), str(tmp_path / "ran")]
    assert isolate(_fails, argv, engine, deny="getppid:EPERM") == [
        errno.EPERM,
        "pdeathsig",
        "pdeathsig SIGKILL",
        "",
    ]
    assert not (tmp_path / "ran").exists()


def test_it_is_the_first_step_of_all() -> None:
    """Before a move into a cgroup, which may be frozen."""
    attr = spawnkit.SysProcAttr(die_with_parent=True, umask=0o22)
    packed = plan.pack(b"/bin/true", b"true\0", 1, (b"", 0), attr=attr, cgroups=[(b"/c", False)])
    first, second = (code for code, *_ in _ops.OP.iter_unpack(packed[32:96]))
    assert (first, second) == (_ops.PDEATHSIG, _ops.CGROUP)


def test_what_the_kernel_refuses_is_named(engine: str, isolate: Isolate) -> None:
    outcome = isolate(_fails, ["/bin/true"], engine, deny="prctl[0&0xffff=1]:EPERM")
    assert outcome == [errno.EPERM, "pdeathsig", "pdeathsig SIGKILL", ""]


# ---- threads ------------------------------------------------------------------------------------


def _spawns_in_a_worker(program: str, engine: str) -> Any:
    from spawnkit import SysProcAttr
    from support.workers import Echo, in_a_thread

    echo = in_a_thread(lambda: Echo(program, SysProcAttr(die_with_parent=True), engine))
    return [echo.answer(), echo.end()]


def test_the_end_of_the_spawning_thread_ends_nothing(
    engine: str, isolate: Isolate, children: Children
) -> None:
    """A124: PDEATHSIG is not fired by the end of a worker thread. (Its other half, that it is still
    there after a change of user, waits for attributes that change it.)"""
    outcome = isolate(_spawns_in_a_worker, children("echo"), engine, home=True)
    assert outcome == ["still here", made_by(engine)]


def _spawns_in_many(program: str, engine: str) -> Any:
    import threading

    import spawnkit

    attr = spawnkit.SysProcAttr(die_with_parent=True)
    barrier = threading.Barrier(8)
    outcomes: list[Any] = []

    def spawn(number: int) -> None:
        barrier.wait()
        for turn in range(5):
            data = b"%d %d" % (number, turn)
            result = spawnkit.run(
                [program], input=data, stdout=spawnkit.PIPE, attr=attr, engine=engine
            )
            outcomes.append(result.stdout == data)

    threads = [threading.Thread(target=spawn, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_many_threads_at_once(engine: str, isolate: Isolate, children: Children) -> None:
    """And only one thread serves them, says the oracle."""
    outcomes = isolate(_spawns_in_many, children("echo"), engine, home=True)
    assert outcomes == [True] * 40


def _spawns_while_a_child_hangs(directory: str, engine: str) -> None:
    import threading

    import spawnkit
    from support.inside import hear, note

    attr = spawnkit.SysProcAttr(die_with_parent=True)

    def hanging() -> None:
        spawnkit.run(["/bin/true"], dir=directory, attr=attr, engine=engine)

    def other() -> None:
        spawnkit.run(["/bin/true"], attr=attr, engine=engine)
        note("the other one is over")

    threads = [threading.Thread(target=hanging), threading.Thread(target=other)]
    threads[0].start()
    hear()
    threads[1].start()
    for thread in threads:
        thread.join()


def test_a_child_that_hangs_before_exec_holds_up_no_other(
    engine: str, isolate: Isolate, tmp_path: Path
) -> None:
    """Also where the kernel would hold its caller until exec."""
    arguments = (str(tmp_path), engine)
    with isolate.start(
        _spawns_while_a_child_hangs, *arguments, later="chdir:hold", oracle=False
    ) as running:
        held = running.held_in_child()
        running.tell("now the other one")
        assert running.note() == "the other one is over"
        held.go()
        running.result()


def _spawns_from_a_worker(engine: str) -> Any:
    import spawnkit
    from support.workers import in_a_thread

    attr = spawnkit.SysProcAttr(die_with_parent=True)
    return in_a_thread(lambda: spawnkit.run(["/bin/true"], attr=attr, engine=engine).state.engine)


@pytest.mark.parametrize("asked", ["vfork", "vfork-waiting"])
def test_where_the_kernel_holds_whoever_clones(asked: str, isolate: Isolate) -> None:
    """CLONE_VM with CLONE_VFORK or CLONE_THREAD only: the thread of ours is held, one by one."""
    rules = "clone3:ENOSYS,clone[0&0x14100=0x100]:EPERM"
    outcome = isolate(_spawns_from_a_worker, asked, deny=rules, home=True)
    assert outcome == serving("vfork-waiting")


def _looks_at_the_thread() -> Any:
    import os
    import re

    import spawnkit
    from support.proc import PROC
    from support.workers import in_a_thread

    before = set(os.listdir(f"{PROC}/self/task"))
    in_a_thread(lambda: spawnkit.run(["/bin/true"], attr=spawnkit.SysProcAttr(setsid=True)))
    plain = set(os.listdir(f"{PROC}/self/task")) - before
    attr = spawnkit.SysProcAttr(die_with_parent=True)
    for _ in range(3):
        in_a_thread(lambda: spawnkit.run(["/bin/true"], attr=attr))
    (home,) = set(os.listdir(f"{PROC}/self/task")) - before
    with open(f"{PROC}/self/task/{home}/status") as file:
        blocked = re.search(r"SigBlk:\s+(\w+)", file.read())
    os.setgid(os.getgid())  # every thread has to take part in it
    return [len(plain), blocked and int(blocked[1], 16)]


def test_one_thread_is_started_when_it_is_needed_and_takes_no_signals(isolate: Isolate) -> None:
    """But for those that the C library changes all threads' ids with."""
    free = sum(1 << (number - 1) for number in (signal.SIGKILL, signal.SIGSTOP, 32, 33))
    assert isolate(_looks_at_the_thread, oracle=False) == [0, 2**64 - 1 - free]


def _has_no_thread_to_be_had(rules: str, library: str, engine: str, spaces: list[str]) -> Any:
    import spawnkit
    from support.inside import install
    from support.workers import in_a_thread

    attr = spawnkit.SysProcAttr(die_with_parent=True)

    def refused() -> Any:
        install(rules, library)  # on this thread alone
        asked = attr.replace(namespaces=spaces)
        try:
            spawnkit.run(["/bin/true"], attr=asked, engine=engine)
        except spawnkit.SpawnError as error:
            return [error.errno, error.stage, error.item]

    def run() -> int:
        return spawnkit.run(["/bin/true"], attr=attr, engine=engine).state.exit_code

    return [in_a_thread(refused), in_a_thread(run)]


@pytest.mark.parametrize("error", ["EAGAIN", "EPERM", "EINVAL"])
@pytest.mark.parametrize("spaces", [[], ["pid"]], ids=["plain", "namespaces"])
def test_no_thread_to_be_had(
    engine: str, error: str, spaces: list[str], isolate: Isolate, children: Children
) -> None:
    """An error, and not that of the namespaces; and the next one that asks tries again."""
    rules = f"clone3:ENOSYS,clone[0&0x10000]:{error}"  # CLONE_THREAD
    outcome = isolate(
        _has_no_thread_to_be_had, rules, children("deny.so"), engine, spaces, oracle=False
    )
    assert outcome == [[getattr(errno, error), "thread", "thread for '/bin/true'"], 0]


def _forks(program: str, engine: str, in_worker: bool) -> Any:
    import json
    import os

    from spawnkit import SysProcAttr
    from support.proc import PROC
    from support.workers import Echo, in_a_thread

    def spawn() -> Echo:
        return Echo(program, SysProcAttr(die_with_parent=True), engine)

    def fork() -> Any:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                echo = in_a_thread(spawn)
                tasks = len(os.listdir(f"{PROC}/self/task"))
                said = [echo.answer(), echo.process.pid, tasks]
                os.write(write, json.dumps(said).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            said = json.loads(pipe.read())
        os.waitpid(pid, 0)
        return said

    return in_a_thread(fork) if in_worker else fork()


@pytest.mark.parametrize("in_worker", [False, True], ids=["from-the-first", "from-a-worker"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_is_a_parent_of_its_own(
    engine: str, in_worker: bool, isolate: Isolate, children: Children
) -> None:
    """The thread is not there any more after a fork: another one is made."""
    answer, pid, tasks = isolate(_forks, children("echo"), engine, in_worker, home=True)
    assert (answer, tasks) == ("still here", 2)
    assert is_gone(pid)


# ---- the end of the process ---------------------------------------------------------------------


def _spawns_three(program: str, engine: str) -> None:
    from spawnkit import SysProcAttr
    from support.inside import hear, note
    from support.workers import Echo, in_a_thread

    attr = SysProcAttr(die_with_parent=True)
    echoes = [
        Echo(program, attr, engine),
        in_a_thread(lambda: Echo(program, attr, engine)),
        Echo(program, None, engine),
    ]
    note([echo.process.pid for echo in echoes if echo.answer()])
    hear()


@pytest.mark.parametrize("how", ["killed", "over"])
def test_it_dies_with_the_process(
    engine: str, how: str, isolate: Isolate, children: Children
) -> None:
    """Whichever thread has spawned it; one that was not asked to lives on."""
    with isolate.start(_spawns_three, children("echo"), engine, oracle=False) as running:
        *pids, other = running.note()
        if how == "killed":
            running.process.kill()
        else:
            running.tell("go on")
            running.result()
        running.process.wait()
        assert [is_gone(pid) for pid in pids] == [True, True]
        os.kill(other, 0)
        os.kill(other, signal.SIGKILL)


def _spawns_one_that_says_something(program: str, engine: str, said: str) -> None:
    import os

    import spawnkit
    from support.inside import hear, note

    read, write = os.pipe()
    up, is_up = os.pipe()
    with open(said, "w") as file:
        attr = spawnkit.ProcAttr(
            # It holds what it waits for the end of: nothing but a signal ends it.
            files=[0, 1, file, read, is_up, write],
            sys=spawnkit.SysProcAttr(pdeathsig=3),
        )
        child = spawnkit.start_process(program, ["hang", "quit=0"], attr, engine=engine)
    os.read(up, 100)
    note(child.pid)
    hear()


def test_another_signal(engine: str, isolate: Isolate, children: Children, tmp_path: Path) -> None:
    said = tmp_path / "said"
    arguments = (children("hang"), engine, str(said))
    with isolate.start(_spawns_one_that_says_something, *arguments, oracle=False) as running:
        pid = running.note()
        running.process.kill()
        assert is_gone(pid)
    assert said.read_text() == "dump"


# Every system call a child of ours makes before its program runs.
CALLS = [
    "prctl[0&0xffff=1]",
    "getppid",
    "prlimit64",
    "umask",
    "setsid",
    "chdir",
    "dup3",
    "close_range",
    "rt_sigaction",
    "rt_sigprocmask",
    "execve",
]


def _spawns_one(argv: list[str], directory: str, engine: str, in_worker: bool) -> None:
    import spawnkit
    from support.workers import in_a_thread

    attr = spawnkit.SysProcAttr(
        die_with_parent=True, setsid=True, umask=0o22, rlimits={"CORE": 0}, sigdefault=[10]
    )

    def spawn() -> None:
        with open("/dev/null") as null:
            spawnkit.run(argv, dir=directory, attr=attr, stdin=null, engine=engine)

    if in_worker:
        in_a_thread(spawn)
    else:
        spawn()


@pytest.mark.parametrize("in_worker", [False, True], ids=["from-the-first", "from-a-worker"])
@pytest.mark.parametrize("call", CALLS)
def test_a_parent_killed_during_the_setup_leaves_nothing(
    engine: str,
    call: str,
    in_worker: bool,
    isolate: Isolate,
    children: Children,
    tmp_path: Path,
) -> None:
    """A135: parent SIGKILLed at each stage: no half child survives it.

    At the first one the child does not get the signal any more: it finds out by itself.
    """
    spawnkit.run(["/bin/true"])
    # Where the kernel leaves handlers in the child, they are reset before the first step.
    before_all = call == "rt_sigaction" and not spawnkit.features()["clone3"]
    marker = tmp_path / "ran"
    arguments = ([children("report"), str(marker)], str(tmp_path), engine, in_worker)
    with isolate.start(_spawns_one, *arguments, later=f"{call}:hold", oracle=False) as running:
        held = running.held_in_child()
        running.process.kill()
        running.process.wait()
        if call.startswith("prctl"):
            held.go()
        if not before_all:
            assert is_gone(held.pid)
    assert is_gone(held.pid)  # the calls of a child that was held are let go now
    assert not marker.exists()
