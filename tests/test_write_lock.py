"""write_lock: who writes programs and who starts them keep out of each other's way (ETXTBSY)."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import ProcAttr, Process, SpawnError, _core, environment, plan, process
from spawnkit import children as children_module
from spawnkit.writelock import write_lock
from support.children import Children
from support.isolated import Isolate
from support.proc import PROC

WAITING = 1  # sk_turn.state
PATIENCE = 60.0  # tells "ends" from "hangs"


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The turns that are taken from now on, in their order."""
    made: list[Any] = []
    new_turn = _core.new_turn

    def record() -> Any:
        made.append(new_turn())
        return made[-1]

    monkeypatch.setattr(_core, "new_turn", record)
    return made


def await_waiting(turns: list[Any], count: int) -> None:
    """Until that many of the turns stand in line."""
    while sum(turn.state == WAITING for turn in turns) < count:
        os.sched_yield()


class Thread(threading.Thread):
    """A thread whose exception is its joiner's."""

    def __init__(self, target: Callable[[], object]) -> None:
        super().__init__()
        self.function = target
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.function()
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        self.join(PATIENCE)
        assert not self.is_alive(), "a thread hangs"
        if self.error is not None:
            raise self.error


# Whoever holds it


def spawns(engine: str) -> list[Callable[[], object]]:
    return [
        lambda: spawnkit.run(["/bin/true"], engine=engine),
        lambda: spawnkit.run(["/bin/true"], capture=True, timeout=60, engine=engine),
        lambda: spawnkit.start_process("/bin/true", ["true"], engine=engine).wait(),
        lambda: spawnkit.Cmd("/bin/true", engine=engine).run(),
    ]


def test_a_spawn_in_the_thread_that_holds_it_is_refused(engine: str) -> None:
    for spawn in spawns(engine):
        with write_lock(), pytest.raises(RuntimeError, match="it would wait for itself"):
            spawn()
        spawn()


def test_it_is_reentrant(engine: str) -> None:
    with write_lock():
        with write_lock(), write_lock():
            pass
        with pytest.raises(RuntimeError, match="it would wait for itself"):
            spawnkit.run(["/bin/true"], engine=engine)
    assert spawnkit.run(["/bin/true"], engine=engine).state.success


def test_blocks_of_one_thread_may_end_in_any_order() -> None:
    """As those of generators do."""
    first, second = write_lock(), write_lock()
    first.__enter__()
    second.__enter__()
    first.__exit__()
    with pytest.raises(RuntimeError, match="it would wait for itself"):
        spawnkit.run(["/bin/true"])
    with write_lock():
        second.__exit__()
        with pytest.raises(RuntimeError, match="it would wait for itself"):
            spawnkit.run(["/bin/true"])
    assert spawnkit.run(["/bin/true"]).state.success


def test_one_object_serves_one_block_at_a_time() -> None:
    lock = write_lock()
    with lock:
        with pytest.raises(RuntimeError, match="in use"), lock:
            pass
        with pytest.raises(RuntimeError, match="it would wait for itself"):
            spawnkit.run(["/bin/true"])
    with lock:
        pass
    lock.__exit__()  # harmless
    assert spawnkit.run(["/bin/true"]).state.success


def test_one_object_in_two_threads_is_refused_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes while the first is on its way in; the first has it, and keeps it."""
    lock = write_lock()
    on_its_way, goes_on, entered, ends = (threading.Event() for _ in range(4))
    take = _core.write_lock

    def take_later(turn: Any) -> int:
        if not on_its_way.is_set():
            on_its_way.set()
            goes_on.wait(PATIENCE)
        return take(turn)

    def write() -> None:
        with lock:
            entered.set()
            ends.wait(PATIENCE)

    monkeypatch.setattr(_core, "write_lock", take_later)
    writer = Thread(write)
    try:
        on_its_way.wait(PATIENCE)
        with pytest.raises(RuntimeError, match="in use"):
            lock.__enter__()
        goes_on.set()
        entered.wait(PATIENCE)
        with pytest.raises(RuntimeError, match="in use"):
            lock.__enter__()
        child = _core.new_child()
        assert _core.lib.sk_spawn(child, b"", 0, 0, 0) == _core.LOCKED
    finally:
        goes_on.set()
        ends.set()
        writer.end()
    with lock:
        pass
    assert spawnkit.run(["/bin/true"]).state.success


def test_a_turn_that_another_thread_ends_is_given_up(isolate: Isolate) -> None:
    """Neither of the two takes from the counts what the other has taken already."""
    assert isolate(_ended_by_another) == [-errno.EBUSY, -errno.ECANCELED, 0, "RuntimeError", 0]


def _ended_by_another() -> list[Any]:
    import os
    import threading

    import spawnkit
    from spawnkit import _core
    from spawnkit.writelock import write_lock

    turns: list[Any] = []
    new_turn = _core.new_turn

    def record() -> Any:
        turns.append(new_turn())
        return turns[-1]

    _core.new_turn = record
    results: list[Any] = []

    def take() -> None:
        results.append(_core.lib.sk_write_lock(turns[2], _core.FOREVER))

    def write() -> None:
        try:
            with shared:
                results.append("entered")
        except RuntimeError as error:
            results.append(type(error).__name__)

    def await_waiting(number: int) -> None:
        while len(turns) <= number or turns[number].state != 1:
            os.sched_yield()

    with write_lock():
        spawner = threading.Thread(target=spawnkit.run, args=[["/bin/true"]])
        spawner.start()
        await_waiting(1)
        _core.new_turn()
        writer = threading.Thread(target=take)
        writer.start()
        await_waiting(2)
        results.append(_core.lib.sk_write_lock(turns[2], _core.NOW))
        _core.end_turn(turns[2])
        writer.join()
        results.append(turns[2].state)
        shared = write_lock()
        writer = threading.Thread(target=write)
        writer.start()
        await_waiting(3)
        shared.__exit__()
        writer.join()
    spawner.join()
    with write_lock():
        pass
    results.append(spawnkit.run(["/bin/true"]).state.exit_code)
    return results


def test_an_object_that_is_dropped_gives_it_back() -> None:
    lock = write_lock()
    lock.__enter__()
    del lock
    assert spawnkit.run(["/bin/true"]).state.success


def test_it_may_be_given_back_by_another_thread() -> None:
    lock = write_lock()
    lock.__enter__()
    Thread(lock.__exit__).end()
    assert spawnkit.run(["/bin/true"]).state.success


def test_writers_share_it() -> None:
    together = threading.Barrier(3)

    def write() -> None:
        with write_lock():
            together.wait(PATIENCE)

    threads = [Thread(write) for _ in range(3)]
    for thread in threads:
        thread.end()


# Whoever waits


def test_starts_of_other_threads_wait(engine: str, turns: list[Any]) -> None:
    done: list[int] = []

    def spawn(number: int) -> None:
        spawns(engine)[number]()
        done.append(number)

    with write_lock():
        threads = [Thread(lambda n=number: spawn(n)) for number in range(4)]  # type: ignore[misc]
        await_waiting(turns, 4)
        assert not done
        assert not (PROC / f"self/task/{os.getpid()}/children").read_text()
    for thread in threads:
        thread.end()
    assert sorted(done) == [0, 1, 2, 3]


def test_a_newcomer_does_not_join_while_others_wait(turns: list[Any]) -> None:
    """A writer behind a spawner that waits; the writer inside may still enter again."""
    order: list[str] = []

    def spawn() -> None:
        spawnkit.run(["/bin/true"])
        order.append("spawned")

    def write() -> None:
        with write_lock():
            order.append("written")

    with write_lock():
        spawner = Thread(spawn)
        await_waiting(turns, 1)
        writer = Thread(write)
        await_waiting(turns, 2)
        with write_lock():
            assert not order
    spawner.end()
    writer.end()
    assert sorted(order) == ["spawned", "written"]


def test_who_is_away_for_a_moment_is_not_overtaken(turns: list[Any]) -> None:
    """Nor waited for: a writer behind it joins the one inside a slice after it has left."""
    entered, ends = threading.Event(), threading.Event()

    def hold() -> None:
        with write_lock():
            entered.set()
            ends.wait(PATIENCE)

    joined: list[float] = []

    def write() -> None:
        with write_lock():
            joined.append(time.monotonic())

    holder = Thread(hold)
    entered.wait(PATIENCE)
    packed = plan.pack(b"/bin/true", b"true\0", 1, (b"", 0))
    child, turn = _core.new_child(), _core.new_turn()
    spawn = _core.lib.sk_spawn_in_turn
    before = time.monotonic()
    # The main thread comes back now and then for its signal handlers.
    assert spawn(child, packed, len(packed), 0, 0, turn, _core.FOREVER) == _core.AGAIN
    assert turn.state == 0
    Thread(write).end()
    assert joined[0] >= before + 0.2
    Thread(write).end()  # as does any other, now without a wait
    assert (turn.state, child.pid) == (0, 0)
    ends.set()
    holder.end()


def test_writers_that_overlap_let_a_thread_in_that_waits_in_slices() -> None:
    """Each stays for longer than a slice and returns at once; one of them is always inside, if each
    may join the other whenever the main thread is away."""
    first, second, ends = threading.Event(), threading.Event(), threading.Event()

    def write(inside: threading.Event) -> None:
        while not ends.is_set():
            with write_lock():
                inside.set()
                ends.wait(0.3)

    threads = [Thread(lambda: write(first))]
    first.wait(PATIENCE)
    time.sleep(0.15)
    threads.append(Thread(lambda: write(second)))
    second.wait(PATIENCE)
    packed = plan.pack(b"/bin/true", b"true\0", 1, (b"", 0))
    child, turn = _core.new_child(), _core.new_turn()
    result, slices = _core.AGAIN, 0
    try:
        while result == _core.AGAIN and slices < 40:
            arguments = (child, packed, len(packed), 0, 0, turn, _core.FOREVER)
            result = _core.lib.sk_spawn_in_turn(*arguments)
            slices += 1
            time.sleep(0.02)
        assert result == _core.OK
    finally:
        ends.set()
        for thread in threads:
            thread.end()
        _core.end_turn(turn)
        if child.pid:
            while _core.lib.sk_wait(child, _core.FOREVER) == _core.AGAIN:
                pass
        _core.lib.sk_drop(child)


def test_a_wait_may_have_a_deadline() -> None:
    """SK_TIMEOUT: the place in line is given up, nothing was spawned."""
    entered, ends = threading.Event(), threading.Event()

    def hold() -> None:
        with write_lock():
            entered.set()
            ends.wait(PATIENCE)

    holder = Thread(hold)
    entered.wait(PATIENCE)
    packed = plan.pack(b"/bin/true", b"true\0", 1, (b"", 0))
    child, turn = _core.new_child(), _core.new_turn()
    for deadline in _core.NOW, _core.deadline_after(0.001):
        result = _core.AGAIN
        while result == _core.AGAIN:
            result = _core.lib.sk_spawn_in_turn(child, packed, len(packed), 0, 0, turn, deadline)
        assert (result, turn.state, child.pid) == (_core.TIMEOUT, 0, 0)
    ends.set()
    holder.end()


def test_neither_side_keeps_the_other_out(engine: str) -> None:
    """Threads that write without a pause, and threads that spawn without one."""
    ends = threading.Event()

    def write() -> None:
        while not ends.is_set():
            with write_lock():
                os.sched_yield()

    def spawn() -> None:
        while not ends.is_set():
            spawnkit.run(["/bin/true"], engine=engine)

    threads = [Thread(function) for function in (write, write, spawn, spawn)]
    try:
        for _ in range(30):
            spawnkit.run(["/bin/true"], engine=engine)
            with write_lock():
                pass
    finally:
        ends.set()
        for thread in threads:
            thread.end()


def test_it_waits_for_a_start_that_is_under_way(isolate: Isolate) -> None:
    """A clone that has not returned; then the writer; then a start behind the writer."""
    with isolate.start(_writer_behind_a_start, later="execve:hold", oracle=False) as running:
        held = running.held_in_child()
        running.tell("go on")
        assert running.note() == "the writer waits"
        running.tell("go on")
        assert running.note() == "the next start waits"
        held.go()
        assert running.result() == ["started", "started", "written"]


def _writer_behind_a_start() -> list[str]:
    import os
    import threading

    import spawnkit
    from spawnkit import _core
    from spawnkit.writelock import write_lock
    from support.inside import hear, note

    order, turns = [], []
    new_turn = _core.new_turn

    def record() -> object:
        turns.append(new_turn())
        return turns[-1]

    _core.new_turn = record

    def start(engine: str) -> None:
        spawnkit.run(["/bin/true"], engine=engine)
        order.append("started")

    def write() -> None:
        with write_lock():
            order.append("written")

    threads = [threading.Thread(target=start, args=["vfork-waiting"])]
    threads[0].start()
    hear()
    for number, (target, arguments, word) in enumerate(
        [(write, [], "the writer waits"), (start, ["vfork"], "the next start waits")]
    ):
        threads.append(threading.Thread(target=target, args=arguments))
        threads[-1].start()
        while len(turns) <= number or turns[number].state != 1:  # waiting
            os.sched_yield()
        note(word)
        if number == 0:
            hear()
    for thread in threads:
        thread.join()
    return sorted(order)


# Signals, forks


def test_ctrl_c_ends_the_wait_of_a_start(engine: str, turns: list[Any]) -> None:
    entered, ends = threading.Event(), threading.Event()

    def write() -> None:
        with write_lock():
            entered.set()
            ends.wait(PATIENCE)

    writer = Thread(write)
    entered.wait(PATIENCE)
    for spawn in spawns(engine):
        del turns[:]
        interrupter = Thread(lambda: (await_waiting(turns, 1), os.kill(os.getpid(), 2)))
        with pytest.raises(KeyboardInterrupt):
            spawn()
        interrupter.end()
        assert [turn.state for turn in turns] == [0]
    with write_lock():  # nobody waits any more: it joins
        pass
    ends.set()
    writer.end()
    assert spawnkit.run(["/bin/true"], engine=engine).state.success


@pytest.mark.parametrize("does", ["spawn", "write", "join"])
def test_a_handler_runs_in_the_middle_of_a_wait_to_spawn(does: str, isolate: Isolate) -> None:
    """The one inside leaves meanwhile, and a writer comes: not to stand behind who cannot go on."""
    assert isolate(_handler_in_a_wait_to_spawn, does) == ["handled", "spawned", "written"]


def _handler_in_a_wait_to_spawn(does: str) -> list[str]:
    import os
    import signal
    import threading

    import spawnkit
    from spawnkit import _core
    from spawnkit.writelock import write_lock

    entered, ends = threading.Event(), threading.Event()
    turns: list[Any] = []
    new_turn = _core.new_turn
    order = []

    def record() -> Any:
        turns.append(new_turn())
        return turns[-1]

    def hold() -> None:
        with write_lock():
            entered.set()
            ends.wait()

    def write() -> None:
        with write_lock():
            order.append("written")

    def strike() -> None:
        while not turns or turns[0].state != 1:  # waiting
            os.sched_yield()
        os.kill(os.getpid(), signal.SIGUSR1)

    def handle(*_: object) -> None:
        ends.set()
        holder.join()
        writer.start()
        while len(turns) < 2 or (writer.is_alive() and turns[1].state == 0):
            os.sched_yield()
        if does == "spawn":
            spawnkit.run(["/bin/true"])
        elif does == "write":
            with write_lock():
                pass
        else:
            writer.join()
        order.append("handled")

    holder, writer = threading.Thread(target=hold), threading.Thread(target=write, daemon=True)
    holder.start()
    entered.wait()
    before = signal.signal(signal.SIGUSR1, handle)
    _core.new_turn = record
    striker = threading.Thread(target=strike)
    striker.start()
    spawnkit.run(["/bin/true"])
    order.append("spawned")
    striker.join()
    writer.join()
    signal.signal(signal.SIGUSR1, before)
    return sorted(order)


def test_a_handler_runs_in_the_middle_of_a_wait_to_write(isolate: Isolate) -> None:
    """The same for the other group: a start ends meanwhile, and another one comes."""
    with isolate.start(_handler_in_a_wait_to_write, later="execve:hold", oracle=False) as running:
        held = running.held_in_child()
        running.tell("go on")
        assert running.note() == "handler"
        held.go()
        assert running.result() == ["handled", "started", "started", "written"]


def _handler_in_a_wait_to_write() -> list[str]:
    import os
    import signal
    import threading
    import time

    import spawnkit
    from spawnkit import _core
    from spawnkit.writelock import write_lock
    from support.inside import hear, note

    turns: list[Any] = []
    new_turn = _core.new_turn
    order = []

    def record() -> Any:
        turns.append(new_turn())
        return turns[-1]

    def start() -> None:
        spawnkit.run(["/bin/true"], engine="vfork-waiting")
        order.append("started")

    def strike() -> None:
        while not turns or turns[0].state != 1:  # waiting
            os.sched_yield()
        os.kill(os.getpid(), signal.SIGUSR1)

    def handle(*_: object) -> None:
        note("handler")
        first.join()
        second.start()
        enough = time.monotonic() + 0.5  # it stands in line, or was quick enough to need none
        while time.monotonic() < enough and (len(turns) < 2 or turns[1].state != 1):
            os.sched_yield()
        with write_lock():
            order.append("handled")

    first = threading.Thread(target=start)
    second = threading.Thread(target=start, daemon=True)
    first.start()
    hear()
    signal.signal(signal.SIGUSR1, handle)
    _core.new_turn = record
    striker = threading.Thread(target=strike)
    striker.start()
    with write_lock():
        order.append("written")
    striker.join()
    second.join()
    return sorted(order)


def test_a_fork_inside_holds_nothing(engine: str) -> None:
    with write_lock():
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                spawnkit.run(["/bin/true"], engine=engine)
                with write_lock():
                    code = 2
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        with pytest.raises(RuntimeError, match="it would wait for itself"):
            spawnkit.run(["/bin/true"], engine=engine)
    assert spawnkit.run(["/bin/true"], engine=engine).state.success


def test_a_fork_inside_may_leave_the_block_in_both_processes() -> None:
    with write_lock():
        pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if spawnkit.run(["/bin/true"]).state.success else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert spawnkit.run(["/bin/true"]).state.success


@pytest.mark.parametrize("how", ["block", "nested", "start", "refused"])
def test_an_interrupt_at_any_instruction_leaves_it_free(how: str, isolate: Isolate) -> None:
    interrupted, wrong = isolate(_strikes_at_the_lock, how)
    assert interrupted > 20
    assert not wrong


def _strikes_at_the_lock(how: str) -> list[Any]:
    import contextlib
    import threading

    import spawnkit
    from spawnkit import _core
    from spawnkit.writelock import write_lock
    from support.strike import strike_everywhere

    def call() -> None:
        if how == "block":
            with write_lock():
                pass
        elif how == "nested":
            with write_lock(), write_lock():
                pass
        elif how == "refused":
            with write_lock(), contextlib.suppress(RuntimeError):
                spawnkit.run(["/bin/true"])
        else:
            in_the_way()

    def in_the_way() -> None:
        """A start that has to wait: one of its own kind of locks is held by another thread."""
        entered, waits = threading.Event(), threading.Event()

        def write() -> None:
            with write_lock():
                entered.set()
                waits.wait()

        run = _core._run

        def locked(*arguments: object) -> int:
            result = run(*arguments)
            waits.set()
            return int(result)

        thread = threading.Thread(target=write)
        thread.start()
        entered.wait()
        _core._run = locked
        try:
            spawnkit.run(["/bin/true"])
        finally:
            _core._run = run
            waits.set()
            thread.join()

    def check() -> list[str]:
        # Results of C itself: what is left would be waited for for ever.
        turn = _core.new_turn()
        found = [] if _core.lib.sk_write_lock(turn, 0) == _core.OK else ["a spawner is inside"]
        _core.end_turn(turn)
        child = _core.new_child()
        if _core.lib.sk_spawn(child, b"", 0, 0, 0) != -22:  # no plan at all: EINVAL
            found.append("a writer is inside")
        return found

    return strike_everywhere(call, check)


# ETXTBSY


@pytest.fixture
def busy(children: Children, tmp_path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A program that another process has open for writing, and how to have it closed."""
    path = shutil.copy(children("exit"), tmp_path / "busy")
    written = os.open(path, os.O_WRONLY)
    read, write = os.pipe()
    files = ProcAttr(files={0: read, 5: written})
    holder = spawnkit.start_process(children("block"), ["block"], files)
    os.close(read)
    os.close(written)

    def close() -> None:
        if holder.state is None:
            os.close(write)
            holder.wait()

    yield path, close
    close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, in milliseconds; none is made."""
    made: list[float] = []
    monkeypatch.setattr(children_module.time, "sleep", lambda seconds: made.append(seconds * 1000))
    return made


def start_once(path: str, engine: str) -> Process:
    """start_process without its second attempt."""
    packed = plan.pack(os.fsencode(path), b"exit\x003\0", 2, environment.resolve(None, None))
    started = Process(_core.new_child(), path)
    try:
        number = plan.check_engine(engine, None, None)
        children_module.spawn(packed, number, _core.PIDFD, started._child)
        _core.settle(started._child, packed)
    except BaseException:
        process.give_up(started)
        raise
    return started


def test_who_writes_under_the_lock_can_execute(
    engine: str, children: Children, tmp_path: Path
) -> None:
    """A8: write, close, execute in several threads: never ETXTBSY."""
    content = Path(children("exit")).read_bytes()
    failures: list[Any] = []

    def write_and_execute(name: str) -> None:
        for number in range(25):
            path = tmp_path / f"{name}-{number}"
            with write_lock():
                path.write_bytes(content)
                path.chmod(0o755)
            try:
                code = start_once(str(path), engine).wait().exit_code
                if code != 3:
                    failures.append(code)
            except SpawnError as error:
                failures.append(str(error))

    threads = [Thread(lambda n=name: write_and_execute(n)) for name in "abcd"]  # type: ignore[misc]
    for thread in threads:
        thread.end()
    assert not failures


def test_a_writer_that_closes_after_a_while_is_survived(
    engine: str, busy: tuple[str, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A8: ETXTBSY by a foreign writer is retried."""
    path, close = busy
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds * 1000)
        if len(pauses) == 4:
            close()

    monkeypatch.setattr(children_module.time, "sleep", sleep)
    assert spawnkit.start_process(path, ["exit", "3"], engine=engine).wait().exit_code == 3
    assert pauses == [1, 2, 4, 8]


def test_a_writer_that_never_closes_is_told(
    engine: str, busy: tuple[str, Callable[[], None]], pauses: list[float]
) -> None:
    """A8: after 0.25 s of retries the error says so."""
    path, close = busy
    with pytest.raises(SpawnError) as caught:
        spawnkit.start_process(path, ["exit", "3"], engine=engine)
    error = caught.value
    assert error.errno == errno.ETXTBSY
    assert error.hint == "open for writing elsewhere, still so after 0.25 s of retries"
    assert str(error).endswith(f"Text file busy ({error.hint})")
    assert pauses[:4] == [1, 2, 4, 8]
    assert sum(pauses) == 250
    close()
    assert spawnkit.start_process(path, ["exit", "3"], engine=engine).wait().exit_code == 3


def refuse(number: int, stage: str = "exec") -> Callable[[], None]:
    from spawnkit.errors import spawn_error

    def attempt() -> None:
        raise spawn_error(number, stage, "exec 'x'")

    return attempt


def test_no_pause_goes_beyond_the_deadline(pauses: list[float]) -> None:
    """A8: the deadline of the command bounds the retries too."""
    with pytest.raises(SpawnError) as caught:
        children_module.retry_busy(refuse(errno.ETXTBSY), _core.NOW)
    assert caught.value.hint == "open for writing elsewhere"
    assert not pauses
    with pytest.raises(SpawnError) as caught:
        children_module.retry_busy(refuse(errno.ETXTBSY), _core.deadline_after(0.002))
    assert all(pause <= 2 for pause in pauses)


def test_nothing_else_is_tried_again(pauses: list[float]) -> None:
    for attempt in refuse(errno.ENOENT), refuse(errno.ETXTBSY, "descriptors"):
        with pytest.raises(SpawnError) as caught:
            children_module.retry_busy(attempt)
        assert caught.value.hint == ""
    assert not pauses
    assert children_module.retry_busy(lambda: 5) == 5
