"""Descriptors: the child has exactly the ones asked for, the parent loses and gains none."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import random
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import DEVNULL, PIPE, STDOUT, ProcAttr, SysProcAttr
from support.children import Children, Report, parse_report
from support.isolated import Isolate
from support.proc import PROC

Reporter = Callable[..., Report]


@contextlib.contextmanager
def open_files(directory: Path, count: int) -> Iterator[list[int]]:
    """That many files, each another one."""
    fds = [os.open(directory / f"file-{i}", os.O_RDWR | os.O_CREAT) for i in range(count)]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def file_of(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def unused_fd() -> int:
    fd = os.dup(0)
    os.close(fd)
    return fd


def start(argv: list[str], files: Any, engine: str) -> None:
    spawnkit.start_process(argv[0], argv, ProcAttr(files=files), engine=engine).wait()


# Streams


@pytest.mark.parametrize("closed", range(8))
def test_every_combination_of_streams_with_some_closed_in_the_parent(
    engine: str, closed: int, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A26: every subset of {0,1,2} closed x PIPE/DEVNULL/file/inherit: right streams."""
    closed_fds = [fd for fd in range(3) if closed >> fd & 1]
    wrong = isolate(_wrong_streams, engine, closed_fds, children("talk"), str(tmp_path))
    assert wrong == []


def _wrong_streams(engine: str, closed: list[int], talk: str, directory: str) -> list[Any]:
    import itertools
    import os

    import spawnkit

    home = os.getcwd()
    os.chdir(directory)
    ours = {0: "parent-in", 1: "parent-out", 2: "parent-err"}
    saved = [os.dup(fd) for fd in range(3)]
    for fd, name in ours.items():
        opened = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, fd)
        os.close(opened)
    for fd in closed:
        os.close(fd)

    def content(name: str) -> bytes:
        with open(name, "rb") as file:
            return file.read()

    def one(kinds: tuple[str, ...]) -> Any:
        for name, data in [
            ("parent-in", b"from parent"),
            ("parent-out", b""),
            ("parent-err", b""),
            ("file-0", b"from file"),
            ("file-1", b""),
            ("file-2", b""),
        ]:
            with open(name, "wb") as file:
                file.write(data)
        for fd in ours:
            if fd not in closed:
                os.lseek(fd, 0, os.SEEK_SET)
        options: dict[str, object] = {}
        opened = []
        for fd, (kind, name) in enumerate(zip(kinds, ("stdin", "stdout", "stderr"), strict=True)):
            if kind == "pipe" and fd == 0:
                options["input"] = b"from pipe"
            elif kind == "pipe":
                options[name] = spawnkit.PIPE
            elif kind == "null":
                options[name] = spawnkit.DEVNULL
            elif kind == "file":
                # Lands on the lowest free number: a closed standard stream, if there is one.
                opened.append(os.open(f"file-{fd}", os.O_RDWR))
                options[name] = opened[-1]
        result = spawnkit.run([talk], check=False, engine=engine, **options)  # type: ignore[arg-type]
        for fd in opened:
            os.close(fd)
        is_open = [kind != "inherit" or fd not in closed for fd, kind in enumerate(kinds)]
        heard = {"inherit": b"from parent", "pipe": b"from pipe", "null": b"", "file": b"from file"}
        said = b"O" + (heard[kinds[0]] if is_open[0] else b"")
        expected: list[Any] = [sum(1 << fd for fd in range(3) if not is_open[fd])]
        seen: list[Any] = [result.state.exit_code]
        for fd, words, captured in (1, said, result.stdout), (2, b"E", result.stderr):
            kind = kinds[fd]
            where = {"inherit": ours[fd], "file": f"file-{fd}"}.get(kind)
            if kind == "pipe":
                seen.append(repr(captured))
                expected.append(repr(words))
            elif where:
                seen.append(repr(content(where)))
                expected.append(repr(words if is_open[fd] else b""))
        return None if seen == expected else [kinds, seen, expected]

    kinds = ("inherit", "pipe", "null", "file")
    wrong = [one(combination) for combination in itertools.product(kinds, repeat=3)]
    for fd, copy in enumerate(saved):
        os.dup2(copy, fd, inheritable=True)
        os.close(copy)
    os.chdir(home)
    return [line for line in wrong if line]


def test_streams_that_are_not_asked_for_are_ours(engine: str, report: Reporter) -> None:
    """A26: None means inherit."""
    seen = report(lambda argv: spawnkit.run(argv, engine=engine))
    assert {fd: seen.fds[fd].file for fd in seen.fds} == {fd: file_of(fd) for fd in range(3)}


# Maps


def test_maps_are_done_for_real(engine: str, report: Reporter, tmp_path: Path) -> None:
    """A27: the plan of the model, executed: random maps with rings, shared sources and closes."""
    generator = random.Random(27)
    with open_files(tmp_path, 6) as files:
        for _ in range(40):
            targets = generator.sample([*range(12), *files], generator.randint(1, 10))
            wanted = {target: generator.choice([None, *files]) for target in targets}
            seen = report(lambda argv, wanted=wanted: start(argv, wanted, engine))
            expected = {t: file_of(s) for t, s in wanted.items() if s is not None}
            assert {fd: of.file for fd, of in seen.fds.items()} == expected, wanted
            assert not any(of.flags for of in seen.fds.values())


def test_two_streams_change_places(engine: str, report: Reporter) -> None:
    """A28: swap 1<->2; what was not named stays where it was."""
    ours = {fd: file_of(fd) for fd in range(3)}
    seen = report(lambda argv: spawnkit.run(argv, stdout=2, stderr=1, engine=engine))
    assert {fd: of.file for fd, of in seen.fds.items()} == {0: ours[0], 1: ours[2], 2: ours[1]}
    seen = report(lambda argv: start(argv, [0, 2, 1], engine))
    assert {fd: of.file for fd, of in seen.fds.items()} == {0: ours[0], 1: ours[2], 2: ours[1]}
    seen = report(lambda argv: spawnkit.run(argv, stdin=1, stdout=0, engine=engine))
    assert {fd: of.file for fd, of in seen.fds.items()} == {0: ours[1], 1: ours[0], 2: ours[2]}


def test_one_source_serves_three_targets(engine: str, report: Reporter, tmp_path: Path) -> None:
    """A29: one source to three targets."""
    with open_files(tmp_path, 1) as (fd,):
        seen = report(
            lambda argv: spawnkit.run(argv, stdin=fd, stdout=fd, stderr=fd, engine=engine)
        )
        assert {fd: of.file for fd, of in seen.fds.items()} == dict.fromkeys(range(3), file_of(fd))
        seen = report(lambda argv: start(argv, {3: fd, 40: fd, 9: fd}, engine))
        assert {fd: of.file for fd, of in seen.fds.items()} == dict.fromkeys(
            [3, 9, 40], file_of(fd)
        )


def test_a_descriptor_may_keep_its_number(engine: str, report: Reporter, tmp_path: Path) -> None:
    """A30: source==target keeps open in the child and CLOEXEC in the parent unchanged."""
    with open_files(tmp_path, 1) as (fd,):
        assert not os.get_inheritable(fd)
        seen = report(lambda argv: start(argv, {0: 0, fd: fd}, engine))
        assert {fd: of.file for fd, of in seen.fds.items()} == {0: file_of(0), fd: file_of(fd)}
        assert not os.get_inheritable(fd)


def test_a_target_above_the_limit_is_refused(
    engine: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A31: target 1000 with NOFILE=256 -> EBADF or EMFILE."""
    marker = tmp_path / "ran"
    error = isolate(_error_above_the_limit, [children("report"), str(marker)], engine)
    assert error["errno"] in (errno.EBADF, errno.EMFILE)
    if engine != "posix_spawn":
        assert error["stage"] == "descriptors"
        assert "fd 1 → 1000" in error["text"]
    assert not marker.exists()


def _error_above_the_limit(argv: list[str], engine: str) -> Any:
    import resource

    import spawnkit

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
    try:
        files = {0: 0, 1: 1, 2: 2, 1000: 1}
        spawnkit.start_process(argv[0], argv, spawnkit.ProcAttr(files=files), engine=engine)
    except spawnkit.SpawnError as error:
        return {"errno": error.errno, "stage": error.stage, "text": str(error)}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    return None


@pytest.mark.needs("rlimits")
def test_a_limit_for_the_child_does_not_stop_its_own_setup(
    engine: str, report: Reporter, tmp_path: Path
) -> None:
    """A31: the lowered NOFILE comes after the descriptors."""
    attr = SysProcAttr(rlimits={"NOFILE": 64})
    with open_files(tmp_path, 1) as (fd,):

        def spawn(argv: list[str]) -> None:
            files = ProcAttr(files={200: fd, 3: fd}, sys=attr)
            spawnkit.start_process(argv[0], argv, files, engine=engine).wait()

        assert set(report(spawn).fds) == {3, 200}


@pytest.mark.needs("rlimits")
def test_a_limit_raised_for_the_child_makes_room_for_its_targets(
    engine: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A31: a raised NOFILE comes before the descriptors."""
    out = tmp_path / "out"
    isolate(_spawns_above_its_own_limit, [children("report"), str(out)], engine)
    assert set(parse_report(out).fds) == {0, 1000}


def _spawns_above_its_own_limit(argv: list[str], engine: str) -> None:
    import resource

    import spawnkit

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
    try:
        attr = spawnkit.SysProcAttr(rlimits={"NOFILE": (1001, limit[1])})
        files = spawnkit.ProcAttr(files={0: 0, 1000: 1}, sys=attr)
        spawnkit.start_process(argv[0], argv, files, engine=engine).wait()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_a_source_that_is_not_open_is_named(engine: str, children: Children) -> None:
    """A32: source not open -> EBADF naming the fd."""
    fd = unused_fd()
    for spawn in (
        lambda: spawnkit.run(["/bin/true"], stdout=fd, engine=engine),
        lambda: spawnkit.run(["/bin/true"], stdout=fd, stdin=DEVNULL, stderr=PIPE, engine=engine),
        lambda: start(["/bin/true"], {1: fd}, engine),
    ):
        with pytest.raises(spawnkit.SpawnError, match=f"fd {fd} → 1: ") as caught:
            spawn()
        assert caught.value.errno == errno.EBADF
        assert caught.value.stage == "descriptors"


def test_the_status_channel_is_never_overwritten(engine: str, report: Reporter) -> None:
    """A34: whatever the targets: a failing exec is told, and a working one works."""
    for targets in [[fd] for fd in range(3, 40)] + [list(range(3, 100))]:
        wanted = {0: 0, 1: 1, 2: 2, **dict.fromkeys(targets, 0)}
        with pytest.raises(FileNotFoundError):
            start(["/no/such/program"], wanted, engine)
        assert set(report(lambda argv, wanted=wanted: start(argv, wanted, engine)).fds) == set(
            wanted
        )
    closes = {0: 0, 1: 1, 2: 2, **dict.fromkeys(range(3, 100))}
    with pytest.raises(FileNotFoundError):
        start(["/no/such/program"], closes, engine)


# What is not asked for is not there


def test_the_child_has_exactly_the_descriptors_asked_for(
    engine: str, report: Reporter, tmp_path: Path
) -> None:
    """A35: 200 open non-CLOEXEC fds in the parent, none of them in the child."""
    with open_files(tmp_path, 200) as files:
        for fd in files:
            os.set_inheritable(fd, True)
        assert set(report(lambda argv: spawnkit.run(argv, engine=engine)).fds) == {0, 1, 2}
        seen = report(lambda argv: start(argv, {0: 0, 7: files[3], 150: files[9]}, engine))
        assert {fd: of.file for fd, of in seen.fds.items()} == {
            0: file_of(0),
            7: file_of(files[3]),
            150: file_of(files[9]),
        }
        assert report(lambda argv: start(argv, [], engine)).fds == {}


def _descriptors_of_a_child(argv: list[str], engine: str, limit: int, hard: bool = False) -> None:
    """A child of a parent with many inheritable descriptors, some above the limit.

    hard: lower the hard limit too, for good.
    """
    import os
    import resource

    import spawnkit

    fds = [os.dup(2) for _ in range(200)]
    os.dup2(2, 800, inheritable=True)
    for fd in fds:
        os.set_inheritable(fd, True)
    for fd in fds[:8]:  # room below the limit for pidfds and pipes
        os.close(fd)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit if hard else before[1]))
    try:
        spawnkit.run(argv, engine=engine)
        files = {0: 0, 5: 1, 60: 2}
        spawnkit.start_process(
            argv[0], [*argv[:1], argv[1] + "-2"], spawnkit.ProcAttr(files=files), engine=engine
        ).wait()
    finally:
        if not hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in [*fds[8:], 800]:
            os.close(fd)


def _check_descriptors(
    isolate: Isolate, children: Children, out: Path, *what: Any, **how: Any
) -> None:
    isolate(_descriptors_of_a_child, [children("report"), str(out)], *what, **how)
    assert set(parse_report(out).fds) == {0, 1, 2}
    assert set(parse_report(Path(f"{out}-2")).fds) == {0, 5, 60}


def test_a_lowered_limit_hides_no_descriptor(
    engine: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A36: the same when RLIMIT_NOFILE was lowered under open fds."""
    _check_descriptors(isolate, children, tmp_path / "out", engine, 100)


@pytest.mark.parametrize("deny", ["", "close_range:ENOSYS"])
def test_a_lowered_hard_limit_hides_none_either(
    engine: str, deny: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A36: nobody can raise it again, so the oracle would complain and stays out."""
    out = tmp_path / "out"
    _check_descriptors(isolate, children, out, engine, 100, True, deny=deny, oracle=False)


@pytest.mark.parametrize("limit", [0, 100])
@pytest.mark.parametrize(
    "answer", [":ENOSYS", ":EPERM", ":EINVAL", "[2&0x4]:EINVAL"], ids=lambda a: a.strip(":")
)
def test_all_is_closed_without_close_range(
    engine: str, answer: str, limit: int, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A37: the same with close_range -> ENOSYS, EPERM, EINVAL; or without CLOSE_RANGE_CLOEXEC."""
    out = tmp_path / "out"
    _check_descriptors(isolate, children, out, engine, limit, deny=f"close_range{answer}")


@pytest.fixture(scope="session")
def without_proc() -> list[str]:
    """A command that runs another one where /proc is not mounted."""
    if not os.path.exists("/proc/self"):
        return []
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    for flags, hide in ("-m", "umount -l /proc"), ("-Urm", "mount -t tmpfs none /proc"):
        command = ["unshare", flags, "sh", "-c", f'{hide} && exec "$@"', "sh"]
        tried = subprocess.run([*command, "true"], capture_output=True, text=True)
        if tried.returncode == 0:
            return command
    pytest.skip(f"/proc cannot be hidden here: {tried.stderr.strip()}")


@pytest.mark.parametrize("limit", [0, 100])
@pytest.mark.parametrize("deny", ["", "close_range:ENOSYS"])
def test_all_is_closed_without_proc(
    engine: str,
    deny: str,
    limit: int,
    isolate: Isolate,
    children: Children,
    without_proc: list[str],
    tmp_path: Path,
) -> None:
    """A37: the same with /proc unmounted (the oracle needs it, and stays out)."""
    how: dict[str, Any] = {"deny": deny, "under": without_proc, "oracle": False}
    out = tmp_path / "out"
    if engine == "posix_spawn" and deny:
        # glibc's own closefrom has nothing left to try, and says so: the child does not run.
        with pytest.raises(AssertionError, match="SpawnError"):
            _check_descriptors(isolate, children, out, engine, limit, **how)
        assert not out.exists()
    else:
        _check_descriptors(isolate, children, out, engine, limit, **how)


def test_pipes_of_other_threads_are_in_no_child(engine: str, report: Reporter) -> None:
    """A38: 8 threads open/close non-CLOEXEC pipes during spawns: no child holds one."""
    end = threading.Event()

    def open_and_close() -> None:
        while not end.is_set():
            for fd in os.pipe2(0):
                os.close(fd)

    threads = [threading.Thread(target=open_and_close) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            assert set(report(lambda argv: spawnkit.run(argv, engine=engine)).fds) == {0, 1, 2}
    finally:
        end.set()
        for thread in threads:
            thread.join()


# Nothing left to open


def test_without_free_descriptors_nothing_runs_and_nothing_hangs(
    engine: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A39: EMFILE at each fd-making step (spare = 0..8) -> EMFILE, no child ever ran, no hang."""
    outcomes = isolate(_outcomes_by_spare, children("report"), str(tmp_path), engine)
    assert set(outcomes) <= {"ran", f"{errno.EMFILE}"}, outcomes
    assert outcomes[-1] == "ran"
    # Once there are enough there are enough.
    assert outcomes == sorted(outcomes, key=lambda outcome: outcome == "ran")
    assert outcomes[0] != "ran"


def _outcomes_by_spare(report: str, directory: str, engine: str) -> list[str]:
    import os
    import resource

    import spawnkit

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit[1]))
    filling = []
    try:
        while True:
            filling.append(os.dup(2))
    except OSError:
        pass
    outcomes = []
    for spare in range(10):
        marker = f"{directory}/ran-{spare}"
        try:
            result = spawnkit.run(
                [report, marker], stdout=spawnkit.PIPE, input=b"x", stderr=spawnkit.DEVNULL,
                timeout=60, engine=engine,
            )  # fmt: skip
            ran = result.state.success and result.stdout == b"" and os.path.exists(marker)
            outcome = "ran" if ran else f"strange {result}"
        except spawnkit.SpawnError as error:
            outcome = "ran after all" if os.path.exists(marker) else str(error.errno)
        outcomes.append(outcome)
        os.close(filling.pop())
    for fd in filling:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    return outcomes


def test_targets_that_leave_no_room_for_the_status_channel(
    engine: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A39, A34: a last free number is a target of the map: it runs, or EMFILE and it never ran."""
    marker = tmp_path / "ran"
    outcome = isolate(_outcome_at_the_limit, [children("report"), str(marker)], engine)
    if outcome == errno.EMFILE:
        assert not marker.exists()
    else:
        assert outcome == "ran"
        assert set(parse_report(marker).fds) == {0, 1, 2, 63}


def _outcome_at_the_limit(argv: list[str], engine: str) -> Any:
    import os
    import resource

    import spawnkit

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit[1]))
    filling = []
    try:
        while True:
            filling.append(os.dup(2))
    except OSError:
        pass
    assert filling[-1] == 63
    for fd in 61, 63:
        filling.remove(fd)
        os.close(fd)
    try:
        files = spawnkit.ProcAttr(files={0: 0, 1: 1, 2: 2, 63: 0})
        spawnkit.start_process(argv[0], argv, files, engine=engine).wait()
        return "ran"
    except spawnkit.SpawnError as error:
        return error.errno
    finally:
        for fd in filling:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


@pytest.mark.parametrize(
    "rules",
    ["pipe2:ENFILE", "clone:ENFILE,clone3:ENFILE", "openat[2&0x3=0x2]:ENFILE"],
    ids=["pipe", "pidfd", "devnull"],
)
def test_with_a_full_file_table_nothing_runs(
    engine: str, rules: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A40: ENFILE the same."""
    marker = tmp_path / "ran"
    found = isolate(
        _errno_of_a_captured_run, [children("report"), str(marker)], engine, later=rules
    )
    assert found == errno.ENFILE
    assert not marker.exists()


def _errno_of_a_captured_run(argv: list[str], engine: str) -> int | None:
    import spawnkit

    try:
        spawnkit.run(argv, capture=True, stdin=spawnkit.DEVNULL, timeout=60, engine=engine)
    except spawnkit.SpawnError as error:
        return error.errno
    return None


# The caller's files


def test_flags_of_the_callers_files_stay_as_they_are(engine: str) -> None:
    """A41: caller's files keep their CLOEXEC and O_NONBLOCK flags, also when the start fails."""
    read, write = os.pipe2(os.O_NONBLOCK)
    keeps, ends = os.pipe()

    def flags() -> list[tuple[int, int]]:
        return [
            (fcntl.fcntl(fd, fcntl.F_GETFD), fcntl.fcntl(fd, fcntl.F_GETFL))
            for fd in (read, write, keeps, ends)
        ]

    before = flags()
    assert before[0] != before[2]
    spawnkit.run(["/bin/true"], stdin=read, stdout=ends, stderr=write, engine=engine)
    assert flags() == before
    start(["/bin/true"], {read: read, 3: ends, keeps: keeps, 1: write}, engine)
    assert flags() == before
    with pytest.raises(FileNotFoundError):
        start(["/no/such/program"], {read: read, 3: ends, 1: write}, engine)
    assert flags() == before
    for fd in read, write, keeps, ends:
        os.close(fd)


def test_pipes_made_for_the_child_block(engine: str, report: Reporter) -> None:
    """A42: child's stdin/out/err are blocking."""
    seen = report(lambda argv: spawnkit.run(argv, capture=True, input=b"x", engine=engine))
    for fd in range(3):
        assert stat.S_ISFIFO(seen.fds[fd].mode)
        assert not seen.fds[fd].status & os.O_NONBLOCK
        assert not seen.fds[fd].flags
    assert seen.fds[1].file != seen.fds[2].file


def test_anything_with_a_descriptor_is_accepted(
    engine: str, report: Reporter, tmp_path: Path
) -> None:
    """A43: Python file objects, sockets, memfd, raw ints."""
    with contextlib.ExitStack() as stack:
        left, right = socket.socketpair()
        stack.callback(right.close)
        things: list[Any] = [
            stack.enter_context(open(tmp_path / "text", "w")),
            stack.enter_context(open(tmp_path / "binary", "wb")),
            stack.enter_context(io.FileIO(str(tmp_path / "raw"), "w")),
            stack.enter_context(tempfile.TemporaryFile()),
            stack.enter_context(left),
        ]
        memory = os.memfd_create("memory")
        stack.callback(os.close, memory)
        things.append(memory)
        for thing in things:
            fd = thing if isinstance(thing, int) else thing.fileno()
            for name in "stdin", "stdout", "stderr":
                seen = report(
                    lambda argv, n=name, t=thing: spawnkit.run(argv, engine=engine, **{n: t})
                )
                number = ("stdin", "stdout", "stderr").index(name)
                assert seen.fds[number].file == file_of(fd)
            seen = report(lambda argv, t=thing: start(argv, {9: t}, engine))
            assert {fd: of.file for fd, of in seen.fds.items()} == {9: file_of(fd)}


def test_a_handle_may_be_given_up_twice(engine: str) -> None:
    """A44: no fd stays open after wait+close; double close is harmless."""
    before = set(os.listdir(f"{PROC}/self/fd"))
    process = spawnkit.start_process("/bin/true", ["true"], engine=engine)
    process.wait()
    assert process.pidfd is None
    assert set(os.listdir(f"{PROC}/self/fd")) == before
    process.release()
    process.release()
    # Nobody else's descriptor is closed by a handle that is over.
    fd = os.open(os.devnull, os.O_RDONLY)
    process.release()
    del process
    assert os.fstat(fd)
    os.close(fd)


@pytest.mark.parametrize("where", ["pipe", "file", "inherit", "null"])
def test_stderr_goes_where_stdout_goes(
    engine: str, where: str, report: Reporter, children: Children, tmp_path: Path
) -> None:
    """A45: stderr=STDOUT with stdout=PIPE/file/inherit."""
    with open_files(tmp_path, 1) as (fd,):
        stdout: Any = {"pipe": PIPE, "file": fd, "inherit": None, "null": DEVNULL}[where]
        seen = report(lambda argv: spawnkit.run(argv, stdout=stdout, stderr=STDOUT, engine=engine))
        assert seen.fds[1] == seen.fds[2]
        if where == "file":
            assert seen.fds[1].file == file_of(fd)
        if where == "inherit":
            assert seen.fds[2].file == file_of(1)
        result = spawnkit.run(
            [children("talk")], input=b"x", stdout=stdout, stderr=STDOUT, engine=engine
        )
        assert result.stdout == (b"OxE" if where == "pipe" else None)
        assert result.stderr is None
        assert os.pread(fd, 9, 0) == (b"OxE" if where == "file" else b"")
