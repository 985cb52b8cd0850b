"""The adapters without their tools: what can be told by calling the hooks. `make adapters`: with.

What the conventions are is what `subprocess.Popen` does: it is asked, too.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spawnkit
from spawnkit.adapters import scons, waf
from spawnkit.adapters.simple import is_plain, simple_words
from support.isolated import Isolate
from test_import import modules_loaded_by

ENV = {"PATH": "/usr/bin:/bin"}
SHELLS = [shell for shell in ("/bin/dash", "/bin/bash") if os.path.exists(shell)]


def popen(*arguments: Any, **options: Any) -> int:
    with subprocess.Popen(*arguments, **options) as process:
        return process.wait()


def test_the_tools_are_not_imported() -> None:
    loaded = modules_loaded_by("from spawnkit.adapters import scons, waf")
    assert not {name for name in loaded if name.partition(".")[0] in ("SCons", "waflib")}


# ---- SCons --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spawn", [scons.spawn, scons.direct_spawn])
@pytest.mark.parametrize("line", ["exit 3", "kill -9 $$", "nope a", "true", "/bin/true a", "a=1"])
def test_spawn_returns_what_popen_does(spawn: Any, line: str) -> None:
    with open(os.devnull, "w") as null:
        expected = popen(["sh", "-c", line], env=ENV, stderr=null)
        pspawn = {scons.spawn: scons.pspawn}.get(spawn, scons.direct_pspawn)
        assert pspawn("sh", str, line.split()[0], line.split(), ENV, None, null) == expected
    if "nope" not in line:
        assert spawn("sh", str, line.split()[0], line.split(), ENV) == expected


@pytest.mark.parametrize("shell", ["no-such-shell", "/nope/sh", "/etc/passwd", "/etc"])
def test_a_shell_that_cannot_run_is_the_error_of_popen(shell: str) -> None:
    with pytest.raises(OSError) as theirs:  # noqa: PT011 - it says which
        popen([shell, "-c", "true"], env=ENV)
    for spawn in scons.spawn, scons.direct_spawn:
        with pytest.raises(type(theirs.value)) as ours:
            spawn(shell, str, "ls", ["ls"], ENV)
        for name in "errno", "strerror", "filename":
            assert getattr(ours.value, name) == getattr(theirs.value, name)


def test_outputs_go_where_popen_puts_them(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w+") as out, open(tmp_path / "err", "w+") as err:
        args = ["echo", "a;", "echo", "b", ">&2"]
        scons.pspawn("sh", str, "echo", args, ENV, out, err)
        scons.pspawn("sh", str, "echo", args, ENV, out, subprocess.STDOUT)
        scons.pspawn("sh", str, "echo", args, ENV, subprocess.DEVNULL, err)
        out.seek(0)
        err.seek(0)
        assert (out.read(), err.read()) == ("a\na\nb\n", "b\nb\n")


# ---- command lines without a shell --------------------------------------------------------------


def output(command: list[str]) -> str:
    said = spawnkit.output(command, encoding="utf-8")
    assert isinstance(said, str)
    return said


def seen_by_the_program(shell: str, program: str, line: str) -> list[str]:
    """The arguments that a program gets, by this shell."""
    return output([shell, "-c", f"{program} {line}"]).split("\0")[:-1]


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that writes its arguments, each with a NUL after it."""
    path = tmp_path_factory.mktemp("show") / "show"
    path.write_text('#!/bin/sh\nfor a in "$@"; do printf "%s\\0" "$a"; done\n')
    path.chmod(0o755)
    return str(path)


# Mostly what is let through, and all that a shell knows.
LINES = st.text(st.sampled_from("ab0-_./,:@%=+ ABx") | st.characters(codec="ascii"), max_size=12)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(line=LINES)
@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_taken_for_simple_is_split_as_the_shell_does(
    shell: str, show: str, line: str
) -> None:
    words = simple_words(f"{show} {line}")
    if words is not None:
        assert words[1:] == seen_by_the_program(shell, show, line)


def test_every_sign_of_the_shell_is_left_to_it() -> None:
    for sign in "\"'\\$`*?[]{}()<>|&;#!~^\n\t\r\0\v ü":
        for line in f"cc {sign}", f"cc a{sign}b", f"{sign}cc a", f"c{sign}c a":
            words = simple_words(line)
            assert words is None or sign == " ", line
    for line in "A=1 cc", "%1", "", " cc", "cd /", "if a", "echo -n a", ".", ":":
        assert simple_words(line) is None
    assert simple_words("gcc  -o a.o -c -DX=1 -I../b a.c ") == (
        ["gcc", "-o", "a.o", "-c", "-DX=1", "-I../b", "a.c"]
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_every_word_that_a_shell_has_of_its_own_is_left_to_it(shell: str) -> None:
    """bash lists its words; dash is asked about every program that there is, and bash's words."""
    bash = shutil.which("bash")
    words = set() if bash is None else set(output([bash, "-c", "compgen -bk"]).split())
    for directory in os.get_exec_path():
        words |= set(os.listdir(directory)) if os.path.isdir(directory) else set()
    names = sorted(word for word in words if simple_words(word) == [word])
    assert len(names) > 50
    said = output([shell, "-c", 'for n in "$@"; do type "$n"; done; true', shell, *names])
    own = [line for line in said.splitlines() if "builtin" in line or "keyword" in line]
    assert own == []


def test_what_a_shell_is_told_by_its_environment_is_left_to_it(tmp_path: Path) -> None:
    shell = SHELLS[0]
    assert is_plain(shell, ENV)
    assert is_plain("sh", ENV) == (os.path.realpath("/bin/sh").rpartition("/")[2] in "dash bash")
    for name in "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "BASH_FUNC_cc%%", "A-B", "Ä", "":
        assert not is_plain(shell, {**ENV, name: "1"})
    assert not is_plain(shell, {})
    (tmp_path / "sh").symlink_to("/bin/cat")  # busybox is such a link
    assert not is_plain(str(tmp_path / "sh"), ENV)
    assert not is_plain("no-such-shell", ENV)


@pytest.mark.parametrize("pwd", [None, "here", "elsewhere", "nowhere", "relative", "link"])
def test_a_program_without_a_shell_has_the_directory_that_a_shell_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pwd: str | None
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "show.py").write_text("import os; print(os.environ.get('PWD'))\n")
    known = {None: {}, "elsewhere": {"PWD": "/usr"}, "relative": {"PWD": "."}}
    env = {**ENV, **known.get(pwd, {"PWD": f"{tmp_path}/{pwd}"})}
    args = [sys.executable, f"{tmp_path}/show.py"]
    said = []
    for spawn in scons.pspawn, scons.direct_pspawn:
        with open(tmp_path / "out", "w+") as out:
            assert spawn(SHELLS[0], str, args[0], args, env, out, None) == 0
            out.seek(0)
            said.append(out.read())
    assert said[0] == said[1]
    assert said[0].startswith(str(tmp_path))


# ---- waf ----------------------------------------------------------------------------------------

PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def test_run_process_gives_code_and_outputs() -> None:
    assert waf.run_process(["sh", "-c", "echo a; echo b >&2; exit 3"], PIPES) == (3, b"a\n", b"b\n")
    assert waf.run_process("kill -9 $$", {"shell": True}) == (-9, None, None)
    fed = {**PIPES, "stdin": subprocess.PIPE}
    assert waf.run_process(["cat"], fed, {"input": b"c"}) == (0, b"c", b"")
    assert waf.run_process(["cat"], fed) == (0, b"", b"")
    assert waf.run_process(["cat"], PIPES) == (0, b"", b"")
    one = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    assert waf.run_process("echo a; echo b >&2", {**one, "shell": True}) == (0, b"a\nb\n", None)


def test_run_process_leaves_pwd_alone() -> None:
    """A command with a directory of its own sees our PWD, as from Popen."""
    command = [sys.executable, "-c", "import os; print(os.environ.get('PWD'), os.getcwd())"]
    expected = subprocess.run(command, cwd="/usr", stdout=subprocess.PIPE, check=True).stdout
    assert waf.run_process(command, {**PIPES, "cwd": "/usr"}) == (0, expected, b"")


def test_run_process_has_a_session_of_its_own_where_it_is_asked_for() -> None:
    command = [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"]
    for asked in True, False:
        said = f"{asked}\n".encode()
        assert waf.run_process(command, {**PIPES, "start_new_session": asked}) == (0, said, b"")


def test_commands_with_both_outputs_captured_do_not_read_our_input(tmp_path: Path) -> None:
    """As from waf's workers; others do, as from Popen."""
    (tmp_path / "ours").write_text("ours\n")
    ours, saved = os.open(tmp_path / "ours", os.O_RDONLY), os.dup(0)
    try:
        os.dup2(ours, 0)
        assert waf.run_process(["cat"], PIPES) == (0, b"", b"")
        assert waf.run_process(["cat"], {"stdout": subprocess.PIPE}) == (0, b"ours\n", None)
    finally:
        os.dup2(saved, 0, inheritable=True)
        os.close(saved)
        os.close(ours)


def test_a_program_is_found_on_the_path_that_it_is_given(tmp_path: Path) -> None:
    for name in "sh", "tool":
        (tmp_path / name).write_text(f"#!/bin/sh\necho our own {name} $*\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/bin"}
    assert waf.run_process(["tool", "a"], {**PIPES, "env": env}) == (0, b"our own tool a\n", b"")
    with open(tmp_path / "out", "w+") as out:
        for spawn in scons.pspawn, scons.direct_pspawn:
            assert spawn("sh", str, "a", ["a"], env, out, None) == 0
        out.seek(0)
        assert out.read() == "our own sh -c a\n" * 2


def test_a_timeout_of_run_process_ends_the_group(tmp_path: Path) -> None:
    """Nobody holds the FIFO any more."""
    os.mkfifo(tmp_path / "fifo")
    script = "exec 3>fifo; sleep 1000 & echo begun >&3; wait"
    with open(os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)) as fifo:
        os.set_blocking(fifo.fileno(), True)
        kwargs = {"shell": True, "cwd": str(tmp_path), "start_new_session": True, **PIPES}
        with pytest.raises(subprocess.TimeoutExpired):
            waf.run_process(script, kwargs, {"timeout": 1})
        assert select.select([fifo], [], [], 60)[0]
        assert os.read(fifo.fileno(), 100) == b"begun\n"
        assert select.select([fifo], [], [], 60)[0], "a process of the group runs still"
        assert os.read(fifo.fileno(), 100) == b""


@pytest.mark.parametrize("captured", [True, False])
def test_a_timeout_of_run_process_is_that_of_popen(captured: bool) -> None:
    command = ["sh", "-c", "echo a; exec sleep 1000"]
    kwargs = {**PIPES} if captured else {"stdout": None}
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        waf.run_process(command, {**kwargs, "start_new_session": True}, {"timeout": 0.5})
    assert (caught.value.cmd, caught.value.timeout) == (command, 0.5)
    assert caught.value.output == (b"a\n" if captured else None)


@pytest.mark.parametrize(
    ("program", "options"),
    [
        ("no-such-program", {}),
        ("/nope/program", {}),
        ("/etc/passwd", {}),
        ("/bin/true", {"cwd": "/nope"}),
        ("/nope/program", {"cwd": "/nope"}),
        ("/bin/true", {"cwd": Path("/nope")}),
    ],
)
def test_a_program_that_cannot_run_is_the_error_of_popen(
    program: str, options: dict[str, Any]
) -> None:
    with pytest.raises(OSError) as theirs:  # noqa: PT011 - it says which
        popen([program], **options)
    with pytest.raises(type(theirs.value)) as ours:
        waf.run_process([program], {**PIPES, **options})
    assert str(ours.value) == str(theirs.value)


def _has_no_descriptor_left() -> list[str]:
    import contextlib
    import os
    import subprocess

    from spawnkit.adapters import waf

    pipes: dict[str, Any] = {"stdout": subprocess.PIPE}
    calls = (
        lambda: subprocess.Popen(["true"], **pipes).communicate(),
        lambda: waf.run_process(["true"], pipes),
    )
    for call in calls:
        call()  # what it imports
    taken, said = [], []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    for call in calls:
        try:
            call()
        except OSError as error:
            said.append(repr((type(error).__name__, *error.args, error.filename)))
    for fd in taken:
        os.close(fd)
    return said


def test_what_is_not_the_programs_fault_does_not_name_it(isolate: Isolate) -> None:
    theirs, ours = isolate(_has_no_descriptor_left)
    assert ours == theirs
    assert theirs.endswith("None)")


def test_what_is_not_ours_to_do_needs_waf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these is handed on to waf itself, which is not there."""
    monkeypatch.setitem(sys.modules, "waflib", None)
    for kwargs, cargs in (
        ({"preexec_fn": print}, {}),
        ({"close_fds": False}, {}),
        ({"encoding": "utf-8", **PIPES}, {}),
        ({"stdin": subprocess.PIPE}, {}),
        ({}, {"input": b"a"}),
        ({**PIPES}, {"other": 1}),
        ({"env": {"PATH": "tools:/bin"}}, {}),
    ):
        with pytest.raises(ImportError, match="waflib"):
            waf.run_process(["true"], kwargs, cargs)
