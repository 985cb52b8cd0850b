"""The drop-in against the standard module: the same call to both, and the same comes of it.

What the child finds, what `run` returns, which exception with which words: nothing here says what
is right but the `subprocess` of the running interpreter.
"""

from __future__ import annotations

import errno
import inspect
import io
import itertools
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spawnkit import subprocess as ours
from support.children import Children, Report, parse_report

BOTH = (subprocess, ours)


def facts(report: Report) -> Report:
    """A report without what is never the same twice."""
    pid = report.numbers.pop("pid")
    for name in "pgid", "sid":
        if report.numbers[name] == pid:
            report.numbers[name] = -1
    # glibc's posix_spawn, through which the standard module goes from Python 3.13 on, ignores the
    # two signals that it keeps for itself.
    report.ignored -= {32, 33}
    return report


def come_of(call: Callable[[], object]) -> tuple[object, ...]:
    """What is returned, or everything that can be seen of what is raised."""
    try:
        return "returned", call()
    except Exception as error:
        where = [getattr(error, name, None) for name in ("object", "start", "end", "encoding")]
        return "raised", type(error), str(error), *where


# ---- names --------------------------------------------------------------------------------------


def test_every_name_is_there() -> None:
    replaced = {
        "Popen",
        "call",
        "check_call",
        "check_output",
        "getoutput",
        "getstatusoutput",
        "run",
    }
    for name, value in vars(subprocess).items():
        if name[:2] != "__":
            assert (getattr(ours, name) is value) is (name not in replaced), name
    assert ours.__all__ == subprocess.__all__
    assert issubclass(ours.Popen, subprocess.Popen)
    assert ours.Popen[str] == ours.Popen.__class_getitem__(str)


@pytest.mark.parametrize(
    "name", ["Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput", "run"]
)
def test_parameters_and_docstrings_are_the_same(name: str) -> None:
    standard, mine = (getattr(module, name) for module in BOTH)
    assert inspect.signature(mine) == inspect.signature(standard)
    assert mine.__doc__ == standard.__doc__
    assert mine.__name__ == name


def test_a_popen_has_the_same_attributes_whichever_way_it_was_made() -> None:
    """The quick `__init__` and the standard one, which newer versions may add to."""
    cat = ["cat"]
    options: list[dict[str, Any]] = [
        {},
        {"stdin": -1, "stdout": -1, "stderr": -1},
        {"stdout": -3},
        {"stdout": -1, "stderr": -2},
        {"cwd": "/", "env": dict(os.environ), "start_new_session": True},
    ]
    for given in options:
        attributes = []
        for module, more in (subprocess, {}), (ours, {}), (ours, {"bufsize": -1}):
            stdin = {"stdin": subprocess.DEVNULL}
            with module.Popen(cat, **{**stdin, **given, **more}) as process:
                if process.stdin:
                    process.stdin.close()
                kinds = {
                    name: type(value)
                    for name, value in vars(process).items()
                    if not name.startswith("_spawnkit")
                }
                attributes.append(kinds)
        kinds = attributes[0]
        kinds.pop("_devnull", None)  # the quick way does not keep its number
        attributes[2].pop("_devnull", None)
        assert attributes[1] == kinds
        assert attributes[2] == kinds


# ---- what the child finds -----------------------------------------------------------------------


SETUPS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "positional": {"bufsize": 0},
    "env": {"env": {"A": "1", b"B": b"2", "EMPTY": ""}},
    "env with a name twice": {"env": {"A": "1", b"A": b"2"}},
    "no env at all": {"env": {}},
    "cwd": {"cwd": "/usr"},
    "cwd as bytes": {"cwd": b"/usr"},
    "cwd as a path": {"cwd": Path("/usr")},
    "session": {"start_new_session": True},
    "umask": {"umask": 0o27},
    "umask 0": {"umask": 0},
    "signals": {"restore_signals": False},
    "all streams": {"stdin": -3, "stdout": -3, "stderr": -3},
    "one for two": {"stdout": -3, "stderr": -2},
    "everything": {
        "cwd": "/",
        "env": {"X": "y"},
        "umask": 0o77,
        "start_new_session": True,
        "restore_signals": False,
        "close_fds": False,
    },
}
if sys.version_info >= (3, 11):
    SETUPS["process group"] = {"process_group": 0}


@pytest.mark.parametrize("setup", SETUPS)
def test_the_child_finds_the_same(setup: str, children: Children, tmp_path: Path) -> None:
    seen = []
    for module in BOTH:
        out = tmp_path / "out"
        assert module.call([children("report"), str(out)], **SETUPS[setup]) == 0
        seen.append(facts(parse_report(out)))
    assert seen[0] == seen[1]


class Lookup:
    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables

    def __getitem__(self, name: str) -> str:
        return self.variables[name]


class Items(Lookup):
    def items(self) -> Any:
        return self.variables.items()


class Keys(Lookup):
    def keys(self) -> Any:
        return self.variables.keys()


class KeysAndItems(Keys, Items):
    pass


class KeysAndValues(Keys):
    def values(self) -> Any:
        return self.variables.values()

    def __len__(self) -> int:
        return len(self.variables)


class Whole(Mapping[str, str]):
    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables

    def __getitem__(self, name: str) -> str:
        return self.variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)


class Torn(dict[str, str]):
    def items(self) -> Any:
        return [("FROM", "items")]

    def values(self) -> Any:
        return ["values"]


class NoItems(dict[str, str]):
    items = None  # type: ignore[assignment]


ENVIRONMENTS: dict[str, Any] = {
    kind.__name__: kind({"A": "1"})
    for kind in (Lookup, Items, Keys, KeysAndItems, KeysAndValues, Whole, Torn, NoItems)
}
ENVIRONMENTS |= {
    "empty name": {"": "1"},
    "= at first": {"=A": "1"},
    "= as a name": {b"=": b"1"},
    "= later": {"A=B": "1"},
    "ours": os.environ,
    "pairs": [("A", "1")],
    "nothing": [],
    "a number": 5,
}


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_an_environment_is_taken_apart_in_the_same_way(env: str) -> None:
    """By os.posix_spawn, which the standard module uses for some calls, or by itself for others."""
    path = shutil.which("env")
    assert path is not None
    calls: list[dict[str, Any]] = [{}, {"cwd": "/"}, {"start_new_session": True}, {"umask": 0}]
    calls += [{"close_fds": False}, {"close_fds": False, "stderr": -1}, {"pass_fds": [2]}]
    for program, options in itertools.product((path, Path(path), "env"), calls):
        theirs, mine = (
            come_of(partial(m.check_output, [program], env=ENVIRONMENTS[env], **options))
            for m in BOTH
        )
        assert mine == theirs, (program, options)


@contextmanager
def several_descriptors() -> Iterator[list[int]]:
    """Some that a child would inherit, some that it would not."""
    fds = [os.open("/dev/null", os.O_RDWR) for _ in range(6)]
    try:
        for fd in fds[::2]:
            os.set_inheritable(fd, True)
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("close_fds", [True, False])
@pytest.mark.parametrize("passed", [(), (0,), (1, 4), (2, 3, 5), range(6)])
@pytest.mark.filterwarnings("ignore:pass_fds overriding")
def test_descriptors_are_the_same(
    close_fds: bool, passed: tuple[int, ...], children: Children, tmp_path: Path
) -> None:
    with several_descriptors() as fds:
        given = [fds[index] for index in passed]
        seen = []
        for module in BOTH:
            out = tmp_path / "out"
            module.call([children("report"), str(out)], close_fds=close_fds, pass_fds=given)
            seen.append(facts(parse_report(out)))
        assert seen[0].fds == seen[1].fds


@pytest.mark.parametrize("streams", [(2, 0, 1), (1, 2, 0), (0, 0, 0), (2, 2, 2), (None, 2, None)])
def test_streams_may_change_places(
    streams: tuple[Any, Any, Any], children: Children, tmp_path: Path
) -> None:
    names = dict(zip(("stdin", "stdout", "stderr"), streams, strict=True))
    seen = []
    for module in BOTH:
        out = tmp_path / "out"
        assert module.call([children("report"), str(out)], **names) == 0
        seen.append(facts(parse_report(out)))
    assert seen[0].fds == seen[1].fds


def test_blocked_and_ignored_signals_are_inherited(children: Children, tmp_path: Path) -> None:
    """The mask too: `Cmd` gives a child an empty one."""
    blocked = {signal.SIGUSR1, signal.SIGRTMAX}
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        seen = []
        for module in BOTH:
            out = tmp_path / "out"
            module.run([children("report"), str(out)], check=True)
            seen.append(facts(parse_report(out)))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        signal.signal(signal.SIGUSR2, before)
    assert seen[0] == seen[1]
    assert seen[1].mask == blocked
    assert signal.SIGUSR2 in seen[1].ignored


SWAPS = """
import importlib, os, sys
os.dup2(0, 3)
module = importlib.import_module(sys.argv[1])
command = ["sh", "-c", "readlink /proc/self/fd/3 >&2; exit 3"]
sys.exit(module.call(command, stdout=2, stderr=1, close_fds=False))
"""


@pytest.mark.parametrize("module", ["subprocess", "spawnkit.subprocess"])
def test_two_streams_change_places_beside_what_is_inherited(module: str) -> None:
    """One of the two has to be put aside meanwhile: at no number that the program may know."""
    result = subprocess.run(
        [sys.executable, "-c", SWAPS, module], stdin=subprocess.DEVNULL, capture_output=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (3, b"/dev/null\n", b"")


def test_the_path_is_that_of_the_environment_and_relative_to_the_directory(tmp_path: Path) -> None:
    """Where `Cmd` refuses what is found through a relative entry, a drop-in cannot."""
    for name in "a", "b":
        directory = tmp_path / name
        directory.mkdir()
        (directory / "tool").write_text(f"#!/bin/sh\necho {name} $0\n")
        (directory / "tool").chmod(0o755)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "tool").write_text("not for running")
    for path in f"c:{tmp_path}/b", f"{tmp_path}/c:a:b", f"nothing::{tmp_path}/b", ":a", "tool/x:a":
        environments: list[dict[Any, Any]] = [{"PATH": path}, {b"PATH": os.fsencode(path)}]
        for env in environments:
            outputs = [
                module.run(["tool"], cwd=tmp_path, env=env, capture_output=True).stdout
                for module in BOTH
            ]
            assert outputs[0] == outputs[1]
            assert outputs[0]


def test_of_a_path_the_first_program_that_is_there_gives_the_error(tmp_path: Path) -> None:
    """And the last that is not, where none is; what can be run hides them all."""
    kinds = ["no #!", "not for running", "a ring of links", "nothing", "no directory", "a program"]
    for kind in kinds:
        (tmp_path / kind).mkdir()
    (tmp_path / "no #!" / "tool").write_text("none")
    (tmp_path / "no #!" / "tool").chmod(0o755)
    (tmp_path / "not for running" / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "a ring of links" / "tool").symlink_to("tool")
    (tmp_path / "no directory").rmdir()
    (tmp_path / "no directory").touch()
    (tmp_path / "a program" / "tool").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "a program" / "tool").chmod(0o755)

    def told(module: Any, path: str) -> Any:
        try:
            return module.call(["tool"], env={"PATH": path})
        except OSError as error:
            return error.errno

    seen = set()
    for three in itertools.product(kinds, repeat=3):
        path = ":".join(str(tmp_path / kind) for kind in three)
        standard, ours = (told(module, path) for module in BOTH)
        assert ours == standard, three
        seen.add(ours)
    assert seen == {errno.ENOEXEC, errno.EACCES, errno.ELOOP, errno.ENOENT, errno.ENOTDIR, 7}


def test_the_directory_may_be_a_descriptor_that_the_child_has_got(tmp_path: Path) -> None:
    """Streams come before the directory, sessions and groups after it, the closing last."""
    for name in "a", "b":
        (tmp_path / name).mkdir()
    stdin = os.open(tmp_path / "a", os.O_RDONLY)
    other = os.open(tmp_path / "b", os.O_RDONLY)
    calls: list[dict[str, Any]] = [
        {"cwd": "/dev/fd/0", "stdin": stdin},
        {"cwd": f"/dev/fd/{other}", "stdin": stdin},
        {"cwd": f"/dev/fd/{other}", "stdin": stdin, "start_new_session": True},
    ]
    if sys.version_info >= (3, 11):
        calls.append({"cwd": tmp_path / "no-such", "process_group": 99_999_999})
    said: list[list[object]] = [[], []]
    try:
        for options, (module, told) in itertools.product(calls, zip(BOTH, said, strict=True)):
            try:
                told.append(module.run(["pwd", "-P"], stdout=-1, **options).stdout)
            except OSError as error:
                told.append((error.errno, error.filename))
    finally:
        os.close(stdin)
        os.close(other)
    assert said[0] == said[1]
    assert said[1][:3] == [os.fsencode(tmp_path / name) + b"\n" for name in ("a", "b", "b")]


@pytest.mark.parametrize("module", BOTH)
def test_input_that_is_refused_leaves_stdin_as_it_was(module: Any) -> None:
    with module.Popen(["cat"], stdin=module.PIPE, stdout=module.PIPE) as process:
        with pytest.raises(TypeError):
            process.communicate("text")
        assert os.get_blocking(process.stdin.fileno())


# ---- what comes out -----------------------------------------------------------------------------

CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bytes": (["printf", r"a\r\nb\rc\n\377"], {"capture_output": True}),
    "text": (["printf", r"a\r\nb\rc\n"], {"capture_output": True, "text": True}),
    "stdout alone": (["printf", "x"], {"stdout": subprocess.PIPE}),
    "stderr alone": (["sh", "-c", "echo x >&2"], {"stderr": subprocess.PIPE}),
    "both in one": (["sh", "-c", "echo x; echo y >&2"], {"stdout": -1, "stderr": -2}),
    "encoding": (["printf", r"\344"], {"stdout": -1, "encoding": "latin-1"}),
    "errors": (["printf", r"\344"], {"stdout": -1, "encoding": "ascii", "errors": "replace"}),
    "errors alone": (["printf", r"\344"], {"stdout": -1, "errors": "surrogateescape"}),
    "universal newlines": (["printf", r"a\r\n"], {"stdout": -1, "universal_newlines": True}),
    "both names of text": (["true"], {"text": True, "universal_newlines": True}),
    "input": (["cat"], {"input": b"abc", "stdout": -1}),
    "no input": (["cat"], {"input": b"", "stdout": -1}),
    "text as input": (["cat"], {"input": "a\nb\r\n", "stdout": -1, "text": True}),
    "a view as input": (["cat"], {"input": memoryview(b"abc"), "stdout": -1}),
    "input for three": (["cat"], {"input": b"x" * 300_000, "capture_output": True}),
    "input nobody reads": (["true"], {"input": b"x" * 300_000, "capture_output": True}),
    "a code": (["sh", "-c", "exit 7"], {}),
    "a signal": (["sh", "-c", "kill -9 $$"], {}),
    "a shell": ("echo $((1 + 1)); exit 3", {"shell": True, "stdout": -1}),
    "a shell's arguments": (["echo $0 $1", "a", "b"], {"shell": True, "stdout": -1}),
    "another shell": ("echo $0", {"shell": True, "executable": "/bin/bash", "stdout": -1}),
    "a name alone": ("true", {}),
    "a path alone": (Path("/bin/true"), {}),
    "another program": (["name", "-c", "echo $0"], {"executable": "/bin/sh", "stdout": -1}),
    "a tuple": (("echo", b"x", Path("y")), {"stdout": -1}),
    "an iterator's arguments": ("echo", {"stdout": -1, "timeout": None}),
    "no output": (["true"], {"capture_output": True, "timeout": 60}),
    "dropped": (["echo", "x"], {"stdout": -3, "stderr": -3, "stdin": -3}),
    "a file": (["echo", "x"], {"stdout": sys.__stdout__}),
    "much": (["head", "-c", "3000000", "/dev/zero"], {"capture_output": True}),
}


@pytest.mark.parametrize("call", CALLS)
def test_run_returns_the_same(call: str) -> None:
    args, options = CALLS[call]
    results = [vars(module.run(args, **options)) for module in BOTH]
    assert results[0] == results[1]


@pytest.mark.parametrize("call", CALLS)
def test_popen_and_communicate_return_the_same(call: str) -> None:
    """The long way round, with file objects."""
    args, options = CALLS[call]
    options = dict(options)
    input = options.pop("input", None)
    timeout = options.pop("timeout", None)
    if options.pop("capture_output", False):
        options["stdout"] = options["stderr"] = subprocess.PIPE
    if input is not None:
        options["stdin"] = subprocess.PIPE
    results = []
    for module in BOTH:
        with module.Popen(args, **options) as process:
            outputs = process.communicate(input, timeout)
            results.append((outputs, process.returncode, process.communicate(timeout=60)))
    assert results[0] == results[1]


def test_the_functions_return_the_same() -> None:
    for module in BOTH:
        assert module.call(["false"]) == 1
        assert module.check_call(["true"]) == 0
        assert module.check_output(["echo", "x"]) == b"x\n"
        assert module.check_output(["cat"], input=None) == b""
        assert module.getoutput("echo x; exit 2") == "x"
        assert module.getstatusoutput("echo x; exit 2") == (2, "x")


ENCODINGS = [
    *("utf-8", "UTF8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "ascii"),
    *("iso2022_jp", "shift_jis", "idna", "hex", "locale", "klingon", ""),
]
REFUSED = ("hex", "klingon", "")
NEWLINES = "a\r\nb\rc\n\u00e4\r"
SAID = {
    "bytes": b"a\r\nb\rc\n\xe4\xff\r",
    "utf-8": NEWLINES.encode(),
    "utf-16": NEWLINES.encode("utf-16"),
    "no mark": NEWLINES.encode("utf-16-le"),
    "half a character": "\u20ac".encode("utf-8-sig")[:-1],
    "nothing": b"",
}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_is_made_of_output_in_the_same_way(encoding: str, said: str) -> None:
    """Of a single pipe without a timeout the standard module makes it with an incremental codec."""
    command = ["printf", "".join(f"\\{byte:03o}" for byte in SAID[said])]

    def run(module: Any, **options: Any) -> object:
        done = module.run(command, stdout=-1, text=True, encoding=encoding, **options)
        return done.stdout, done.stderr

    def communicate(module: Any, timeout: float | None = None, **options: Any) -> object:
        with module.Popen(command, stdout=-1, text=True, encoding=encoding, **options) as process:
            return process.communicate(timeout=timeout)

    pipes: list[dict[str, Any]] = [{}, {"stderr": -1}, {"timeout": 60}]
    if encoding in REFUSED:
        del pipes[1]  # the standard module leaves the other one open
    calls = itertools.product((run, communicate), (None, "replace", "klingon", ""), pipes)
    for way, errors, options in calls:
        theirs, mine = (come_of(partial(way, module, errors=errors, **options)) for module in BOTH)
        assert mine == theirs, (way, errors, options)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("input", ["", "a\nb\r\n", "\u00e4", "\u3042", "\udc80", b"x"])
def test_input_is_made_of_text_in_the_same_way(encoding: str, input: Any, tmp_path: Path) -> None:
    """A single pipe is written to through its file, which gives UTF-16 no mark."""
    pipes: list[dict[str, Any]] = [{}, {"stderr": -1}, {"timeout": 60}]
    if encoding in REFUSED:
        del pipes[1]  # the standard module leaves the other one open
    out = tmp_path / "out"
    for errors, options in itertools.product((None, "replace", "surrogateescape"), pipes):
        seen = []
        for module in BOTH:
            with out.open("wb") as file:
                given = {"input": input, "encoding": encoding, "errors": errors, **options}
                done = come_of(partial(module.run, ["cat"], stdout=file, text=True, **given))
            if done[0] == "returned":
                done = done[1].returncode, done[1].stderr  # type: ignore[attr-defined]
            seen.append((done, out.read_bytes()))
        assert seen[0] == seen[1], (errors, options)


def test_a_program_whose_text_nobody_could_read_is_not_started(tmp_path: Path) -> None:
    command = ["touch", str(tmp_path / "here")]
    for encoding in "klingon", "hex":
        for module in BOTH:
            with pytest.raises(LookupError):
                module.run(command, stdout=-1, encoding=encoding)
        # Nor is anything left open, which the standard module does where there is a second pipe.
        for way in ours.run, ours.Popen:
            with pytest.raises(LookupError):
                way(command, stdout=-1, stderr=-1, encoding=encoding)
    assert not (tmp_path / "here").exists()


# ---- what is raised -----------------------------------------------------------------------------


def raised(call: Callable[[], object]) -> tuple[object, ...]:
    """Everything a program may look at in an exception."""
    try:
        value = call()
    except Exception as error:
        names = ("errno", "filename", "filename2", "strerror", "cmd", "output", "stderr", "timeout")
        values = [getattr(error, name, None) for name in names]
        return type(error), str(error), *values, getattr(error, "returncode", None)
    raise AssertionError(f"nothing was raised, but {value!r} returned")


NUL = "embedded null byte"
ERRORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "no such program": (["/nonexistent/x"], {}),
    "no such name": (["nonexistent-x"], {}),
    "no such name, in a directory": (["nonexistent-x"], {"cwd": "/"}),
    "a name that is empty": ([""], {}),
    "a name as bytes": ([b"nonexistent-x"], {}),
    "a name as a path": ([Path("nonexistent-x")], {}),
    "no permission": (["/etc/passwd"], {}),
    "a directory": (["/tmp"], {}),
    "a file on the way": (["/etc/passwd/x"], {}),
    "no such directory": (["true"], {"cwd": "/nonexistent"}),
    "a directory that is a file": (["true"], {"cwd": "/etc/passwd"}),
    "a directory as a path": (["true"], {"cwd": Path("/nonexistent")}),
    "a directory that is empty": (["true"], {"cwd": ""}),
    "both missing": (["/nonexistent/x"], {"cwd": "/nonexistent"}),
    "arguments too long": (["true", "x" * 3_000_000], {}),
    "a NUL": (["true", "a\0b"], {}),
    "a NUL in the name": (["a\0b"], {}),
    "a NUL in the environment": (["true"], {"env": {"A": "a\0b"}}),
    "a NUL in the directory": (["true"], {"cwd": "a\0b"}),
    "= in a name": (["true"], {"env": {"A=B": "x"}}),
    "PATH twice": (["true"], {"env": {"PATH": "x", b"PATH": b"y"}}),
    "a number for an argument": (["true", 1], {}),
    "a number for a value": (["true"], {"env": {"A": 1}}),
    "a number": (1, {}),
    "a number for a directory": (["true"], {"cwd": 1.5}),
    "a path with a shell": (Path("true"), {"shell": True}),
    "a descriptor that is not open": (["true"], {"stdout": 999}),
    "passed, not open": (["true"], {"pass_fds": [999]}),
    "passed, negative": (["true"], {"pass_fds": [-1]}),
    "capture twice": (["true"], {"capture_output": True, "stdout": -1}),
    "input twice": (["true"], {"input": b"", "stdin": -3}),
    "input of another kind": (["cat"], {"input": "x", "stdout": -1}),
    "text of another kind": (["cat"], {"input": b"x", "stdout": -1, "text": True}),
    "text and no text": (["true"], {"text": True, "universal_newlines": False}),
    "an encoding nobody knows": (["echo"], {"stdout": -1, "encoding": "klingon"}),
    "undecodable": (["printf", r"\377"], {"stdout": -1, "encoding": "utf-8"}),
    "an unknown option": (["true"], {"colour": 1}),
    "a stream of another kind": (["true"], {"stdin": "x"}),
    "a code": (["sh", "-c", "echo x; exit 3"], {"check": True, "capture_output": True}),
    "a signal": (["sh", "-c", "kill -9 $$"], {"check": True}),
    "a timeout of another kind": (["true"], {"timeout": "1"}),
    "too late": (["sh", "-c", "echo x; exec sleep 60"], {"timeout": 0.3, "stdout": -1}),
    "too late, two": (["sh", "-c", "echo x; exec sleep 60"], {"timeout": 0.3, "capture_output": 1}),
    "too late, text": (
        ["sh", "-c", "echo x; exec sleep 60"],
        {"timeout": 0.3, "stdout": -1, "text": 1},
    ),
    "too late, silent": (["sleep", "60"], {"timeout": 0.05, "capture_output": True}),
}


@pytest.mark.parametrize("call", ERRORS)
def test_run_raises_the_same(call: str) -> None:
    args, options = ERRORS[call]
    errors = [raised(lambda m=module: m.run(args, **options)) for module in BOTH]
    assert errors[0] == errors[1]


@pytest.mark.parametrize("call", [name for name, (_, o) in ERRORS.items() if "timeout" not in o])
def test_check_call_and_popen_raise_the_same(call: str) -> None:
    args, options = ERRORS[call]
    if options.keys() & {"input", "check", "capture_output", "encoding"}:
        options = {"start_new_session": "input" in options}
        args = ["/nonexistent/x"]
    for name in "check_call", "Popen":
        errors = [
            raised(lambda m=module, n=name: getattr(m, n)(args, **options)) for module in BOTH
        ]
        assert errors[0] == errors[1]


def test_exceptions_and_results_can_be_pickled() -> None:
    result = ours.run(["echo", "x"], capture_output=True)
    assert vars(pickle.loads(pickle.dumps(result))) == vars(result)
    with pytest.raises(ours.CalledProcessError) as caught:
        ours.run(["false"], check=True)
    assert pickle.loads(pickle.dumps(caught.value)).returncode == 1
    with pytest.raises(FileNotFoundError) as missing:
        ours.run(["/nonexistent/x"])
    assert pickle.loads(pickle.dumps(missing.value)).filename == "/nonexistent/x"


@pytest.mark.parametrize("module", BOTH)
def test_audit_hooks_hear_of_it(module: ModuleType) -> None:
    heard: list[tuple[object, ...]] = []
    active = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if active and event == "subprocess.Popen":
            heard.append(arguments)

    sys.addaudithook(hook)  # for good: nobody can take one away
    try:
        module.run(["true", "x"], cwd="/", env={"PATH": os.environ["PATH"]})
        module.Popen("true", shell=True).wait()
        module.check_output(["echo"], stderr=subprocess.DEVNULL)
    finally:
        active = False
    assert heard == [
        ("true", ["true", "x"], "/", {"PATH": os.environ["PATH"]}),
        ("/bin/sh", ["/bin/sh", "-c", "true"], None, None),
        ("echo", ["echo"], None, None),
    ]


def test_a_popen_that_is_dropped_warns_and_leaves_no_zombie() -> None:
    for module in BOTH:
        process = module.Popen(["cat"], stdin=subprocess.PIPE)
        stdin = process.stdin
        with pytest.warns(ResourceWarning, match=f"subprocess {process.pid} is still running"):
            del process
        assert subprocess._active  # type: ignore[attr-defined]
        stdin.close()
        while subprocess._active:  # type: ignore[attr-defined]
            subprocess._cleanup()  # type: ignore[attr-defined]


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_without_pipes_only_the_seconds_differ(timeout: float) -> None:
    """The standard module names what was left of them, and that differs from call to call."""
    for module in BOTH:
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            module.run(["sleep", "60"], timeout=timeout)
        assert caught.value.cmd == ["sleep", "60"]
        assert caught.value.timeout <= timeout
    assert caught.value.timeout == timeout


class File:
    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        return self.number


@pytest.mark.parametrize(
    "options",
    [
        {"stdin": -4},
        {"stdout": -4},
        {"stderr": -4},
        {"stdin": subprocess.STDOUT},
        {"stdout": subprocess.STDOUT},
        {"stdout": File(-5)},
        {"stdout": File("x")},
        {"stdout": File(2**40)},
        {"stdout": 2**40},
        {"pass_fds": None},
        {"pass_fds": 0},
        {"umask": 1.5},
        {"umask": float("nan")},
        {"umask": 2**31},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["run", "Popen"])
def test_numbers_that_are_none_are_refused(name: str, options: dict[str, Any]) -> None:
    """The child must not run with another's stdin, or without the umask it was to have."""
    kinds = []
    for module in BOTH:
        with pytest.raises((OSError, TypeError, ValueError, OverflowError)) as caught:
            getattr(module, name)(["true"], **options)
        kinds.append((caught.type, getattr(caught.value, "errno", None)))
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("text", [False, True])
def test_a_communication_that_timed_out_goes_on(text: bool, tmp_path: Path) -> None:
    """What was said so far is in the exception, the rest comes with the next call."""
    os.mkfifo(tmp_path / "go")
    for module in BOTH:
        with module.Popen(
            ["sh", "-c", "echo a; read x <go; cat; echo b"],
            stdin=-1,
            stdout=-1,
            stderr=-1,
            text=text,
            cwd=tmp_path,
        ) as process:
            input: Any = "c\n" if text else b"c\n"
            said = b""
            while not said:
                with pytest.raises(subprocess.TimeoutExpired) as caught:
                    process.communicate(input, timeout=0.05)
                said, input = caught.value.stdout or b"", None
            (tmp_path / "go").write_text("\n")
            assert said == b"a\n"
            assert process.communicate(timeout=60)[0] == ("a\nc\nb\n" if text else b"a\nc\nb\n")


def _communicated(popen: Any, input: Any, timeout: float | None, codes: list[int]) -> None:
    try:
        with popen as process:
            process.communicate(input, timeout)
    finally:
        codes.append(popen.returncode)


@pytest.mark.parametrize(("text", "input"), [(False, "text"), (False, 1), (True, b"x"), (True, 0)])
def test_a_child_that_reads_on_ends_though_its_input_is_refused(text: bool, input: Any) -> None:
    """Not even the traceback has an end of its stdin: else `__exit__` waits for ever."""
    said, codes = [], []
    for module in BOTH:
        popen = module.Popen(["cat"], stdin=-1, stdout=-1, stderr=-1, text=text)
        with pytest.raises((TypeError, AttributeError)) as caught:
            _communicated(popen, input, None, codes)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert codes == [0, 0]


@pytest.mark.parametrize(
    ("command", "code"), [("exec yes", -signal.SIGPIPE), ("sleep 0.5; exec cat >/dev/null", 0)]
)
def test_a_timeout_leaves_no_end_that_keeps_the_child_running(command: str, code: int) -> None:
    """`with` closes the pipes and waits: for a writer or a reader that notices, not for ever."""
    codes: list[int] = []
    for module in BOTH:
        popen = module.Popen(["sh", "-c", command], stdin=-1, stdout=-1, stderr=-1)
        with pytest.raises(subprocess.TimeoutExpired):
            _communicated(popen, b"x" * 1_000_000, 0.05, codes)
    assert codes == [code, code]


def test_an_exception_leaves_no_end_that_keeps_the_child_running() -> None:
    def strike(*_: object) -> None:
        raise ZeroDivisionError

    codes: list[int] = []
    before = signal.signal(signal.SIGALRM, strike)
    try:
        for module in BOTH:
            popen = module.Popen(["yes"], stdout=-1, stderr=-1)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(ZeroDivisionError):
                _communicated(popen, None, None, codes)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert codes == [-signal.SIGPIPE] * 2


def test_files_are_buffered_as_asked_for() -> None:
    for bufsize, kind in (-1, io.BufferedReader), (0, io.FileIO), (512, io.BufferedReader):
        for module in BOTH:
            with module.Popen(["echo", "x"], stdout=-1, bufsize=bufsize) as process:
                assert type(process.stdout) is kind
                assert process.stdout.read() == b"x\n"
