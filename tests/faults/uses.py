"""What a program does with the package, small: each of these is run once per fault.

A use either gets through, and then it checks what it got, or it raises; and it cleans up after
itself as a program would, with `with` and `finally`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import spawnkit
from spawnkit import (
    DEVNULL,
    MEMORY,
    PIPE,
    STDOUT,
    ProcAttr,
    SysProcAttr,
    _core,
    children,
    subprocess,
)
from spawnkit.dropin import planning
from spawnkit.threads import start_thread

OUTPUT = b"x" * 100 + b"\n"


@dataclass(frozen=True)
class Place:
    """Where a use takes place."""

    engine: str | None
    directory: Path

    @property
    def ours(self) -> bool:
        """Not the C library's posix_spawn, which has no words for most attributes."""
        return self.engine != "posix_spawn"


Use = Callable[[Place], None]
USES: dict[str, Use] = {}


def use(function: Use) -> Use:
    """None of its waits is awake: how often such a one looks differs, each time."""

    @functools.wraps(function)
    def asleep(place: Place) -> None:
        before = spawnkit.set_spin(0)
        try:
            function(place)
        finally:
            spawnkit.set_spin(before)

    USES[function.__name__] = asleep
    return asleep


SHELL = "/bin/sh"


@use
def plain(place: Place) -> None:
    assert spawnkit.run([SHELL, "-c", "exit 0"], engine=place.engine).state.success


@use
def awake(place: Place) -> None:
    """A wait that looks before it sleeps, and finds the end with its first look: each run is the
    same, and none in vain, after which it would look no more."""
    argv = ["sh", "-c", "exit 7"]
    child = spawnkit.start_process(SHELL, argv, engine=place.engine)
    with _ended(child), _awake_for(child.pid):
        assert child.wait().exit_code == 7
    if not place.ours:
        return
    with _engine_of_the_dropin(place):
        process = subprocess.Popen([SHELL, "-c", "echo x"], stdout=-1, stderr=-1)
    try:
        with _awake_for(process.pid):
            outputs = process.communicate(timeout=60)
        assert outputs == (b"x\n", b""), f"{outputs}"
    finally:
        _end_popen(process)


@contextlib.contextmanager
def _awake_for(pid: int) -> Iterator[None]:
    """For a child that has ended."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    spawnkit.set_spin(0.01)
    try:
        yield
    finally:
        spawnkit.set_spin(0)  # to drop what is left takes waits too


@use
def status(place: Place) -> None:
    result = spawnkit.run([SHELL, "-c", "exit 7"], check=False, engine=place.engine)
    assert result.state.exit_code == 7


@use
def captured(place: Place) -> None:
    result = spawnkit.run(
        [SHELL, "-c", "echo out; echo err >&2"], capture=True, engine=place.engine
    )
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


@use
def fed(place: Place) -> None:
    data = bytes(range(256)) * 40
    result = spawnkit.run(["/bin/cat"], input=data, stdout=PIPE, engine=place.engine)
    assert result.stdout == data or result.broken_pipe


@use
def pipeline(place: Place) -> None:
    data = b"b\na\n"
    cmds = [
        spawnkit.Cmd("/bin/cat", stdin=data, engine=place.engine),
        spawnkit.Cmd(SHELL, "-c", "echo err >&2; cat", stdout=PIPE, engine=place.engine),
    ]
    result = spawnkit.Pipeline(*cmds, stderr=PIPE, timeout=60).run()
    assert result.stderr == b"err\n"
    assert result.stdout == data or result.broken_pipe
    cmds = [spawnkit.Cmd("/bin/cat", engine=place.engine) for _ in range(3)]
    cmds[0].stdin = DEVNULL
    assert spawnkit.Pipeline(*cmds).output() == b""


@use
def pipeline_timed_out(place: Place) -> None:
    cmds = [
        spawnkit.Cmd("/bin/cat", stdin=_never(place), engine=place.engine),
        spawnkit.Cmd("/bin/cat", stdout=DEVNULL, engine=place.engine),
    ]
    try:
        spawnkit.Pipeline(*cmds, timeout=0.02).run()
    except spawnkit.TimeoutExpired as error:
        if None in error.states or not error.states:
            for child in children._orphans:
                _kill(child.pid)
    else:
        raise AssertionError("it ended by itself")


@use
def timed(place: Place) -> None:
    result = spawnkit.run([SHELL, "-c", "echo out"], capture=True, timeout=60, engine=place.engine)
    assert result.stdout == b"out\n"


@use
def timed_out(place: Place) -> None:
    try:
        spawnkit.run(["/bin/cat"], stdin=_never(place), timeout=0.01, engine=place.engine)
    except spawnkit.TimeoutExpired as error:
        if error.state is None:  # perhaps the kill was of no effect: a later spawn is to reap it
            for child in children._orphans:
                _kill(child.pid)
    else:
        raise AssertionError("it ended by itself")


def _never(place: Place) -> int:
    """A stdin that has no end: a FIFO that we write to ourselves."""
    global _fifo
    if _fifo < 0:
        path = place.directory / "never"
        os.mkfifo(path)
        _fifo = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    return _fifo


_fifo = -1


@use
def streams(place: Place) -> None:
    path = place.directory / "out"
    with open(os.devnull, "rb") as nothing:
        spawnkit.run(
            [SHELL, "-c", "cat; echo out; echo err >&2"],
            stdin=nothing,
            stdout=path,
            stderr=STDOUT,
            engine=place.engine,
        )
    assert path.read_bytes() == b"out\nerr\n"
    spawnkit.run(["/bin/cat"], stdin=path, stdout=DEVNULL, stderr=DEVNULL, engine=place.engine)


@use
def descriptors(place: Place) -> None:
    read, write = os.pipe()
    try:
        spawnkit.run(
            [SHELL, "-c", "echo three >&3; echo seven >&7"],
            extra_files=[write],
            fd_map={7: write, 8: None, 0: 1, 1: 0},
            engine=place.engine,
        )
        assert os.read(read, 100) == b"three\nseven\n"
    finally:
        os.close(read)
        os.close(write)


@use
def attributes(place: Place) -> None:
    attr = SysProcAttr(setsid=True, sigmask=[signal.SIGUSR1])
    options = {}
    if place.ours:
        attr = SysProcAttr(
            setpgid=True,
            umask=0o27,
            rlimits={"CORE": 0, "NOFILE": 64},
            sigmask=[signal.SIGUSR1],
            sigignore=[signal.SIGUSR2],
            sigdefault=[signal.SIGTERM],
        )
        options = {"dir": place.directory}
    result = spawnkit.run(
        [SHELL, "-c", "pwd; umask"], capture=True, attr=attr, engine=place.engine, **options
    )
    if place.ours:
        assert result.stdout == b"%s\n0027\n" % os.fsencode(place.directory)


@use
def grouped(place: Place) -> None:
    if not place.ours:
        return
    with contextlib.ExitStack() as block:
        try:
            group = block.enter_context(spawnkit.Cgroup())
        except spawnkit.SpawnError:
            return  # none can be made here
        spawnkit.run([SHELL, "-c", "exit 0"], cgroup=group, engine=place.engine)


@use
def sealed(place: Place) -> None:
    """In a PID namespace of its own: it dies with us, and all in it with it."""
    if not place.ours:
        return
    attr = SysProcAttr(namespaces=["pid"], die_with_parent=True)
    token = spawnkit.CancelToken()
    cmd = spawnkit.Cmd(SHELL, "-c", "cat & exec cat", stdin=_never(place), engine=place.engine)
    cmd.attr, cmd.cancel, cmd.kill = attr, token, "tree"
    with contextlib.suppress(PermissionError):  # none can be made here
        _cancel(cmd, token)


@use
def from_a_worker(place: Place) -> None:
    """A child that is to die with us, spawned by a thread that is not the first."""
    if not place.ours:
        return
    attr = SysProcAttr(die_with_parent=True)
    errors: list[BaseException] = []
    working = threading.Lock()
    working.acquire()

    def spawn() -> None:
        try:
            spawnkit.run([SHELL, "-c", "exit 0"], attr=attr, engine=place.engine)
        except BaseException as error:
            errors.append(error)
        finally:
            working.release()

    def lost(error: BaseException) -> None:
        errors.append(error)
        with contextlib.suppress(RuntimeError):  # it had come that far
            working.release()

    start_thread(spawn, lost)  # a threading.Thread that finds no memory leaves its starter waiting
    working.acquire()
    for error in errors:
        raise error


@use
def from_descriptor(place: Place) -> None:
    if not place.ours:
        return
    with open(SHELL, "rb") as program:
        result = spawnkit.run(
            ["sh", "-c", "echo out"], exec_fd=program, stdout=PIPE, engine=place.engine
        )
    assert result.stdout == b"out\n"


@use
def missing(place: Place) -> None:
    try:
        spawnkit.run(["/no/such/program"], engine=place.engine)
    except spawnkit.SpawnError as error:
        if error.errno is None:
            raise
    else:
        raise AssertionError("a program that is not there has run")


@use
def process(place: Place) -> None:
    attr = ProcAttr(files=[_never(place), 1, 2])
    with _ended(spawnkit.start_process("/bin/cat", ["cat"], attr, engine=place.engine)) as child:
        assert child.poll() is None
        with contextlib.suppress(spawnkit.TimeoutExpired):
            child.wait(0.001)
            raise AssertionError("it ended by itself")
        try:
            with contextlib.suppress(spawnkit.ProcessDone), child.handle() as pidfd:
                assert pidfd >= 0
        except OSError as error:
            if error.errno != errno.ENOSYS or child.pidfd is not None:
                raise
        child.signal(signal.SIGSTOP)
        child.signal(signal.SIGCONT)
        child.terminate()
        assert child.wait().signal == signal.SIGTERM


@contextlib.contextmanager
def _ended(process: spawnkit.Process) -> Iterator[spawnkit.Process]:
    """As a program would make sure that nothing is left: kill and wait, and where it was told that
    this failed, by the pid."""
    try:
        yield process
    finally:
        try:
            process.kill()
            process.wait()
        except (OSError, spawnkit.Error):
            _kill(process.pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@use
def found(place: Place) -> None:
    found = spawnkit.find_process(os.getpid())
    found.signal(0)
    found.release()


@use
def command(place: Place) -> None:
    cmd = spawnkit.Cmd("/bin/cat", engine=place.engine)
    with cmd.stdin_pipe() as stdin, cmd.stdout_pipe() as stdout:
        try:
            cmd.start()
            stdin.write(OUTPUT)
            stdin.close()
            assert stdout.read() == OUTPUT
            cmd.wait()
        finally:
            _end(cmd)


def _end(cmd: spawnkit.Cmd) -> None:
    if cmd.process is not None and cmd.process_state is None:
        try:
            cmd.process.kill()
            cmd.wait()
        except (OSError, spawnkit.Error):
            _kill(cmd.process.pid)


@use
def copied(place: Place) -> None:
    out = io.BytesIO()
    result = spawnkit.run(["/bin/cat"], stdin=io.BytesIO(OUTPUT), stdout=out, engine=place.engine)
    assert out.getvalue() == OUTPUT or result.broken_pipe


@use
def teed(place: Place) -> None:
    lines: list[bytes] = []
    path = place.directory / "log"
    stdout = spawnkit.tee(PIPE, path, lines.append)
    result = spawnkit.run(["/bin/cat"], stdin=iter([OUTPUT]), stdout=stdout, engine=place.engine)
    assert (result.stdout == path.read_bytes() == b"".join(lines) == OUTPUT) or result.broken_pipe


@use
def output(place: Place) -> None:
    script = "echo out; head -c 200000 /dev/zero >&2"
    assert spawnkit.output([SHELL, "-c", script], engine=place.engine) == b"out\n"


@use
def long_output(place: Place) -> None:
    script = "head -c 2000000 /dev/zero"
    result = spawnkit.run([SHELL, "-c", script], stdout=PIPE, engine=place.engine)
    assert result.stdout == bytes(2_000_000)


@use
def in_memory(place: Place) -> None:
    result = spawnkit.run(
        [SHELL, "-c", "echo out; echo err >&2"], capture="memory", engine=place.engine
    )
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


@use
def mapped_by_another(place: Place) -> None:
    """A file in memory that cannot be sealed: a mapping of ours stands in the way."""
    cmd = spawnkit.Cmd("/bin/cat", stdout=MEMORY, engine=place.engine)
    stdin = cmd.stdin_pipe()
    with stdin:
        try:
            cmd.start()
            stdin.write(OUTPUT)
            with _mapped(f"/proc/{cmd.process.pid}/fd/1"):
                stdin.close()
                cmd.wait()
            assert cmd.result.stdout == OUTPUT
        finally:
            _end(cmd)


@contextlib.contextmanager
def _mapped(path: str) -> Iterator[None]:
    """A page of the file, mapped for writing, once there is something in it."""
    with open(path, "rb+") as file:
        while os.fstat(file.fileno()).st_size < len(OUTPUT):
            os.sched_yield()
        with mmap.mmap(file.fileno(), len(OUTPUT)):
            yield


@use
def in_order(place: Place) -> None:
    result = spawnkit.run(
        [SHELL, "-c", "echo out; echo err >&2"], capture="ordered", engine=place.engine
    )
    assert [record[1:] for record in result.ordered] == [(1, b"out\n"), (2, b"err\n")]


@use
def in_order_cut(place: Place) -> None:
    """A descendant writes until nobody takes it any more."""
    script = "echo out; (while echo more; do sleep 0.01; done) 2>/dev/null & exit 0"
    said = b""
    try:
        result = spawnkit.run(
            [SHELL, "-c", script], capture="ordered", wait_delay=0.01, engine=place.engine
        )
        said = result.stdout  # it was told that nobody has them
    except spawnkit.WaitDelayError as error:
        said = error.stdout
    assert said.startswith(b"out\n")


@use
def background(place: Place) -> None:
    cmd = spawnkit.Cmd(SHELL, "-c", "echo out", stdout=PIPE, timeout=60, engine=place.engine)
    try:
        cmd.start()
        cmd.wait()
        assert cmd.result.stdout == b"out\n"
    finally:
        _end(cmd)


@use
def cancelled(place: Place) -> None:
    token = spawnkit.CancelToken()
    cmd = spawnkit.Cmd("/bin/cat", stdin=_never(place), cancel=token, engine=place.engine)
    _cancel(cmd, token)


def _cancel(cmd: spawnkit.Cmd, token: spawnkit.CancelToken) -> None:
    try:
        cmd.start()
        token.cancel()
        cmd.wait()
    except spawnkit.Cancelled:
        pass
    else:
        raise AssertionError("it ended by itself")
    finally:
        _end(cmd)


@use
def swept(place: Place) -> None:
    """A kill of a tree: the group in one step, then a walk through /proc."""
    token = spawnkit.CancelToken()
    script = "cat & exec cat"
    cmd = spawnkit.Cmd(SHELL, "-c", script, stdin=_never(place), cancel=token, kill="tree")
    cmd.engine = place.engine
    cmd.max_output, cmd.stdout = 1000, PIPE
    with spawnkit.subreaper():
        _cancel(cmd, token)


@use
def dropin_run(place: Place) -> None:
    """The standard module's interface, by the short way."""
    if not place.ours:
        return
    with _engine_of_the_dropin(place):
        said = subprocess.run([SHELL, "-c", "echo out; exit 3"], stdout=-1, timeout=60)
        fed = subprocess.run(["cat"], input=OUTPUT, capture_output=True)
    assert (said.returncode, said.stdout) == (3, b"out\n"), f"{said}"
    # That a program does not read its input is no error there.
    assert fed.returncode == 0, f"{fed}"
    assert fed.stdout in (OUTPUT, b""), f"{fed}"


@use
def dropin_popen(place: Place) -> None:
    """The same by the long one."""
    if not place.ours:
        return
    with _engine_of_the_dropin(place):
        process = subprocess.Popen(["cat"], stdin=-1, stdout=-1, stderr=-1, bufsize=0)
    try:
        outputs = process.communicate(OUTPUT, timeout=60)
        assert outputs in ((OUTPUT, b""), (b"", b"")), f"{outputs}"
        assert process.returncode == 0, f"{process}"
    finally:
        _end_popen(process)


@use
def dropin_signalled(place: Place) -> None:
    if not place.ours:
        return
    with _engine_of_the_dropin(place):
        process = subprocess.Popen(["cat"], stdin=-1, stderr=-3)
    try:
        code = process.poll()
        assert code is None, f"it ended by itself: {code}"
        process.terminate()
        code = process.wait(60)
        assert code == -signal.SIGTERM, f"it ended otherwise: {code}"
    finally:
        _end_popen(process)


@contextlib.contextmanager
def _engine_of_the_dropin(place: Place) -> Iterator[None]:
    """Its callers cannot name one."""
    with mock.patch.object(planning, "engine", return_value=_core.ENGINES[place.engine]):
        yield


def _end_popen(process: subprocess.Popen[bytes]) -> None:
    """As a program would: closed, killed, waited for; a second error does not hide the first."""
    for file in process.stdin, process.stdout, process.stderr:
        if file:
            with contextlib.suppress(OSError):
                file.close()
    with contextlib.suppress(OSError, spawnkit.StatusLost):
        process.kill()
        process.wait(60)


@use
def locked(place: Place) -> None:
    with spawnkit.write_lock():
        pass
    spawnkit.run(["/bin/true"], engine=place.engine)


@use
def replaced(place: Place) -> None:
    """A program that cannot take our place, in the only process that must not be replaced: ours."""
    try:
        spawnkit.execute(["/no/such/program"])
    except spawnkit.SpawnError as error:
        if error.errno is None:
            raise
