"""What a stream may be: readers, writers, bytes, paths, files, further descriptors, one for two."""

from __future__ import annotations

import _thread
import hashlib
import io
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import Cmd, run, threads
from support.children import Children, Report, ends, parse_report
from support.isolated import Isolate
from support.proc import PROC

MIB = 1 << 20


class Reader:
    """Nothing but read(): `size` bytes, made as they are asked for; None: without an end."""

    def __init__(self, size: int | None = None) -> None:
        self.left = size
        self.largest = 0

    def read(self, size: int = -1) -> bytes:
        self.largest = max(self.largest, size)
        if self.left is None:
            return b"x" * size
        size = self.left if size < 0 else min(size, self.left)
        self.left -= size
        return b"x" * size


class Writer:
    """Nothing but write(); notices when two threads are in it at once."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._lock = threading.Lock()
        self.collisions = 0

    def write(self, data: Any) -> int:
        if not self._lock.acquire(blocking=False):
            self.collisions += 1
            return len(data)
        self.parts.append(bytes(data))
        time.sleep(0)  # let others in who do not wait for us
        self._lock.release()
        return len(data)

    def getvalue(self) -> bytes:
        return b"".join(self.parts)


class BadReader:
    """Gives its data, then raises."""

    def __init__(self, error: BaseException, data: bytes = b"") -> None:
        self.error = error
        self.data = data

    def read(self, size: int = -1) -> bytes:
        data, self.data = self.data, b""
        if not data:
            raise self.error
        return data


class BadWriter:
    """Takes so many writes, then raises."""

    def __init__(self, error: BaseException, good: int = 0) -> None:
        self.error = error
        self.good = good

    def write(self, data: Any) -> int:
        self.good -= 1
        if self.good < 0:
            raise self.error
        return len(data)


class Surprise(Exception):  # noqa: N818 - it is one
    """No exception of ours."""


def wait_for_the_end_of(cmd: Cmd) -> None:
    """Without waiting for it in any other sense."""
    assert ends(cmd.process.pid, 60), "nobody feeds it, or nobody gathers"


# ---- feeding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_fed(kind: Any, engine: str, children: Children) -> None:
    data = os.urandom(300_000)
    cmd = Cmd(children("echo"), stdin=kind(data), stdout=spawnkit.PIPE, engine=engine)
    cmd.start()
    assert cmd.wait().success
    assert cmd.result.stdout == data
    assert cmd.broken_pipe is False


def test_empty_input_is_an_input_that_is_at_its_end(engine: str, children: Children) -> None:
    for stdin in b"", io.BytesIO(), Reader(0):
        cmd = Cmd(children("talk"), stdin=stdin, stdout=spawnkit.PIPE, engine=engine)
        cmd.run()
        assert cmd.result.stdout == b"O"


@pytest.mark.parametrize("stdout", ["BytesIO", "Writer", "PIPE"])
@pytest.mark.parametrize("stdin", ["BytesIO", "Reader", "bytes"])
def test_readers_and_writers_are_pumped(
    stdin: str, stdout: str, engine: str, children: Children
) -> None:
    """Any object with read() or write(), also io.BytesIO, and what they do not need they lack."""
    data = b"x" * 500_000
    source: Any = {"BytesIO": io.BytesIO(data), "Reader": Reader(len(data)), "bytes": data}[stdin]
    sink: Any = {"BytesIO": io.BytesIO(), "Writer": Writer(), "PIPE": spawnkit.PIPE}[stdout]
    cmd = Cmd(children("echo"), stdin=source, stdout=sink, engine=engine)
    assert cmd.run().success
    assert (cmd.result.stdout if stdout == "PIPE" else sink.getvalue()) == data
    assert cmd.broken_pipe is False


def test_run_takes_the_same_streams(engine: str, children: Children) -> None:
    sink = Writer()
    result = run([children("echo")], stdin=Reader(100_000), stdout=sink, engine=engine)
    assert sink.getvalue() == b"x" * 100_000
    assert result.stdout is None
    assert run([children("echo")], input=b"y", stdout=sink, engine=engine).state.success
    assert sink.parts[-1] == b"y"


def test_a_command_that_is_fed_and_gathered_goes_on_while_nobody_waits(
    engine: str, children: Children
) -> None:
    """In the background once started: more than any pipe holds has gone through before wait."""
    sink = Writer()
    cmd = Cmd(children("echo"), stdin=Reader(MIB), stdout=sink, engine=engine)
    cmd.start()
    wait_for_the_end_of(cmd)
    assert cmd.wait().success
    assert sink.getvalue() == b"x" * MIB
    cmd = Cmd(children("echo"), stdin=b"x" * MIB, stdout=spawnkit.PIPE, engine=engine)
    cmd.start()
    wait_for_the_end_of(cmd)
    assert cmd.wait().success
    assert cmd.result.stdout == b"x" * MIB


def _a_gibibyte(program: str) -> list[Any]:
    import hashlib
    import os
    import resource

    import spawnkit

    block = os.urandom(1 << 20)

    class Source:
        left = 1 << 30
        hash = hashlib.sha256()

        def read(self, size: int = -1) -> bytes:
            part = block[: min(size if size > 0 else len(block), self.left)]
            self.left -= len(part)
            self.hash.update(part)
            return part

    class Sink:
        size = 0
        hash = hashlib.sha256()

        def write(self, data: bytes) -> int:
            self.size += len(data)
            self.hash.update(data)
            return len(data)

    source, sink = Source(), Sink()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spawnkit.Cmd(program, stdin=source, stdout=sink).run()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return [sink.size, source.hash.hexdigest() == sink.hash.hexdigest(), grown]


def test_a_gibibyte_goes_through(isolate: Isolate, children: Children) -> None:
    """A79: 1 GiB through stdin->cat->stdout equal by hash, bounded memory."""
    size, equal, grown = isolate(_a_gibibyte, children("echo"))
    assert size == 1 << 30
    assert equal
    assert grown < 16 * 1024  # KiB


def test_the_same_as_captured_bytes(children: Children) -> None:
    """A79: equal by hash where all of it is in memory, too."""
    data = os.urandom(MIB) * 64
    out = run([children("echo")], input=data, stdout=spawnkit.PIPE).stdout
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("stdin", ["bytes", "BytesIO", "Reader", "endless"])
def test_input_that_is_not_read_is_no_error(stdin: str, engine: str) -> None:
    """A80: Go TestIgnorePipeErrorOnSuccess: 10 MB, and without an end; kept as a field."""
    sources = {
        "bytes": b"x" * (10 * MIB),
        "BytesIO": io.BytesIO(b"x" * (10 * MIB)),
        "Reader": Reader(10 * MIB),
        "endless": Reader(),
    }
    sink = Writer()
    cmd = Cmd("/bin/echo", "foo", stdin=sources[stdin], stdout=sink, engine=engine)
    assert cmd.run().success
    assert sink.getvalue() == b"foo\n"
    assert cmd.broken_pipe is True
    assert cmd.result.broken_pipe is True


def test_run_tells_that_its_input_was_not_read(engine: str) -> None:
    """A80: the same in the Result of run; and False where all of it was taken."""
    assert run(["/bin/true"], input=b"x" * MIB, engine=engine).broken_pipe is True
    assert run(["/bin/cat"], input=b"x" * MIB, capture=True, engine=engine).broken_pipe is False
    assert run(["/bin/true"], engine=engine).broken_pipe is False


def test_a_program_that_stops_reading_goes_on(engine: str) -> None:
    """A80: what it writes after it closed its input is all there."""
    script = "exec <&-; echo closed; echo and more"
    result = run(["/bin/sh", "-c", script], input=b"x" * MIB, capture=True, engine=engine)
    assert result.stdout == b"closed\nand more\n"
    assert result.broken_pipe is True


# ---- errors of readers and writers --------------------------------------------------------------


def test_a_reader_that_fails_ends_the_input(engine: str, children: Children) -> None:
    """A87: the program reads what came before, and its success does not hide the error."""
    error = Surprise("reader")
    cmd = Cmd(children("echo"), stdin=BadReader(error, b"begun"), stdout=Writer(), engine=engine)
    with pytest.raises(Surprise) as caught:
        cmd.run()
    assert caught.value is error
    assert cmd.process_state.success
    assert cmd.stdout.getvalue() == b"begun"


def test_a_writer_that_fails_ends_the_program(engine: str) -> None:
    """A87: Go TestClosePipeOnCopyError: its pipe is closed; yes gets SIGPIPE."""
    error = Surprise("writer")
    cmd = Cmd("yes", stdout=BadWriter(error, 3), engine=engine)
    with pytest.raises(spawnkit.ExitError) as caught:
        cmd.run()
    assert caught.value.state.signal == signal.SIGPIPE
    assert caught.value.__cause__ is error


def test_a_writer_that_fails_under_a_program_that_succeeds(engine: str, children: Children) -> None:
    """A87: the error of the writer is then the error."""
    error = Surprise("writer")
    cmd = Cmd("/bin/echo", "x", stdout=BadWriter(error), engine=engine)
    with pytest.raises(Surprise) as caught:
        cmd.run()
    assert caught.value is error
    assert cmd.process_state.success


def test_without_check_the_copy_error_is_the_error(engine: str) -> None:
    """A87: a status is not asked about, a lost output is."""
    error = Surprise("writer")
    for start in False, True:
        cmd = Cmd("yes", stdout=BadWriter(error), engine=engine)
        if start:
            cmd.start()
        end = cmd.wait if start else cmd.run
        with pytest.raises(Surprise):
            end(check=False)
        assert cmd.process_state.signal == signal.SIGPIPE


def test_an_error_of_one_stream_leaves_the_others_alone(engine: str, children: Children) -> None:
    """A87: stderr is gathered to its end though stdout had nobody left."""
    script = "trap '' PIPE; echo out; echo err >&2; exit 0"
    cmd = Cmd(
        "/bin/sh",
        "-c",
        script,
        stdout=BadWriter(Surprise()),
        stderr=spawnkit.PIPE,
        engine=engine,
    )
    with pytest.raises(Surprise):
        cmd.run()
    assert cmd.result.stderr.startswith(b"err\n")


def test_a_writer_that_takes_less_gets_the_rest(engine: str, children: Children) -> None:
    """As raw files do: what was not taken is offered again, in order."""

    class Few:
        taken = b""

        def write(self, data: Any) -> int:
            part = bytes(data[:1000])
            self.taken += part
            return len(part)

    sink = Few()
    data = os.urandom(100_000)
    Cmd(children("echo"), stdin=data, stdout=sink, engine=engine).run()
    assert sink.taken == data


def test_a_writer_that_takes_nothing_is_an_error(engine: str) -> None:
    """Go on, and output would be lost without a word; ask again, and it may be for ever."""

    class Nothing:
        def write(self, data: Any) -> int:
            return 0

    class NothingNow(io.RawIOBase):
        def write(self, data: Any) -> None:  # what a raw file in non-blocking mode says
            return None

    for sink in Nothing(), NothingNow():
        with pytest.raises((OSError, ValueError)) as caught:
            Cmd("/bin/echo", "x", stdout=sink, timeout=60, engine=engine).run()
        assert not isinstance(caught.value, spawnkit.TimeoutExpired)


@pytest.mark.parametrize("value", [None, 3, ["x"]])
def test_a_reader_that_returns_nonsense_is_an_error(value: Any, engine: str) -> None:
    class Nonsense:
        def read(self, size: int = -1) -> Any:
            return value

    with pytest.raises((TypeError, BlockingIOError)):
        Cmd("/bin/cat", stdin=Nonsense(), stdout=Writer(), engine=engine).run()


def test_a_reader_that_raises_an_interrupt_is_told(engine: str) -> None:
    """A87: also what is no Exception comes back to the caller, from another thread."""
    error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        Cmd("/bin/cat", stdin=BadReader(error), stdout=Writer(), engine=engine).run()


def test_what_is_neither_file_nor_reader_is_refused() -> None:
    for name in "stdin", "stdout", "stderr":
        with pytest.raises(TypeError, match=name):
            Cmd("/bin/true", **{name: object()}).run()
    with pytest.raises(TypeError, match="stdin"):
        Cmd("/bin/true", stdin=Writer()).run()
    with pytest.raises(TypeError, match="stdout"):
        Cmd("/bin/true", stdout=Reader()).run()
    with pytest.raises((TypeError, ValueError), match="stdout"):
        Cmd("/bin/true", stdout=b"bytes").run()


def test_where_no_thread_can_be_had_nothing_is_left(
    engine: str, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit on threads, or the end of the interpreter: RuntimeError; the child is reaped."""
    started = 0
    start = _thread.start_new_thread

    def fails(*call: Any) -> None:
        nonlocal started
        started += 1
        if started > allowed:
            raise RuntimeError("can't start new thread")
        start(*call)

    for allowed in range(4):
        for how in "run", "start":
            started = 0
            streams = {"stdin": Reader(MIB), "stdout": Writer(), "stderr": Writer()}
            cmd = Cmd(children("echo"), **streams, timeout=60, engine=engine)
            monkeypatch.setattr(threads, "start_new_thread", fails)
            try:
                getattr(cmd, how)()
                assert cmd.wait().success
                assert allowed == 3
            except RuntimeError as error:
                assert "thread" in str(error)  # noqa: PT017
            finally:
                monkeypatch.undo()


def _with_few_descriptors(program: str, marker: str, engine: str) -> list[Any]:
    """Every number of free descriptors, until it works; what came of each."""
    import errno
    import os
    import resource

    import spawnkit

    class Sink:
        def write(self, data: bytes) -> int:
            return len(data)

    class Source:
        def read(self, size: int) -> bytes:
            return b""

    spawnkit.Cmd(program, stdin=Source(), stdout=Sink(), stderr=spawnkit.PIPE).run()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    outcomes = []
    for spare in range(30):
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            pass
        for fd in taken[:spare]:
            os.close(fd)
        options = {"stdin": Source(), "stdout": Sink(), "stderr": spawnkit.PIPE}
        cmd = spawnkit.Cmd("/bin/touch", marker, **options, timeout=600, engine=engine)
        try:
            cmd.start()
            cmd.wait()
            outcomes.append("ran")
        except OSError as error:
            outcomes.append(f"{errno.errorcode[error.errno or 0]}{os.path.exists(marker)}")
        for fd in taken[spare:]:
            os.close(fd)
        if outcomes[-1] == "ran":
            break
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return outcomes


def test_without_free_descriptors_no_command_runs(
    engine: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A39: EMFILE at each step that makes a descriptor, pumps and bell included."""
    outcomes = isolate(_with_few_descriptors, children("talk"), str(tmp_path / "ran"), engine)
    assert outcomes[-1] == "ran"
    assert len(outcomes) > 6
    assert set(outcomes[:-1]) == {"EMFILEFalse"}


def test_many_threads_pump_at_once(engine: str, children: Children) -> None:
    """What one command reads is what it was given, whatever the others do."""
    wrong: list[object] = []

    def work(number: int) -> None:
        for round in range(10):
            data = bytes([number * 10 + round]) * 100_000
            sink = Writer()
            cmd = Cmd(children("echo"), stdin=io.BytesIO(data), stdout=sink, engine=engine)
            cmd.start()
            if not cmd.wait().success or sink.getvalue() != data:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong


# ---- two streams, one sink ----------------------------------------------------------------------


def in_turns(size: int) -> bytes:
    """What `flood` writes when both of its streams are one."""
    return b"".join(b"o" * 4096 + b"e" * 4096 for _ in range(size // 4096))


@pytest.mark.parametrize("kind", [io.BytesIO, Writer])
def test_the_same_object_for_both_is_one_stream(kind: Any, engine: str, children: Children) -> None:
    """One pipe, so the order is the program's; and one write at a time."""
    both = kind()
    cmd = Cmd(children("flood"), str(MIB), stdout=both, stderr=both, engine=engine)
    cmd.run()
    assert both.getvalue() == in_turns(MIB)
    assert getattr(both, "collisions", 0) == 0


def test_two_objects_are_two_streams(engine: str, children: Children) -> None:
    """A81: child writes 1 MiB to both streams: no deadlock."""
    out, err = Writer(), Writer()
    Cmd(children("flood"), str(MIB), stdout=out, stderr=err, engine=engine).run()
    assert out.getvalue() == b"o" * MIB
    assert err.getvalue() == b"e" * MIB


@pytest.mark.parametrize("started", [False, True])
def test_both_may_be_gathered(started: bool, engine: str, children: Children) -> None:
    """A81: the same with PIPE for both, run and started."""
    pipes = {"stdout": spawnkit.PIPE, "stderr": spawnkit.PIPE}
    cmd = Cmd(children("flood"), str(MIB), **pipes, engine=engine)
    if started:
        cmd.start()
        cmd.wait()
    else:
        cmd.run()
    assert (cmd.result.stdout, cmd.result.stderr) == (b"o" * MIB, b"e" * MIB)
    result = run([children("flood"), str(MIB)], capture=True, engine=engine)
    assert (result.stdout, result.stderr) == (b"o" * MIB, b"e" * MIB)


@pytest.mark.parametrize("kind", [str, Path])
def test_the_same_path_for_both_is_one_file(
    kind: Any, engine: str, children: Children, tmp_path: Path
) -> None:
    """Opened once: neither overwrites the other."""
    path = tmp_path / "out"
    Cmd(children("flood"), "65536", stdout=kind(path), stderr=Path(path), engine=engine).run()
    assert path.read_bytes() == in_turns(65536)


def test_the_same_file_object_for_both(engine: str, children: Children, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file:
        Cmd(children("flood"), "65536", stdout=file, stderr=file, engine=engine).run()
    assert (tmp_path / "out").read_bytes() == in_turns(65536)


def test_stderr_joins_whatever_stdout_is(engine: str, children: Children, tmp_path: Path) -> None:
    """A45: STDOUT with an object, a path, gathered."""
    flood = children("flood")
    writer, path = Writer(), tmp_path / "out"
    Cmd(flood, "8192", stdout=writer, stderr=spawnkit.STDOUT, engine=engine).run()
    Cmd(flood, "8192", stdout=path, stderr=spawnkit.STDOUT, engine=engine).run()
    cmd = Cmd(flood, "8192", stdout=spawnkit.PIPE, stderr=spawnkit.STDOUT, engine=engine)
    cmd.run()
    assert writer.getvalue() == path.read_bytes() == cmd.result.stdout == in_turns(8192)
    assert cmd.result.stderr is None


# ---- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_are_opened_by_us(kind: Any, engine: str, children: Children, tmp_path: Path) -> None:
    source, out, err = (tmp_path / name for name in ("in", "out", "err"))
    source.write_bytes(b"in")
    out.write_bytes(b"what was there before is gone")
    cmd = Cmd(
        children("talk"), stdin=kind(source), stdout=kind(out), stderr=kind(err), engine=engine
    )
    assert cmd.run().success
    assert (out.read_bytes(), err.read_bytes()) == (b"Oin", b"E")


@pytest.mark.needs("dir")
def test_paths_are_relative_to_our_directory(
    engine: str, children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to that of the child: it is we who open them."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("in").write_bytes(b"in")
    Cmd(
        children("talk"), stdin="in", stdout="out", stderr="err", dir="elsewhere", engine=engine
    ).run()
    assert Path("out").read_bytes() == b"Oin"
    assert not list(Path("elsewhere").iterdir())


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_a_path_that_cannot_be_opened_is_named(name: str, engine: str, tmp_path: Path) -> None:
    """And the program did not run."""
    marker = tmp_path / "ran"
    missing = tmp_path / "no such directory" / "file"
    with pytest.raises(FileNotFoundError, match="no such directory") as caught:
        Cmd("/bin/touch", marker, **{name: missing}, engine=engine).run()
    assert caught.value.filename == str(missing)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_fifo_is_refused(name: str, engine: str, tmp_path: Path) -> None:
    """Opening one waits for somebody at the other end, perhaps for ever."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises((ValueError, OSError), match=r"(?i)fifo"):
        Cmd("/bin/true", **{name: fifo}, engine=engine).run()


def test_a_failing_start_leaves_no_file_open(engine: str, tmp_path: Path) -> None:
    """Paths, pumps and pipes of a command that never ran (the oracle looks)."""
    cmd = Cmd("/no/such/program", stdin=Reader(), stdout=tmp_path / "o", stderr=Writer())
    with pytest.raises(FileNotFoundError):
        cmd.run()


# ---- files --------------------------------------------------------------------------------------


def test_files_with_a_descriptor_are_used_directly(
    engine: str, tmp_path: Path, children: Children
) -> None:
    """The child has that very file, no pipe."""
    out = tmp_path / "report"
    with open(tmp_path / "in", "w+b") as source, tempfile.TemporaryFile() as sink:
        cmd = Cmd(children("report"), str(out), stdin=source, stdout=sink, engine=engine)
        cmd.run()
        seen = parse_report(out)
        for fd, file in (0, source), (1, sink):
            stat = os.fstat(file.fileno())
            assert seen.fds[fd].file == (stat.st_dev, stat.st_ino)
        assert not source.closed
        assert not sink.closed


def test_sockets_are_files(engine: str, children: Children) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Cmd(children("talk"), stdin=b"x", stdout=theirs, stderr=theirs, engine=engine).run()
        assert ours.recv(100) in (b"Ox", b"OxE")


# ---- further descriptors ------------------------------------------------------------------------


def wanted_only(seen: Report) -> set[int]:
    return set(seen.fds) - {0, 1, 2}


def test_extra_files_begin_at_3(engine: str, children: Children, tmp_path: Path) -> None:
    """Go TestExtraFiles: entry i is 3+i, and nothing of what we have open besides."""
    out = tmp_path / "report"
    with tempfile.TemporaryFile() as file, socket.create_server(("127.0.0.1", 0)) as server:
        file.write(b"Hello, fd 3!")
        file.seek(0)
        leaked = os.dup(server.fileno())
        os.set_inheritable(leaked, True)
        for extra in (file, file.fileno()), [file.fileno(), file]:
            Cmd(children("report"), str(out), extra_files=extra, engine=engine).run()
            seen = parse_report(out)
            assert wanted_only(seen) == {3, 4}
            inode = os.fstat(file.fileno()).st_ino
            assert seen.fds[3].inode == seen.fds[4].inode == inode
        cmd = Cmd("/bin/cat", f"{PROC}/self/fd/3", extra_files=[file], engine=engine)
        assert cmd.output() == b"Hello, fd 3!"
        os.close(leaked)


def test_none_among_extra_files_is_closed(engine: str, report: Callable[..., Report]) -> None:
    with tempfile.TemporaryFile() as file:
        seen = report(lambda argv: run(argv, extra_files=[None, file], engine=engine))
        assert wanted_only(seen) == {4}
        seen = report(lambda argv: run(argv, extra_files=[None], engine=engine))
        assert wanted_only(seen) == set()


def test_a_lock_of_ours_is_not_the_childs(engine: str, report: Callable[..., Report]) -> None:
    """Go TestFcntlFlock: the file is passed on, the record lock on it is not."""
    import fcntl

    with tempfile.NamedTemporaryFile() as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        script = "import fcntl\ntry: fcntl.lockf(3, fcntl.LOCK_EX | fcntl.LOCK_NB)\n" + (
            'except BlockingIOError: print("locked")'
        )
        cmd = Cmd("python3", "-c", script, extra_files=[file], engine=engine)
        assert cmd.output() == b"locked\n"


def test_a_descriptor_can_be_sent_back(engine: str) -> None:
    """Go TestPassFD: over a socket that the child has as descriptor 3."""
    ours, theirs = socket.socketpair()
    code = (
        "import os, socket\n"
        "with socket.socket(fileno=3) as channel, open('/etc/passwd') as file:\n"
        "    socket.send_fds(channel, [b'x'], [file.fileno()])\n"
    )
    with ours, theirs:
        assert Cmd("python3", "-c", code, extra_files=[theirs], engine=engine).run().success
        _, fds, _, _ = socket.recv_fds(ours, 10, 1)
    with open(fds[0], "rb") as file:
        assert file.read() == Path("/etc/passwd").read_bytes()


def test_commands_of_two_threads_have_each_their_own(engine: str, children: Children) -> None:
    """Go TestExtraFilesRace: two starts at once do not mix up their descriptors."""
    for _ in range(10):
        files = [open(children("report"), "rb"), open(children("echo"), "rb")]  # noqa: SIM115
        outs = [io.BytesIO() for _ in files]
        cmds = [
            Cmd(children("report"), "-", extra_files=[file], stdout=out, engine=engine)
            for file, out in zip(files, outs, strict=True)
        ]
        threads = [threading.Thread(target=cmd.run) for cmd in cmds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for file, out in zip(files, outs, strict=True):
            seen = parse_report(out.getvalue())
            assert wanted_only(seen) == {3}
            assert seen.fds[3].inode == os.fstat(file.fileno()).st_ino
            file.close()


def test_a_map_names_the_childs_numbers(engine: str, report: Callable[..., Report]) -> None:
    """{child's: ours}; None closes it; 0, 1 and 2 stay as they are unless named."""
    with tempfile.TemporaryFile() as file:
        fd_map = {7: file, 9: file.fileno(), 8: None}
        seen = report(lambda argv: run(argv, fd_map=fd_map, engine=engine))
        assert wanted_only(seen) == {7, 9}
        assert seen.fds[7].inode == os.fstat(file.fileno()).st_ino
        assert set(seen.fds) & {0, 1, 2} == {0, 1, 2}
        seen = report(lambda argv: run(argv, fd_map={0: None, 1: file}, engine=engine))
        assert 0 not in seen.fds
        assert seen.fds[1].inode == os.fstat(file.fileno()).st_ino


@pytest.mark.parametrize(
    "options",
    [
        {"extra_files": [0], "fd_map": {3: 1}},
        {"extra_files": [None], "fd_map": {3: 1}},
        {"stdin": spawnkit.DEVNULL, "fd_map": {0: 1}},
        {"stdout": spawnkit.PIPE, "fd_map": {1: 0}},
        {"stderr": spawnkit.STDOUT, "fd_map": {2: None}},
    ],
    ids=str,
)
def test_a_number_that_is_given_twice_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"twice|together|already"):
        Cmd("/bin/true", **options).run()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"extra_files": 3}, TypeError, "extra_files"),
        ({"extra_files": [True]}, TypeError, r"extra_files\[0\]"),
        ({"extra_files": [-1]}, ValueError, r"extra_files\[0\]"),
        ({"extra_files": ["file"]}, TypeError, r"extra_files\[0\]"),
        ({"fd_map": [0]}, TypeError, "fd_map"),
        ({"fd_map": {-1: 0}}, ValueError, r"fd_map"),
        ({"fd_map": {True: 0}}, TypeError, r"fd_map"),
        ({"fd_map": {5: True}}, TypeError, r"fd_map\[5\]"),
    ],
    ids=str,
)
def test_bad_descriptors_are_refused_by_name(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """A33: the same care for the further descriptors as for the three streams."""
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        Cmd("/bin/true", **options).run()
    assert type(caught.value) is kind


def test_a_descriptor_that_is_not_open_is_named(engine: str) -> None:
    """A32: in extra_files and in a map."""
    for options in {"extra_files": [999]}, {"fd_map": {5: 999}}:
        with pytest.raises(spawnkit.SpawnError, match="999") as caught:
            run(["/bin/true"], **options, engine=engine)
        assert caught.value.stage == "descriptors"


def test_pipes_of_ours_do_not_take_the_numbers_of_extra_files(
    engine: str, children: Children, tmp_path: Path
) -> None:
    """A34: streams that are pumped and further descriptors at once, at numbers that collide."""
    out = tmp_path / "report"
    with tempfile.TemporaryFile() as file:
        inode = os.fstat(file.fileno()).st_ino
        cmd = Cmd(
            children("report"),
            str(out),
            stdin=Reader(10),
            stdout=Writer(),
            stderr=spawnkit.PIPE,
            fd_map=dict.fromkeys(range(3, 40), file),
            engine=engine,
        )
        cmd.run()
        seen = parse_report(out)
        assert wanted_only(seen) == set(range(3, 40))
        assert {seen.fds[number].inode for number in range(3, 40)} == {inode}


def _ids_change_beside_copiers(program: str) -> int:
    import os
    import threading

    import spawnkit

    class Reader:
        def __init__(self) -> None:
            self.asked = threading.Event()
            self.release = threading.Event()

        def read(self, size: int) -> bytes:
            self.asked.set()
            self.release.wait()
            return b""

    reader = Reader()
    cmd = spawnkit.Cmd(program, stdin=reader, stdout=spawnkit.PIPE, timeout=1000)
    cmd.start()
    reader.asked.wait()
    os.setresuid(*os.getresuid())  # nothing changes, but every thread is asked all the same
    reader.release.set()
    cmd.wait()
    return cmd.process_state.exit_code


def test_ids_can_be_changed_while_our_threads_run(isolate: Isolate, children: Children) -> None:
    """The C library signals each thread (setxid) and waits for all: none of ours may block that."""
    assert isolate(_ids_change_beside_copiers, children("echo")) == 0


@pytest.mark.parametrize("how", ["fd_map", "extra_files", "exec_fd"])
def test_a_number_that_is_not_open_does_not_come_to_mean_a_pipe_of_ours(
    how: str, engine: str
) -> None:
    """A32: the lowest free numbers are those that our own pipes are going to get."""
    free = os.dup(0)
    os.close(free)
    # posix_spawn takes paths only, and says so before it looks.
    refused = how == "exec_fd" and engine == "posix_spawn"
    kind, message = (ValueError, "exec_fd") if refused else (spawnkit.SpawnError, "not open")
    for number in range(free, free + 4):
        options: Any = {
            "fd_map": {"fd_map": {3: number}},
            "extra_files": {"extra_files": [number]},
            "exec_fd": {"exec_fd": number},
        }[how]
        with pytest.raises(kind, match=message if refused else f"fd {number} → .*{message}"):
            run(["/bin/cat"], input=b"x", capture=True, timeout=60, engine=engine, **options)


def test_an_action_may_wait_for_a_program_that_still_writes(engine: str) -> None:
    """The streams are served meanwhile: else the two would wait for each other."""
    script = "trap 'head -c 1000000 /dev/zero; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    cmd = Cmd(
        "/bin/sh",
        "-c",
        script,
        stdout=spawnkit.PIPE,
        timeout=0.3,
        wait_delay=60,
        cancel=lambda cmd: (cmd.process.terminate(), cmd.process.wait()),
        engine=engine,
    )
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        cmd.run()
    assert len(caught.value.stdout or b"") == 1_000_003


def test_a_timeout_holds_while_a_writer_has_the_lock(engine: str) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with spawnkit.write_lock():
            held.set()
            release.wait()

    writer = threading.Thread(target=hold)
    writer.start()
    held.wait()
    try:
        for how in (
            lambda: run(["/bin/true"], timeout=0.1, engine=engine),
            lambda: Cmd("/bin/true", timeout=0.1, engine=engine).start(),
        ):
            with pytest.raises(spawnkit.TimeoutExpired, match="write lock"):
                how()
    finally:
        release.set()
        writer.join()
