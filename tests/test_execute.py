"""execute: the calling program is replaced, or everything is as it was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spawnkit import SpawnError, _core, plan
from spawnkit.replace import execute
from support.children import Children, Report, parse_report
from support.isolated import Isolate
from support.proc import as_seen


def run_code(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """An interpreter of its own, for code that does not come back."""
    command = [sys.executable, "-c", f"from spawnkit.replace import execute\n{code}", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, env=environment, timeout=90, **options)


def report_of(children: Children, tmp_path: Path, code: str, **options: Any) -> Report:
    """What `report` sees in the place of an interpreter that has run `code`."""
    out = tmp_path / "out"
    done = run_code(f"import sys\n{code}", children("report"), str(out), **options)
    assert done.returncode == 0, done.stderr
    return parse_report(out)


def test_the_program_takes_the_place_of_ours(children: Children, tmp_path: Path) -> None:
    code = """
import os
print(os.getpid(), end="", flush=True)
execute(["a name", sys.argv[2], "word"], path=sys.argv[1], env={"A": "1"})
"""
    out = tmp_path / "out"
    done = run_code(f"import sys\n{code}", children("report"), str(out))
    seen = parse_report(out)
    assert seen["pid"] == int(done.stdout)
    assert seen["ppid"] == os.getpid()
    assert seen.argv == [b"a name", os.fsencode(out), b"word"]
    assert seen.env == [b"A=1"]


def test_without_env_ours_is_kept(children: Children, tmp_path: Path) -> None:
    code = "import os; os.environ['SPAWNKIT_TEST'] = 'x'; execute(sys.argv[1:])"
    assert b"SPAWNKIT_TEST=x" in report_of(children, tmp_path, code).env


def test_signals_are_as_for_a_child(children: Children, tmp_path: Path) -> None:
    """SIGPIPE and SIGXFSZ default again, nothing blocked; what else is ignored stays so."""
    code = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.signal(signal.SIGHUP, lambda *_: None)
execute(sys.argv[1:])
"""
    seen = report_of(children, tmp_path, code)
    assert seen.mask == set()
    assert seen.caught == set()
    assert 12 in seen.ignored
    assert not seen.ignored & {1, 13, 25}


def test_descriptors_stay_unless_close_on_exec(children: Children, tmp_path: Path) -> None:
    code = """
import os
stays, goes = os.dup(0), os.dup(0)
os.dup2(0, 20, inheritable=True)
os.dup2(0, 21, inheritable=False)
execute(sys.argv[1:])
"""
    seen = report_of(children, tmp_path, code)
    assert set(seen.fds) == {0, 1, 2, 20}


def test_what_was_printed_comes_first() -> None:
    code = """
import sys
print("before", end=" ")
print("error", end=" ", file=sys.stderr)
execute(["sh", "-c", "echo after; echo after >&2"])
"""
    done = run_code(code)
    assert done.stdout == b"before after\n"
    assert done.stderr == b"error after\n"


@pytest.mark.parametrize("stream", ["None", "open('/dev/null', 'w'); sys.stdout.close()"])
def test_a_stream_that_is_not_there_is_passed_over(stream: str) -> None:
    done = run_code(f"import sys\nsys.stdout = {stream}\nexecute(['sh', '-c', 'exit 7'])")
    assert done.returncode == 7, done.stderr


def test_other_threads_end(children: Children, tmp_path: Path) -> None:
    """Called by one thread while the main one waits for another."""
    code = """
import threading
def replace():
    execute(sys.argv[1:])
lock = threading.Lock()
lock.acquire()
threading.Thread(target=lock.acquire, daemon=True).start()
threading.Thread(target=replace).start()
lock.acquire()
"""
    assert report_of(children, tmp_path, code)["ppid"] == os.getpid()


def test_a_program_is_found_on_path(tmp_path: Path) -> None:
    assert run_code("execute(['sh', '-c', 'exit 3'])").returncode == 3
    with pytest.raises(SpawnError, match="on PATH") as caught:
        execute(["no-such-program"])
    assert caught.value.stage == "lookpath"


# The program as a descriptor


def test_a_descriptor_is_executed(children: Children, tmp_path: Path) -> None:
    """A file without a name; closed by the exec, as it is close-on-exec."""
    code = """
import os
fd = os.memfd_create("program")
os.write(fd, open(sys.argv[1], "rb").read())
execute(["a name", sys.argv[2]], exec_fd=fd)
"""
    seen = report_of(children, tmp_path, code)
    assert seen.argv[0] == b"a name"
    assert set(seen.fds) == {0, 1, 2}


def test_a_script_is_executed_from_its_descriptor(children: Children, tmp_path: Path) -> None:
    code = """
import os
file = open(os.memfd_create("script"), "wb+")
file.write(f"#!{sys.argv[1]} {sys.argv[2]}\\n".encode())
file.flush()
os.dup2(file.fileno(), 10, inheritable=False)
execute(["a name", "word"], exec_fd=10)
"""
    seen = report_of(children, tmp_path, code)
    assert seen.argv[2:] == [b"/dev/fd/10", b"word"]
    assert set(seen.fds) == {0, 1, 2, 10}


# Failures


def test_a_failure_undoes_everything(isolate: Isolate) -> None:
    """Dispositions, mask and close-on-exec; and the error is that of a failed spawn."""
    for how, text in (
        ("path", "exec '/no/such/program': No such file or directory"),
        (
            "script",
            as_seen(
                "exec fd 10 ('name'): No such file or directory"
                " (interpreter '/no/such/interpreter' of '/proc/self/fd/10')"
            ),
        ),
        (
            "fd",
            as_seen("exec fd 10 ('name'): Exec format error (no #! line, and no shell is tried)"),
        ),
    ):
        assert isolate(_state_around_a_failure, how) == [text, "exec", True]


def _state_around_a_failure(how: str) -> list[Any]:
    import os
    import signal

    import spawnkit
    from spawnkit.replace import execute
    from support.proc import PROC

    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    file = os.memfd_create("program")
    os.write(file, b"#!/no/such/interpreter\n" if how == "script" else b"no program\n")
    os.dup2(file, 10, inheritable=False)

    def state() -> list[Any]:
        lines = (PROC / "self/status").read_text().splitlines()
        facts: list[Any] = [line for line in lines if line.startswith(("SigB", "SigI", "SigC"))]
        facts += [signal.getsignal(number) for number in (10, 12, 13, 25)]
        facts += [signal.pthread_sigmask(signal.SIG_BLOCK, []), os.get_inheritable(10)]
        return facts

    before = state()
    try:
        if how == "path":
            execute(["/no/such/program"])
        execute(["name"], exec_fd=10)
    except spawnkit.SpawnError as error:
        outcome = [str(error), error.stage, state() == before]
    os.kill(os.getpid(), signal.SIGUSR1)  # the handler is whole: it returns
    os.close(file)
    os.close(10)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    return outcome


def test_failures_in_several_threads_undo_everything(isolate: Isolate) -> None:
    """None takes for the state before what another has set."""
    before, after = isolate(_failures_in_threads)
    assert before == after


def _failures_in_threads() -> list[Any]:
    import contextlib
    import threading

    import spawnkit
    from spawnkit.replace import execute
    from support.proc import PROC

    together = threading.Barrier(3)

    def fail() -> None:
        together.wait()
        for _ in range(1000):
            with contextlib.suppress(spawnkit.SpawnError):
                execute(["/no/such/program"])

    def ignored() -> list[str]:
        lines = (PROC / "self/status").read_text().splitlines()
        return [line for line in lines if line.startswith("SigIgn")]

    before = ignored()
    for _ in range(10):
        threads = [threading.Thread(target=fail) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if ignored() != before:
            break
    return [before, ignored()]


def test_a_fork_in_the_middle_leaves_it_usable_in_the_new_process(isolate: Isolate) -> None:
    with isolate.start(_fork_in_the_middle, later="execve:hold", oracle=False) as running:
        held = running.held()
        running.tell("fork")
        running.held().go()
        assert running.note() == 0
        held.go()
        assert running.result() == errno.ENOENT


def _fork_in_the_middle() -> int:
    import os
    import threading

    import spawnkit
    from spawnkit.replace import execute
    from support.inside import hear, note

    def fail() -> int:
        try:
            execute(["/no/such/program"])
        except spawnkit.SpawnError as error:
            return error.errno

    failures: list[int] = []
    thread = threading.Thread(target=lambda: failures.append(fail()))
    thread.start()
    hear()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = fail() - 2  # ENOENT
        finally:
            os._exit(code)
    note(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    thread.join()
    return failures[0]


def test_an_ignored_signal_that_is_pending_is_discarded() -> None:
    """It would end the process once it is neither ignored nor blocked."""
    code = """
import os, signal
def leave_pending():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])
    read, write = os.pipe()
    os.close(read)
    try:
        os.write(write, b"x")
    except BrokenPipeError:
        pass
    assert signal.SIGPIPE in signal.sigpending()
leave_pending()
try:
    execute(["/no/such/program"])
except FileNotFoundError:
    pass
leave_pending()
execute(["sh", "-c", "exit 7"])
"""
    assert run_code(code).returncode == 7


@pytest.mark.parametrize("refused", ["rt_sigaction", "rt_sigprocmask"])
def test_a_step_that_fails_is_named(refused: str, isolate: Isolate) -> None:
    """Nothing is executed where a signal cannot be set."""
    assert isolate(_stage_of_a_failure, later=f"{refused}:EINVAL", oracle=False) == [
        "signals",
        errno.EINVAL,
    ]


def _stage_of_a_failure() -> list[Any]:
    import spawnkit
    from spawnkit.replace import execute

    try:
        execute(["/bin/true"])
    except spawnkit.SpawnError as error:
        return [error.stage, error.errno]


def test_a_descriptor_that_is_not_open_is_named() -> None:
    with pytest.raises(SpawnError, match=r"exec fd 4000 \('name'\)") as caught:
        execute(["name"], exec_fd=4000)
    assert (caught.value.stage, caught.value.errno) == ("exec", errno.EBADF)


@pytest.mark.parametrize(
    ("args", "options", "error", "text"),
    [
        ("sh", {}, TypeError, "args: a list or tuple"),
        ([], {}, ValueError, "args: empty"),
        ([""], {}, ValueError, r"args\[0\]: empty"),
        (["a\0b"], {}, ValueError, r"args\[0\]: NUL"),
        (["x"], {"path": ""}, ValueError, "path: empty"),
        (["x"], {"path": "/bin/true", "exec_fd": 0}, ValueError, "exec_fd: .*path"),
        (["x"], {"exec_fd": -1}, ValueError, "exec_fd: -1"),
        (["x"], {"exec_fd": True}, TypeError, "exec_fd: "),
        (["/bin/true"], {"env": {"A=": "1"}}, ValueError, "env: "),
        (["/bin/true"], {"env": ["A=1"]}, TypeError, "env: "),
    ],
)
def test_bad_input_is_refused(
    args: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        execute(args, **options)


def test_it_is_audited_before_anything_is_done(isolate: Isolate) -> None:
    assert isolate(_audited) == [
        ["/no/such", ["/no/such", "x"], None],
        [10, ["name"], {"A": "1"}],
    ]


def _audited() -> list[Any]:
    import contextlib
    import os
    import sys

    from spawnkit.replace import execute

    seen = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "spawnkit.execute":
            program, args, env = arguments
            seen.append([program if isinstance(program, int) else os.fsdecode(program), args, env])
            raise PermissionError

    sys.addaudithook(hook)
    for args, options in (
        (["/no/such", "x"], {}),
        (["name"], {"exec_fd": 10, "env": {"A": "1"}}),
    ):
        with contextlib.suppress(PermissionError):
            execute(args, **options)  # type: ignore[arg-type]
    return seen


@pytest.mark.parametrize(
    "options",
    [{"dir": b"/"}, {"wanted": {5: 0}}, {"exec_fd": 0}],
    ids=["chdir", "descriptors", "moved"],
)
def test_what_cannot_be_undone_is_refused(options: dict[str, Any]) -> None:
    """A plan made for a child changes more than signals."""
    packed = plan.pack(b"/bin/true", b"true\0", 1, (b"", 0), **options)
    error = _core.execute(packed)
    assert isinstance(error, SpawnError)
    assert (error.stage, error.errno) == ("plan", errno.EINVAL)
