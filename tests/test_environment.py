"""The environment a program gets: Env and its edits, PWD, and what stays as it was."""

from __future__ import annotations

import copy
import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import Env, _core, environment
from support.children import Report
from support.isolated import Isolate

Reporter = Callable[..., Report]


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A known environment of our own, for a test that starts nothing."""
    block = [b"A=1", b"LC_ALL=C", b"LC_TIME=x=y", b"PATH=/bin", b"PWD=/old", b"a=lower", b"E="]
    given(monkeypatch, block)


def given(monkeypatch: pytest.MonkeyPatch, strings: list[bytes]) -> None:
    block = b"".join(string + b"\0" for string in strings)
    monkeypatch.setattr(_core, "environment", lambda: (block, len(strings)))


def strings(env: Any, dir: bytes | None = None) -> list[bytes]:
    block, count = environment.resolve(env, dir)
    assert block.count(b"\0") == count
    assert not block or block.endswith(b"\0")
    return block.split(b"\0")[:-1]


# ---- edits --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        (Env.empty(), ""),
        (Env.empty().set("A", "1"), "A=1"),
        (Env.empty().set(A="1", B="2").set({"C": "3"}), "A=1 B=2 C=3"),
        (Env.empty().set({b"A": b"1"}, B="2"), "A=1 B=2"),
        (Env.empty().set(b"A", Path("/x")).set("A", ""), "A="),
        (Env.empty().set("A", "1").set("B", "2").set("A", "3"), "B=2 A=3"),
        (Env.empty().set("name", "1").set(name="2", value="3", self="4"), "name=2 value=3 self=4"),
        (Env.empty().set({}).set(), ""),
        (Env.inherit().only(), ""),
        (Env.inherit().only("PATH"), "PATH=/bin"),
        (Env.inherit().only("PATH", "LC_*"), "LC_ALL=C LC_TIME=x=y PATH=/bin"),
        (Env.inherit().only("?"), "A=1 a=lower E="),
        (Env.inherit().only("[A-E]"), "A=1 E="),
        (Env.inherit().only(b"lc_*"), ""),
        (Env.inherit().only("LC_*").unset("LC_ALL").set(A="x"), "LC_TIME=x=y A=x"),
        (Env.inherit().set(NEW="x").only("NEW"), "NEW=x"),
        (Env.inherit().only("A").unset("*"), ""),
        (Env.inherit().unset("LC_*", "none", "E").unset(b"[Aa]"), "PATH=/bin PWD=/old"),
        (Env.inherit().unset().only("A", "PATH").unset("AP"), "A=1 PATH=/bin"),
        (Env.inherit().only("A").set("A", "1"), "A=1"),
    ],
    ids=repr,
)
def test_edits_are_done_in_order(env: Env, wanted: str) -> None:
    assert strings(env) == wanted.encode().split()


@pytest.mark.usefixtures("ours")
def test_patterns_match_letters_and_not_bytes() -> None:
    env = Env.empty().set("Ä", "1").set(b"B\xff", "2").set("C", "3")
    assert strings(env.only("?")) == ["Ä=1".encode(), b"C=3"]
    assert strings(env.unset("[Ä]", b"?\xff")) == [b"C=3"]


def test_the_environment_is_taken_when_the_command_starts(
    engine: str, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = Env.inherit().only("SPAWNKIT_*").set(B="2")
    monkeypatch.setenv("SPAWNKIT_TEST", "later")
    assert report(lambda argv: spawnkit.run(argv, env=env, engine=engine)).env == [
        b"SPAWNKIT_TEST=later",
        b"B=2",
    ]


def test_an_env_may_be_used_for_start_process_and_cmd(report: Reporter) -> None:
    env = Env.empty().set(A="1")
    attr = spawnkit.ProcAttr(env=env)
    for spawn in (
        lambda argv: spawnkit.Cmd(*argv, env=env).run(),
        lambda argv: spawnkit.start_process(argv[0], argv, attr).wait(),
    ):
        assert report(spawn).env == [b"A=1"]


def test_an_env_is_a_value() -> None:
    made = [
        Env.inherit(),
        Env.empty(),
        Env.inherit().set(A="1"),
        Env.empty().set(A="1"),
        Env.inherit().set(A="2"),
        Env.inherit().unset("A"),
        Env.inherit().only("A"),
    ]
    assert len(set(made)) == len(made)
    for env in made:
        for same in copy.copy(env), copy.deepcopy(env), pickle.loads(pickle.dumps(env)):
            assert same == env
            assert hash(same) == hash(env)
    assert made[2] == Env.inherit().set({b"A": b"1"})
    assert Env.empty() != {}
    base = Env.empty()
    assert base.set(A="1") is not base
    assert base == Env.empty()
    with pytest.raises(AttributeError, match="immutable"):
        base._edits = ()
    with pytest.raises(AttributeError, match="immutable"):
        del base._edits
    with pytest.raises(AttributeError):
        base.other = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"Env\.inherit\(\)"):
        Env()


def test_values_are_not_shown() -> None:
    env = Env.inherit().unset("LC_*", b"B").set(TOKEN="secret").only("T?K*")
    assert repr(env) == "Env.inherit().unset('LC_*', 'B').set('TOKEN', ...).only('T?K*')"
    assert repr(Env.empty()) == "Env.empty()"


@pytest.mark.parametrize(
    ("edit", "kind", "message"),
    [
        (lambda env: env.set("", "x"), ValueError, "env: empty key"),
        (lambda env: env.set("A=B", "x"), ValueError, "env: '=' in key 'A=B'"),
        (lambda env: env.set("A\0", "x"), ValueError, r"env key 'A\\x00': NUL byte at 1"),
        (lambda env: env.set(A="x\0BAR=bar"), ValueError, r"env\['A'\]: NUL byte at 1"),
        (lambda env: env.set(A="x", B=1), TypeError, r"env\['B'\]: .*not 1"),
        (lambda env: env.set(A=True), TypeError, r"env\['A'\]: .*not True"),
        (lambda env: env.set("A", None), TypeError, r"env\['A'\]: .*not None"),
        (lambda env: env.set("A"), TypeError, r"env\['A'\]"),
        (lambda env: env.set(1, "x"), TypeError, "env key 1: "),
        (lambda env: env.set(None, "x"), TypeError, "env key None: "),
        (lambda env: env.set({"A": "1"}, "x"), TypeError, "a mapping has its values"),
        (lambda env: env.set({"A": 1}), TypeError, r"env\['A'\]"),
        (lambda env: env.set([("A", "1")]), TypeError, "env key"),
        (lambda env: env.unset("A", ""), ValueError, "unset: pattern 1: empty"),
        (lambda env: env.unset("A=1"), ValueError, "unset: pattern 0: '=' in 'A=1'"),
        (lambda env: env.only("A\0"), ValueError, "only: pattern 0: NUL"),
        (lambda env: env.only(["A", "B"]), TypeError, "only: pattern 0: str or bytes"),
        (lambda env: env.unset(1), TypeError, "unset: pattern 0: str or bytes wanted, not 1"),
    ],
)
def test_names_values_and_patterns_are_checked_when_given(
    edit: Callable[[Any], object], kind: type[Exception], message: str
) -> None:
    """A11-A13: NUL, "=", empty names and what is no text, named at once."""
    with pytest.raises(kind, match=message):
        edit(Env.inherit())


# ---- what the C library has ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("k1=v1 K1=V2 k1=v3", "K1=V2 k1=v3"),
        ("=a =b foo bar", "=b foo bar"),
        ("=C:=C:\\golang =D:=D:\\tmp =D:=D:\\", "=C:=C:\\golang =D:=D:\\"),
        ("dodgy entries dodgy", "dodgy entries dodgy"),
        ("FOO=bad FOO=good", "FOO=good"),
        ("A=", "A="),
        ("", ""),
    ],
)
def test_of_a_name_given_twice_the_last_one_counts(
    before: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, before.encode().split())
    assert strings(Env.inherit()) == after.encode().split()
    assert strings(None) == before.encode().split()  # without an Env nobody looks at them


def test_strings_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept, unless only what has a name is wanted; empty ones are dropped."""
    given(monkeypatch, [b"dodgy", b"", b"A=1", b"=x"])
    assert strings(Env.inherit().unset("dodgy", "A")) == [b"dodgy", b"=x"]
    assert strings(Env.inherit().unset("*")) == [b"dodgy"]
    assert strings(Env.inherit().only("*")) == [b"A=1", b"=x"]
    assert environment.as_dict(None, None) == {"A": "1", "": "x"}
    given(monkeypatch, [])
    assert strings(Env.inherit()) == strings(None) == []


def test_strange_strings_reach_the_program(isolate: Isolate, tmp_path: Path) -> None:
    """Through the real environment: what putenv(3) and a parent may have left there."""
    assert isolate(_inherits_strange_strings, oracle=False) == [
        "X=1\0dodgy\0X=2\0",
        "dodgy\0X=2\0",
        "dodgy\0X=2\0PWD=/\0",
    ]


def _inherits_strange_strings() -> list[str]:
    import ctypes

    import spawnkit
    from support.proc import PROC

    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    strings = (ctypes.c_char_p * 4)(b"X=1", b"dodgy", b"X=2", None)
    before = ctypes.cast(environ, ctypes.c_void_p).value
    place = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ")
    place.value = ctypes.addressof(strings)
    try:
        seen = []
        for options in {}, {"env": spawnkit.Env.inherit()}, {"dir": "/"}:
            result = spawnkit.run(["/bin/cat", f"{PROC}/self/environ"], capture=True, **options)
            seen.append((result.stdout or b"").decode())
    finally:
        place.value = before
    return seen


# ---- PWD ----------------------------------------------------------------------------------------


@pytest.mark.needs("dir")
@pytest.mark.parametrize("env", [None, Env.inherit()], ids=["None", "inherit"])
@pytest.mark.parametrize("dir", [".", "..", "sub", "sub/../sub/.", "{}", "{}/..", "{}/sub//"])
def test_pwd_is_the_directory_the_program_starts_in(
    dir: str,
    env: Env | None,
    engine: str,
    report: Reporter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once, absolute, and true; ours stays as it is."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    for before in "/old", None:
        if before is None:
            monkeypatch.delenv("PWD")
        else:
            monkeypatch.setenv("PWD", before)
        where = dir.format(tmp_path)
        seen = report(lambda argv: spawnkit.run(argv, dir=where, env=env, engine=engine))  # noqa: B023
        assert [s for s in seen.env if s.startswith(b"PWD=")] == [b"PWD=" + seen.cwd]
        assert seen.cwd == os.fsencode(os.path.realpath(where))
        assert os.environ.get("PWD") == before


def test_without_a_directory_pwd_is_inherited(
    report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in "/old", None:
        monkeypatch.setenv("PWD", value) if value else monkeypatch.delenv("PWD")
        for env in None, Env.inherit():
            seen = report(lambda argv: spawnkit.run(argv, env=env)).env  # noqa: B023
            assert [s for s in seen if s.startswith(b"PWD=")] == ([b"PWD=/old"] if value else [])


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({"PWD": "/link"}, [b"PWD=/link"]),
        ({}, []),
        (Env.inherit().set(PWD="/link"), [b"PWD=/link"]),
        (Env.inherit().unset("PWD"), []),
        (Env.inherit().only("A"), []),
        (Env.empty(), []),
        (Env.empty().set(PWD="/link"), [b"PWD=/link"]),
    ],
)
def test_a_pwd_that_was_written_down_stays(env: Any, wanted: list[bytes], report: Reporter) -> None:
    """A mapping is the whole environment; edits come after the PWD that we set."""
    seen = report(lambda argv: spawnkit.run(argv, env=env, dir="/")).env
    assert [s for s in seen if s.startswith(b"PWD=")] == wanted


def test_a_link_is_named_as_it_was_given(report: Reporter, tmp_path: Path) -> None:
    """PWD may go through symbolic links, and shells go by it when it is true."""
    link = tmp_path / "link"
    link.symlink_to("/usr")
    assert os.fsencode(f"PWD={link}") in report(lambda argv: spawnkit.run(argv, dir=link)).env
    result = spawnkit.run(["/bin/sh", "-c", "pwd"], dir=link, capture=True)
    assert result.stdout == os.fsencode(f"{link}\n")


def test_start_process_leaves_pwd_alone(
    report: Reporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As os.StartProcess does; it is the Cmd that sets it."""
    monkeypatch.setenv("PWD", "/old")
    for env in None, Env.inherit():
        attr = spawnkit.ProcAttr(dir=tmp_path, env=env)
        seen = report(lambda argv: spawnkit.start_process(argv[0], argv, attr).wait())  # noqa: B023
        assert b"PWD=/old" in seen.env
        assert seen.cwd == os.fsencode(tmp_path.resolve())


def test_changes_are_seen_between_commands_in_a_directory(
    report: Reporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was worked out for the last command must not serve when anything has changed."""

    def seen(dir: object) -> list[bytes]:
        env = report(lambda argv: spawnkit.run(argv, dir=dir)).env
        return [s for s in env if s.startswith((b"PWD=", b"SPAWNKIT_TEST="))]

    (tmp_path / "sub").mkdir()
    monkeypatch.setenv("SPAWNKIT_TEST", "1")
    for path in tmp_path, tmp_path / "sub", tmp_path:
        monkeypatch.chdir(path)
        for _ in range(2):
            assert seen(".")[::-1] == [os.fsencode(f"PWD={path}"), b"SPAWNKIT_TEST=1"]
    monkeypatch.setenv("SPAWNKIT_TEST", "2")
    assert b"SPAWNKIT_TEST=2" in seen(".")


def test_a_directory_of_ours_that_is_gone(isolate: Isolate, tmp_path: Path) -> None:
    """Relative to what, nobody can say; an absolute one needs no answer."""
    (tmp_path / "gone").mkdir()
    assert isolate(_in_a_removed_directory, str(tmp_path / "gone"), oracle=False) == [
        ["chdir", errno.ENOENT, "our own directory, for '.': No such file or directory"],
        "/",
    ]


def _in_a_removed_directory(path: str) -> list[object]:
    import os

    import spawnkit

    os.chdir(path)
    os.rmdir(path)
    said: list[object] = []
    try:
        spawnkit.run(["/bin/true"], dir=".")
    except spawnkit.SpawnError as error:
        said.append([error.stage, error.errno, str(error)])
    out = spawnkit.run(["/bin/sh", "-c", 'printf %s "$PWD"'], dir="/", capture=True).stdout
    return [*said, (out or b"").decode()]


@pytest.mark.usefixtures("ours")
def test_the_environment_by_name() -> None:
    assert environment.as_dict(Env.inherit().only("LC_*", "P*"), b"/tmp/../usr") == {
        "LC_ALL": "C",
        "LC_TIME": "x=y",
        "PATH": "/bin",
        "PWD": "/usr",
    }
    assert environment.as_dict({"A": "\udcff", b"B": b"\xfe"}, b"/") == {
        "A": "\udcff",
        "B": "\udcfe",
    }
    assert environment.as_dict({}, None) == {}
