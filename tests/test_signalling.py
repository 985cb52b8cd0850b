"""Signals sent to a process: by handle, never to a stranger, and what each answer means."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Any

import pytest

import spawnkit
from support.children import Children
from support.engines import ignored_by
from support.isolated import Isolate
from support.proc import PROC


def wait_for_zombie(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_a_signal_between_exit_and_wait_is_no_error(engine: str) -> None:
    """A71: signal after exit but before wait: ok, no error, no effect."""
    process = spawnkit.start_process("/bin/false", ["false"], engine=engine)
    wait_for_zombie(process.pid)
    process.signal(signal.SIGTERM)
    process.kill()
    process.terminate()
    assert process.wait().exit_code == 1


def test_after_the_wait_there_is_nothing_to_signal(engine: str) -> None:
    """A72: after wait: "already finished"."""
    process = spawnkit.start_process("/bin/true", ["true"], engine=engine)
    process.wait()
    for send in (process.kill, process.terminate, lambda: process.signal(0)):
        with pytest.raises(spawnkit.ProcessDone) as caught:
            send()
        assert isinstance(caught.value, ProcessLookupError)
    assert process.wait().success


def test_after_release_there_is_nothing_to_signal(engine: str, children: Children) -> None:
    """A72: the same for a handle that was given up; the process goes on."""
    read, write = os.pipe()
    attr = spawnkit.ProcAttr(files=[read])
    process = spawnkit.start_process(children("block"), ["block"], attr, engine=engine)
    os.close(read)
    pid = process.pid
    process.release()
    with pytest.raises(spawnkit.ProcessDone):
        process.kill()
    assert process.pid == -1
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
    os.close(write)
    wait_for_zombie(pid)
    spawnkit.run(["/bin/true"])
    with pytest.raises(ChildProcessError):  # the next spawn has reaped it
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


def test_signals_arrive(engine: str, children: Children) -> None:
    """A76: numbers from 1 to 64 are signals."""
    for number in {signal.SIGTERM, signal.SIGKILL, signal.SIGRTMIN, 64, 33} - ignored_by(engine):
        read, write = os.pipe()
        attr = spawnkit.ProcAttr(files=[read])
        process = spawnkit.start_process(children("block"), ["block"], attr, engine=engine)
        process.signal(number)
        assert process.wait().signal == number
        os.close(read)
        os.close(write)


def test_signal_0_only_asks(engine: str, children: Children) -> None:
    """A76: signal number 0."""
    read, write = os.pipe()
    attr = spawnkit.ProcAttr(files=[read])
    process = spawnkit.start_process(children("block"), ["block"], attr, engine=engine)
    process.signal(0)
    os.close(read)
    os.close(write)
    assert process.wait().success


LAST_PID = PROC / "sys/kernel/ns_last_pid"


@pytest.fixture
def chosen_pids() -> None:
    """The next pid can be chosen."""
    try:
        LAST_PID.write_text(LAST_PID.read_text())
    except OSError as error:
        pytest.skip(f"no pid can be chosen here: {error}")


def stranger_with(pid: int, old: spawnkit.Process | None = None) -> subprocess.Popen[bytes]:
    """A process of somebody else that has got this pid.

    Where there is none to be had the test is skipped, and the old one waited for.
    """
    for _ in range(100):  # another process may be made in between
        LAST_PID.write_text(str(pid - 1))
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        if process.pid == pid:
            return process
        process.communicate()
    if old is not None:
        with contextlib.suppress(spawnkit.StatusLost):
            old.wait()
    pytest.skip(f"pid {pid} went to a process of somebody else, who keeps it")


@pytest.mark.usefixtures("chosen_pids")
@pytest.mark.parametrize("stolen", [False, True])
def test_a_stranger_with_the_same_pid_is_never_hit(
    engine: str, stolen: bool, children: Children
) -> None:
    """A73: forced pid reuse, after our wait and after somebody else's."""
    process = spawnkit.start_process(children("exit"), ["exit", "3"], engine=engine)
    wait_for_zombie(process.pid)
    if stolen:
        os.waitpid(process.pid, 0)
    else:
        process.wait()
    stranger = stranger_with(process.pid, process)
    for send in (process.kill, process.terminate, lambda: process.signal(signal.SIGKILL)):
        with pytest.raises(spawnkit.ProcessDone):
            send()
    if stolen:
        with contextlib.suppress(spawnkit.StatusLost):
            assert process.wait().exit_code == 3
        with pytest.raises(spawnkit.ProcessDone):
            process.kill()
    stranger.communicate(timeout=600)
    assert stranger.returncode == 0


def _kills_when_told(program: str, engine: str) -> list[Any]:
    import os

    import spawnkit
    from support.inside import hear, note

    process = spawnkit.start_process(program, ["exit", "3"], engine=engine)
    assert process.pidfd is None
    os.waitpid(process.pid, 0)
    note(process.pid)
    hear()
    try:
        process.kill()
    except spawnkit.ProcessDone:
        return ["over"]
    return ["sent"]


@pytest.mark.usefixtures("chosen_pids")
def test_a_stranger_is_not_hit_without_a_pidfd_either(
    engine: str, isolate: Isolate, children: Children
) -> None:
    """A73: on a kernel without pidfds a stolen pid is seen by its not being our child any more."""
    rules = "clone3:ENOSYS,clone[0&0x1000]:EINVAL,pidfd_open:ENOSYS"
    with isolate.start(_kills_when_told, children("exit"), engine, deny=rules) as running:
        stranger = stranger_with(running.note())
        running.tell("kill")
        assert running.result() == ["over"]
    stranger.communicate(timeout=600)
    assert stranger.returncode == 0


def test_a_group_is_not_signalled_through_its_leader(engine: str, children: Children) -> None:
    """A74: after the leader is reaped the handle reaches nobody, and no handle is a group's.

    The group's number stays taken while it has members: kill(-pid) would reach them.
    """
    read, write = os.pipe()
    up, ours = os.pipe()
    attr = spawnkit.ProcAttr(
        files={0: 0, 1: 1, 2: 2, 3: read, 4: ours}, sys=spawnkit.SysProcAttr(setpgid=True)
    )
    argv = ["hang", "orphan", "exit=3"]
    leader = spawnkit.start_process(children("hang"), argv, attr, engine=engine)
    os.close(read)
    os.close(ours)
    assert leader.wait().exit_code == 3
    os.killpg(leader.pid, 0)  # it has a member
    for send in (leader.kill, leader.terminate, lambda: leader.signal(signal.SIGKILL)):
        with pytest.raises(spawnkit.ProcessDone):
            send()
    for target in (-leader.pid, 0, -1):
        with pytest.raises(ValueError, match="no process id"):
            spawnkit.find_process(target)
    os.killpg(leader.pid, 0)
    os.close(write)
    # The member ends by itself, and with it the last copy of descriptor 4.
    while os.read(up, 100):
        pass
    os.close(up)


def _signals_without_pidfd_send_signal(block: str, program: str, engine: str) -> list[Any]:
    import contextlib
    import os
    import signal

    import spawnkit
    from support.inside import hear, note

    read, write = os.pipe()
    outcomes: list[Any] = []
    for send in (signal.SIGKILL, signal.SIGTERM, 64):
        attr = spawnkit.ProcAttr(files=[read])
        process = spawnkit.start_process(block, ["block"], attr, engine=engine)
        process.signal(0)
        process.signal(send)
        outcomes.append(process.wait().signal)
        with contextlib.suppress(spawnkit.ProcessDone):
            process.kill()
            outcomes.append("sent")
    os.close(read)
    os.close(write)
    try:
        spawnkit.run(["/bin/sleep", "1000"], timeout=0.5)
    except spawnkit.TimeoutExpired as error:
        outcomes.append(error.state.signal if error.state else None)
    process = spawnkit.start_process(program, ["exit", "3"], engine=engine)
    os.waitpid(process.pid, 0)
    note(process.pid)
    hear()
    with contextlib.suppress(spawnkit.ProcessDone):
        process.kill()
        outcomes.append("sent")
    with contextlib.suppress(spawnkit.StatusLost):
        outcomes.append(process.wait().exit_code)
    return outcomes


NO_PIDFD = "clone3:ENOSYS,clone[0&0x1000]:EINVAL,pidfd_open:ENOSYS"


@pytest.mark.usefixtures("chosen_pids")
@pytest.mark.parametrize("rules", ["pidfd_send_signal:ENOSYS", "pidfd_send_signal:EPERM", NO_PIDFD])
def test_signals_arrive_where_pidfds_take_none(
    engine: str, rules: str, isolate: Isolate, children: Children
) -> None:
    """A75: by pid then, while it is our child and not reaped: a stranger is still not hit.

    What is promised less is in docs/gotchas.md: another child of our own may be hit.
    """
    arguments = (children("block"), children("exit"), engine)
    with isolate.start(_signals_without_pidfd_send_signal, *arguments, deny=rules) as running:
        stranger = stranger_with(running.note())
        running.tell("kill")
        outcomes = running.result()
    assert outcomes[:4] == [signal.SIGKILL, signal.SIGTERM, 64, signal.SIGKILL]
    assert outcomes[4:] in ([], [3])  # nothing was sent; its own status, or that it is lost
    stranger.communicate(timeout=600)
    assert stranger.returncode == 0


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (65, ValueError),
        (-1, ValueError),
        (2**40, ValueError),
        ("KILL", TypeError),
        (9.0, TypeError),
        (True, TypeError),
        (None, TypeError),
    ],
)
def test_what_is_no_signal_is_refused(number: Any, kind: type[Exception]) -> None:
    """A76: signal number 65, -1, "KILL" -> ValueError or TypeError naming it."""
    process = spawnkit.start_process("/bin/true", ["true"])
    with pytest.raises(kind, match=str(number)):
        process.signal(number)
    process.wait()


def test_a_process_found_by_its_pid_can_be_signalled(engine: str, children: Children) -> None:
    """A71, A72 through find_process, which never fails for a pid that nobody has."""
    read, write = os.pipe()
    attr = spawnkit.ProcAttr(files=[read])
    process = spawnkit.start_process(children("block"), ["block"], attr, engine=engine)
    found = spawnkit.find_process(process.pid)
    found.signal(signal.SIGUSR1)
    assert process.wait().signal == signal.SIGUSR1
    with pytest.raises(spawnkit.ProcessDone):
        found.kill()
    with pytest.raises(spawnkit.ProcessDone):
        spawnkit.find_process(process.pid).kill()
    os.close(read)
    os.close(write)


def test_a_found_child_of_ours_can_be_waited_for() -> None:
    """Go's os.FindProcess: only our own child can be waited for."""
    pid = os.posix_spawn("/bin/false", ["false"], {})
    assert spawnkit.find_process(pid).wait().exit_code == 1
    with pytest.raises(ChildProcessError):
        spawnkit.find_process(os.getppid()).wait()
