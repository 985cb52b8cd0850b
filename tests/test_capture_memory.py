"""MEMORY: outputs that go into files in memory, sealed and mapped at the end."""

from __future__ import annotations

import copy
import mmap
import os
import pickle
import re
import stat
import sys
import threading
from contextlib import suppress
from typing import Any

import pytest

import spawnkit
from spawnkit import MEMORY, PIPE, STDOUT, Cmd, _core, run
from support.children import Children, parse_report
from support.isolated import Isolate
from support.late import late
from support.proc import PROC

SHELL = "/bin/sh"
EPERM = b"1\n"


def mappings() -> list[str]:
    """The files in memory that are mapped here."""
    with open(f"{PROC}/self/maps") as file:
        return re.findall(r"/memfd:std\w+", file.read())


def files() -> dict[str, str]:
    """What is open here."""
    found = {}
    for fd in os.listdir(f"{PROC}/self/fd"):
        with suppress(FileNotFoundError):  # of the listing itself
            found[fd] = os.readlink(f"{PROC}/self/fd/{fd}")
    return found


def test_both_are_there(engine: str) -> None:
    result = run([SHELL, "-c", "echo out; echo err >&2"], capture="memory", engine=engine)
    assert isinstance(result.stdout, memoryview)
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
    assert (result.stdout.format, result.stdout.ndim, result.stdout.readonly) == ("B", 1, True)
    with pytest.raises(TypeError):
        result.stdout[0] = 0


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_one_of_them(name: str, engine: str) -> None:
    other = {"stdout": "stderr", "stderr": "stdout"}[name]
    argv = [SHELL, "-c", "echo stdout; echo stderr >&2"]
    result = run(argv, **{name: MEMORY, other: PIPE}, engine=engine)
    assert getattr(result, name) == name.encode() + b"\n"
    assert isinstance(getattr(result, other), bytes)


def test_stderr_in_the_same_file(engine: str, children: Children) -> None:
    """One offset for both: nobody writes over what the other has written."""
    argv = [children("writes"), "alternate=3000"]
    result = run(argv, stdout=MEMORY, stderr=STDOUT, engine=engine)
    lines = b"".join(b"%d %d\n" % (1 + i % 2, i) for i in range(3000))
    assert result.stdout == lines
    assert result.stderr is None


def test_nothing_was_written(engine: str) -> None:
    before = mappings()
    result = run(["/bin/true"], capture="memory", engine=engine)
    assert mappings() == before
    assert (result.stdout, result.stderr) == (b"", b"")
    assert result.stdout.readonly


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 20_000_000])
def test_all_of_it_is_there(size: int, engine: str) -> None:
    data = os.urandom(min(size, 1 << 20)) * (size // (1 << 20) + 1)
    result = run(["/bin/cat"], input=data[:size], stdout=MEMORY, engine=engine)
    assert result.stdout == data[:size]


def test_nobody_reads_while_it_runs(children: Children) -> None:
    """No pipe, no thread: what is open is the file, and it is closed by `wait`."""
    tasks = os.listdir(f"{PROC}/self/task")
    with late() as gate:
        before = files()
        cmd = Cmd(children("writes"), "hear", "size=2000000", stdin=gate.stdin, stdout=MEMORY)
        cmd.start()
        assert os.listdir(f"{PROC}/self/task") == tasks
        opened = [file for fd, file in files().items() if fd not in before]
        assert [file for file in opened if "memfd:stdout" in file]
        assert not [file for file in opened if "pipe" in file]
        os.write(gate.gate, b"x")
        cmd.wait()
        assert files() == before
    assert cmd.result.stdout == bytes(2_000_000)


def test_the_mapping_lives_as_long_as_a_view_of_it(engine: str) -> None:
    before = mappings()
    result = run(["/bin/echo", "hello world"], stdout=MEMORY, engine=engine)
    part = result.stdout[6:]
    assert len(mappings()) == len(before) + 1
    del result
    assert part == b"world\n"
    assert len(mappings()) == len(before) + 1
    del part
    assert mappings() == before


def test_a_view_may_be_released() -> None:
    before = mappings()
    result = run(["/bin/echo", "x"], stdout=MEMORY)
    result.stdout.release()
    assert mappings() == before
    assert "released" in repr(result)


def test_it_is_text_with_an_encoding(engine: str) -> None:
    before = mappings()
    argv = [SHELL, "-c", "echo h\N{LATIN SMALL LETTER E WITH ACUTE}; echo x >&2"]
    result = run(argv, capture="memory", encoding="utf-8", engine=engine)
    assert (result.stdout, result.stderr) == ("hé\n", "x\n")
    assert mappings() == before
    with pytest.raises(UnicodeDecodeError):
        run(argv, capture="memory", encoding="ascii", engine=engine)


def test_a_result_is_a_value() -> None:
    result = run(["/bin/echo", "x"], capture="memory")
    same = spawnkit.Result(result.state, b"x\n", b"")
    assert result == same
    assert hash(result) == hash(same)
    assert repr(result).count("memoryview of") == 2
    assert "memoryview of 2 bytes" in repr(result)
    for made in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert made == result
        assert type(made.stdout) is bytes


@pytest.mark.parametrize("long_way", [False, True])
def test_a_failure_carries_it(long_way: bool, engine: str) -> None:
    script = "echo out; echo first >&2; echo last >&2; exit 3"
    options = {"wait_delay": 60} if long_way else {}
    with pytest.raises(spawnkit.ExitError) as caught:
        run([SHELL, "-c", script], capture="memory", engine=engine, **options)
    error = caught.value
    assert (error.stdout, error.stderr) == (b"out\n", b"first\nlast\n")
    assert str(error).endswith("exit status 3: last")
    again = pickle.loads(pickle.dumps(error))
    assert (again.stdout, again.stderr, str(again)) == (b"out\n", b"first\nlast\n", str(error))


@pytest.mark.parametrize("encoding", [None, "utf-8"])
@pytest.mark.parametrize("long_way", [False, True])
def test_a_timeout_keeps_what_came(long_way: bool, encoding: str | None, engine: str) -> None:
    """A84: what was written until the kill; a file that is sealed before would cut it short."""
    script = "echo out; echo err >&2; exec sleep 1000"
    options = {"wait_delay": 60} if long_way else {}
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        run(
            [SHELL, "-c", script],
            capture="memory",
            timeout=0.5,
            encoding=encoding,
            engine=engine,
            **options,
        )
    expected: tuple[Any, Any] = ("out\n", "err\n") if encoding else (b"out\n", b"err\n")
    assert (caught.value.stdout, caught.value.stderr) == expected
    assert caught.value.state.signal == 9


def test_a_cancelled_one_keeps_it_too() -> None:
    token = spawnkit.CancelToken()
    cmd = Cmd(SHELL, "-c", "echo out; exec sleep 1000", stdout=MEMORY, cancel=token)
    cmd.start()
    while os.stat(f"{PROC}/{cmd.process.pid}/fd/1").st_size < 4:
        os.sched_yield()
    token.cancel()
    with pytest.raises(spawnkit.Cancelled) as caught:
        cmd.wait()
    assert caught.value.stdout == b"out\n"


@pytest.mark.parametrize("started", [False, True])
def test_a_descendant_that_writes_later_is_refused(
    started: bool, engine: str, children: Children
) -> None:
    """And not waited for: the file is sealed when the program is known to have ended."""
    with late() as gate:
        words = ["1=6162", "fork", "hear", "1=6364", "tell", "cut=1", "tell"]
        argv = [children("writes"), *words]
        if started:
            cmd = Cmd(*argv, stdout=MEMORY, engine=engine, **gate.options)
            cmd.start()
            cmd.wait()
            result = cmd.result
        else:
            result = run(argv, stdout=MEMORY, engine=engine, **gate.options)
        assert result.stdout == b"ab"
        assert gate.go() == EPERM * 2
        assert result.stdout == b"ab"


def test_what_somebody_can_still_write_to_is_copied(engine: str, children: Children) -> None:
    """A page mapped for writing cannot be sealed. The result does not change with it."""
    before = mappings()
    with late() as gate:
        argv = [children("writes"), "1=616263", "map", "fork", "hear", "poke=7878", "1=64", "tell"]
        result = run(argv, stdout=MEMORY, engine=engine, **gate.options)
        assert (result.stdout, result.stdout.readonly) == (b"abc", True)
        assert mappings() == before
        assert gate.go() == EPERM
        assert result.stdout == b"abc"


@pytest.mark.parametrize("limited", ["ends", "attentive"])
def test_what_is_copied_is_kept_whole(limited: str) -> None:
    """As what is mapped: max_output is for the stream that comes through a pipe."""
    pump = _core.new_pump()
    guard = _core.guard_pump(pump)
    try:
        _core.open_memory(pump, 1)
        if limited == "ends":
            _core.keep_ends(pump, 1, 1)
        else:
            _core.be_attentive(pump, 1)
        file = _core.child_ends(pump)[1]
        os.write(file, b"abcdef")
        with mmap.mmap(file, 6):  # it cannot be sealed
            assert _core.sealed(pump, 1) == b"abcdef"
        assert _core.left_out(pump, 1) == 0
    finally:
        _core.close_pump(pump)
        del guard


@pytest.mark.parametrize("seals", ["F_SEAL_SEAL", "F_SEAL_WRITE", "F_SEAL_SHRINK"])
def test_a_program_may_seal_it_itself(seals: str, engine: str) -> None:
    code = f"import fcntl; print(3, flush=True); fcntl.fcntl(1, fcntl.F_ADD_SEALS, fcntl.{seals})"
    result = run([sys.executable, "-c", code], stdout=MEMORY, engine=engine)
    assert (result.stdout, result.stdout.readonly) == (b"3\n", True)


def test_the_program_sees_a_regular_file(engine: str, children: Children) -> None:
    result = run([children("report"), "-"], stdout=MEMORY, engine=engine)
    out = parse_report(result.stdout.tobytes()).fds[1]
    assert stat.S_ISREG(out.mode)
    assert not out.mode & 0o111


def test_what_is_opened_again_has_an_offset_of_its_own(engine: str) -> None:
    result = run([SHELL, "-c", "echo 12345; echo ab > /dev/stdout"], stdout=MEMORY, engine=engine)
    assert result.stdout == b"ab\n"


def test_two_hundred_at_once(children: Children) -> None:
    """No descriptor of ours is read, no thread: they wait for a word and write all together."""
    threads = threading.active_count()
    with late() as gate:
        cmds = []
        for number in range(200):
            words = ["hear", f"1={number:02x}", "size=100000"]
            cmd = Cmd(children("writes"), *words, stdin=gate.stdin, stdout=MEMORY, stderr=MEMORY)
            cmd.start()
            cmds.append(cmd)
        assert threading.active_count() == threads
        os.write(gate.gate, b"x" * 200)
        for cmd in cmds:
            cmd.wait()
    for number, cmd in enumerate(cmds):
        assert len(cmd.result.stdout) == 100_001
        assert cmd.result.stdout[0] == number
        assert cmd.result.stderr == b""


def test_in_threads(engine: str) -> None:
    failures: list[Any] = []

    def work(number: int) -> None:
        for turn in range(10):
            word = f"{number} {turn}"
            result = run(["/bin/echo", word], capture="memory", engine=engine)
            if result.stdout != f"{word}\n".encode():
                failures.append(bytes(result.stdout))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def _captures_without_standard_streams(closed: list[int], how: str, engine: str) -> list[str]:
    import os as system

    import spawnkit as package

    kept = {fd: system.dup(fd) for fd in closed}
    for fd in closed:
        system.close(fd)
    script = "echo out; echo err >&2"
    result = package.run(["/bin/sh", "-c", script], capture=how, engine=engine)
    for fd, double in kept.items():
        system.dup2(double, fd)
        system.close(double)
    return [bytes(result.stdout).decode(), bytes(result.stderr).decode()]


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2], [1, 2]], ids=str)
def test_with_standard_streams_closed(closed: list[int], engine: str, isolate: Isolate) -> None:
    outputs = isolate(_captures_without_standard_streams, closed, "memory", engine)
    assert outputs == ["out\n", "err\n"]


def _captures() -> list[str]:
    import spawnkit as package

    try:
        result = package.run(["/bin/echo", "x"], capture="memory")
    except package.SpawnError as error:
        return [error.stage, str(error)]
    return [bytes(result.stdout).decode()]


def test_where_it_cannot_be_made(isolate: Isolate) -> None:
    assert isolate(_captures, deny="memfd_create:EMFILE") == [
        "memory",
        "file in memory (memfd_create): Too many open files",
    ]


@pytest.mark.parametrize(
    "rules",
    [
        "memfd_create[1&0x8=0x8]:EINVAL",  # Linux before 6.3
        "fcntl[1&0xffff=0x409]:EINVAL",  # F_ADD_SEALS
    ],
)
def test_where_less_can_be_had(rules: str, isolate: Isolate) -> None:
    assert isolate(_captures, deny=rules) == ["x\n"]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: run(["true"], stdin=MEMORY), "stdin: spawnkit.MEMORY"),
        (lambda: run(["true"], capture="Memory"), "capture: .*'Memory'"),
        (lambda: run(["true"], capture=2), "capture: .*2"),
        (lambda: run(["true"], capture="memory", stdout=1), "capture: given together"),
    ],
)
def test_bad_input(call: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        call()
