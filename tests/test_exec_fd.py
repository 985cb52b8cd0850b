"""exec_fd: a program that is given as a descriptor (execveat), whatever becomes of its number."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spawnkit import Process, SpawnError, _core, _ops, environment, plan, process
from support.children import Children, Report, parse_report
from support.isolated import Isolate
from support.proc import as_seen

Reporter = Callable[..., Report]
Wanted = dict[int, "int | None"]

ours = pytest.mark.needs("dir")  # all engines but posix_spawn, which takes paths only

# Names of Linux that Python has from 3.13 on.
F_ADD_SEALS, ALL_SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8


def start(
    fd: int, args: list[str], engine: str, wanted: Wanted | None = None, keeps: bool = True
) -> Process:
    """The program behind `fd`; with the map, or beside 0, 1 and 2."""
    number = plan.check_engine(engine, None, None, fd)
    argv = plan.encode_args(args)
    packed = plan.pack(
        os.fsencode(args[0]),
        argv,
        len(args),
        environment.resolve(None, None),
        wanted=wanted,
        kept=plan.STANDARD if keeps else frozenset(),
        exec_fd=fd,
        exec_keep=plan.is_script(fd),
    )
    started = Process(_core.new_child(), args[0])
    try:
        process.started(started, packed, number)
    except BaseException:
        process.give_up(started)
        raise
    return started


def file_of(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def in_memory(content: bytes, sealed: bool = False) -> int:
    fd = os.memfd_create("program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    if sealed:
        fcntl.fcntl(fd, F_ADD_SEALS, ALL_SEALS)
    return fd


@contextlib.contextmanager
def program(kind: str, source: str, directory: Path) -> Iterator[int]:
    """The program at `source`, as a descriptor of some kind."""
    if kind.endswith("memfd"):
        fd = in_memory(Path(source).read_bytes(), kind.startswith("sealed"))
    elif kind == "unlinked":
        copy = shutil.copy(source, directory / "copy")
        fd = os.open(copy, os.O_RDONLY)
        os.unlink(copy)
    else:
        fd = os.open(source, os.O_PATH if kind == "O_PATH" else os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


KINDS = ["file", "O_PATH", "memfd", "sealed memfd", "unlinked"]


@ours
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_behind_the_descriptor_runs(
    engine: str, kind: str, report: Reporter, children: Children, tmp_path: Path
) -> None:
    with program(kind, children("report"), tmp_path) as fd:
        assert not os.get_inheritable(fd)
        seen = report(lambda argv: start(fd, ["a name", *argv[1:]], engine).wait())
        assert seen.argv[0] == b"a name"
        assert set(seen.fds) == {0, 1, 2}
        assert not os.get_inheritable(fd)


@ours
def test_an_inheritable_descriptor_is_not_inherited_either(
    engine: str, report: Reporter, children: Children, tmp_path: Path
) -> None:
    with program("file", children("report"), tmp_path) as fd:
        os.set_inheritable(fd, True)
        seen = report(lambda argv: start(fd, argv, engine).wait())
        assert set(seen.fds) == {0, 1, 2}


@ours
@pytest.mark.parametrize("kind", ["file", "memfd", "unlinked"])
def test_a_script_keeps_its_descriptor_for_the_interpreter(
    engine: str, kind: str, children: Children, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    script = tmp_path / "script"
    script.write_text(f"#!{children('report')} {out}\n")
    script.chmod(0o755)
    with program(kind, str(script), tmp_path) as fd:
        assert start(fd, ["script", "word"], engine).wait().success
        seen = parse_report(out)
        assert seen.argv[1:] == [os.fsencode(out), b"/dev/fd/3", b"word"]
        assert {n for n, of in seen.fds.items() if of.file == file_of(fd)} == {3}
        assert set(seen.fds) == {0, 1, 2, 3}


@ours
def test_a_shell_script_runs(engine: str) -> None:
    fd = in_memory(b"#!/bin/sh\nexit $1\n")
    assert start(fd, ["script", "7"], engine).wait().exit_code == 7
    os.close(fd)


def test_only_what_begins_with_it_is_a_script(children: Children) -> None:
    for content, answer in ((b"#!/bin/sh\n", True), (b"#", False), (b"", False), (b" #!", False)):
        fd = in_memory(content)
        os.lseek(fd, 0, os.SEEK_END)
        assert plan.is_script(fd) is answer
        assert os.lseek(fd, 0, os.SEEK_CUR) == len(content)
        os.close(fd)
    for path in (children("report"), "/"):
        fd = os.open(path, os.O_PATH)
        assert plan.is_script(fd) is False
        os.close(fd)
    read, write = os.pipe()
    assert plan.is_script(read) is plan.is_script(write) is False
    os.close(read)
    os.close(write)


@ours
def test_the_map_may_name_its_number(
    engine: str, report: Reporter, children: Children, tmp_path: Path
) -> None:
    """Maps over the descriptor itself, around it, in rings with the number it is moved to."""
    generator = random.Random(27)
    files = [os.open(tmp_path / f"file-{i}", os.O_RDWR | os.O_CREAT) for i in range(4)]
    with program("file", children("report"), tmp_path) as fd:
        maps: list[Wanted] = [
            {fd: files[0]},
            {fd: None},
            {fd: fd},
            {3: fd},
            {0: 3, 1: 4, 2: 5},
            {3: 4, 2: 3},
            dict.fromkeys(range(fd), fd),
        ]
        for _ in range(40):
            targets = generator.sample([*range(12), *files, fd], generator.randint(1, 10))
            maps.append({t: generator.choice([None, fd, *files]) for t in targets})
        for wanted in maps:
            if any(s is not None and s not in (fd, *files) for s in wanted.values()):
                wanted = {t: files[t % 4] for t in wanted}
            seen = report(
                lambda argv, wanted=wanted: start(fd, argv, engine, wanted, keeps=False).wait()
            )
            expected = {t: file_of(s) for t, s in wanted.items() if s is not None}
            assert {n: of.file for n, of in seen.fds.items()} == expected, wanted
    for file in files:
        os.close(file)


@ours
def test_a_ring_through_its_new_number_is_opened(
    engine: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """The number below takes the one above, which is where the program itself goes."""
    out = tmp_path / "out"
    text = isolate(_runs_in_a_ring, children("report"), str(out), engine)
    assert set(parse_report(out).fds) == {0, 1, 2, 10}
    assert text == as_seen(
        "exec fd 10 ('broken'): Exec format error (no #! line, and no shell is tried)"
    )


def _runs_in_a_ring(report: str, out: str, engine: str) -> str:
    import os

    import spawnkit
    from spawnkit import Process, _core, environment, plan, process

    opened = os.open(report, os.O_RDONLY)
    os.dup2(opened, 10, inheritable=False)
    os.close(opened)
    os.dup2(2, 11)

    def start(args: list[str]) -> Process:
        argv = plan.encode_args(args)
        env = environment.resolve(None, None)
        name = os.fsencode(args[0])
        packed = plan.pack(name, argv, len(args), env, wanted={10: 11}, exec_fd=10)
        moves = _core.descriptor_moves({10: 11, 11: 10}, 11)
        assert moves == [(10, 3, True), (11, 10, False), (3, 11, True)], moves
        started = Process(_core.new_child(), args[0])
        try:
            process.started(started, packed, plan.check_engine(engine, None, None, 10))
        except BaseException:
            process.give_up(started)
            raise
        return started

    assert start(["report", out]).wait().success
    broken = os.memfd_create("broken")
    os.write(broken, b"no program\n")
    os.dup2(broken, 10, inheritable=False)
    os.close(broken)
    try:
        start(["broken"])
    except spawnkit.SpawnError as error:
        return str(error)
    finally:
        os.close(10)
        os.close(11)
    return ""


@ours
@pytest.mark.parametrize(
    "deny",
    ["close_range:ENOSYS", f"close_range:ENOSYS,openat[2&{os.O_DIRECTORY}]:ENOENT"],
    ids=["by-list", "one-by-one"],
)
def test_closing_everything_in_other_ways_leaves_it_until_exec(
    engine: str, deny: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """The oracle lists a directory too, and stays out."""
    out = tmp_path / "out"
    isolate(_runs_by_descriptor, children("report"), str(out), engine, later=deny, oracle=False)
    assert set(parse_report(out).fds) == {0, 1, 2}
    assert set(parse_report(Path(f"{out}-script")).fds) == {0, 1, 2, 3}


def _runs_by_descriptor(report: str, out: str, engine: str) -> None:
    import os

    from spawnkit import Process, _core, environment, plan, process

    loose = os.dup(2)
    os.set_inheritable(loose, True)
    script = os.memfd_create("script")
    os.write(script, f"#!{report} {out}-script\n".encode())
    for fd in (os.open(report, os.O_RDONLY), script):
        args = ["name", out]
        argv = plan.encode_args(args)
        packed = plan.pack(
            b"name",
            argv,
            len(args),
            environment.resolve(None, None),
            exec_fd=fd,
            exec_keep=plan.is_script(fd),
        )
        started = Process(_core.new_child(), "name")
        process.started(started, packed, plan.check_engine(engine, None, None, fd))
        assert started.wait().success
        os.close(fd)
    os.close(loose)


# Errors


@ours
def test_a_failed_exec_names_the_callers_number(engine: str) -> None:
    fd = in_memory(b"no program\n")
    with pytest.raises(SpawnError) as caught:
        start(fd, ["tool"], engine)
    os.close(fd)
    error = caught.value
    assert (error.stage, error.errno, error.filename) == ("exec", errno.ENOEXEC, None)
    assert error.item == f"exec fd {fd} ('tool')"
    assert str(error).startswith(f"exec fd {fd} ('tool'): Exec format error")


@ours
def test_a_file_that_may_not_be_executed_is_refused(engine: str, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o644)
    with pytest.raises(PermissionError, match=rf"exec fd {fd} \('tool'\)"):
        start(fd, ["tool"], engine)
    os.close(fd)


@ours
def test_a_descriptor_that_is_not_open_is_named(engine: str) -> None:
    with pytest.raises(SpawnError, match="exec fd 4000 → 3: Bad file descriptor") as caught:
        start(4000, ["tool"], engine)
    assert caught.value.stage == "descriptors"


def test_posix_spawn_is_refused(children: Children, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"posix_spawn.*exec_fd"):
        plan.check_engine("posix_spawn", None, None, 3)
    # The core by itself does not run the path in its place.
    marker = tmp_path / "ran"
    path = children("report")
    argv = plan.encode_args([path, str(marker)])
    packed = plan.pack(os.fsencode(path), argv, 2, environment.resolve(None, None), exec_fd=0)
    child = _core.new_child()
    with pytest.raises(SpawnError) as caught:
        _core.spawn(child, packed, _core.ENGINES["posix_spawn"], _core.PIDFD)
    assert caught.value.errno == errno.ENOTSUP
    assert not marker.exists()


def test_a_plan_with_a_senseless_number_is_refused() -> None:
    packed = bytearray(plan.pack(b"/bin/true", b"true\0", 1, (b"", 0)))
    packed[28:32] = (-2 & 0xFFFFFFFF).to_bytes(4, "little")
    with pytest.raises(SpawnError) as caught:
        _core.spawn(_core.new_child(), bytes(packed), 0, 0)
    assert (caught.value.stage, caught.value.errno) == ("plan", errno.EINVAL)


# The plan


def test_the_number_is_the_lowest_that_the_child_does_not_have() -> None:
    """So that it is below RLIMIT_NOFILE if any can be."""
    for wanted, kept, fd, target in (
        ({}, plan.STANDARD, 9, 3),
        ({}, plan.STANDARD, 3, 4),
        ({}, frozenset[int](), 9, 3),
        ({0: 5}, frozenset[int](), 5, 3),
        ({3: None, 4: 1}, plan.STANDARD, 9, 5),
        ({8: 1}, plan.STANDARD, 9, 3),
        ({0: 0}, frozenset({3, 20}), 4, 5),
        ({2**31 - 1: 0}, plan.STANDARD, 9, 3),
    ):
        packed = plan.pack(b"x", b"x\0", 1, (b"", 0), wanted=dict(wanted), kept=kept, exec_fd=fd)
        assert int.from_bytes(packed[28:32], "little") == target


def test_equal_maps_with_and_without_a_program_are_told_apart() -> None:
    """What is packed is kept by its map: the program is part of it, and whether it stays."""

    def pack(wanted: Wanted, fd: int | None, keep: bool) -> bytes:
        packed = plan.pack(b"x", b"x\0", 1, (b"", 0), wanted=wanted, exec_fd=fd, exec_keep=keep)
        return packed[32:]

    assert pack({}, 9, True) == pack({3: 9}, None, False)
    assert pack({}, 9, False) != pack({}, 9, True)
    assert pack({}, 9, False) != pack({}, 8, False)
    assert pack({}, 9, False) == pack({}, 9, False)
    wanted: Wanted = {0: 5}
    pack(wanted, 9, False)
    assert wanted == {0: 5}


def test_every_map_with_a_program_is_done() -> None:
    """All maps of three targets from five sources and None, the program anywhere among them."""
    table = {fd: f"file {fd}" for fd in range(6)}
    for sources in itertools.product([None, *range(5)], repeat=3):
        for program_fd in range(6):
            wanted: Wanted = dict(enumerate(sources))
            target = 4 if program_fd == 3 else 3
            wanted[target] = program_fd
            now, close_on_exec = dict(table), set(table)
            for source, to, cloexec in _core.descriptor_moves(wanted, target):
                if source == -1:
                    now.pop(to, None)
                else:
                    now[to] = now[source]
                    close_on_exec.discard(to)
                    if cloexec:
                        close_on_exec.add(to)
            for to, source_fd in wanted.items():
                if source_fd is None:
                    assert to not in now, wanted
                else:
                    assert now[to] == table[source_fd], wanted
                    assert (to in close_on_exec) is (to == target), wanted
            closes = _ops.descriptors(wanted, frozenset(), target)
            for code, _, _, _, _, first, last in _ops.OP.iter_unpack(closes):
                assert code != _ops.CLOSE_RANGE or not first <= target <= last
