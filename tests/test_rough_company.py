"""What other threads, and a terminal, do to a process while it starts another."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from soak.programs import program
from support.children import Children
from support.isolated import Isolate

# A50: Ctrl-C at a terminal goes to the whole group


def _is_interrupted_with_its_group(how: str, argv: list[str], directory: str, engine: str) -> Any:
    import os
    import signal

    import spawnkit
    from support import oracle

    os.setpgid(0, 0)  # the signal is for this group; the test's is another
    heard = []

    def interrupt(number: int, frame: Any) -> None:
        heard.append(number)
        signal.default_int_handler(number, frame)

    def call() -> object:
        if how == "run":
            return spawnkit.run(argv, dir=directory, engine=engine)
        if how == "captured":
            return spawnkit.run(argv, dir=directory, engine=engine, capture=True)
        if how == "start_process":
            attr = spawnkit.ProcAttr(dir=directory)
            return spawnkit.start_process(argv[0], argv, attr, engine=engine).wait()
        cmd = spawnkit.Cmd(*argv, dir=directory, engine=engine, stdout=spawnkit.PIPE)
        cmd.start()
        return cmd.wait()

    signal.signal(signal.SIGINT, interrupt)
    before = oracle.snapshot()
    outcomes = []
    try:
        try:
            call()
            outcomes.append("ran")
        except spawnkit.SpawnError as error:
            outcomes.append(f"not started: {error}")
    except KeyboardInterrupt:
        outcomes.append("interrupted")
    return [outcomes, heard, oracle.leaks_since(before)]


@pytest.mark.needs("dir")
@pytest.mark.parametrize("how", ["run", "captured", "start_process", "Cmd"])
def test_ctrl_c_between_clone_and_exec(
    engine: str, how: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A50: SIGINT to the group before exec: the child dies, one KeyboardInterrupt, no orphan."""
    marker = tmp_path / "ran"
    arguments = (how, [children("report"), str(marker)], str(tmp_path), engine)
    with isolate.start(
        _is_interrupted_with_its_group, *arguments, later="chdir:hold", oracle=False
    ) as running:
        held = running.held_in_child()
        os.killpg(running.pid, signal.SIGINT)
        # It is dead already: nobody hears the answer.
        held.go()
        assert running.result() == [["interrupted"], [signal.SIGINT], []]
    assert not marker.exists()


# A51: the C library's setuid & co. stop every thread for a moment, by signal 33


def _spawns_while_ids_change(argv: list[str], engine: str, spawns: int) -> list[Any]:
    import itertools
    import os
    import threading

    import spawnkit

    numbers = itertools.count()
    over = threading.Event()
    changes, wrong = 0, []

    def change() -> None:
        nonlocal changes
        while not over.wait(0.0005):  # so that it leaves the others some of the interpreter lock
            os.setresuid(-1, -1, -1)
            changes += 1

    def spawn() -> None:
        try:
            while (number := next(numbers)) < spawns:
                if number % 4 == 0:
                    state = spawnkit.start_process(argv[0], argv, engine=engine).wait()
                else:
                    timeout = 600.0 if number % 4 == 1 else None
                    state = spawnkit.run(argv, engine=engine, check=False, timeout=timeout).state
                if state.exit_code != 251:
                    wrong.append(str(state))
        except BaseException as error:
            wrong.append(repr(error))

    changer = threading.Thread(target=change)
    spawners = [threading.Thread(target=spawn) for _ in range(3)]
    for thread in [changer, *spawners]:
        thread.start()
    spawn()
    for thread in spawners:
        thread.join()
    over.set()
    changer.join()
    return [changes > 0, wrong]


@pytest.mark.parametrize("deny", ["", "clone3:ENOSYS"])
def test_ids_may_change_in_another_thread(engine: str, deny: str, isolate: Isolate) -> None:
    """A51: setxid in another thread during 10^4 spawns (all cases together): no deadlock."""
    argv = [program("ledger"), "7"]
    spawns = 500 if engine == "fork" else 1600
    assert isolate(_spawns_while_ids_change, argv, engine, spawns, later=deny) == [True, []]


# A52: threads that go away


def _is_cancelled(library: str, program: str, engine: str, rounds: int) -> list[Any]:
    """A C thread that spawns, settles and waits, cancelled a little later in each round."""
    import ctypes

    from spawnkit import _core, environment, plan
    from spawnkit._native import ffi, lib
    from support import oracle

    packed = plan.pack(
        program.encode(),
        b"ledger\x007\0",
        2,
        environment.resolve(None, None),
        None,
        {},
        plan.STANDARD,
    )

    class Job(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_void_p) for name in ("spawn", "settle", "wait", "child", "plan")),
            ("size", ctypes.c_size_t),
            ("engine", ctypes.c_int),
            ("flags", ctypes.c_int),
            ("between", ctypes.c_int32),
            ("done", ctypes.c_int32),
            ("result", ctypes.c_int32),
        ]

    def address(thing: Any) -> int:
        return int(ffi.cast("uintptr_t", thing))

    cancelled = ctypes.CDLL(library).cancelled
    kept = ffi.new("char[]", packed)
    calls = [address(ffi.addressof(lib, f"sk_{name}")) for name in ("spawn", "settle", "wait")]
    got_to, wrong = set(), []
    before = None
    for number in range(rounds):
        child = _core.new_child()
        between = number % 2
        job = Job(
            *calls,
            *(address(child), address(kept), len(packed)),
            *(_core.ENGINES[engine], _core.PIDFD, between),
        )
        outcome = cancelled(ctypes.byref(job), ctypes.c_long(number * 600_000 // rounds))
        if outcome < 0 or job.result < 0 or (job.done != 3 and not between):
            wrong.append([number, outcome, job.result, job.done])
        got_to.add((job.done, outcome))
        # What is half done can be finished by another thread: nothing was left locked.
        if job.done and _core.wait(child, _core.deadline_after(30.0)) != _core.OK:
            wrong.append([number, "cannot be waited for"])
        elif job.done and (child.status >> 8) != 251:
            wrong.append([number, child.status])
        _core.drop(child)
        # The first pthread_cancel of a process installs a handler, for good (signal 32).
        before = before or oracle.snapshot()
    return [sorted(got_to), wrong + oracle.leaks_since(before)]


def test_a_thread_that_is_cancelled_leaves_nothing(engine: str, isolate: Isolate) -> None:
    """A52: pthread_cancel at any moment of a start, a setup, a wait: none of them is torn apart.

    The calls of the core are no cancellation points, so each is made whole or not at all.
    """
    arguments = (program("cancel"), program("ledger"), engine, 400)
    got_to, wrong = isolate(_is_cancelled, *arguments, oracle=False)
    assert wrong == []
    assert [3, 1] in got_to, f"it was never cancelled before its end: {got_to}"
    assert len({done for done, _ in got_to}) > 1, f"always cancelled at the same place: {got_to}"


def _starts_in_threads_that_end(argv: list[str], engine: str, threads: int) -> list[str]:
    import threading

    import spawnkit

    started: list[spawnkit.Process] = []

    def start() -> None:
        started.append(spawnkit.start_process(argv[0], argv, engine=engine))

    def fail() -> None:
        started.append(spawnkit.start_process(argv[0], argv, engine=engine))
        raise SystemExit

    for number in range(threads):
        thread = threading.Thread(target=fail if number % 2 else start)
        thread.start()
        if number % 4 < 2:
            thread.join()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()
    return sorted({str(process.wait()) for process in started} | {str(len(started))})


def test_a_child_outlives_the_thread_that_started_it(engine: str, isolate: Isolate) -> None:
    """A52: a thread that ends right after its start: the child is waited for by another."""
    argv = [program("ledger"), "7"]
    assert isolate(_starts_in_threads_that_end, argv, engine, 60) == ["60", "exit status 251"]


def _exits_while_a_thread_spawns(argv: list[str], engine: str) -> None:
    import threading

    import spawnkit
    from support.inside import note

    def spawn() -> None:
        while True:
            spawnkit.run(argv, engine=engine, check=False)

    for _ in range(4):
        threading.Thread(target=spawn, daemon=True).start()
    for _ in range(50):
        spawnkit.run(argv, engine=engine, check=False)
    note("ends")


def test_an_interpreter_may_end_while_its_threads_spawn(engine: str, isolate: Isolate) -> None:
    """A52: daemon threads are stopped wherever they are; the exit neither hangs nor crashes."""
    argv = [program("ledger"), "7"]
    with isolate.start(_exits_while_a_thread_spawns, argv, engine, oracle=False) as running:
        assert running.note() == "ends"
        running.result()
