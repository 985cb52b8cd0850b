"""A program that cannot be started: which error, which stage, and nothing left of the attempt."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from support.children import Children
from support.isolated import Isolate

# posix_spawn does not say at which step it failed.
LOADING = ("exec", "posix_spawn")


def spawn_fails(*args: str | bytes | Path, **options: Any) -> spawnkit.SpawnError:
    with pytest.raises(spawnkit.SpawnError) as caught:
        spawnkit.run(args, **options)
    return caught.value


def test_a_missing_program_is_named(engine: str, tmp_path: Path) -> None:
    """A1: missing program -> ENOENT naming the program."""
    missing = str(tmp_path / "missing")
    error = spawn_fails(missing, engine=engine)
    assert isinstance(error, FileNotFoundError)
    assert error.errno == errno.ENOENT
    assert error.stage in LOADING
    assert error.filename == missing
    assert missing in str(error)


def test_a_program_missing_from_path_is_named(engine: str) -> None:
    """A1: the same for a name that is looked for on PATH."""
    error = spawn_fails("no-such-program-here", engine=engine)
    assert isinstance(error, FileNotFoundError)
    assert error.stage == "lookpath"
    assert "no-such-program-here" in str(error)


def test_start_process_names_the_missing_program(engine: str, tmp_path: Path) -> None:
    """A1: the path, not argv[0], is what is missing."""
    with pytest.raises(FileNotFoundError) as caught:
        spawnkit.start_process(tmp_path / "missing", ["other name"], engine=engine)
    assert isinstance(caught.value, spawnkit.SpawnError)
    assert caught.value.filename == str(tmp_path / "missing")


@pytest.mark.needs("dir")
def test_a_missing_directory_is_named_and_not_the_program(engine: str, tmp_path: Path) -> None:
    """A2: missing cwd -> ENOENT naming the cwd, stage=chdir."""
    missing = tmp_path / "missing"
    error = spawn_fails("/bin/true", dir=missing, engine=engine)
    assert isinstance(error, FileNotFoundError)
    assert error.errno == errno.ENOENT
    assert error.stage == "chdir"
    assert error.filename == str(missing)
    assert str(missing) in str(error)
    assert "/bin/true" not in str(error)


@pytest.mark.needs("dir")
def test_a_directory_that_is_a_file_is_named(engine: str) -> None:
    """A2: the errno is chdir's own."""
    error = spawn_fails("/bin/true", dir="/dev/null", engine=engine)
    assert isinstance(error, NotADirectoryError)
    assert error.stage == "chdir"


def test_a_program_that_may_not_be_executed(engine: str, tmp_path: Path) -> None:
    """A3: program not executable -> EACCES, also for root."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    error = spawn_fails(program, engine=engine)
    assert isinstance(error, PermissionError)
    assert error.errno == errno.EACCES
    assert error.stage in LOADING
    assert error.filename == str(program)


def test_a_directory_as_program(engine: str, tmp_path: Path) -> None:
    """A4: directory as program -> EACCES."""
    error = spawn_fails(tmp_path, engine=engine)
    assert isinstance(error, PermissionError)
    assert error.errno == errno.EACCES
    assert error.stage in LOADING


def test_an_argument_of_128_kib_is_too_long(engine: str) -> None:
    """A9: 128 KiB argument -> E2BIG; 127 KiB ok. The limit is 32 pages, the NUL included."""
    longest = 32 * os.sysconf("SC_PAGESIZE") - 1
    result = spawnkit.run(["/bin/true", "x" * longest], engine=engine)
    assert result.state.success
    error = spawn_fails("/bin/true", "x" * (longest + 1), engine=engine)
    assert error.errno == errno.E2BIG
    assert error.stage in LOADING


def test_too_many_arguments_are_refused_and_their_memory_comes_back(isolate: Isolate) -> None:
    """A10: 3 MB argv -> E2BIG, parent memory back."""
    for engine in "vfork", "vfork-waiting", "fork", "posix_spawn":
        result = isolate(_growth_after_too_long_command_lines, engine)
        assert result["errnos"] == [errno.E2BIG]
        # One command line that was kept would be 3 MiB, all of them 60.
        assert result["growth"] < 3 << 20, engine


def _growth_after_too_long_command_lines(engine: str) -> dict[str, Any]:

    import spawnkit
    from support.proc import PROC

    def resident() -> int:
        return int((PROC / "self/statm").read_text().split()[1]) * 4096

    arguments = ["/bin/true"] + ["x" * 1023] * 3072
    errnos = set()

    def fail(times: int) -> None:
        for _ in range(times):
            try:
                spawnkit.run(arguments, engine=engine)
            except spawnkit.SpawnError as error:
                errnos.add(error.errno)

    fail(3)
    before = resident()
    fail(20)
    return {"errnos": sorted(errnos), "growth": resident() - before}


@pytest.mark.needs("dir")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_dies_before_exec_is_an_error(
    engine: str, number: int, isolate: Isolate, tmp_path: Path
) -> None:
    """A23: child dies before exec -> error "died before exec (signal 9)"."""
    with isolate.start(_error_of_a_start_in, str(tmp_path), engine, later="chdir:hold") as running:
        held = running.held()
        os.kill(held.pid, number)
        held.go()
        error = running.result()
    if error["stage"] == "signals" and number == signal.SIGSEGV:
        # Without CLONE_CLEAR_SIGHAND every signal is blocked until the child has its mask.
        assert error["text"] == f"signals: died before exec (signal {number})"
    else:
        assert error["text"] == f"chdir {str(tmp_path)!r}: died before exec (signal {number})"
        assert error["stage"] == "chdir"
    assert error["signal"] == number
    assert error["errno"] is None


def _error_of_a_start_in(directory: str, engine: str) -> dict[str, Any] | None:
    import spawnkit

    try:
        spawnkit.run(["/bin/true"], dir=directory, engine=engine)
    except spawnkit.SpawnError as error:
        return {
            "text": str(error),
            "stage": error.stage,
            "signal": error.signal,
            "errno": error.errno,
        }
    return None


@pytest.mark.needs("dir", "rlimits", "umask")
def test_every_failing_step_has_its_errno(
    engine: str, children: Children, isolate: Isolate, tmp_path: Path
) -> None:
    """A24: errno 0 is never reported as a failure; and a step that fails is never passed over."""
    steps = {
        "chdir": "chdir",
        "setsid": "setsid",
        "dup3": "descriptors",
        "prlimit64": "rlimit",
        "rt_sigaction": "signals",
        "rt_sigprocmask": "signals",
        "execve": "exec",
    }
    for call, stage in steps.items():
        marker = tmp_path / f"{call}-ran"
        error = isolate(
            _error_of_a_full_start,
            [children("report"), str(marker)],
            str(tmp_path),
            engine,
            later=f"{call}:EIO",
            oracle=False,
        )
        assert error == [stage, errno.EIO], call
        assert not marker.exists(), call


def _error_of_a_full_start(argv: list[str], directory: str, engine: str) -> list[Any] | None:
    import spawnkit

    attr = spawnkit.SysProcAttr(setsid=True, rlimits={"CORE": 0}, sigdefault=[10])
    try:
        with open("/dev/null") as null:
            spawnkit.run(argv, dir=directory, attr=attr, engine=engine, stdin=null)
    except spawnkit.SpawnError as error:
        return [error.stage, error.errno]
    return None


def test_thousands_of_failing_starts_leave_the_process_as_it_was(
    engine: str, isolate: Isolate
) -> None:
    """A25: 10^5 failing spawns: RSS flat (<1 MB), fds flat (the oracle of the isolated run)."""
    times = 100_000 if engine == "vfork" else 2_000  # the rest are slower, and only stand in for it
    assert isolate(_growth_after_failing_starts, engine, times) < 1 << 20


def _growth_after_failing_starts(engine: str, times: int) -> int:
    import contextlib

    import spawnkit
    from support.proc import PROC

    def resident() -> int:
        return int((PROC / "self/statm").read_text().split()[1]) * 4096

    def fail(times: int) -> None:
        for _ in range(times):
            with contextlib.suppress(FileNotFoundError):
                spawnkit.run(["/no/such/program"], capture=True, engine=engine)

    fail(200)
    before = resident()
    fail(times)
    return resident() - before
