"""ORDERED: what was written to stdout and stderr, write by write, with the kernel's time."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import socket
import threading
import time
from typing import Any

import pytest

import spawnkit
from spawnkit import ORDERED, PIPE, STDOUT, Cmd, run
from support.children import Children, ends
from support.isolated import Isolate
from support.late import late
from support.proc import PROC

SHELL = "/bin/sh"

# Tells "ends" from "hangs".
HANGS_AFTER = 60.0


def what(result: Any) -> list[tuple[int, Any]]:
    """The records without their times."""
    return [(stream, data) for _, stream, data in result.ordered]


@pytest.mark.parametrize("count", [1, 2, 5000])
def test_the_order_is_that_of_the_writes(count: int, engine: str, children: Children) -> None:
    """Each record is one write, with its stream; the times are of the writes, and ascend."""
    began = time.time()
    result = run([children("writes"), f"alternate={count}"], capture="ordered", engine=engine)
    ended = time.time()
    written = [(1 + i % 2, b"%d %d\n" % (1 + i % 2, i)) for i in range(count)]
    assert what(result) == written
    for stream, output in (1, result.stdout), (2, result.stderr):
        assert output == b"".join(data for number, data in written if number == stream)
    times = [moment for moment, _, _ in result.ordered]
    assert times == sorted(times)
    assert began - 1e-3 <= times[0] <= times[-1] <= ended + 1e-3
    assert all(type(moment) is float for moment in times)


def test_it_is_the_same_for_a_cmd(engine: str, children: Children) -> None:
    cmd = Cmd(children("writes"), "1=61", "2=62", "1=63", stdout=ORDERED, stderr=ORDERED)
    cmd.engine = engine
    cmd.run()
    assert what(cmd.result) == [(1, b"a"), (2, b"b"), (1, b"c")]
    assert (cmd.result.stdout, cmd.result.stderr) == (b"ac", b"b")
    assert "ordered=<3 records>" in repr(cmd.result)
    assert pickle.loads(pickle.dumps(cmd.result)) == cmd.result
    assert hash(cmd.result) == hash(pickle.loads(pickle.dumps(cmd.result)))


def test_nothing_was_written(engine: str) -> None:
    result = run(["/bin/true"], capture="ordered", engine=engine)
    assert (result.ordered, result.stdout, result.stderr) == ([], b"", b"")
    assert run(["/bin/true"], capture=True, engine=engine).ordered is None


def test_a_write_of_nothing_is_a_record(children: Children) -> None:
    result = run([children("writes"), "1=61", "2=", "1=62"], capture="ordered")
    assert what(result) == [(1, b"a"), (2, b""), (1, b"b")]


def test_long_outputs(engine: str, children: Children) -> None:
    """A81: child writes 4 MiB to both streams: more than is gathered at once, or queued."""
    size = 4 << 20
    result = run([children("flood"), str(size)], capture="ordered", engine=engine)
    assert what(result) == [(1, b"o" * 4096), (2, b"e" * 4096)] * (size // 4096)
    assert result.stdout == b"o" * size


@pytest.mark.parametrize("size", [100_000, 212_000, 400_000])
def test_a_large_write_is_one_record(size: int, children: Children) -> None:
    """Sizes that an ordinary user may write with the kernel's own limit (wmem_max)."""
    with late() as gate:
        words = ["1=61", f"size={size}", "tell", "1=62"]
        result = run([children("writes"), *words], capture="ordered", **gate.options)
        assert gate.go() == b"0\n"
    assert [len(data) for _, data in what(result)] == [1, size, 1]


def test_a_write_that_is_too_large_fails_as_a_whole(engine: str, children: Children) -> None:
    """The program is told; what it wrote before and after is there."""
    with late() as gate:
        argv = [children("writes"), "1=61", "size=4000000", "tell", "1=62"]
        result = run(argv, capture="ordered", engine=engine, **gate.options)
        assert gate.go() == b"%d\n" % errno.EMSGSIZE
    assert what(result) == [(1, b"a"), (1, b"b")]


def test_dev_stdout_cannot_be_opened(engine: str) -> None:
    argv = [SHELL, "-c", "echo a; echo b > /dev/stdout"]
    result = run(argv, capture="ordered", check=False, env={"LC_ALL": "C"}, engine=engine)
    assert not result.state.success
    assert result.stdout == b"a\n"
    assert b"No such device" in result.stderr


# ---- its end ------------------------------------------------------------------------------------


def test_a_descendant_is_waited_for(engine: str, children: Children) -> None:
    with late() as gate:
        argv = [children("writes"), "1=61", "fork", "hear", "2=62", "tell"]
        cmd = Cmd(*argv, stdout=ORDERED, stderr=ORDERED, engine=engine, **gate.options)
        cmd.start()
        assert ends(cmd.process.pid, HANGS_AFTER)
        with pytest.raises(spawnkit.TimeoutExpired):
            cmd.wait(0.05)
        assert gate.go() == b"0\n"
        cmd.wait()
    assert what(cmd.result) == [(1, b"a"), (2, b"b")]


def test_one_stream_is_enough_to_be_waited_for(children: Children) -> None:
    """The descendant has closed the other one."""
    with late() as gate:
        argv = [children("writes"), "fork", "close=1", "hear", "2=62", "tell"]
        cmd = Cmd(*argv, stdout=ORDERED, stderr=ORDERED, **gate.options)
        cmd.start()
        with pytest.raises(spawnkit.TimeoutExpired):
            cmd.wait(0.05)
        assert gate.go() == b"0\n"
        cmd.wait()
    assert what(cmd.result) == [(2, b"b")]


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_wait_delay_cuts_it(encoding: str | None, engine: str, children: Children) -> None:
    """What came before is kept. The descendant's next write fails, without a signal."""
    with late() as gate:
        argv = [children("writes"), "1=61", "fork", "hear", "1=62", "tell"]
        with pytest.raises(spawnkit.WaitDelayError) as caught:
            run(
                argv,
                capture="ordered",
                wait_delay=0.05,
                encoding=encoding,
                engine=engine,
                **gate.options,
            )
        expected = "a" if encoding else b"a"
        assert caught.value.stdout == expected
        assert what(caught.value) == [(1, expected)]
        assert gate.go() == b"%d\n" % errno.ECONNREFUSED


def test_a_flood_can_be_cut(engine: str, children: Children) -> None:
    """A descendant that always has something to say does not keep the end from coming."""
    with late() as gate:
        argv = [children("writes"), "fork", "alternate=100000000"]
        with pytest.raises(spawnkit.WaitDelayError) as caught:
            run(argv, capture="ordered", wait_delay=0.1, engine=engine, **gate.options)
        records = what(caught.value)
        assert records == [(1 + i % 2, b"%d %d\n" % (1 + i % 2, i)) for i in range(len(records))]
        _end_of(argv)


def _end_of(argv: list[str]) -> None:
    """Kills the descendant, whose writes all fail by now."""
    import os
    import signal

    wanted = "\0".join(argv).encode() + b"\0"
    for pid in filter(str.isdigit, os.listdir(PROC)):
        try:
            with open(f"{PROC}/{pid}/cmdline", "rb") as file:
                if file.read() == wanted:
                    os.kill(int(pid), signal.SIGKILL)
        except OSError:
            continue


@pytest.mark.parametrize("started", [False, True])
def test_a_timeout_keeps_what_came(started: bool, engine: str) -> None:
    """A84: what was written until the kill."""
    script = "echo out; echo err >&2; exec sleep 1000"
    cmd = Cmd(SHELL, "-c", script, stdout=ORDERED, stderr=ORDERED, timeout=0.5, engine=engine)
    if started:
        cmd.start()
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        (cmd.wait if started else cmd.run)()
    assert (caught.value.stdout, caught.value.stderr) == (b"out\n", b"err\n")
    assert what(caught.value) == [(1, b"out\n"), (2, b"err\n")]
    assert caught.value.state.signal == 9
    assert cmd.result.ordered == caught.value.ordered


def test_a_failure_carries_it(engine: str) -> None:
    with pytest.raises(spawnkit.ExitError) as caught:
        run([SHELL, "-c", "echo a; echo b >&2; exit 3"], capture="ordered", engine=engine)
    assert what(caught.value) == [(1, b"a\n"), (2, b"b\n")]
    assert str(caught.value).endswith("exit status 3: b")
    assert pickle.loads(pickle.dumps(caught.value)).ordered == caught.value.ordered
    with pytest.raises(spawnkit.ExitError) as caught:
        run([SHELL, "-c", "exit 3"], capture=True, engine=engine)
    assert caught.value.ordered is None


# ---- text ---------------------------------------------------------------------------------------


def test_a_character_may_be_cut(engine: str, children: Children) -> None:
    """Between two writes, with another stream's write between them."""
    argv = [children("writes"), "1=61e2", "2=78c3", "1=82", "2=a9", "1=ac62"]
    result = run(argv, capture="ordered", encoding="utf-8", engine=engine)
    assert what(result) == [(1, "a"), (2, "x"), (1, ""), (2, "é"), (1, "€b")]
    assert (result.stdout, result.stderr) == ("a€b", "xé")


def test_half_a_character_at_the_end(children: Children) -> None:
    argv = [children("writes"), "1=61e2", "2=62"]
    with pytest.raises(UnicodeDecodeError):
        run(argv, capture="ordered", encoding="utf-8")
    result = run(argv, capture="ordered", encoding="utf-8", errors="replace")
    assert what(result) == [(1, "a\N{REPLACEMENT CHARACTER}"), (2, "b")]
    assert result.stdout == "a\N{REPLACEMENT CHARACTER}"
    failing = [SHELL, "-c", r"printf 'a\342'; exit 1"]
    with pytest.raises(spawnkit.ExitError) as caught:
        run(failing, capture="ordered", encoding="utf-8")
    assert what(caught.value) == [(1, r"a\xe2")]


# ---- surroundings -------------------------------------------------------------------------------


def our_receiver() -> str:
    """The name of the one that this process has; others may have some too."""
    ours = set()
    for fd in os.listdir(f"{PROC}/self/fd"):
        with contextlib.suppress(OSError):  # the one that listdir was reading
            ours.add(os.readlink(f"{PROC}/self/fd/{fd}"))
    with open(f"{PROC}/net/unix") as file:
        lines = [line.split() for line in file if "@spawnkit." in line]
    (name,) = [words[7][1:] for words in lines if f"socket:[{words[6]}]" in ours]
    return name


def test_a_stranger_cannot_put_words_into_it(engine: str, children: Children) -> None:
    """The sockets have names that anybody can see; what comes from elsewhere is dropped."""
    argv = [children("writes"), "1=61", "hear", "2=62"]
    with late() as gate:
        cmd = Cmd(*argv, stdin=gate.stdin, stdout=ORDERED, stderr=ORDERED, engine=engine)
        cmd.start()
        receiver = our_receiver()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"from nobody", f"\0{receiver}")
            stranger.bind(f"\0{receiver[:-1]}3")
            stranger.sendto(b"from a name", f"\0{receiver}")
            for sender in f"\0{receiver[:-1]}1", f"\0{receiver[:-1]}2":
                with pytest.raises(PermissionError):
                    stranger.sendto(b"to the program", sender)
        gate.go()
        cmd.wait()
    assert what(cmd.result) == [(1, b"a"), (2, b"b")]


def test_a_stranger_does_not_count_as_the_program_talking() -> None:
    cmd = Cmd("sleep", "1000", stdout=ORDERED, stderr=ORDERED, idle_timeout=0.3)
    cmd.start()
    receiver = our_receiver()
    over = threading.Event()

    def talk() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            while not over.wait(0.01):
                with contextlib.suppress(ConnectionRefusedError):  # it has been closed
                    stranger.sendto(b"here I am", f"\0{receiver}")

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        with pytest.raises(spawnkit.TimeoutExpired):
            cmd.wait()
    finally:
        over.set()
        thread.join()


def test_in_threads(engine: str, children: Children) -> None:
    failures: list[Any] = []

    def work(number: int) -> None:
        for _ in range(5):
            argv = [children("writes"), f"1={number:02x}", f"2={number:02x}", "alternate=50"]
            records = what(run(argv, capture="ordered", engine=engine))
            if len(records) != 52 or records[:2] != [(1, bytes([number])), (2, bytes([number]))]:
                failures.append(records)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_input_goes_with_it(engine: str) -> None:
    data = b"x" * 300_000
    result = run(["/bin/cat"], input=data, capture="ordered", engine=engine)
    assert result.stdout == data
    assert not result.broken_pipe


def _captures_without_standard_streams(closed: list[int], engine: str) -> list[Any]:
    import os as system

    import spawnkit as package

    package.run(["/bin/true"], capture="ordered")  # everything is imported
    kept = {fd: system.dup(fd) for fd in closed}
    for fd in closed:
        system.close(fd)
    script = "echo out; echo err >&2"
    result = package.run(["/bin/sh", "-c", script], capture="ordered", engine=engine)
    for fd, double in kept.items():
        system.dup2(double, fd)
        system.close(double)
    return [[stream, data.decode()] for _, stream, data in result.ordered]


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2], [1, 2]], ids=str)
def test_with_standard_streams_closed(closed: list[int], engine: str, isolate: Isolate) -> None:
    outputs = isolate(_captures_without_standard_streams, closed, engine)
    assert outputs == [[1, "out\n"], [2, "err\n"]]


def _captures(children_too: bool) -> list[Any]:
    import spawnkit as package

    script = "echo x; (sleep 0.1; echo y >&2) & exit 0" if children_too else "echo x"
    try:
        result = package.run(["/bin/sh", "-c", script], capture="ordered")
    except package.SpawnError as error:
        return [error.stage, str(error)]
    return [[stream, data.decode()] for _, stream, data in result.ordered]


@pytest.mark.parametrize("rules", ["socket:EMFILE", "setsockopt:ENOMEM"])
def test_where_no_sockets_can_be_had(rules: str, isolate: Isolate) -> None:
    stage, message = isolate(_captures, False, deny=rules)
    assert stage == "pipe"
    assert message.startswith("sockets: ")


@pytest.mark.parametrize(
    "rules", ["setsockopt[2&0xff=32]:EPERM", "pidfd_open:ENOSYS,clone3:ENOSYS"]
)
def test_where_less_can_be_had(rules: str, isolate: Isolate) -> None:
    """No privilege for a large buffer; nothing that tells the end of the process by itself."""
    rules = rules.replace("clone3:ENOSYS", "clone3:ENOSYS,clone[0&0x1000]:EINVAL")
    assert isolate(_captures, True, deny=rules) == [[1, "x\n"], [2, "y\n"]]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"stdin": ORDERED}, "stdin: spawnkit.ORDERED"),
        ({"stdout": ORDERED}, "ORDERED: .*both"),
        ({"stderr": ORDERED}, "ORDERED: .*both"),
        ({"stdout": ORDERED, "stderr": STDOUT}, "ORDERED: .*both"),
        ({"stdout": PIPE, "stderr": ORDERED}, "ORDERED: .*both"),
        ({"capture": "order"}, "capture: .*'order'"),
    ],
)
def test_bad_input(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        run(["true"], **options)
