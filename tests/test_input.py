"""What goes in: arguments, names, environment. Bad input is refused before any system call."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from support.children import Children, Report, parse_report
from support.isolated import Isolate

Reporter = Callable[..., Report]

# What to try, with which exception, and what its message must name. As text, so that the same
# lines can be tried under strace.
BAD_INPUT = [
    # A11: NUL anywhere
    ("run(['a\\0b'])", ValueError, r"args\[0\]: NUL"),
    ("run(['true', 'x', 'a\\0'])", ValueError, r"args\[2\]: NUL"),
    ("run([b'true', b'\\0'])", ValueError, r"args\[1\]: NUL"),
    ("run(['true'], path='/bin/tr\\0ue')", ValueError, r"path: NUL"),
    ("run(['true'], dir='/\\0')", ValueError, r"dir: NUL"),
    ("run(['true'], env={'A\\0B': ''})", ValueError, r"env key .*NUL"),
    ("run(['true'], env={'A': 'x\\0'})", ValueError, r"env\['A'\]: NUL"),
    ("start_process('/bin/tr\\0ue', ['true'])", ValueError, r"path: NUL"),
    ("start_process('/bin/true', ['true', '\\0'])", ValueError, r"argv\[1\]: NUL"),
    ("start_process('/bin/true', ['true'], ProcAttr(dir='\\0'))", ValueError, r"dir: NUL"),
    ("start_process('/bin/true', ['true'], ProcAttr(env={'A': '\\0'}))", ValueError, r"env.*NUL"),
    # A12, A13: keys
    ("run(['true'], env={'A=B': 'x'})", ValueError, r"'=' in key 'A=B'"),
    ("run(['true'], env={b'=': b'x'})", ValueError, r"'=' in key b'='"),
    ("run(['true'], env={'': 'x'})", ValueError, r"empty key"),
    ("run(['true'], env={b'': b''})", ValueError, r"empty key"),
    ("run(['true'], env=['A=B'])", TypeError, r"env: a mapping"),
    ("run(['true'], env={'A': 1})", TypeError, r"env\['A'\]"),
    ("run(['true'], env={'A': None})", TypeError, r"env\['A'\]"),
    ("run(['true'], capture=True, env={'A=B': 'x'})", ValueError, r"'=' in key 'A=B'"),
    ("Env.empty().set('A=B', 'x')", ValueError, r"'=' in key 'A=B'"),
    ("Env.inherit().set(A='\\0')", ValueError, r"env\['A'\]: NUL"),
    ("Env.inherit().set(A=1)", TypeError, r"env\['A'\]"),
    ("Env.inherit().unset('')", ValueError, r"unset: pattern 0: empty"),
    ("run(['true'], dir='.', env=Env.inherit(), stdin=-1)", ValueError, r"stdin: -1"),
    # A14, A15: nothing to run
    ("run([])", ValueError, r"args: empty"),
    ("run(())", ValueError, r"args: empty"),
    ("Cmd().run()", ValueError, r"args: empty"),
    ("start_process('/bin/true', [])", ValueError, r"argv: empty"),
    ("run([''])", ValueError, r"args\[0\]: empty"),
    ("run(['true'], path='')", ValueError, r"path: empty"),
    ("look_path('a\\0')", ValueError, r"name: NUL"),
    ("look_path('a', path=['/bin'])", TypeError, r"path: "),
    ("shell_command(['ls', '-l'])", TypeError, r"text: str or bytes"),
    ("start_process('', [''])", ValueError, r"path: empty"),
    ("run(['true'], dir='')", ValueError, r"dir: empty"),
    # A16: what the file system encoding has no bytes for
    ("run(['true', 'a', '\\ud800'])", ValueError, r"args\[2\]: .*cannot be encoded"),
    ("run(['true'], env={'A': '\\ud800'})", ValueError, r"env\['A'\]: .*cannot be encoded"),
    # A18: not a name
    ("run(['true', 'a', 3])", TypeError, r"args\[2\]: .*not 3"),
    ("run(['true', None])", TypeError, r"args\[1\]: .*not None"),
    ("run([3])", TypeError, r"args\[0\]"),
    ("run(['true', ['x']])", TypeError, r"args\[1\]"),
    ("run(['true', bytearray(b'x')])", TypeError, r"args\[1\]"),
    ("run('true')", TypeError, r"args: a list or tuple"),
    ("run(b'true')", TypeError, r"args: a list or tuple"),
    ("start_process('/bin/true', 'true')", TypeError, r"argv: a list or tuple"),
    ("run(['true'], dir=3)", TypeError, r"dir"),
    ("run(['true'], path=3)", TypeError, r"path"),
    # A33: descriptors
    ("run(['true'], stdin=-1)", ValueError, r"stdin: -1"),
    ("run(['true'], stdout=2**31)", ValueError, r"stdout: 2147483648"),
    ("run(['true'], stderr=2**200)", ValueError, r"stderr: 1606938"),
    ("run(['true'], stdout=True)", TypeError, r"stdout: .*not True"),
    ("run(['true'], stdin='')", ValueError, r"stdin: empty path"),
    ("run(['true'], stdout=b'file')", TypeError, r"stdout: a path is a str"),
    ("run(['true'], stdin=object())", TypeError, r"stdin: .*object"),
    ("run(['true'], fd_map={3: 0}, extra_files=[0])", ValueError, r"fd_map: 3 is extra_files"),
    ("run(['true'], fd_map={1: 2}, stdout=0)", ValueError, r"fd_map: 1 is given as stdout"),
    ("run(['true'], extra_files=[True])", TypeError, r"extra_files\[0\]: .*not True"),
    ("run('true', wait_delay=1)", TypeError, r"args: a list or tuple"),
    ("output('true')", TypeError, r"args: a list or tuple"),
    ("output([1])", TypeError, r"args\[0\]: .*not 1"),
    ("run(['true'], cancel=5)", TypeError, r"cancel: .*not 5"),
    ("run(['true'], cancel=print)", ValueError, r"cancel: .*timeout"),
    ("run(['true'], wait_delay='1')", TypeError, r"wait_delay: .*not '1'"),
    ("run(['true'], input='text')", TypeError, r"input: bytes wanted, not str; or give an enc"),
    ("run(['true'], stdin=1.0)", TypeError, r"stdin: .*not 1.0"),
    ("run(['true'], stdin=STDOUT)", ValueError, r"stdin: STDOUT"),
    ("run(['true'], stdin=PIPE)", ValueError, r"stdin: PIPE"),
    ("run(['true'], stdin=closed)", ValueError, r"stdin: .*closed file"),
    ("start_process('/bin/true', ['true'], ProcAttr(files=[0, True]))", TypeError, r"files\[1\]"),
    ("start_process('/bin/true', ['true'], ProcAttr(files={1: -2}))", ValueError, r"files\[1\]"),
    ("start_process('/bin/true', ['true'], ProcAttr(files={-1: 0}))", ValueError, r"files\[-1\]"),
    (
        "start_process('/bin/true', ['true'], ProcAttr(files={True: 0}))",
        TypeError,
        r"files\[True\]",
    ),
    ("start_process('/bin/true', ['true'], ProcAttr(files={2**40: 0}))", ValueError, r"files\["),
    ("start_process('/bin/true', ['true'], ProcAttr(files=[closed]))", ValueError, r"files\[0\]"),
    # the rest
    ("run(['true'], input='text')", TypeError, r"input: bytes"),
    ("run(['true'], input=b'', stdin=0)", ValueError, r"input: .*stdin"),
    ("run(['true'], capture=True, stdout=1)", ValueError, r"capture: .*stdout"),
    ("run(['true'], timeout=float('nan'))", ValueError, r"timeout"),
    ("run(['true'], timeout='1')", TypeError, r"timeout"),
    ("run(['true'], timeout=True)", TypeError, r"timeout"),
    ("run(['true'], engine='spoon')", ValueError, r"engine: 'spoon'"),
    ("SysProcAttr(umask=-1)", ValueError, r"umask: -1"),
    ("SysProcAttr(umask=0o1000)", ValueError, r"umask"),
    ("SysProcAttr(umask=True)", TypeError, r"umask"),
    ("SysProcAttr(pgid=1)", ValueError, r"pgid"),
    ("SysProcAttr(setpgid=True, pgid=-1)", ValueError, r"pgid: -1"),
    ("SysProcAttr(setsid=1)", TypeError, r"setsid"),
    ("SysProcAttr(setsid=True, setpgid=True)", ValueError, r"setpgid"),
    ("SysProcAttr(sigmask=[65])", ValueError, r"sigmask: 65"),
    ("SysProcAttr(sigmask=[0])", ValueError, r"sigmask: 0"),
    ("SysProcAttr(sigignore=[True])", TypeError, r"sigignore"),
    ("SysProcAttr(sigdefault=['INT'])", TypeError, r"sigdefault"),
    ("SysProcAttr(sigdefault=[2], sigignore=[2])", ValueError, r"sigignore: signal 2"),
    ("SysProcAttr(rlimits={'NOPE': 1})", ValueError, r"rlimits\['NOPE'\]"),
    ("SysProcAttr(rlimits={99: 1})", ValueError, r"rlimits\[99\]"),
    ("SysProcAttr(rlimits={'NOFILE': -2})", ValueError, r"rlimits\['NOFILE'\]"),
    ("SysProcAttr(rlimits={'NOFILE': (2, 1)})", ValueError, r"rlimits\['NOFILE'\]"),
    ("SysProcAttr(rlimits={'NOFILE': True})", TypeError, r"rlimits\['NOFILE'\]"),
    ("SysProcAttr(rlimits={'NOFILE': (1, 2, 3)})", ValueError, r"rlimits\['NOFILE'\]"),
]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    with open(os.devnull) as closed:
        pass
    return {**{name: getattr(spawnkit, name) for name in spawnkit.__all__}, "closed": closed}


@pytest.mark.parametrize(
    ("expression", "kind", "message"), BAD_INPUT, ids=[line[0] for line in BAD_INPUT]
)
def test_bad_input_is_refused_by_name(
    expression: str, kind: type[Exception], message: str, names: dict[str, Any]
) -> None:
    """A11-A15, A18, A33: ValueError or TypeError naming the item."""
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        eval(expression, names)
    assert type(caught.value) is kind


def test_bad_input_is_refused_before_any_system_call(isolate: Isolate, tmp_path: Path) -> None:
    """A11-A15, A18, A33: between two marks in strace there is nothing but memory management."""
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is not installed")
    log = tmp_path / "strace.log"
    expressions = [line[0] for line in BAD_INPUT]
    under = [strace, "-o", str(log)]
    try:
        isolate(_marks_around, expressions, under=under, oracle=False)
    except AssertionError:
        if "Operation not permitted" in log.read_text():
            pytest.skip("strace may not trace here")
        raise
    memory = ("brk", "mmap", "munmap", "mremap", "madvise")
    current, seen = -1, 0
    calls: dict[str, set[str]] = {}
    for line in log.read_text().splitlines():
        if '"/mark/' in line:
            current = int(line.split('"/mark/')[1].split('"')[0])
            seen += current >= 0
        elif current >= 0 and not line.startswith(memory):
            calls.setdefault(expressions[current], set()).add(line.partition("(")[0])
    assert seen == len(expressions)
    assert calls == {}


def _marks_around(expressions: list[str]) -> None:
    import contextlib
    import os

    import spawnkit

    with open(os.devnull) as closed:
        pass
    names = {**{name: getattr(spawnkit, name) for name in spawnkit.__all__}, "closed": closed}
    for marked in False, True:  # the first time modules are loaded
        for index, expression in enumerate(expressions):
            code = compile(expression, "<expression>", "eval")
            if marked:
                os.access(f"/mark/{index}", os.F_OK)
            with contextlib.suppress(ValueError, TypeError):
                eval(code, names)
            if marked:
                os.access("/mark/-1", os.F_OK)


@pytest.mark.parametrize("name", [".", ".."])
def test_a_dot_is_not_a_program(engine: str, name: str) -> None:
    """A15: empty program, "." and ".." -> ENOENT."""
    with pytest.raises(FileNotFoundError, match="on PATH") as caught:
        spawnkit.run([name], engine=engine)
    assert isinstance(caught.value, spawnkit.SpawnError)


@pytest.mark.parametrize(
    "path", ["", ":", ".", "relative", "/no/such/directory::.", ".:/bin", "relative:/usr/bin"]
)
def test_path_never_means_the_current_directory(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A15: an empty or relative element of PATH does not run what lies here; it says so."""
    (tmp_path / "relative").mkdir()
    for planted in tmp_path / "planted", tmp_path / "relative" / "planted":
        planted.symlink_to("/bin/true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    # An empty PATH has no elements, not one that is empty.
    with pytest.raises(spawnkit.DotError if path else FileNotFoundError):
        spawnkit.run(["planted"])


def test_lone_surrogates_arrive_as_their_bytes(engine: str, report: Reporter) -> None:
    """A16: str with lone surrogates round-trips (surrogateescape)."""
    environment = {"K\udcfe": "V\udcff"}
    seen = report(
        lambda argv: spawnkit.run([*argv, "\udcff\udc80"], env=environment, engine=engine)
    )
    assert seen.argv[2:] == [b"\xff\x80"]
    assert seen.env == [b"K\xfe=V\xff"]


def test_every_byte_but_nul_arrives(engine: str, report: Reporter) -> None:
    """A17: bytes in = bytes out, argv[0] included."""
    every = bytes(range(1, 256))
    seen = report(
        lambda argv: spawnkit.run(
            [every, *argv[1:], every, b"", every * 2],
            path=argv[0],
            env={b"K": every},
            engine=engine,
        )
    )
    assert seen.argv[0] == every
    assert seen.argv[2:] == [every, b"", every * 2]
    assert seen.env == [b"K=" + every]


def test_str_bytes_and_paths_may_be_mixed(engine: str, children: Children, tmp_path: Path) -> None:
    """A17: bytes, str, PathLike mixed args work."""
    out = tmp_path / "out"

    class BytesPath:
        def __fspath__(self) -> bytes:
            return b"bytes path"

    spawnkit.run(
        [Path(children("report")), out, b"bytes", "str", BytesPath(), Path("p")],
        engine=engine,
    )
    assert parse_report(out).argv[2:] == [b"bytes", b"str", b"bytes path", b"p"]


def test_of_equal_keys_the_last_wins(engine: str, report: Reporter) -> None:
    """A19: env key both bytes and str -> one entry, last wins."""
    environment: dict[Any, Any] = {"A": "1", "B": "b", b"A": b"2"}
    seen = report(lambda argv: spawnkit.run(argv, env=environment, engine=engine))
    assert sorted(seen.env) == [b"A=2", b"B=b"]


def test_an_empty_environment_is_empty(engine: str, report: Reporter) -> None:
    """A20: env={} -> child has exactly 0 variables."""
    assert report(lambda argv: spawnkit.run(argv, env={}, engine=engine)).env == []


def test_without_an_environment_ours_is_inherited_as_it_is_now(
    engine: str, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A20: env=None inherits, also what was set, changed and removed a moment ago.

    Compared with a child of subprocess: extensions write variables that os.environ does not know.
    """

    def inherited() -> list[bytes]:
        seen = report(lambda argv: spawnkit.run(argv, engine=engine)).env
        assert sorted(seen) == sorted(report(lambda argv: subprocess.run(argv, check=True)).env)
        return seen

    assert set(inherited()) >= {name + b"=" + value for name, value in os.environb.items()}
    monkeypatch.setenv("SPAWNKIT_TEST", "set")
    assert b"SPAWNKIT_TEST=set" in inherited()
    monkeypatch.setenv("SPAWNKIT_TEST", "changed")
    assert b"SPAWNKIT_TEST=changed" in inherited()
    for number in range(100):  # the pointer array grows and moves
        monkeypatch.setenv(f"SPAWNKIT_TEST_{number}", str(number))
    assert b"SPAWNKIT_TEST_99=99" in inherited()
    monkeypatch.delenv("SPAWNKIT_TEST")
    assert b"SPAWNKIT_TEST=changed" not in inherited()


def test_variables_written_by_the_c_library_are_inherited(isolate: Isolate) -> None:
    """A20: putenv by an extension is not in os.environ, but in the environment."""
    assert isolate(_inherits_putenv, sys.executable) == ["first", "second", "gone"]


def _inherits_putenv(python: str) -> list[str]:
    import ctypes

    import spawnkit

    libc = ctypes.CDLL(None)
    code = "import os; print(os.environ.get('SPAWNKIT_TEST', 'gone'))"

    def child() -> str:
        return (spawnkit.run([python, "-c", code], capture=True).stdout or b"").decode().strip()

    seen = []
    for value in b"first", b"second":
        libc.setenv(b"SPAWNKIT_TEST", value, 1)
        seen.append(child())
    libc.unsetenv(b"SPAWNKIT_TEST")
    seen.append(child())
    return seen


def test_no_shell_sees_the_arguments(engine: str, report: Reporter) -> None:
    """A17: what a shell would read as syntax arrives as it is."""
    hostile = ["$(id)", "`id`", "a b", "'", '"', "\\", "*", "; id", "| id", "\n", "-x", "--", "~"]
    assert report(lambda argv: spawnkit.run([*argv, *hostile], engine=engine)).argv[2:] == [
        os.fsencode(word) for word in hostile
    ]


def test_the_tools_above_agree_with_subprocess(children: Children, tmp_path: Path) -> None:
    """The reporter reports the same for a child that subprocess made."""
    out = tmp_path / "out"
    subprocess.run([children("report"), out, b"\xff"], env={"A": "1"}, check=True)
    theirs = parse_report(out)
    spawnkit.run([children("report"), out, b"\xff"], env={"A": "1"})
    ours = parse_report(out)
    assert (ours.argv, ours.env, ours.cwd) == (theirs.argv, theirs.env, theirs.cwd)
    assert set(ours.fds) == set(theirs.fds)
    assert ours.rlimits == theirs.rlimits
