"""The oracle itself: each thing a test may leave behind is found, and named."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import spawnkit._core
from support import oracle
from support.proc import PROC


@contextmanager
def _leaked_descriptor() -> Iterator[str]:
    fd = os.open("/dev/null", os.O_RDONLY)
    yield f"descriptor {fd} is left: /dev/null close-on-exec"
    os.close(fd)


@contextmanager
def _changed_descriptor_flag() -> Iterator[str]:
    flags = fcntl.fcntl(2, fcntl.F_GETFD)
    fcntl.fcntl(2, fcntl.F_SETFD, flags ^ fcntl.FD_CLOEXEC)
    yield "descriptor 2 changed"
    fcntl.fcntl(2, fcntl.F_SETFD, flags)


@contextmanager
def _zombie() -> Iterator[str]:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    yield f"child {pid} is left: not waited for (a zombie)"
    os.waitpid(pid, 0)


@contextmanager
def _running_child() -> Iterator[str]:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    yield f"child {process.pid} is left: still there"
    process.communicate()


@contextmanager
def _changed_mask() -> Iterator[str]:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    yield "signal mask changed: 0000000000000000 -> 0000000000000200"
    signal.pthread_sigmask(signal.SIG_SETMASK, old)


@contextmanager
def _changed_disposition() -> Iterator[str]:
    old = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    yield "disposition of signal 12 changed: default 0 -> ignored 0"
    signal.signal(signal.SIGUSR2, old)


@contextmanager
def _changed_umask() -> Iterator[str]:
    old = os.umask(0o077)
    yield f"umask changed: {old:04o} -> 0077"
    os.umask(old)


@contextmanager
def _changed_directory() -> Iterator[str]:
    old = os.getcwd()
    os.chdir("/")
    yield f"working directory changed: {old} -> /"
    os.chdir(old)


@contextmanager
def _changed_limit() -> Iterator[str]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    yield f"limit NOFILE changed: ({soft}, {hard}) -> ({soft - 1}, {hard})"
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _thread() -> Iterator[str]:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield f"thread {thread.native_id} is left: alive"
    end.set()
    thread.join()


@contextmanager
def _child_stack() -> Iterator[str]:
    libc = ctypes.CDLL(None)
    block = mmap.mmap(-1, 4 * oracle.GUARD_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    first = ctypes.c_char.from_buffer(block)
    guard = ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(oracle.GUARD_SIZE)
    assert libc.mprotect(*guard, 0) == 0
    yield "child stacks changed: 0 -> 1"
    assert libc.mprotect(*guard, mmap.PROT_READ | mmap.PROT_WRITE) == 0
    del first
    block.close()


Leak = Callable[[], AbstractContextManager[str]]
LEAKS: list[Leak] = [
    _leaked_descriptor,
    _changed_descriptor_flag,
    _zombie,
    _running_child,
    _changed_mask,
    _changed_disposition,
    _changed_umask,
    _changed_directory,
    _changed_limit,
    _thread,
    _child_stack,
]


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__.strip("_"))
def test_the_oracle_names_what_leaked(leak: Leak) -> None:
    before = oracle.snapshot()
    with leak() as expected:
        found = oracle.leaks_since(before, settle=0)
    assert any(line.startswith(expected) for line in found), found
    assert oracle.leaks_since(before) == []


def test_the_oracle_is_silent_when_nothing_leaked() -> None:
    before = oracle.snapshot()
    subprocess.run(["true"], capture_output=True, check=True)
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()
    assert oracle.leaks_since(before) == []


def test_the_oracle_sees_the_stacks_that_the_package_keeps() -> None:
    def stacks() -> int:
        return oracle.guarded_stacks((PROC / "self/maps").read_text())

    spawnkit.run(["/bin/true"])
    kept = stacks()
    assert kept >= 1
    assert spawnkit._core.trim() == kept
    assert stacks() == 0


def test_a_stack_of_a_thread_is_not_taken_for_one_of_ours() -> None:
    maps = """\
7f0000000000-7f0000001000 ---p 00000000 00:00 0
7f0000001000-7f0000801000 rw-p 00000000 00:00 0
7f0000900000-7f0000910000 ---p 00000000 00:00 0
7f0000910000-7f0000940000 rw-p 00000000 00:00 0
7f0000a00000-7f0000b00000 rw-p 00000000 00:00 0 [heap]
"""
    assert oracle.guarded_stacks(maps) == 1


def test_a_test_that_leaks_fails_and_says_what(tmp_path: Path) -> None:
    """The fixture, as a run of its own sees it: the leaking test fails, its neighbour passes."""
    tests = Path(__file__).parent
    (tmp_path / "conftest.py").write_text((tests / "conftest.py").read_text())
    (tmp_path / "test_leaking.py").write_text(
        "import os, subprocess\n"
        "def test_leaks():\n"
        "    os.open('/dev/null', os.O_RDONLY)\n"
        "    os.posix_spawn('/bin/cat', ['cat'], {}, file_actions=\n"
        "        [(os.POSIX_SPAWN_DUP2, os.pipe()[0], 0)])\n"
        "def test_does_not():\n"
        "    subprocess.run(['true'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "2 passed, 1 error" in done.stdout
    assert "is left: /dev/null" in done.stdout
    assert "child " in done.stdout
    assert done.returncode == 1
