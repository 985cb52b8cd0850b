"""What a child is made to be: session, group, umask, limits, directory. The parent stays as it is
(the oracle sees to that after each test)."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import ProcAttr, SysProcAttr
from support.children import Children, Report
from support.engines import engines_claiming

Reporter = Callable[..., Report]
Spawner = Callable[..., Report]


@pytest.fixture
def reported(report: Reporter, engine: str) -> Spawner:
    """What a child with these options says of itself."""
    return lambda **options: report(lambda argv: spawnkit.run(argv, engine=engine, **options))


def test_without_attributes_the_child_is_like_us(reported: Spawner) -> None:
    seen = reported()
    assert seen["ppid"] == os.getpid()
    assert seen["pgid"] == os.getpgid(0)
    assert seen["sid"] == os.getsid(0)
    assert seen["nice"] == os.getpriority(os.PRIO_PROCESS, 0)
    assert seen.cwd == os.getcwdb()
    for number in range(16):
        assert seen.rlimits[number] == limits(number)


def limits(number: int) -> tuple[int, int]:
    """As the child prints them: no limit is 2^64 - 1."""
    soft, hard = resource.getrlimit(number)
    return soft % 2**64, hard % 2**64


@pytest.mark.needs("group")
def test_setsid_makes_a_session_leader(reported: Spawner) -> None:
    seen = reported(attr=SysProcAttr(setsid=True))
    assert seen["sid"] == seen["pgid"] == seen["pid"]


@pytest.mark.needs("group")
def test_setpgid_makes_a_group_leader(reported: Spawner) -> None:
    seen = reported(attr=SysProcAttr(setpgid=True))
    assert seen["pgid"] == seen["pid"]
    assert seen["sid"] == os.getsid(0)


@pytest.mark.needs("group")
def test_pgid_joins_a_group(engine: str, reported: Spawner, children: Children) -> None:
    read, write = os.pipe()
    attr = ProcAttr(files=[read], sys=SysProcAttr(setpgid=True))
    leader = spawnkit.start_process(children("block"), ["block"], attr, engine=engine)
    os.close(read)
    seen = reported(attr=SysProcAttr(setpgid=True, pgid=leader.pid))
    assert seen["pgid"] == leader.pid
    os.close(write)
    leader.wait()


@pytest.mark.needs("group")
def test_a_group_that_cannot_be_joined_is_an_error(engine: str, tmp_path: Path) -> None:
    attr = SysProcAttr(setpgid=True, pgid=2**31 - 1)
    with pytest.raises(spawnkit.SpawnError) as caught:
        spawnkit.run(["/bin/true"], attr=attr, engine=engine)
    assert caught.value.errno == errno.EPERM
    assert caught.value.stage in ("setpgid", "posix_spawn")


@pytest.mark.needs("umask")
@pytest.mark.parametrize("mask", [0, 0o22, 0o77, 0o377])  # we read what the child wrote
def test_umask(reported: Spawner, mask: int) -> None:
    assert reported(attr=SysProcAttr(umask=mask))["umask"] == mask


@pytest.mark.needs("dir")
@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_dir(reported: Spawner, kind: Callable[[str], Any], tmp_path: Path) -> None:
    place = tmp_path / "pl\udcffce"
    place.mkdir()
    assert reported(dir=kind(str(place))).cwd == os.fsencode(place)


@pytest.mark.needs("dir")
def test_a_relative_program_is_looked_up_in_dir(engine: str, tmp_path: Path) -> None:
    (tmp_path / "program").symlink_to("/bin/true")
    assert spawnkit.run(["./program"], dir=tmp_path, engine=engine).state.success
    with pytest.raises(FileNotFoundError):
        spawnkit.run(["./program"], engine=engine)


@pytest.mark.needs("rlimits")
@pytest.mark.parametrize(
    ("name", "value", "number", "expected"),
    [
        ("CORE", 0, resource.RLIMIT_CORE, (0, 0)),
        ("RLIMIT_CORE", 4096, resource.RLIMIT_CORE, (4096, 4096)),
        (resource.RLIMIT_CPU, (60, 120), resource.RLIMIT_CPU, (60, 120)),
        ("nofile", (32, 64), resource.RLIMIT_NOFILE, (32, 64)),
        ("NOFILE", 256, resource.RLIMIT_NOFILE, (256, 256)),
        ("FSIZE", (1 << 40, -1), resource.RLIMIT_FSIZE, (1 << 40, 2**64 - 1)),
        ("STACK", (1 << 20, 1 << 23), resource.RLIMIT_STACK, (1 << 20, 1 << 23)),
        ("AS", 1 << 34, resource.RLIMIT_AS, (1 << 34, 1 << 34)),
    ],
)
def test_rlimits(
    reported: Spawner, name: str | int, value: Any, number: int, expected: tuple[int, int]
) -> None:
    seen = reported(attr=SysProcAttr(rlimits={name: value}))
    assert seen.rlimits[number] == expected
    for other in set(range(16)) - {number}:
        assert seen.rlimits[other] == limits(other)


@pytest.mark.needs("rlimits")
def test_many_rlimits_at_once(reported: Spawner) -> None:
    wanted: dict[str | int, Any] = {
        "CORE": 0,
        "CPU": 100,
        "NOFILE": (50, 60),
        "FSIZE": 1 << 30,
        "NPROC": (900, 1000),
    }
    seen = reported(attr=SysProcAttr(rlimits=wanted))
    assert seen.rlimits[resource.RLIMIT_CORE] == (0, 0)
    assert seen.rlimits[resource.RLIMIT_CPU] == (100, 100)
    assert seen.rlimits[resource.RLIMIT_NOFILE] == (50, 60)
    assert seen.rlimits[resource.RLIMIT_FSIZE] == (1 << 30, 1 << 30)
    assert seen.rlimits[resource.RLIMIT_NPROC] == (900, 1000)


@pytest.mark.needs("rlimits")
def test_a_limit_that_may_not_be_set_is_an_error(engine: str) -> None:
    attr = SysProcAttr(rlimits={"NOFILE": 2**40})  # above fs.nr_open, for root too
    with pytest.raises(PermissionError, match="rlimit NOFILE") as caught:
        spawnkit.run(["/bin/true"], attr=attr, engine=engine)
    assert isinstance(caught.value, spawnkit.SpawnError)
    assert caught.value.stage == "rlimit"


@pytest.mark.needs("umask", "rlimits", "dir", "group", "ignore")
def test_all_at_once(reported: Spawner, tmp_path: Path) -> None:
    attr = SysProcAttr(
        setsid=True,
        umask=0o27,
        rlimits={"NOFILE": 40, "CORE": 0},
        sigmask=[10],
        sigignore=[12],
        sigdefault=[13],
    )
    with open(tmp_path / "in", "w+") as file:
        seen = reported(attr=attr, dir=tmp_path, stdin=file, env={"A": "1"})
        assert seen.fds[0].inode == os.fstat(file.fileno()).st_ino
    assert seen["sid"] == seen["pid"]
    assert seen["umask"] == 0o27
    assert seen.cwd == os.fsencode(tmp_path)
    assert seen.env == [b"A=1"]
    assert (seen.mask, seen.ignored) == ({10}, {12})
    assert seen.rlimits[resource.RLIMIT_NOFILE] == (40, 40)


def test_attributes_are_values() -> None:
    one, other = SysProcAttr(setsid=True, umask=0o22), SysProcAttr(umask=0o22, setsid=True)
    assert one == other
    assert hash(one) == hash(other)
    assert one != SysProcAttr(setsid=True)
    with pytest.raises(AttributeError):
        one.umask = 0o77
    assert "umask" in repr(one)
    assert "pgid" not in repr(one)


def test_one_attribute_object_serves_many_spawns(report: Reporter) -> None:
    attr = SysProcAttr(setsid=True)
    for engine in engines_claiming("group"):
        for _ in range(3):
            seen = report(lambda argv, e=engine: spawnkit.run(argv, attr=attr, engine=e))
            assert seen["sid"] == seen["pid"]
