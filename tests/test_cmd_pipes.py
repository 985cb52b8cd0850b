"""stdin_pipe, stdout_pipe, stderr_pipe: our ends of a command's streams, and who closes them."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import termios
import threading
from typing import Any

import pytest

import spawnkit
from spawnkit import Cmd
from support.children import Children
from support.isolated import Isolate

PIPES = ["stdin", "stdout", "stderr"]


def test_lines_go_through_the_pipes_one_by_one(engine: str, children: Children) -> None:
    """Go TestPipes: what was asked is answered on the stream that was asked for, at once."""
    cmd = Cmd(children("route"), engine=engine)
    stdin, stdout, stderr = cmd.stdin_pipe(), cmd.stdout_pipe(), cmd.stderr_pipe()
    cmd.start()
    for stream, line in [(stdout, b"O:one\n"), (stderr, b"E:two\n"), (stdout, b"O:three\n")]:
        assert stdin.write(line) == len(line)
        assert stream.readline() == line
    stdin.close()
    assert cmd.wait().success
    assert stdin.closed
    assert stdout.closed
    assert stderr.closed


def test_stdin_may_be_closed_while_another_thread_waits(engine: str, children: Children) -> None:
    """Go TestStdinClose: close and wait race, and neither minds."""
    for _ in range(20):
        cmd = Cmd(children("talk"), stdout=spawnkit.PIPE, engine=engine)
        stdin = cmd.stdin_pipe()
        assert os.fstat(stdin.fileno())
        cmd.start()
        wrong: list[BaseException] = []

        def feed(stdin: Any = stdin, wrong: list[BaseException] = wrong) -> None:
            try:
                stdin.write(b"Some text")
                stdin.close()
            except BaseException as error:
                wrong.append(error)

        thread = threading.Thread(target=feed)
        thread.start()
        assert cmd.wait().success
        thread.join(60)
        assert not wrong
        assert stdin.closed
        assert cmd.result.stdout == b"OSome text"


def test_kill_and_close_and_wait_may_race(engine: str, children: Children) -> None:
    """Go TestStdinCloseRace: three threads, one command."""
    for _ in range(20):
        cmd = Cmd(children("route"), engine=engine)
        stdin = cmd.stdin_pipe()
        cmd.start()
        wrong: list[BaseException] = []

        def kill(cmd: Cmd = cmd, wrong: list[BaseException] = wrong) -> None:
            try:
                cmd.process.kill()
            except spawnkit.ProcessDone:
                pass
            except BaseException as error:
                wrong.append(error)

        def feed(stdin: Any = stdin, wrong: list[BaseException] = wrong) -> None:
            try:
                stdin.write(b"no such line\n")
            except (BrokenPipeError, ValueError):
                pass  # it was killed, or waited for, before
            except BaseException as error:
                wrong.append(error)
            stdin.close()

        threads = [threading.Thread(target=target) for target in (kill, feed)]
        for thread in threads:
            thread.start()
        with pytest.raises(spawnkit.ExitError):
            cmd.wait()
        for thread in threads:
            thread.join(60)
        assert not wrong


def test_a_write_may_race_with_the_end(engine: str) -> None:
    """Go TestEchoFileRace: the program never reads, and has ended before or after the write."""
    for _ in range(20):
        cmd = Cmd("/bin/true", engine=engine)
        stdin = cmd.stdin_pipe()
        cmd.start()
        wrong: list[BaseException] = []

        def feed(stdin: Any = stdin, wrong: list[BaseException] = wrong) -> None:
            try:
                stdin.write(b"echo\n")
            except (BrokenPipeError, ValueError):
                pass
            except BaseException as error:
                wrong.append(error)

        thread = threading.Thread(target=feed)
        thread.start()
        assert cmd.wait().success
        thread.join(60)
        assert not wrong


@pytest.mark.parametrize("program", ["something-that-does-not-exist", "/no/such/program"])
@pytest.mark.parametrize("how", ["start", "run"])
def test_a_failing_start_closes_the_pipes(program: str, how: str, engine: str) -> None:
    """Go TestPipeLookPathLeak: all of them, ours too."""
    for _ in range(6):
        cmd = Cmd(program, engine=engine)
        pipes = [cmd.stdout_pipe(), cmd.stderr_pipe(), cmd.stdin_pipe()]
        with pytest.raises(FileNotFoundError):
            getattr(cmd, how)()
        assert all(pipe.closed for pipe in pipes)


def test_a_second_start_leaves_the_pipes_open(engine: str, children: Children) -> None:
    """Go TestDoubleStartLeavesPipesOpen: they belong to the first."""
    cmd = Cmd(children("route"), engine=engine)
    stdin, stdout = cmd.stdin_pipe(), cmd.stdout_pipe()
    cmd.start()
    with pytest.raises(RuntimeError, match="already started"):
        cmd.start()
    stdin.write(b"O:Hello, pipe!\n")
    stdin.close()
    assert stdout.read() == b"O:Hello, pipe!\n"
    assert cmd.wait().success


def test_a_stop_does_not_end_the_wait_of_a_cmd(engine: str, children: Children) -> None:
    """Go TestWaitid: stopped is not ended; continued, it answers and ends."""
    cmd = Cmd(children("route"), engine=engine)
    stdin, stdout = cmd.stdin_pipe(), cmd.stdout_pipe()
    cmd.start()
    stdin.write(b"O:ping\n")
    assert stdout.readline() == b"O:ping\n"
    cmd.process.signal(signal.SIGSTOP)
    os.waitid(os.P_PID, cmd.process.pid, os.WSTOPPED | os.WNOWAIT)
    states: list[spawnkit.ProcessState] = []
    thread = threading.Thread(target=lambda: states.append(cmd.wait()))
    thread.start()
    cmd.process.signal(signal.SIGCONT)  # it still exists
    stdin.close()
    thread.join(60)
    assert [state.success for state in states] == [True]


@pytest.mark.parametrize("name", PIPES)
def test_a_stream_that_is_set_has_no_pipe(name: str) -> None:
    cmd = Cmd("/bin/true", **{name: spawnkit.DEVNULL})
    with pytest.raises(ValueError, match=name):
        getattr(cmd, f"{name}_pipe")()
    assert cmd.run().success


@pytest.mark.parametrize("name", PIPES)
def test_a_stream_has_one_pipe(name: str, children: Children) -> None:
    cmd = Cmd("/bin/true")
    pipe = getattr(cmd, f"{name}_pipe")()
    with pytest.raises(ValueError, match=name):
        getattr(cmd, f"{name}_pipe")()
    assert not pipe.closed
    assert cmd.run().success
    assert pipe.closed


@pytest.mark.parametrize("name", PIPES)
def test_after_the_start_there_is_no_pipe_to_be_had(name: str) -> None:
    cmd = Cmd("/bin/true")
    cmd.start()
    with pytest.raises(RuntimeError, match="start"):
        getattr(cmd, f"{name}_pipe")()
    cmd.wait()
    with pytest.raises(RuntimeError, match="start"):
        getattr(cmd, f"{name}_pipe")()


def test_what_the_pipes_are() -> None:
    cmd = Cmd("/bin/true")
    stdin, stdout, stderr = cmd.stdin_pipe(), cmd.stdout_pipe(), cmd.stderr_pipe()
    assert isinstance(stdout, io.BufferedReader)
    assert isinstance(stderr, io.BufferedReader)
    assert not isinstance(stdin, (io.BufferedIOBase, io.TextIOBase))
    assert stdin.writable()
    assert len({pipe.fileno() for pipe in (stdin, stdout, stderr)}) == 3
    for pipe in stdin, stdout, stderr:
        assert not os.get_inheritable(pipe.fileno())
    cmd.run()


def test_a_write_to_stdin_goes_out_whole(engine: str, children: Children) -> None:
    """Each write, however large, though nothing is buffered."""
    cmd = Cmd(children("echo"), stdout=spawnkit.PIPE, engine=engine)
    stdin = cmd.stdin_pipe()
    cmd.start()
    data = os.urandom(1 << 20)
    assert stdin.write(data) == len(data)
    assert stdin.write(memoryview(data)) == len(data)
    assert stdin.write(b"") == 0
    stdin.close()
    cmd.wait()
    assert cmd.result.stdout == data * 2


def test_a_write_that_nobody_will_read_is_a_broken_pipe(engine: str) -> None:
    """The writer is the caller's: here EPIPE is told."""
    cmd = Cmd("/bin/true", engine=engine)
    stdin = cmd.stdin_pipe()
    cmd.start()
    os.waitid(os.P_PID, cmd.process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(BrokenPipeError):
        stdin.write(b"x")
    assert cmd.wait().success


def test_wait_closes_what_was_not_read(engine: str) -> None:
    cmd = Cmd("/bin/echo", "unread", engine=engine)
    stdout = cmd.stdout_pipe()
    cmd.start()
    cmd.wait()
    with pytest.raises(ValueError, match="closed"):
        stdout.read()


def test_the_child_holds_no_end_of_ours(engine: str, children: Children) -> None:
    """Two commands at once: neither keeps the other's stdin open."""
    first, second = (Cmd(children("block"), engine=engine) for _ in range(2))
    stdins = first.stdin_pipe(), second.stdin_pipe()
    first.start()
    second.start()
    stdins[0].close()
    assert first.wait().success
    stdins[1].close()
    assert second.wait().success


def test_a_write_that_waits_ends_when_its_pipe_is_closed(engine: str, children: Children) -> None:
    """By another thread: the descriptor is not taken away under the system call."""
    ours, theirs = os.pipe()
    cmd = Cmd(children("block"), str(3), extra_files=[ours], engine=engine)
    stdin = cmd.stdin_pipe()
    cmd.start()
    outcomes: list[object] = []

    def feed() -> None:
        try:
            outcomes.append(stdin.write(b"x" * (1 << 20)))
        except (ValueError, BrokenPipeError) as error:
            outcomes.append(type(error))

    thread = threading.Thread(target=feed)
    thread.start()
    while not fcntl.ioctl(stdin.fileno(), termios.FIONREAD, b"\0" * 4).strip(b"\0"):
        os.sched_yield()  # until it is in the middle of its write
    stdin.close()
    thread.join(60)
    assert outcomes == [ValueError]
    os.close(theirs)
    assert cmd.wait().success
    os.close(ours)


def test_a_read_that_waits_ends_with_the_wait(engine: str, children: Children) -> None:
    """A82: a descendant has the other end; wait closes ours, and the reader hears of it."""
    life, ours = os.pipe()
    up, theirs = os.pipe()
    argv = [children("hang"), "orphan", "out=begun", "exit=0"]
    cmd = Cmd(*argv, extra_files=[life, theirs], engine=engine)
    stdout = cmd.stdout_pipe()
    cmd.start()
    os.close(theirs)
    outcomes: list[object] = []

    def take() -> None:
        try:
            outcomes.append(stdout.read())
        except (ValueError, OSError) as error:
            outcomes.append(type(error))

    thread = threading.Thread(target=take)
    thread.start()
    assert cmd.wait().success
    thread.join(60)
    assert not thread.is_alive()
    assert outcomes in ([ValueError], [b"begun"])
    os.close(ours)
    while os.read(up, 100):
        pass  # until the descendant has ended, too
    os.close(life)
    os.close(up)


def test_pipes_and_gathered_streams_go_together(engine: str, children: Children) -> None:
    """One stream by hand, the others by us."""
    data = b"x" * 200_000
    cmd = Cmd(children("flood"), "200000", stderr=spawnkit.PIPE, stdin=data, engine=engine)
    stdout = cmd.stdout_pipe()
    cmd.start()
    assert stdout.read() == b"o" * 200_000
    assert cmd.wait().success
    assert cmd.result.stderr == b"e" * 200_000
    assert cmd.result.stdout is None


def test_a_child_that_floods_both_pipes_stops_nobody(engine: str, children: Children) -> None:
    """A81: child writes 1 MiB to both streams: read by hand, each in a thread."""
    cmd = Cmd(children("flood"), str(1 << 20), engine=engine)
    pipes = [cmd.stdout_pipe(), cmd.stderr_pipe()]
    cmd.start()
    read: dict[int, bytes] = {}

    def take(index: int) -> None:
        read[index] = pipes[index].read()

    threads = [threading.Thread(target=take, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert cmd.wait().success
    assert read == {0: b"o" * (1 << 20), 1: b"e" * (1 << 20)}


def _pipes_with_streams_closed(program: str) -> list[Any]:
    import os

    import spawnkit

    saved = [os.dup(fd) for fd in (0, 1, 2)]
    for fd in 0, 1, 2:
        os.close(fd)
    try:
        cmd = spawnkit.Cmd(program)
        pipes = cmd.stdin_pipe(), cmd.stdout_pipe(), cmd.stderr_pipe()
        cmd.start()
        pipes[0].write(b"in")
        pipes[0].close()
        seen = [pipe.read().decode() for pipe in pipes[1:]]
        state = cmd.wait()
    finally:
        for fd, copy in enumerate(saved):
            os.dup2(copy, fd)
            os.close(copy)
    return [seen, state.exit_code]


def test_pipes_may_take_the_numbers_0_1_and_2(isolate: Isolate, children: Children) -> None:
    """A26: where ours are closed, the pipes get their numbers, and still the right streams."""
    seen = isolate(_pipes_with_streams_closed, children("talk"), oracle=False)
    assert seen == [["Oin", "E"], 0]


def test_a_pipe_of_one_command_is_a_stream_of_another(engine: str) -> None:
    """Go's way to a pipeline: the second program finds an ordinary, blocking pipe."""
    first = Cmd("/bin/sh", "-c", "sleep 0.05; echo through; sleep 0.05; echo both", engine=engine)
    between = first.stdout_pipe()
    second = Cmd("/bin/cat", stdin=between, stdout=spawnkit.PIPE, engine=engine)
    first.start()
    second.start()
    between.close()
    first.wait()
    second.wait()
    assert second.result is not None
    assert second.result.stdout == b"through\nboth\n"
