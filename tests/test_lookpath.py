"""Finding programs on PATH: what is found, what is refused, and what is said when nothing is."""

from __future__ import annotations

import copy
import errno
import os
import pickle
from pathlib import Path

import pytest

import spawnkit
from support.isolated import Isolate


def program(path: Path, mode: int = 0o755) -> Path:
    """An executable file; of what kind does not matter to a search."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\1\2\3")
    path.chmod(mode)
    return path


def search_fails(name: str | bytes, **options: str) -> spawnkit.SpawnError:
    with pytest.raises(spawnkit.SpawnError) as caught:
        spawnkit.look_path(name, **options)
    assert caught.value.stage == "lookpath"
    return caught.value


def test_the_first_executable_on_path_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "one" / "tool", 0o644)
    (tmp_path / "two" / "tool").mkdir(parents=True)
    wanted = program(tmp_path / "three" / "tool")
    program(tmp_path / "four" / "tool")
    directories = ":".join(str(tmp_path / name) for name in ("none", "one", "two", "three", "four"))
    assert spawnkit.look_path("tool", path=directories) == str(wanted)
    monkeypatch.setenv("PATH", directories)
    for name in "tool", b"tool", Path("tool"):
        assert spawnkit.look_path(name) == str(wanted)


def test_a_name_with_a_slash_is_literal_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program(tmp_path / "tool")
    assert spawnkit.look_path("./tool", path="/none") == "./tool"
    assert spawnkit.look_path(str(tmp_path / "tool")) == str(tmp_path / "tool")
    for name, number in [
        ("./none", errno.ENOENT),
        ("non-existent-path/slashed", errno.ENOENT),
        ("./tool/x", errno.ENOTDIR),
        ("abc/..", errno.ENOENT),
        ("../", errno.EACCES),
    ]:
        error = search_fails(name)
        assert (error.errno, error.filename) == (number, name)
    assert search_fails("../").hint == "it is a directory"
    assert search_fails("/dev/null").hint == "it is no regular file"


@pytest.mark.parametrize("name", ["", ".", "..", "some-non-existent-path"])
def test_what_is_no_program_is_not_found(name: str, tmp_path: Path) -> None:
    """A15: also where PATH names an executable file, or something below one (CVE-2025-47906)."""
    file = program(tmp_path / "tool")
    for path in None, str(tmp_path), str(file), f"{file}/xx", "", ".", ":":
        options = {} if path is None else {"path": path}
        error = search_fails(name, **options)
        assert isinstance(error, FileNotFoundError)
        assert error.filename == name


@pytest.mark.parametrize(
    ("directory", "found"),
    [("", "./tool"), (".", "./tool"), ("bin", "bin/tool"), ("../here/bin/", "../here/bin/tool")],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_hit_relative_to_our_directory_is_refused(
    directory: str, found: str, later: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A15: also where a later directory has the program too: a shell would run this one."""
    here = tmp_path / "here"
    for path in here / "tool", here / "bin" / "tool", tmp_path / "absolute" / "tool":
        program(path)
    monkeypatch.chdir(here)
    rest = f":{tmp_path}/absolute" if later else ":/none"
    monkeypatch.setenv("PATH", f"/no/such/directory:{directory}{rest}")
    for fails in lambda: spawnkit.look_path("tool"), lambda: spawnkit.run(["tool"]):
        with pytest.raises(spawnkit.DotError) as caught:
            fails()
        error = caught.value
        assert (error.path, error.filename, error.name) == (found, found, "tool")
        assert (error.stage, error.errno, error.signal) == ("lookpath", None, None)
        assert str(error) == (
            f"program 'tool': found as {found!r}, through a relative element of PATH (to run that "
            f"file, write {found!r})"
        )
        for copied in copy.copy(error), pickle.loads(pickle.dumps(error)):
            assert type(copied) is spawnkit.DotError
            assert (str(copied), vars(copied)) == (str(error), vars(error))


def test_an_earlier_absolute_hit_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = program(tmp_path / "here" / "tool"), program(tmp_path / "there" / "tool")
    monkeypatch.chdir(here.parent)
    assert spawnkit.look_path("tool", path=f"{there.parent}:.") == str(there)
    # The directory is the same, its name is absolute.
    assert spawnkit.look_path("tool", path=f"{here.parent}:.") == str(here)
    assert spawnkit.look_path("tool", path=f"bin:{there.parent}") == str(there)


def test_an_empty_path_has_no_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the current one, other than for execvp(3)."""
    monkeypatch.chdir(program(tmp_path / "tool").parent)
    monkeypatch.setenv("PATH", "")
    assert isinstance(search_fails("tool"), FileNotFoundError)


def test_without_a_path_the_c_librarys_default_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert spawnkit.look_path("sh") in ("/bin/sh", "/usr/bin/sh")


@pytest.mark.parametrize(
    ("first", "number"), [("locked", errno.EACCES), ("loop", errno.ELOOP), ("long", 36)]
)
def test_the_first_error_that_says_more_than_not_here_is_kept(
    first: str, number: int, tmp_path: Path
) -> None:
    """A21: the first non-ENOENT error of the PATH walk is preserved, and names the file."""
    program(tmp_path / "locked" / "tool", 0o644)
    program(tmp_path / "later" / "tool", 0o600)
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "tool").symlink_to("tool")
    directory = {"long": "/" + "x" * 300}.get(first, f"{tmp_path}/{first}")
    path = f"/none:/dev/null:{directory}:/none:{tmp_path}/later"
    error = search_fails("tool", path=path)
    assert error.errno == number
    assert error.filename == f"{directory}/tool"
    # What can run comes first all the same.
    assert spawnkit.look_path("sh", path=f"{path}:/bin") == "/bin/sh"


def test_the_kept_error_is_that_of_the_start_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A21: the same for the search that run() makes."""
    program(tmp_path / "tool", 0o644)
    monkeypatch.setenv("PATH", f"/none:{tmp_path}:/none")
    with pytest.raises(PermissionError) as caught:
        spawnkit.run(["tool"])
    assert caught.value.filename == str(tmp_path / "tool")


def test_the_path_searched_is_ours_and_not_the_childs(tmp_path: Path) -> None:
    program(tmp_path / "tool")
    with pytest.raises(FileNotFoundError):
        spawnkit.run(["tool"], env={"PATH": str(tmp_path)})
    assert spawnkit.run(["true"], env={"PATH": "/none"}).state.success


@pytest.mark.parametrize(
    ("name", "path", "kind", "message"),
    [
        ("a\0", None, ValueError, "name: NUL"),
        ("a", "/\0", ValueError, "path: NUL"),
        (3, None, TypeError, "name: "),
        (None, None, TypeError, "name: "),
        ("a", ["/bin"], TypeError, "path: "),
        ("\ud800", None, ValueError, "name: cannot be encoded"),
    ],
)
def test_bad_names_are_refused(
    name: str, path: str | None, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        spawnkit.look_path(name, path=path)


@pytest.mark.parametrize("refused", ["", "faccessat2:ENOSYS", "faccessat2:EPERM"])
def test_a_file_system_mounted_noexec_is_seen(
    refused: str, isolate: Isolate, tmp_path: Path
) -> None:
    """Also where faccessat2 is missing, or refused by a filter that does not know it."""
    said = isolate(_on_noexec, str(tmp_path), later=refused, oracle=False)
    if said is None:
        pytest.skip("no file system can be mounted here")
    hint = "Permission denied (its file system is mounted noexec)"
    assert said == [
        f"{tmp_path}/tool",
        f"program '{tmp_path}/tool': {hint}",
        f"program '{tmp_path}/tool': {hint}",
        f"exec '{tmp_path}/tool': {hint}",
        f"interpreter '{tmp_path}/tool' of '{tmp_path}-script': {hint}",
    ]


def _on_noexec(directory: str) -> list[str] | None:
    import ctypes
    import os
    import shutil

    import spawnkit

    clone_newns, ms_noexec, ms_remount, ms_rec, ms_private = 0x20000, 8, 32, 16384, 1 << 18
    libc = ctypes.CDLL(None)
    where = directory.encode()
    if libc.unshare(clone_newns) or libc.mount(b"none", b"/", None, ms_rec | ms_private, None):
        return None
    if libc.mount(b"none", where, b"tmpfs", 0, None):
        return None
    tool = f"{directory}/tool"
    shutil.copy("/bin/true", tool)
    script = f"{directory}-script"
    with open(script, "w") as file:
        file.write(f"#!{tool}\n")
    os.chmod(script, 0o755)
    said = [spawnkit.look_path("tool", path=directory)]
    assert spawnkit.run([script]).state.success
    assert libc.mount(b"none", where, None, ms_remount | ms_noexec, None) == 0
    for fails in (
        lambda: spawnkit.look_path("tool", path=directory),
        lambda: spawnkit.look_path(tool),
        lambda: spawnkit.run([tool]),
        lambda: spawnkit.run([script]),
    ):
        try:
            fails()
        except spawnkit.SpawnError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize(
    ("real", "effective", "found"), [(65534, 0, True), (0, 65534, False), (65534, 65534, False)]
)
def test_the_effective_ids_decide(real: int, effective: int, found: bool, isolate: Isolate) -> None:
    """As for execve; access(2) by itself would go by the real ones."""
    if os.geteuid():
        pytest.skip("only root can change its ids")
    said = isolate(_search_with_ids, real, effective, oracle=False)
    assert said == ("found" if found else "Permission denied")


def _search_with_ids(real: int, effective: int) -> str | None:
    import os
    import tempfile

    import spawnkit

    # Not below a directory of pytest's, where others may not even look.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        tool = f"{directory}/tool"
        os.close(os.open(tool, os.O_CREAT, 0o700))
        os.setresuid(real, effective, 0)
        try:
            assert os.stat(tool).st_mode & 0o777 == 0o700
            spawnkit.look_path("tool", path=directory)
        except spawnkit.SpawnError as error:
            return error.strerror
        finally:
            os.setresuid(0, 0, 0)
    return "found"
