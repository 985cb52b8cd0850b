"""`make faults-strace` and `make faults-memory` in short, and that they find what is wrong."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faults import memory, strace
from faults.uses import USES, Place
from support.children import Children

TESTS = Path(__file__).parent

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
needs_testcapi = pytest.mark.skipif(
    memory._testcapi is None, reason="this interpreter has no _testcapi"
)


def _tool(name: str, *options: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"faults.{name}", *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_strace
def test_system_calls_that_fail_under_strace() -> None:
    """A129: every so manieth case of one use; those of posix_spawn are in the C library."""
    words = ["--use", "captured", "--sparse", "25"]
    found = re.search(r"^(\d+) faults in", _tool("strace", *words), re.MULTILINE)
    assert found
    assert int(found[1]) > 10


@needs_testcapi
def test_allocations_of_python_that_fail() -> None:
    """A130: every seventh of three uses."""
    words = ["--use", "captured", "--use", "copied", "--use", "background", "--step", "7"]
    text = _tool("memory", "--kind", "python", "--engine", "default", *words)
    found = re.search(r"^python: (\d+) failed allocations", text, re.MULTILINE)
    assert found
    assert int(found[1]) > 30


def test_allocations_of_c_that_fail(children: Children) -> None:
    """A130: all of two uses; the helper that makes them fail says that it does."""
    assert subprocess.run([children("failing")]).returncode == 0
    words = ["--use", "captured", "--use", "long_output", "--engine", "posix_spawn"]
    text = _tool("memory", "--kind", "malloc", *words, LD_PRELOAD=children("failing.so"))
    found = re.search(r"^malloc: (\d+) failed allocations", text, re.MULTILINE)
    assert found
    assert int(found[1]) > 10


# ---- a check that cannot fail is none ------------------------------------------------------------


def _leaks(place: Place) -> None:
    fds = os.pipe()
    for fd in fds:
        os.get_inheritable(fd)  # fcntl; where it fails both are left
    for fd in fds:
        os.close(fd)


def _lies(place: Place) -> None:
    try:
        os.chdir(".")
    except OSError as error:
        raise KeyError(str(error)) from error


def _crashes(place: Place) -> None:
    try:
        os.chdir(".")
    except OSError:
        os.abort()


def _wastes(place: Place) -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    bytes(1000)  # no memory: it is left
    os.close(fd)


def _dies(place: Place) -> None:
    try:
        bytes(1000)
    except MemoryError:
        ctypes.string_at(0)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for use in _leaks, _lies, _crashes, _wastes, _dies:
        monkeypatch.setitem(USES, use.__name__, use)


@needs_strace
@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("_leaks", "default _leaks ours fcntl:EBADF:1\n    descriptor \\d+ is left: pipe"),
        ("_lies", "default _lies ours chdir:EACCES:1\n    not an error of ours: KeyError"),
        ("_crashes", "default _crashes ours chdir:EACCES:1\n    it ended with -6"),
    ],
)
def test_strace_finds_what_is_planted(planted: None, use: str, said: str) -> None:
    tally = strace.group("default", use, only=said.split("\n")[0])
    assert any(re.match(said, wrong) for wrong in tally.wrong), tally


@needs_testcapi
@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("_wastes", r"^python default _wastes \d+\n    descriptor \d+ is left: /dev/null"),
        ("_dies", r"^python default _dies \d+\n    it ended with -11"),
    ],
)
def test_memory_finds_what_is_planted(planted: None, use: str, said: str, tmp_path: Path) -> None:
    tally = memory.Tally()
    memory.loop_over("python", "default", use, tmp_path, tally, 1, 1)
    assert any(re.match(said, wrong) for wrong in tally.wrong), tally
