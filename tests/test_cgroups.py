"""Cgroup: what is in it and from when, limits, the end of everything in it, and its own end."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import (
    PIPE,
    Cgroup,
    CgroupUsage,
    Cmd,
    _core,
    cgroup_homes,
    cgroup_kill,
    cgroup_tree,
    cgroups,
)
from support.children import Children
from support.isolated import Isolate
from support.proc import PROC

# Tells "ends" from "hangs".
HANGS_AFTER = 60.0
LIMITS: dict[str, Any] = {"memory_max": 64 << 20, "pids_max": 20, "cpu_max": 0.5}


def why_not(**limits: Any) -> str:
    """Why no such Cgroup can be made here; empty: it can."""
    try:
        with Cgroup(**limits):
            return ""
    except spawnkit.SpawnError as error:
        return str(error)


@pytest.fixture(autouse=True)
def _needs_cgroups() -> None:
    if reason := why_not():
        pytest.skip(reason)


def made(**limits: Any) -> Cgroup:
    """One with these limits; where they cannot be had the test is skipped."""
    if reason := why_not(**limits):
        pytest.skip(reason)
    return Cgroup(**limits)


@pytest.fixture(params=["at once", "frozen", "version 1"])
def killing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way to kill: Linux 5.14, before it, and version 1."""
    unified, old = cgroup_tree.own_cgroups()
    if request.param == "version 1":
        monkeypatch.setattr(cgroup_homes, "own_cgroups", lambda: (None, old))
        if reason := why_not():
            pytest.skip(reason)
    elif unified is None:
        pytest.skip("version 2 is not mounted")
    elif request.param == "frozen":
        monkeypatch.setattr(cgroup_kill, "_kill_at_once", lambda directory: False)


def memberships(text: bytes) -> set[str]:
    """Directories that are named in a /proc/…/cgroup."""
    return {line.split(":", 2)[2] for line in text.decode().splitlines()}


def said(cmd: Cmd, word: bytes, output: Any) -> None:
    """Returns when the program has said this."""
    data = b""
    while word not in data:
        assert select.select([output], [], [], HANGS_AFTER)[0], f"{cmd}: it never said so"
        data += os.read(output.fileno(), 4096)


@contextlib.contextmanager
def brood(children: Children, kind: str, group: Cgroup, **options: Any) -> Iterator[Cmd]:
    """`brood`, when it is ready; in the end it and its descendants have to be gone."""
    cmd = Cmd(children("brood"), kind, cgroup=group, **options)
    with cmd.stdout_pipe() as output:
        cmd.start()
        try:
            said(cmd, b"EAGAIN" if kind == "bomb" else b"up", output)
            yield cmd
            while output.read(4096):
                pass
        finally:
            with contextlib.suppress(spawnkit.ProcessDone):
                cmd.process.kill()
            cmd.wait(check=False)


# ---- in it ---------------------------------------------------------------------------------------


@pytest.mark.needs("cgroup")
def test_a_program_is_in_it_from_its_first_instruction(engine: str) -> None:
    """A122: the child says so itself; we are where we were, which the oracle looks at."""
    with Cgroup() as group:
        name = group.path or group.paths["freezer"]
        result = spawnkit.run(
            ["cat", "/proc/self/cgroup"], capture=True, cgroup=group, engine=engine
        )
        assert any(name.endswith(path) for path in memberships(result.stdout) - {"/"})
        cmd = Cmd("cat", "/proc/self/cgroup", stdout=PIPE, cgroup=group, engine=engine)
        cmd.start()
        cmd.wait()
        assert cmd.result is not None
        assert cmd.result.stdout == result.stdout


@pytest.mark.needs("cgroup")
@pytest.mark.parametrize("limit", LIMITS)
def test_it_is_in_each_hierarchy_that_a_limit_needs(engine: str, limit: str) -> None:
    with made(**{limit: LIMITS[limit]}) as group:
        seen = memberships(
            spawnkit.output(["cat", "/proc/self/cgroup"], cgroup=group, engine=engine)  # type: ignore[arg-type]
        )
        for path in group.paths.values():
            assert any(path.endswith(shown) for shown in seen - {"/"}), (path, seen)


def _moves(rules: str, engine: str) -> list[Any]:
    import os

    import spawnkit

    with spawnkit.Cgroup() as group:
        said = spawnkit.output(["cat", "/proc/self/cgroup"], cgroup=group, engine=engine)
        assert isinstance(said, bytes)
        inside = os.path.basename(group.path or "?") in said.decode()
    return [inside, spawnkit.features()["into_cgroup"]]


@pytest.mark.needs("cgroup")
def test_where_none_is_born_in_it_it_moves_there(engine: str, isolate: Isolate) -> None:
    assert isolate(_moves, "", engine)[0]
    assert isolate(_moves, "", engine, deny="clone3:ENOSYS") == [True, None]


def test_one_serves_many_commands(children: Children) -> None:
    with Cgroup() as group, brood(children, "daemon", group), brood(children, "stopped", group):
        assert len(group.procs()) == 4
        assert not spawnkit.run(["true"], cgroup=group).state.exit_code
        assert group.kill() == (4, [])
        assert group.procs() == []


@pytest.mark.parametrize(
    ("value", "error"),
    [(1, TypeError), ("/sys/fs/cgroup", TypeError), (Cgroup, TypeError)],
)
def test_something_else_is_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="cgroup: a Cgroup wanted"):
        spawnkit.run(["true"], cgroup=value)
    with pytest.raises(error, match="cgroup: a Cgroup wanted"):
        Cmd("true", cgroup=value).start()


def test_a_closed_one_is_refused() -> None:
    group = Cgroup()
    group.close()
    for use in (
        lambda: spawnkit.run(["true"], cgroup=group),
        lambda: Cmd("true", cgroup=group).run(),
        group.open,
        group.kill,
        group.procs,
        group.usage,
        lambda: group.path,
    ):
        with pytest.raises(ValueError, match="cgroup: closed"):
            use()
    group.close()


def test_the_posix_spawn_engine_refuses_it() -> None:
    with Cgroup() as group, pytest.raises(ValueError, match="cannot do 'cgroup'"):
        spawnkit.run(["true"], cgroup=group, engine="posix_spawn")


def test_a_clone_is_in_the_same() -> None:
    with Cgroup() as group:
        assert Cmd("true", cgroup=group).clone().cgroup is group


# ---- limits --------------------------------------------------------------------------------------


def test_the_kernel_has_the_limits_that_were_given() -> None:
    wanted = {
        "memory": {"memory.max": "67108864", "memory.limit_in_bytes": "67108864"},
        "pids": {"pids.max": "20"},
        "cpu": {"cpu.max": "50000 100000", "cpu.cfs_quota_us": "50000"},
    }
    with made(**LIMITS) as group:
        paths = group.paths
        for controller, files in wanted.items():
            found = {name: cgroup_tree.read(paths[controller], name) for name in files}
            there = {name: text.strip() for name, text in found.items() if text is not None}
            assert there
            assert there.items() <= files.items()


@pytest.mark.needs("cgroup")
def test_no_more_processes_than_pids_max(engine: str, children: Children) -> None:
    with made(pids_max=10) as group:
        counted = spawnkit.output([children("brood"), "count", "50"], cgroup=group, engine=engine)
        assert counted == b"9 %d\n" % errno.EAGAIN
        assert group.usage().pids_peak in (10, None)


@pytest.mark.needs("cgroup")
def test_no_more_memory_than_memory_max(engine: str, children: Children) -> None:
    if not re.search(r"^SwapTotal: +0 kB$", (PROC / "meminfo").read_text(), re.MULTILINE):
        pytest.skip("what is too much would go to swap")
    with made(memory_max=16 << 20) as group:
        eat = [children("brood"), "eat"]
        assert spawnkit.output([*eat, "4"], cgroup=group, engine=engine) == b"full\n"
        before = group.usage()
        assert (before.oom_kills or 0) == 0
        result = spawnkit.run([*eat, "64"], cgroup=group, engine=engine, check=False)
        assert result.state.sys().signal == signal.SIGKILL
        after = group.usage()
        assert after.oom_kills in (1, None)
        assert after.memory_peak is None or 4 << 20 <= after.memory_peak <= 16 << 20


def _spawns_from_a_large_process(engine: str) -> int | None:
    import spawnkit

    ours = bytearray(200 << 20)
    ours[::4096] = b"x" * len(ours[::4096])
    with spawnkit.Cgroup(memory_max=8 << 20) as group:
        spawnkit.run(["/bin/true"], cgroup=group, engine=engine)
        return group.usage().memory_peak


@pytest.mark.needs("cgroup")
def test_our_memory_is_not_charged_to_it(engine: str, isolate: Isolate) -> None:
    """Not in shared memory either, whose pages the child uses until exec."""
    made(memory_max=8 << 20)
    peak = isolate(_spawns_from_a_large_process, engine)
    assert peak is None or peak < 8 << 20


def test_usage_says_none_where_the_kernel_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    with Cgroup() as group:
        spawnkit.run(["true"], cgroup=group)
        assert isinstance(group.usage().cpu_time, (float, type(None)))
        monkeypatch.setattr(cgroups, "read_value", lambda *_: None)
        assert group.usage() == CgroupUsage()
        assert hash(group.usage()) == hash(CgroupUsage())
        assert "cpu_time=None" in repr(group.usage())


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"memory_max": 0}, ValueError, "memory_max: 0"),
        ({"memory_max": 1.5}, TypeError, "memory_max"),
        ({"memory_max": True}, TypeError, "memory_max"),
        ({"pids_max": 0}, ValueError, "pids_max: 0"),
        ({"pids_max": 5_000_000}, ValueError, "pids_max"),
        ({"cpu_max": 0}, ValueError, "cpu_max"),
        ({"cpu_max": float("nan")}, ValueError, "cpu_max"),
        ({"cpu_max": float("inf")}, ValueError, "cpu_max"),
        ({"cpu_max": "1"}, TypeError, "cpu_max"),
        ({"cpu_max": True}, TypeError, "cpu_max"),
        ({"parent": 3}, TypeError, "parent"),
        ({"parent": ""}, ValueError, "parent"),
        ({"parent": "/a\0b"}, ValueError, "parent"),
        ({"name": ""}, ValueError, "name"),
        ({"name": ".."}, ValueError, "name"),
        ({"name": "a/b"}, ValueError, "name"),
        ({"name": "a\0b"}, ValueError, "name"),
        ({"name": "a\nb"}, ValueError, "name"),
        ({"name": b"a"}, TypeError, "name"),
    ],
)
def test_wrong_values_are_refused_by_name(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Cgroup(**options)


# ---- kill ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("killing")
@pytest.mark.parametrize("kind", ["daemon", "stopped"])
def test_kill_ends_what_has_left_its_session_or_is_stopped(kind: str, children: Children) -> None:
    """A78: daemonised grandchildren die too, and the answer says how many there were."""
    with Cgroup() as group, brood(children, kind, group) as cmd:
        there = group.procs()
        assert cmd.process is not None
        assert cmd.process.pid in there
        assert group.kill() == (len(there), [])
        assert len(there) == 2
        assert group.procs() == []


@pytest.mark.usefixtures("killing")
def test_kill_ends_a_fork_bomb(children: Children) -> None:
    with made(pids_max=30) as group, brood(children, "bomb", group):
        killed, survivors = group.kill()
        assert killed >= 1
        assert survivors == []


@pytest.mark.usefixtures("killing")
def test_kill_of_an_empty_one_does_nothing() -> None:
    with Cgroup() as group:
        assert group.kill() == (0, [])


def _cgroup_below(group: Cgroup) -> str:
    """Where a program in it makes one of its own, and goes there."""
    path = group.path or group.paths["freezer"]
    return (
        f"mkdir -p {path}/a/b {path}/c && echo $$ >{path}/a/b/cgroup.procs && echo up && exec cat"
    )


@pytest.mark.usefixtures("killing")
def test_cgroups_of_its_programs_are_emptied_and_removed() -> None:
    read, write = os.pipe()
    with Cgroup() as group:
        top = group.path or group.paths["freezer"]
        cmd = Cmd("/bin/sh", "-c", _cgroup_below(group), stdin=read, cgroup=group)
        with cmd.stdout_pipe() as output:
            cmd.start()
            said(cmd, b"up", output)
            assert cmd.process is not None
            assert group.procs() == [cmd.process.pid]
            assert group.kill() == (1, [])
            cmd.wait(check=False)
    assert not os.path.exists(top)
    os.close(read)
    os.close(write)


def test_who_cannot_be_killed_in_time_is_named(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cgroup() as group, brood(children, "daemon", group):
        there = group.procs()
        with monkeypatch.context() as patched:
            patched.setattr(cgroup_kill, "_kill_at_once", lambda directory: True)
            patched.setattr(cgroup_kill, "_kill_frozen", lambda directory, unified: None)
            patched.setattr(cgroups, "_PATIENCE", 0.05)
            assert group.kill() == (0, there)
            with pytest.raises(OSError, match=str(there[0])) as caught:
                group.close()
            assert caught.value.errno == errno.EBUSY
            assert caught.value.filename in group._paths.values()
        group.close()


def _kills_itself() -> list[str]:
    import spawnkit
    from spawnkit import cgroup_tree

    with spawnkit.Cgroup() as group:
        path = group.path or group.paths["freezer"]
        home = path.rpartition("/")[0]
        with open(f"{path}/cgroup.procs", "w") as file:
            file.write("0")
        try:
            group.kill()
        except RuntimeError as error:
            said = str(error)
        with open(f"{home}/cgroup.procs", "w") as file:
            file.write("0")
    return [said, *cgroup_tree.tree(path)]


def test_who_is_in_it_is_not_made_to_kill_itself(isolate: Isolate) -> None:
    (said,) = isolate(_kills_itself)
    assert "this process itself" in said


# ---- its end -------------------------------------------------------------------------------------


def test_the_end_of_the_block_kills_and_removes_whatever_was_raised(children: Children) -> None:
    group = Cgroup()
    paths = group.paths
    with brood(children, "daemon", group), contextlib.suppress(KeyError), group:
        raise KeyError
    assert not any(map(os.path.exists, paths.values()))
    assert "closed" in repr(group)


def test_a_cgroup_that_was_removed_meanwhile_is_no_error() -> None:
    with Cgroup() as group:
        for path in group.paths.values():
            os.rmdir(path)
        assert group.procs() == []
        assert group.kill() == (0, [])


def test_one_that_is_dropped_warns_and_is_removed() -> None:
    group = Cgroup().open()
    paths = group.paths
    groups = [group]
    del group
    with pytest.warns(ResourceWarning, match="was dropped"):
        groups.clear()
    assert not any(map(os.path.exists, paths.values()))


def test_one_that_was_not_used_was_never_made() -> None:
    group = Cgroup()
    assert "not made" in repr(group)
    assert group._directories == []
    group.close()


def _is_forked() -> list[Any]:
    import os

    import spawnkit

    with spawnkit.Cgroup() as group:
        pid = os.fork()
        if pid == 0:
            try:
                group.kill()
            except RuntimeError:
                group.close()
                os._exit(0)
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        return [status, [os.path.exists(path) for path in group.paths.values()]]


def test_in_a_forked_process_it_is_nobodys(isolate: Isolate) -> None:
    status, there = isolate(_is_forked)
    assert status == 0
    assert all(there)


def _interrupts_at_each_instruction(kind: str) -> list[Any]:
    import os
    import warnings

    import spawnkit
    from spawnkit import cgroup_tree
    from support.strike import strike_everywhere

    warnings.simplefilter("ignore", ResourceWarning)  # where it strikes before or after the block

    def call() -> None:
        with spawnkit.Cgroup() as group:
            if kind == "run":
                spawnkit.run(["/bin/true"], cgroup=group)

    def check() -> list[str]:
        unified, old = cgroup_tree.own_cgroups()
        homes = {unified, *old.values()} - {None}
        mine = f"spawnkit-{os.getpid()}-"
        return [name for home in homes for name in os.listdir(home) if name.startswith(mine)]

    return strike_everywhere(call, check)


@pytest.mark.parametrize("kind", ["open", "run"])
def test_a_ctrl_c_at_any_instruction_leaves_no_cgroup(kind: str, isolate: Isolate) -> None:
    interrupted, wrong = isolate(_interrupts_at_each_instruction, kind)
    assert interrupted > 100
    assert not wrong


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.needs("cgroup")
def test_in_a_cgroup_that_is_gone_no_program_runs(
    engine: str, children: Children, tmp_path: Path
) -> None:
    """A122: dead: the error names it, and the program never ran."""
    marker = tmp_path / "ran"
    with Cgroup() as group:
        path = group.path or group.paths["freezer"]
        for each in group.paths.values():
            os.rmdir(each)
        with pytest.raises(FileNotFoundError) as caught:
            spawnkit.run([children("report"), str(marker)], cgroup=group, engine=engine)
    error = caught.value
    assert isinstance(error, spawnkit.SpawnError)
    assert (error.stage, error.errno, error.filename) == ("cgroup", errno.ENOENT, path)
    assert str(error).startswith(f"cgroup {path!r}: No such file or directory (it was removed")
    assert not marker.exists()


@pytest.mark.needs("cgroup")
def test_below_a_threaded_cgroup_no_program_runs(
    engine: str, children: Children, tmp_path: Path
) -> None:
    """A122: a cgroup that can have no processes."""
    marker = tmp_path / "ran"
    with Cgroup() as above:
        if above.path is None:
            pytest.skip("version 2 is not mounted")
        os.mkdir(f"{above.path}/threaded")
        Path(above.path, "threaded", "cgroup.type").write_text("threaded")
        with Cgroup(parent=above.path) as group, pytest.raises(OSError, match="threaded") as caught:
            spawnkit.run([children("report"), str(marker)], cgroup=group, engine=engine)
    assert isinstance(caught.value, spawnkit.SpawnError)
    assert (caught.value.stage, caught.value.errno) == ("cgroup", errno.EOPNOTSUPP)
    assert not marker.exists()


def _error_of_a_start(argv: list[str], engine: str, user: int) -> list[Any] | None:
    import os

    import spawnkit

    with spawnkit.Cgroup() as group:
        try:
            if user:
                os.seteuid(user)
            spawnkit.run(argv, cgroup=group, engine=engine)
        except spawnkit.SpawnError as error:
            return [error.stage, error.errno]
        finally:
            if user:
                os.seteuid(0)
    return None


@pytest.mark.needs("cgroup")
def test_where_we_may_not_write_no_program_runs(
    engine: str, children: Children, isolate: Isolate, tmp_path: Path
) -> None:
    """A122: denied (EACCES)."""
    if os.getuid():
        pytest.skip("only root can become somebody else for a moment")
    tmp_path.chmod(0o777)
    marker = tmp_path / "ran"
    arguments = [children("report"), str(marker)], engine, 65534
    assert isolate(_error_of_a_start, *arguments, oracle=False) == ["cgroup", errno.EACCES]
    assert not marker.exists()


@pytest.mark.needs("cgroup")
def test_where_it_is_no_leaf_no_program_runs(
    engine: str, children: Children, isolate: Isolate, tmp_path: Path
) -> None:
    """A122: non-leaf (EBUSY), here from a filter; as before Linux 5.3, the child moves itself."""
    marker = tmp_path / "ran"
    arguments = [children("report"), str(marker)], engine, 0
    rules = f"clone3:ENOSYS,openat[2&{os.O_ACCMODE}={os.O_WRONLY}]:EBUSY"
    error = isolate(_error_of_a_start, *arguments, later=rules, oracle=False)
    assert error == ["cgroup", errno.EBUSY]
    assert not marker.exists()


def _fails_to_open(user: int, limits: dict[str, int]) -> list[Any]:
    import os

    import spawnkit

    os.seteuid(user)
    try:
        spawnkit.Cgroup(**limits).open()  # type: ignore[arg-type]
    except spawnkit.SpawnError as error:
        return [error.stage, error.errno, str(error)]
    finally:
        os.seteuid(0)
    return []


def test_a_cgroup_that_is_not_ours_says_what_to_do(isolate: Isolate) -> None:
    if os.getuid():
        pytest.skip("only root can become somebody else for a moment")
    stage, number, text = isolate(_fails_to_open, 65534, {}, oracle=False)
    assert (stage, number) == ("cgroup", errno.EACCES)
    assert "systemd-run --user --scope -p Delegate=yes" in text


def test_a_controller_that_is_not_enabled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    unified, _ = cgroup_tree.own_cgroups()
    if unified is None:
        pytest.skip("version 2 is not mounted")
    with Cgroup() as above:
        assert above.path is not None
        switch = f"{above.path}/cgroup.subtree_control"
        with pytest.raises(FileNotFoundError) as caught:
            Cgroup(memory_max=1 << 20, parent=above.path).open()
        assert "memory" in str(caught.value)
        assert caught.value.filename == switch
        monkeypatch.setattr(cgroup_homes, "own_cgroups", lambda: (above.path, {}))
        with pytest.raises(FileNotFoundError) as caught:
            Cgroup(pids_max=9).open()
        assert "'pids'" in str(caught.value)
        assert switch in str(caught.value)


@pytest.fixture
def delegated(tmp_path: Path) -> Path:
    """What looks like a cgroup of version 2 with all controllers, where this kernel has none."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    return tmp_path


def test_a_parent_gives_the_controllers_that_are_wanted(
    delegated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2's files, and what stands in them."""
    written = []
    monkeypatch.setattr(_core, "write_file", lambda *file: written.append(file) or 0)
    with Cgroup(**LIMITS, parent=delegated, name="one") as group:
        path = f"{delegated}/one"
        assert group.paths == dict.fromkeys(["unified", "memory", "pids", "cpu"], path)
        assert group._places() == [(os.fsencode(path), True)]
        files = {
            "memory.peak": "4096",
            "memory.events": "oom 3\noom_kill 2\noom_group_kill 1",
            "cpu.stat": "usage_usec 1500000\nuser_usec 9",
            "pids.peak": "7",
        }
        for name, text in files.items():
            Path(path, name).write_text(text)
        assert group.usage() == CgroupUsage(4096, 2, 1.5, 7)
        for name in files:
            Path(path, name).unlink()
    switch = f"{delegated}/cgroup.subtree_control"
    assert written == [
        (switch, "+memory"),
        (switch, "+pids"),
        (switch, "+cpu"),
        (f"{path}/memory.max", str(64 << 20)),
        (f"{path}/pids.max", "20"),
        (f"{path}/cpu.max", "50000 100000"),
    ]
    assert not os.path.exists(path)


def test_a_parent_with_processes_of_its_own_says_so(
    delegated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "write_file", lambda *_: -errno.EBUSY)
    with pytest.raises(OSError, match="it has processes of its own") as caught:
        Cgroup(pids_max=9, parent=delegated).open()
    assert caught.value.filename == f"{delegated}/cgroup.subtree_control"


def test_where_nothing_is_mounted_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cgroup_homes, "own_cgroups", lambda: (None, {}))
    with pytest.raises(FileNotFoundError, match="neither version 2 nor the freezer"):
        Cgroup().open()
    monkeypatch.setattr(cgroup_homes, "own_cgroups", lambda: (None, {"freezer": "/nowhere"}))
    with pytest.raises(FileNotFoundError, match="no hierarchy that has it is mounted"):
        Cgroup(memory_max=9).open()
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        Cgroup().open()
    missing = tmp_path / "cgroup"
    monkeypatch.undo()
    monkeypatch.setattr(cgroup_tree, "_lines", lambda _: missing.read_bytes().splitlines())
    with pytest.raises(FileNotFoundError, match=f"our own cgroup '{missing}'"):
        Cgroup().open()
    monkeypatch.undo()


def test_a_parent_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A122: version 1 and no cgroup at all."""
    _, old = cgroup_tree.own_cgroups()
    for parent in (tmp_path, tmp_path / "missing", *list(old.values())[:1]):
        with pytest.raises(ValueError, match="no directory of a cgroup of version 2"):
            Cgroup(parent=parent).open()


def test_a_name_that_is_taken_is_left_to_its_owner() -> None:
    with Cgroup() as group:
        name = os.path.basename(next(iter(group.paths.values())))
        other = Cgroup(name=name)
        with pytest.raises(FileExistsError) as caught:
            other.open()
        assert caught.value.filename in group.paths.values()
        other.close()
        assert all(map(os.path.exists, group.paths.values()))


def test_a_limit_that_the_kernel_refuses_is_named_and_nothing_is_left() -> None:
    made(cpu_max=1.0)
    group = Cgroup(cpu_max=1e15)
    with pytest.raises(OSError, match="cgroup limit '100000000000000000000") as caught:
        group.open()
    assert isinstance(caught.value, spawnkit.SpawnError)
    assert caught.value.stage == "cgroup"
    assert group._directories == []
    group.close()


# ---- where they are mounted ----------------------------------------------------------------------

MOUNTS = {
    "version 2": (
        ["30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"],
        ["0::/user.slice/a.scope"],
        ("/sys/fs/cgroup/user.slice/a.scope", {}),
    ),
    "of a namespace": (
        ["30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw"],
        ["0::/"],
        ("/sys/fs/cgroup", {}),
    ),
    "both": (
        [
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755",
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
            "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd",
            "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
        ],
        ["3:cpu,cpuacct:/x", "2:name=systemd:/y", "1:pids:/not/mounted", "0::/z"],
        (
            "/sys/fs/cgroup/unified/z",
            {
                "cpu": "/sys/fs/cgroup/cpu,cpuacct/x",
                "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/x",
                "name=systemd": "/sys/fs/cgroup/systemd/y",
            },
        ),
    ),
    "of a container, bound": (
        ["50 40 0:29 /docker/1f /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids"],
        ["5:pids:/docker/1f/in"],
        (None, {"pids": "/sys/fs/cgroup/pids/in"}),
    ),
    "outside of what is mounted": (
        ["50 40 0:29 /docker/1f /sys/fs/cgroup ro - cgroup2 cgroup2 rw"],
        ["0::/docker/1f2"],
        (None, {}),
    ),
    "above a namespace": (
        ["50 40 0:29 /../.. /sys/fs/cgroup ro - cgroup2 cgroup2 rw"],
        ["0::/"],
        (None, {}),
    ),
    "outside of our namespace": (
        ["50 40 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"],
        ["0::/../other"],
        (None, {}),
    ),
    "with a blank": (
        [r"50 40 0:29 / /a\040b rw - cgroup2 cgroup2 rw"],
        ["0::/c:d"],
        ("/a b/c:d", {}),
    ),
}


@pytest.mark.parametrize(("mounts", "own", "found"), MOUNTS.values(), ids=MOUNTS.keys())
def test_our_own_cgroups_are_found(
    mounts: list[str], own: list[str], found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"/proc/self/mountinfo": mounts, "/proc/self/cgroup": own}
    lines: Callable[[str], list[bytes]] = lambda path: [line.encode() for line in files[path]]  # noqa: E731
    monkeypatch.setattr(cgroup_tree, "_lines", lines)
    assert cgroup_tree.own_cgroups() == found
    monkeypatch.undo()
