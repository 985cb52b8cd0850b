"""The tools of the tests prove themselves here, through subprocess and not through spawnkit."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.children import SOURCES, Children, parse_report
from support.isolated import Isolate


def test_report_tells_what_it_was_given(children: Children, tmp_path: Path) -> None:
    out = tmp_path / "out"
    read, write = os.pipe()

    def prepare() -> None:
        os.umask(0o027)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR1, 64])
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))

    subprocess.run(
        [b"\xff name", out, b"a\nb", ""],
        executable=children("report"),
        env={b"KEY": b"\xfe="},
        cwd=tmp_path,
        pass_fds=[read],
        stdin=subprocess.DEVNULL,
        preexec_fn=prepare,
        check=True,
    )
    report = parse_report(out)
    assert report["ppid"] == os.getpid()
    assert report["umask"] == 0o027
    assert report.cwd == os.fsencode(tmp_path)
    assert report.argv == [b"\xff name", os.fsencode(out), b"a\nb", b""]
    assert report.env == [b"KEY=\xfe="]
    assert set(report.fds) == {0, 1, 2, read}
    assert report.fds[read].inode == os.fstat(read).st_ino
    assert report.fds[0].rdev == os.stat("/dev/null").st_rdev
    assert report.mask == {signal.SIGUSR1, 64}
    assert signal.SIGHUP in report.ignored
    assert not report.caught
    assert report.rlimits[resource.RLIMIT_NOFILE] == (100, 200)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["0"], 0), (["255"], 255), (["signal", "9"], -9), (["signal", "34"], -34)],
)
def test_exit_ends_as_told(children: Children, arguments: list[str], status: int) -> None:
    assert subprocess.run([children("exit"), *arguments]).returncode == status


def test_exit_dumps_core(children: Children, tmp_path: Path) -> None:
    pid = os.posix_spawn(
        "/bin/sh", ["sh", "-c", f"cd {tmp_path}; exec {children('exit')} core 6"], {}
    )
    status = os.waitpid(pid, 0)[1]
    assert os.WTERMSIG(status) == 6
    assert os.WCOREDUMP(status)


def test_block_ends_when_its_descriptor_closes(children: Children) -> None:
    process = subprocess.Popen(
        [children("block"), "0", "ready"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    assert os.read(process.stdout.fileno(), 99) == b"ready"
    assert process.poll() is None
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()


def test_echo_copies(children: Children) -> None:
    data = bytes(range(256)) * 1024
    assert subprocess.run([children("echo")], input=data, capture_output=True).stdout == data


def test_flood_fills_both_streams(children: Children) -> None:
    done = subprocess.run([children("flood"), "200001"], capture_output=True)
    assert (done.stdout, done.stderr) == (b"o" * 200001, b"e" * 200001)


def test_talk_answers_on_both_streams(children: Children) -> None:
    done = subprocess.run([children("talk")], input=b"heard", capture_output=True)
    assert (done.stdout, done.stderr, done.returncode) == (b"Oheard", b"E", 0)
    done = subprocess.run(["sh", "-c", '"$0" <&- 2>&-', children("talk")], capture_output=True)
    assert (done.stdout, done.returncode) == (b"O", 1 | 4)


def test_traced_stops_under_its_parent(children: Children) -> None:
    process = subprocess.Popen([children("traced")])
    status = os.waitpid(process.pid, 0)[1]
    assert os.WIFSTOPPED(status)
    process.kill()
    process.wait()


# deny and hold


@pytest.mark.parametrize("name", ["ENOSYS", "EPERM", "EMFILE", "EINTR"])
def test_deny_makes_a_call_fail_with_this_errno(children: Children, name: str) -> None:
    code = "import os\ntry: os.pipe()\nexcept OSError as e: print(e.errno)"
    command = [children("deny"), f"pipe2:{name}", "--", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == str(getattr(errno, name)), done.stderr


def _tries_chdir_and_pipe() -> list[int]:
    import os

    found = []
    for call in (lambda: os.chdir("/"), os.pipe):
        try:
            call()
            found.append(0)
        except OSError as error:
            found.append(error.errno or 0)
    return found


def test_deny_works_on_a_running_interpreter_too(isolate: Isolate) -> None:
    rules = "chdir:EIO,pipe2:ENFILE"
    assert isolate(_tries_chdir_and_pipe, deny=rules, warm=False, oracle=False) == [
        errno.EIO,
        errno.ENFILE,
    ]


def _tries_dup_numbers() -> list[int]:
    import errno
    import fcntl

    found = []
    for number in range(20, 24):
        try:
            found.append(fcntl.fcntl(2, fcntl.F_DUPFD, number))
        except OSError as error:
            found.append(-(error.errno or 0))
    return [value + errno.EBADF if value < 0 else value for value in found]


@pytest.mark.parametrize(
    ("condition", "denied"), [("2&0xff=21", {21}), ("2&0x2", {22, 23}), ("2&0xff=99", set())]
)
def test_deny_looks_at_an_argument(isolate: Isolate, condition: str, denied: set[int]) -> None:
    rules = f"fcntl[{condition}]:EBADF"
    found = isolate(_tries_dup_numbers, deny=rules, warm=False, oracle=False)
    assert found == [0 if number in denied else number for number in range(20, 24)]


@pytest.mark.parametrize("rules", ["nonsense:EIO", "chdir:NOTHING", "chdir[9&1]:EIO", "chdir"])
def test_deny_refuses_what_it_does_not_know(children: Children, rules: str) -> None:
    done = subprocess.run([children("deny"), rules, "--", "true"], capture_output=True)
    assert done.returncode == 124


def _changes_directory_while_another_thread_counts(path: str) -> str:
    import os
    import threading

    from support.inside import hear, note

    done = threading.Event()

    def change() -> None:
        try:
            os.chdir(path)
        except OSError as error:
            note(error.errno)
        done.set()

    thread = threading.Thread(target=change)
    thread.start()
    while (word := hear()) != "end":
        note(f"heard {word}, done {done.is_set()}")
    thread.join()
    return os.getcwd()


def test_a_held_call_waits_until_it_is_let_go(isolate: Isolate, tmp_path: Path) -> None:
    with isolate.start(
        _changes_directory_while_another_thread_counts,
        str(tmp_path),
        deny="chdir:hold",
        warm=False,
        oracle=False,
    ) as running:
        held = running.held()
        for word in "one", "two":
            running.tell(word)
            assert running.note() == f"heard {word}, done False"
        held.go()
        running.tell("end")
        assert running.result() == str(tmp_path)


def test_a_held_call_fails_as_told(isolate: Isolate) -> None:
    with isolate.start(
        _changes_directory_while_another_thread_counts,
        "/",
        deny="chdir:hold",
        warm=False,
        oracle=False,
    ) as running:
        running.held().fail(errno.ELOOP)
        assert running.note() == errno.ELOOP
        running.tell("end")
        assert running.result() == os.getcwd()


def _leaks_a_descriptor() -> None:
    import os

    os.open("/dev/null", os.O_RDONLY)


def _raises() -> None:
    raise RuntimeError("this one")


def test_an_isolated_function_that_leaks_or_raises_fails_the_test(isolate: Isolate) -> None:
    with pytest.raises(AssertionError, match=r"leaked:\n  descriptor \d+ is left: /dev/null"):
        isolate(_leaks_a_descriptor, warm=False)
    with pytest.raises(AssertionError, match="RuntimeError: this one"):
        isolate(_raises, warm=False)


def test_every_helper_is_used(children: Children, whole_suite: bool) -> None:
    """Runs last: whoever stops using a helper removes it."""
    if not whole_suite:
        pytest.skip("only part of the suite was run")
    assert children.unused() == set()
    assert {path.stem for path in SOURCES.glob("*.c")} == children.used
