"""How a command is ended by its options: grace, idle_timeout, kill, max_output; who is told of."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from threading import Thread
from typing import Any

import pytest

import spawnkit
from spawnkit import PIPE, Cmd, KillReport, _core, family, killing, proctable, run
from spawnkit.family import Family
from support.children import Children
from support.isolated import Isolate
from support.leash import HANGS_AFTER, Leash
from support.proc import PROC

SOON = 0.1

WIDE = ["group", "tree", "cgroup"]


@pytest.fixture
def leash() -> Iterator[Leash]:
    with Leash() as held:
        yield held


def needs(kill: str) -> None:
    """Skips where no cgroup can be made."""
    if kill == "cgroup":
        try:
            with spawnkit.Cgroup():
                pass
        except spawnkit.SpawnError as error:
            pytest.skip(f"no cgroup can be made here: {error}")


def trap(code: int) -> list[str]:
    """A shell that ends with this code when it gets SIGTERM."""
    return ["sh", "-c", f"trap 'exit {code}' TERM; echo up; while :; do sleep 0.01; done"]


# ---- grace ---------------------------------------------------------------------------------------


def test_a_program_that_tidies_up_in_the_grace_ends_by_itself(engine: str) -> None:
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(trap(7), capture=True, timeout=SOON, grace=HANGS_AFTER, engine=engine)
    assert raised.value.state is not None
    assert raised.value.state.exit_code == 7
    assert raised.value.stdout == b"up\n"
    assert raised.value.kill is None


def test_after_the_grace_comes_sigkill(engine: str, children: Children, leash: Leash) -> None:
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(
            [children("zoo"), "ignores"],
            capture=True,
            extra_files=[leash.theirs],
            timeout=SOON,
            grace=SOON,
            engine=engine,
        )
    assert raised.value.state is not None
    assert raised.value.state.signal == signal.SIGKILL
    assert raised.value.kill is not None
    assert (raised.value.kill.means, raised.value.kill.killed) == ("process", 1)
    assert leash.all_gone()


def test_a_grace_of_nothing_is_a_kill(engine: str) -> None:
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(["sleep", "1000"], timeout=SOON, grace=0, engine=engine)
    assert raised.value.state is not None
    assert raised.value.state.signal in (signal.SIGTERM, signal.SIGKILL)


def test_a_grace_bounds_an_action(engine: str) -> None:
    called = []
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(["sleep", "1000"], timeout=SOON, cancel=called.append, grace=SOON, engine=engine)
    assert len(called) == 1
    assert raised.value.state is not None
    assert raised.value.state.signal == signal.SIGKILL


def test_a_token_gives_the_grace_too(engine: str) -> None:
    token = spawnkit.CancelToken()
    cmd = Cmd(*trap(9), stdout=PIPE, cancel=token, grace=HANGS_AFTER, engine=engine)
    out = cmd.clone()
    out.stdout = None
    reader = out.stdout_pipe()
    out.start()
    assert reader.readline() == b"up\n"
    token.cancel()
    with pytest.raises(spawnkit.Cancelled) as raised:
        out.wait()
    assert raised.value.state is not None
    assert raised.value.state.exit_code == 9


def test_a_descendant_that_holds_the_pipe_is_waited_for_in_the_grace_at_most(
    engine: str, children: Children, leash: Leash
) -> None:
    """A82: with what had come so far."""
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(
            [children("zoo"), "daemon"],
            capture=True,
            extra_files=[leash.theirs],
            timeout=SOON,
            grace=2 * SOON,
            engine=engine,
        )
    assert raised.value.stdout == b"begun\n"
    assert not leash.all_gone(0)
    names = {(holder.command, holder.streams) for holder in raised.value.holders}
    assert names == {(f"{children('zoo')} daemon"[:100], ("stdout", "stderr"))}


# ---- idle_timeout --------------------------------------------------------------------------------


@pytest.mark.parametrize("take", ["PIPE", "writer"])
def test_silence_ends_a_command(take: str, engine: str) -> None:
    heard: list[bytes] = []
    stdout: Any = PIPE if take == "PIPE" else spawnkit.each_chunk(heard.append)
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(["sh", "-c", "echo one; exec sleep 1000"], stdout=stdout, idle_timeout=SOON)
    error = raised.value
    assert error.idle
    assert error.timeout == SOON
    assert (error.stdout or b"".join(heard)) == b"one\n"
    assert str(error).startswith("sh: silent for 0.1 s")


@pytest.mark.parametrize("seconds", [float("inf"), 1e12, 1e300])
def test_no_silence_is_too_long(seconds: float, engine: str) -> None:
    assert run(["echo", "x"], capture=True, idle_timeout=seconds, engine=engine).stdout == b"x\n"


def test_who_goes_on_talking_is_left_alone(engine: str, children: Children) -> None:
    # Each word resets the clock: altogether it takes five times as long as it may be silent.
    result = run(
        ["sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.2; done"],
        capture=True,
        idle_timeout=1.0,
        engine=engine,
    )
    assert result.stdout == b"1\n2\n3\n4\n5\n"


def test_the_timeout_counts_where_it_comes_first(engine: str) -> None:
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(["sleep", "1000"], capture=True, timeout=SOON, idle_timeout=HANGS_AFTER, engine=engine)
    assert not raised.value.idle


def test_silence_in_the_background(engine: str) -> None:
    cmd = Cmd("sleep", "1000", stdout=PIPE, idle_timeout=SOON, engine=engine)
    cmd.start()
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        cmd.wait()
    assert raised.value.idle


# ---- kill ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kill", WIDE)
@pytest.mark.parametrize("grace", [None, SOON])
def test_a_kill_reaches_the_others(
    kill: str, grace: float | None, engine: str, children: Children, leash: Leash
) -> None:
    """A78: the process group; who has left it; whoever is in a cgroup."""
    needs(kill)
    if kill == "cgroup" and engine == "posix_spawn":
        pytest.skip("posix_spawn cannot put a child into a cgroup")
    kind = "ignores" if kill == "group" else "daemon"
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(
            ["sh", "-c", f"{children('zoo')} {kind} & exec {children('zoo')} ignores"],
            capture=True,
            extra_files=[leash.theirs],
            timeout=0.5,  # the start is meant to be over by then
            grace=grace,
            kill=kill,
            engine=engine,
        )
    assert leash.all_gone()
    report = raised.value.kill
    assert isinstance(report, KillReport)
    assert report.means == kill
    assert report.killed >= (1 if grace else 2)
    assert report.survivors == ()


@pytest.mark.parametrize("kill", WIDE)
def test_a_process_that_ends_first_leaves_the_others_to_the_kill(
    kill: str, children: Children, leash: Leash
) -> None:
    needs(kill)
    kind = "chatters" if kill == "group" else "leaves"
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(
            [children("zoo"), kind],
            capture=True,
            extra_files=[leash.theirs],
            timeout=0.5,
            kill=kill,
        )
    assert leash.all_gone()
    assert raised.value.state is not None
    assert raised.value.state.success
    assert raised.value.kill is not None
    assert raised.value.kill.killed == 1


@pytest.mark.parametrize("kill", ["process", *WIDE])
def test_a_success_leaves_what_is_in_the_background(
    kill: str, children: Children, leash: Leash
) -> None:
    """But in a cgroup of the command's own, which goes with it."""
    needs(kill)
    run([children("zoo"), "leaves"], extra_files=[leash.theirs], timeout=HANGS_AFTER, kill=kill,
        stdout=spawnkit.DEVNULL)  # fmt: skip
    assert leash.all_gone(HANGS_AFTER if kill == "cgroup" else 0) == (kill == "cgroup")


def test_a_cgroup_of_the_callers_is_his_to_close(children: Children, leash: Leash) -> None:
    needs("cgroup")
    with spawnkit.Cgroup() as group:
        with pytest.raises(spawnkit.TimeoutExpired):
            run(
                [children("zoo"), "daemon"],
                extra_files=[leash.theirs],
                stdout=spawnkit.DEVNULL,
                timeout=0.5,
                kill="cgroup",
                cgroup=group,
            )
        assert leash.all_gone()
        assert run(["echo", "again"], capture=True, cgroup=group).stdout == b"again\n"


def test_who_runs_on_without_its_first_thread_is_killed(leash: Leash) -> None:
    """/proc calls it a zombie then, with more threads than one."""
    number = {"x86_64": 60, "aarch64": 93}[os.uname().machine]  # exit(2): of one thread
    code = (
        "import ctypes, os, threading, time;"
        "threading.Thread(target=lambda: time.sleep(1000)).start();"
        "os.write(1, b'%d' % os.getpid()); os.close(1);"
        f"ctypes.CDLL(None).syscall({number}, 0)"
    )
    token = spawnkit.CancelToken()
    cmd = Cmd("sh", "-c", '"$0" -c "$1" & exec >/dev/null; wait', sys.executable, code)
    cmd.extra_files, cmd.cancel, cmd.kill = [leash.theirs], token, "tree"
    out = cmd.stdout_pipe()
    cmd.start()
    pid = int(out.read())
    out.close()
    while (entry := proctable.look(pid)) is None or entry.state != "Z":
        time.sleep(0.001)
    assert not entry.is_gone
    token.cancel()
    with pytest.raises(spawnkit.Cancelled) as raised:
        cmd.wait()
    assert raised.value.kill is not None
    assert (raised.value.kill.killed, raised.value.kill.survivors) == (2, ())
    assert leash.all_gone()


def test_the_child_of_one_who_is_missed_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent may be a stranger's child:

    1. 200 is of the family, and ends; a stranger gets its number and starts 300, that starts 400;
    2. 300 is seen as a child of 200, which turns out to be another now: it is missed;
    3. 400 is the child of 300, and both are there.
    """

    def entry(pid: int, parent: int, start: int) -> proctable.Entry:
        fields = [b"S", b"%d" % parent, b"7", *[b"0"] * 14, b"1", b"0", b"%d" % start]
        return proctable.Entry(pid, b"name", fields)

    seen = [entry(400, 300, 7), entry(300, 200, 6), entry(200, 100, 5)]
    signalled = []
    now = {100: None, 200: entry(200, 1, 6), 300: seen[1], 400: seen[0]}
    walked = family.Family([], b"mark", group=False)
    walked._others[seen[2].key] = None  # type: ignore[assignment]
    monkeypatch.setattr(proctable, "look", now.get)
    monkeypatch.setattr(family, "find_process", lambda pid: pid)
    monkeypatch.setattr(family, "send", lambda other, number: signalled.append(other))
    walked._take_descendants(seen, set(), signal.SIGSTOP)
    assert (signalled, len(walked._others)) == ([], 1)
    assert [missed.pid for missed in walked.missed] == [300]


def test_with_no_descriptor_left_the_process_itself_is_killed() -> None:
    """kill="cgroup": who else is in it cannot be known, and it is not said to be empty."""

    class Full:
        def kill(self) -> None:
            raise OSError(errno.EMFILE, "none left")

        procs = kill

        def _ask(self, number: int) -> None:
            self.kill()

    process = spawnkit.start_process("/bin/sleep", ["sleep", "1000"])
    scope = killing.Caged([process._child], Full(), ours=False)  # type: ignore[arg-type]
    assert scope.is_empty()
    report = scope.kill()
    assert (report.killed, report.complete) == (1, False)
    scope.ask()
    assert process.wait().signal == signal.SIGKILL


@pytest.mark.parametrize("kill", WIDE)
def test_strangers_are_not_hit(kill: str, children: Children) -> None:
    needs(kill)
    with Leash() as strangers:
        stranger = Cmd(children("zoo"), "daemon", extra_files=[strangers.theirs])
        stranger.stdout = spawnkit.DEVNULL
        stranger.start()
        with pytest.raises(spawnkit.TimeoutExpired):
            run(["sleep", "1000"], timeout=SOON, kill=kill)
        assert not strangers.all_gone(0)
        assert stranger.process is not None
        assert stranger.process.poll() is None
        stranger.process.kill()
        stranger.wait(check=False)


def test_a_command_inside_a_command_belongs_to_both(children: Children, leash: Leash) -> None:
    inner = (
        "import spawnkit, sys\n"
        "spawnkit.run([sys.argv[1], 'daemon'], extra_files=[3], kill='tree', capture=True)\n"
    )
    with pytest.raises(spawnkit.TimeoutExpired):
        run(
            [sys.executable, "-c", inner, children("zoo")],
            extra_files=[leash.theirs],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=2.0,
            kill="tree",
        )
    assert leash.all_gone()


@pytest.mark.parametrize(("kill", "marked"), [(None, False), ("group", True), ("tree", True)])
def test_the_mark_is_in_the_environment(kill: str | None, marked: bool) -> None:
    out = run(["env"], env={"A": "1"}, path="/usr/bin/env", capture=True, kill=kill).stdout
    assert (b"SPAWNKIT_RUN=" in out) == marked
    assert b"A=1\n" in out


def test_a_group_of_its_own_only_where_it_is_needed(report: Any) -> None:
    for kill, own in ("process", False), ("group", True), ("tree", True), ("cgroup", False):
        needs(kill)
        seen = report(lambda argv, kill=kill: run(argv, kill=kill))
        assert (seen["pgid"] == seen["pid"]) == own
        seen = report(
            lambda argv, kill=kill: run(argv, kill=kill, attr=spawnkit.SysProcAttr(setsid=True))
        )
        assert seen["sid"] == seen["pid"]


@pytest.mark.parametrize("kill", ["process", "tree"])
def test_who_holds_a_pipe_is_named(kill: str, children: Children, leash: Leash) -> None:
    """A82, A83: the error has pid and command of whoever holds the streams."""
    with pytest.raises(spawnkit.WaitDelayError) as raised:
        run(
            [children("zoo"), "leaves"],
            stdout=PIPE,
            stderr=spawnkit.DEVNULL,
            extra_files=[leash.theirs],
            wait_delay=SOON,
            kill=kill,
        )
    assert raised.value.stdout == b"begun\n"
    if kill == "tree":
        assert leash.all_gone()
        assert raised.value.holders == []
        return
    (holder,) = raised.value.holders
    assert holder.streams == ("stdout",)
    command = f"{children('zoo')} leaves"
    assert holder.command == (command if len(command) <= 100 else command[:99] + "…")
    assert os.path.exists(f"{PROC}/{holder.pid}")
    assert f"its stdout is held by pid {holder.pid}" in str(raised.value)


def test_who_holds_a_writers_pipe_is_named(children: Children, leash: Leash) -> None:
    heard: list[bytes] = []
    with pytest.raises(spawnkit.WaitDelayError) as raised:
        run(
            [children("zoo"), "leaves"],
            stdout=spawnkit.each_chunk(heard.append),
            extra_files=[leash.theirs],
            wait_delay=SOON,
        )
    assert heard == [b"begun\n"]
    assert [holder.streams for holder in raised.value.holders] == [("stdout",)]


def test_the_short_way_names_them_too(engine: str, children: Children, leash: Leash) -> None:
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(
            [children("zoo"), "daemon"],
            capture=True,
            extra_files=[leash.theirs],
            timeout=0.5,
            engine=engine,
        )
    assert [holder.streams for holder in raised.value.holders] == [("stdout", "stderr")]


def interrupted_command(program: str, kill: str, grace: float | None) -> list[Any]:
    """In an interpreter of its own: Ctrl-C while `run` waits."""
    import os
    import signal
    import threading

    import spawnkit
    from support.leash import Leash

    main = threading.main_thread().ident
    assert main is not None
    ready, says = os.pipe()
    outcome = ""

    def interrupt() -> None:
        os.read(ready, 1)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with Leash() as leash:
        try:
            spawnkit.run(
                [program, "daemon"],
                stdout=says,
                extra_files=[leash.theirs],
                kill=kill,
                grace=grace,
            )
        except KeyboardInterrupt:
            outcome = "interrupted"
        thread.join()
        os.close(ready)
        os.close(says)
        return [outcome, leash.all_gone()]


@pytest.mark.parametrize("kill", WIDE[1:])
@pytest.mark.parametrize("grace", [None, SOON])
def test_ctrl_c_reaches_the_others(
    kill: str, grace: float | None, isolate: Isolate, children: Children
) -> None:
    needs(kill)
    outcome = isolate(interrupted_command, children("zoo"), kill, grace)
    assert outcome == ["interrupted", True]


@pytest.mark.parametrize("strikes", [1, 2])
def test_a_sweep_that_is_interrupted_goes_on(
    strikes: int, monkeypatch: pytest.MonkeyPatch, children: Children, leash: Leash
) -> None:
    """Those it has stopped by then would stay so."""
    walks = 0
    walk = Family.walk

    def interrupted(self: Family, *arguments: Any, **options: Any) -> bool:
        nonlocal walks
        found = walk(self, *arguments, **options)
        walks += 1
        if walks <= strikes:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Family, "walk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(
            [children("zoo"), "daemon"],
            extra_files=[leash.theirs],
            stdout=spawnkit.DEVNULL,
            kill="tree",
            timeout=SOON,
        )
    assert leash.all_gone()


def left_by_interrupted_looks() -> list[int]:
    """In an interpreter of its own: an exception at each line of a look at /proc."""
    import os
    import sys
    from types import FrameType

    from spawnkit import proctable

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    left = []
    for nth in range(1, 100):
        lines = 0

        def trace(frame: FrameType, event: str, argument: object) -> object:
            nonlocal lines
            if frame.f_code is not proctable._read.__code__:
                return None
            lines += event == "line"
            if lines == nth:  # noqa: B023 - used in this round only
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            proctable._read(1, "stat")
            break
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        left.append(descriptors() - before)
    return left


def test_a_look_that_is_interrupted_leaves_no_descriptor(isolate: Isolate) -> None:
    left = isolate(left_by_interrupted_looks)
    assert len(left) > 3
    assert not any(left)


def forked_in_a_handler(kill: str, grip: int) -> list[Any]:
    """In an interpreter of its own: a handler forks while `run` waits, and the other one leaves."""
    import os
    import signal
    import sys

    import spawnkit

    forked = 0

    def fork(*_: object) -> None:
        nonlocal forked
        forked = os.fork()
        if not forked:
            sys.exit(7)

    signal.signal(signal.SIGUSR1, fork)
    ends, holds = os.pipe()
    # Its descendant goes on when the forked process is over, and says so if it is left to live.
    script = f"(read line <&{grip}; echo lives) & kill -USR1 {os.getpid()}; wait"
    try:
        cmd = spawnkit.Cmd("sh", "-c", script, stdout=spawnkit.PIPE, kill=kill, timeout=60)
        cmd.fd_map = {grip: ends}

        def let_go(*_: object) -> None:
            os.write(holds, b"\n")

        signal.signal(signal.SIGCHLD, let_go)
        cmd.run()
    except SystemExit as error:
        os._exit(int(str(error.code)))
    except BaseException:
        if not forked:
            os._exit(8)
        raise
    for number in signal.SIGUSR1, signal.SIGCHLD:
        signal.signal(number, signal.SIG_DFL)
    os.close(ends)
    os.close(holds)
    assert cmd.result is not None
    return [os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]), cmd.result.stdout.decode()]


@pytest.mark.parametrize("kill", WIDE)
def test_a_process_forked_meanwhile_kills_nobody(kill: str, isolate: Isolate) -> None:
    needs(kill)
    assert isolate(forked_in_a_handler, kill, 9) == [7, "lives\n"]


@pytest.mark.parametrize("whose", ["nobody", "another"])
@pytest.mark.parametrize("kill", ["group", "tree"])
def test_a_proc_that_is_not_ours_is_not_read(
    whose: str, kill: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after `unshare --pid`: whom it calls by a number is another process here, or none."""
    strangers: list[Popen[bytes]] = []

    def show_a_stranger(_: Cmd) -> None:
        strangers.append(Popen(["sleep", "1000"]))
        if whose == "another":
            number = str(strangers[0].pid)
            (tmp_path / number).symlink_to(f"{PROC}/{number}")
            (tmp_path / "self").symlink_to("1")

    monkeypatch.setattr(proctable, "_PROC", str(tmp_path))
    monkeypatch.setattr(Family, "_is_marked", lambda *_: True)
    try:
        with pytest.raises(spawnkit.TimeoutExpired) as raised:
            run(["sleep", "1000"], timeout=SOON, kill=kill, cancel=show_a_stranger, grace=0.5)
        assert strangers[0].poll() is None
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()
    assert raised.value.kill is not None
    assert (raised.value.kill.killed, raised.value.kill.complete) == (1, False)


def no_descriptor_at_the_kill() -> list[Any]:
    """In an interpreter of its own."""
    import os
    import resource
    from contextlib import suppress

    import spawnkit
    from spawnkit import cgroup_kill  # noqa: F401 - to be loaded beforehand

    cmd = spawnkit.Cmd("sleep", "1000", kill="cgroup", timeout=0.5)
    cmd.start()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    taken = []
    with suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    said: list[Any] = []
    try:
        cmd.wait()
    except spawnkit.TimeoutExpired as error:
        said = [error.kill and error.kill.complete, error.state and error.state.signal]
    for fd in taken:
        os.close(fd)
    return said


def test_a_cgroup_that_cannot_be_looked_at_is_not_empty(isolate: Isolate) -> None:
    needs("cgroup")
    assert isolate(no_descriptor_at_the_kill, oracle=False) == [False, signal.SIGKILL]


def as_nobody(program: str) -> list[str]:
    """In an interpreter of its own, as another user than the program."""
    import os

    import spawnkit

    read, write = os.pipe()
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    cmd = spawnkit.Cmd(program, extra_files=[read], timeout=0.5)
    out = cmd.stdout_pipe()
    cmd.start()
    says = [out.readline().decode()]
    assert cmd.process is not None
    for ask in cmd.process.kill, cmd.process.terminate:
        try:
            ask()
        except PermissionError as error:
            says.append(type(error).__name__)
    try:
        cmd.wait()
    except spawnkit.TimeoutExpired as error:
        says.append(f"timed out, state {error.state}")
    os.close(write)
    os.close(read)
    os.waitpid(-1, 0)
    return says


@pytest.fixture
def other_user(children: Children) -> Iterator[str]:
    """A program that becomes another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a program that becomes another user")
    if "NoNewPrivs:\t1" in (PROC / "self/status").read_text():
        pytest.skip("with no_new_privs no program becomes another user")
    program = Path("/tmp") / f"spawnkit-other-user-{os.getpid()}"
    shutil.copy(children("other_user"), program)
    try:
        program.chmod(0o4755)
        if os.statvfs(program).f_flag & os.ST_NOSUID:
            pytest.skip("/tmp is mounted nosuid")
        yield str(program)
    finally:
        program.unlink()


def test_a_program_of_another_user(isolate: Isolate, other_user: str) -> None:
    """A77: PermissionError; and a timeout comes to its end without it."""
    says = isolate(as_nobody, other_user, oracle=False)
    assert says == ["up\n", "PermissionError", "PermissionError", "timed out, state None"]


def group_as_nobody(program: str) -> list[Any]:
    """In an interpreter of its own: the leader becomes another user, a member stays ours."""
    import os

    import spawnkit
    from spawnkit import _core

    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    read, write = os.pipe()
    alive, theirs = os.pipe()
    script = 'sleep 1000 4<&- >/dev/null & exec "$0" 3<&4 4<&-'
    cmd = spawnkit.Cmd("sh", "-c", script, program, fd_map={3: theirs, 4: read})
    cmd.attr = spawnkit.SysProcAttr(setpgid=True)
    out = cmd.stdout_pipe()
    cmd.start()
    says: list[Any] = [out.readline().decode()]
    os.close(theirs)
    assert cmd.process is not None
    says.append(_core.signal_group(cmd.process._child, cmd.process.pid, 9))
    says.append(os.read(alive, 1).decode())  # the end of the member
    for fd in (read, write, alive):
        os.close(fd)
    cmd.wait()
    out.close()
    return says


def test_a_group_whose_leader_is_another_user(isolate: Isolate, other_user: str) -> None:
    """The others in it are signalled."""
    assert isolate(group_as_nobody, other_user, oracle=False) == ["up\n", _core.OK, ""]


@pytest.mark.parametrize("group", [-1, 0, 1])
def test_what_is_no_group_of_a_program_is_not_signalled(group: int) -> None:
    """To kill(2) those would be everyone, or ourselves."""
    process = spawnkit.start_process("/bin/sleep", ["sleep", "1000"])
    assert _core.signal_group(process._child, group, 0) == _core.DONE
    process.kill()
    process.wait()


# ---- subreaper -----------------------------------------------------------------------------------


def orphans(program: str, kill: str | None) -> dict[str, Any]:
    """In an interpreter of its own."""
    import spawnkit
    from support.children import ends
    from support.leash import HANGS_AFTER, Leash
    from support.oracle import child_pids

    said: dict[str, Any] = {}
    with Leash() as leash, spawnkit.subreaper() as reaper:
        try:
            spawnkit.run(
                [program, "daemon"],
                timeout=0.5,
                kill=kill,
                extra_files=[leash.theirs],
                stdout=spawnkit.DEVNULL,
            )
        except spawnkit.TimeoutExpired as error:
            said["killed"] = error.kill.killed if error.kill else 0
        left = child_pids()
        said["left"] = len(left)
        leash.let_go()
        for pid in left:
            said["reaped"] = ends(pid, HANGS_AFTER) and reaper.reap() == [pid]
        with spawnkit.subreaper():
            pass
    said["at the end"] = len(child_pids())
    return said


def test_a_subreapers_tree_is_killed_and_reaped(isolate: Isolate, children: Children) -> None:
    said = isolate(orphans, children("zoo"), "tree")
    assert said == {"killed": 2, "left": 0, "at the end": 0}


def test_a_subreaper_gets_the_orphans(isolate: Isolate, children: Children) -> None:
    said = isolate(orphans, children("zoo"), None)
    assert said == {"killed": 0, "left": 1, "reaped": True, "at the end": 0}


# ---- max_output ----------------------------------------------------------------------------------

COUNT = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"
COUNTED = b"".join(b"%d\n" % i for i in range(20000))


@pytest.mark.parametrize("limit", [1, 2, 100, 4096, 100_000])
def test_of_too_much_both_ends_are_kept(limit: int, engine: str) -> None:
    """A89: a flood is cut to its ends, and the result says so."""
    result = run(["sh", "-c", COUNT], capture=True, max_output=limit, engine=engine)
    half = (limit + 1) // 2
    dropped = len(COUNTED) - 2 * half
    note = b"\n... %d bytes left out ...\n" % dropped
    assert result.stdout == COUNTED[:half] + note + COUNTED[-half:]
    assert (result.stdout_dropped, result.stderr_dropped) == (dropped, 0)
    assert result.truncated
    assert result.state.success
    assert result.stderr == b""


@pytest.mark.parametrize("overflow", ["truncate", "kill", "error"])
def test_just_enough_is_not_too_much(overflow: str, engine: str) -> None:
    size = len(COUNTED) + len(COUNTED) % 2
    result = run(
        ["sh", "-c", COUNT], capture=True, max_output=size, overflow=overflow, engine=engine
    )
    assert result.stdout == COUNTED
    assert not result.truncated
    assert result.kill is None


def test_too_much_ends_the_command(engine: str, children: Children) -> None:
    result = run(
        [children("flood"), "1000000000"],
        capture=True,
        max_output=1000,
        overflow="kill",
        engine=engine,
    )
    assert result.stdout == b"o" * 1000
    assert result.truncated
    assert result.state.signal == signal.SIGKILL
    assert result.kill is not None
    assert result.kill.killed == 1


def test_too_much_is_an_error(engine: str, children: Children, leash: Leash) -> None:
    with pytest.raises(spawnkit.OutputLimitError) as raised:
        run(
            [children("zoo"), "floods"],
            capture=True,
            extra_files=[leash.theirs],
            max_output=1000,
            overflow="error",
            grace=SOON,
            kill="tree",
            encoding="utf-8",
            engine=engine,
        )
    assert raised.value.stdout == "z" * 1000
    assert raised.value.limit == 1000
    assert "more than 1000 bytes" in str(raised.value)
    assert leash.all_gone()


def test_each_stream_has_its_own_limit(engine: str) -> None:
    script = "printf %s 0123456789; printf %s 01234567890123456789 >&2"
    result = run(["sh", "-c", script], capture=True, max_output=10, engine=engine)
    assert result.stdout == b"0123456789"
    assert result.stderr == b"01234\n... 10 bytes left out ...\n56789"
    assert (result.stdout_dropped, result.stderr_dropped) == (0, 10)


@pytest.mark.parametrize("overflow", ["truncate", "kill"])
def test_a_character_cut_in_two_is_no_error(overflow: str, engine: str) -> None:
    result = run(
        ["printf", "\xe4\xf6\xfc\xe4\xf6\xfc"],
        capture=True,
        encoding="utf-8",
        max_output=5,
        overflow=overflow,
        engine=engine,
    )
    assert result.stdout.startswith("\xe4\\xc3" if overflow == "truncate" else "\xe4\xf6\\xc3")
    assert result.truncated


def test_what_was_left_out_survives_a_pickle(engine: str) -> None:
    result = run(["echo", "too much"], capture=True, max_output=2, engine=engine)
    copy = pickle.loads(pickle.dumps(result))
    assert copy == result
    assert (copy.truncated, copy.stdout_dropped) == (True, result.stdout_dropped)


def test_output_has_a_limit_too(engine: str) -> None:
    cut = spawnkit.output(["sh", "-c", COUNT], max_output=10, engine=engine)
    assert cut == b"0\n1\n2\n... 108880 bytes left out ...\n9999\n"


def test_memory_is_bounded_however_much_there_is(isolate: Isolate, children: Children) -> None:
    assert isolate(flooded, children("zoo")) < 32 << 20


def flooded(program: str) -> int:
    """In an interpreter of its own: how much memory a flood takes."""
    import contextlib
    import resource

    import spawnkit
    from support.leash import Leash

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    with contextlib.suppress(spawnkit.TimeoutExpired):
        spawnkit.run(["sleep", "1000"], capture=True, timeout=0.01, kill="tree", max_output=10)
    before = peak()
    with Leash() as leash, contextlib.suppress(spawnkit.TimeoutExpired):
        spawnkit.run(
            [program, "floods"],
            capture=True,
            extra_files=[leash.theirs],
            timeout=1,
            max_output=1 << 20,
        )
    return peak() - before


# ---- what is refused, and what is told -----------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"grace": "1"}, TypeError, "grace"),
        ({"grace": float("nan")}, ValueError, "grace"),
        ({"idle_timeout": 1}, ValueError, "idle_timeout: no output comes through us"),
        ({"idle_timeout": 0, "capture": True}, ValueError, "idle_timeout: 0 is not above 0"),
        ({"idle_timeout": True, "capture": True}, TypeError, "idle_timeout"),
        ({"kill": "everybody"}, ValueError, "kill: 'everybody' is not one of 'process'"),
        ({"kill": 9}, TypeError, "kill"),
        ({"overflow": "ignore"}, ValueError, "overflow"),
        ({"max_output": 10}, ValueError, "max_output: neither stdout nor stderr is PIPE"),
        ({"max_output": 10, "capture": "memory"}, ValueError, "max_output: neither stdout nor"),
        ({"max_output": 2**60, "capture": True}, ValueError, "max_output: 1152921504606846976 is"),
        (
            {"overflow": "kill", "capture": True},
            ValueError,
            "overflow: 'kill', but there is no max",
        ),
        ({"max_output": 0, "capture": True}, ValueError, "max_output: 0 is not in 1.."),
        ({"max_output": 1.5, "capture": True}, TypeError, "max_output"),
        ({"max_output": True, "capture": True}, TypeError, "max_output"),
        (
            {"kill": "group", "attr": spawnkit.SysProcAttr(setpgid=True, pgid=1)},
            ValueError,
            "kill: 'group' is for a group of its own",
        ),
        ({"kill": "cgroup", "cgroup": "/nope"}, TypeError, "cgroup"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as raised:
        run(["/nonexistent/never-looked-for"], **options)
    assert str(raised.value).startswith(says)


def test_reports_are_values() -> None:
    other = spawnkit.OtherProcess(7, "sleep 1", ("stdout",))
    assert other == spawnkit.OtherProcess(7, "sleep 1", ("stdout",))
    assert len({other, spawnkit.OtherProcess(7, "sleep 1")}) == 2
    assert str(other) == "pid 7 'sleep 1'"
    assert str(spawnkit.OtherProcess(7, "")) == "pid 7"
    report = KillReport("tree", 2, (other,), True)
    assert "means='tree', killed=2" in repr(report)


@pytest.mark.parametrize("how", ["survivors", "many", "incomplete"])
def test_the_message_names_who_is_left(how: str) -> None:
    error = spawnkit.TimeoutExpired("make", 5.0)
    others = tuple(spawnkit.OtherProcess(n, f"job {n}") for n in range(1, 8))
    if how == "incomplete":
        error.kill = KillReport("tree", 2, (), False)
        assert str(error) == "make: not over after 5 s; some of it may be alive"
        return
    error.kill = KillReport("tree", 2, others if how == "many" else others[:1], True)
    text = "make: not over after 5 s; still alive: pid 1 'job 1'"
    if how == "many":
        text += ", pid 2 'job 2', pid 3 'job 3', pid 4 'job 4', pid 5 'job 5' and 2 more"
    assert str(error) == text


# ---- in the background ---------------------------------------------------------------------------


def threads_now() -> int:
    return len(os.listdir(f"{PROC}/self/task"))


def needs_pidfds() -> None:
    process = spawnkit.start_process("/bin/true", ["true"])
    pidfd = process.pidfd
    process.wait()
    if pidfd is None:
        pytest.skip("without pidfds a command has a thread of its own")


def test_one_thread_serves_them_all(children: Children) -> None:
    needs_pidfds()
    before = threads_now()
    ends, leash = os.pipe()
    script = "echo out; echo error >&2; exec cat"
    cmds = [Cmd("sh", "-c", script, stdin=ends, stdout=PIPE, stderr=PIPE) for _ in range(50)]
    for cmd in cmds:
        cmd.start()
    assert threads_now() == before + 1
    os.close(leash)
    for cmd in cmds:
        assert cmd.wait().success
        assert cmd.result is not None
        assert (cmd.result.stdout, cmd.result.stderr) == (b"out\n", b"error\n")
    os.close(ends)


def test_a_thousand_at_once_take_ten_kilobytes_each() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 4200:
        pytest.skip(f"a thousand children need 4,100 descriptors, and the hard limit is {hard}")
    needs_pidfds()
    root = Path(__file__).parent.parent
    done = run([sys.executable, "-m", "bench.many"], dir=root, capture=True, encoding="utf-8")
    lines = done.stdout.splitlines()[1:]
    found = {line[:24].strip(): float(line[24:].replace(",", "")) for line in lines}
    assert found["bytes of memory each"] < 10_000
    assert found["threads in all"] == 1
    assert found["descriptors each"] == 4


def test_each_of_many_has_its_own_end(children: Children) -> None:
    token = spawnkit.CancelToken()
    ways: list[tuple[dict[str, Any], Callable[[Cmd], object]]] = [
        ({"timeout": SOON}, lambda cmd: None),
        ({"idle_timeout": SOON}, lambda cmd: None),
        ({"cancel": token}, lambda cmd: None),
        ({}, lambda cmd: cmd.process and cmd.process.kill()),
    ]
    cmds = []
    for n in range(20):
        options, then = ways[n % len(ways)]
        cmd = Cmd(children("zoo"), "deaf", stdin=b"x" * 70_000, stdout=PIPE, **options)
        ends, leash = os.pipe()
        cmd.extra_files = [leash]
        cmd.start()
        os.close(leash)
        cmds.append((cmd, then, ends))
    token.cancel()
    for cmd, then, ends in cmds:
        then(cmd)
        with pytest.raises((spawnkit.TimeoutExpired, spawnkit.Cancelled, spawnkit.ExitError)) as e:
            cmd.wait()
        assert e.value.stdout == b"begun\n"
        os.close(ends)


@pytest.mark.parametrize("stdout", [PIPE, spawnkit.MEMORY], ids=repr)
def test_several_may_wait_and_nothing_is_lost(stdout: Any, engine: str) -> None:
    for _ in range(20):
        cmd = Cmd("echo", "hello", stdout=stdout, timeout=60, engine=engine)
        cmd.start()
        states: list[Any] = []
        threads = [Thread(target=lambda: states.append(cmd.wait())) for _ in range(3)]  # noqa: B023
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cmd.result is not None
        assert bytes(cmd.result.stdout) == b"hello\n"
        assert states == [cmd.process_state] * 3
        cmd.result = None


def test_a_thread_that_went_comes_back(children: Children) -> None:
    before = threads_now()
    for _ in range(3):
        cmd = Cmd("cat", stdin=b"some input", stdout=PIPE)
        cmd.start()
        cmd.wait()
        assert cmd.result is not None
        assert cmd.result.stdout == b"some input"
        end = time.monotonic() + HANGS_AFTER
        while threads_now() > before and time.monotonic() < end:
            time.sleep(0.001)
        assert threads_now() == before
