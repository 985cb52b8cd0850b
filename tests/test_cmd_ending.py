"""How a command is made to end: timeout, cancel, wait_delay, and the end of the interpreter."""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import spawnkit
from spawnkit import CancelToken, Cmd, run, supervise
from support.children import Children, ends
from support.isolated import Isolate
from support.proc import PROC

# Tells "ends" from "hangs": what is waited for here takes milliseconds.
HANGS_AFTER = 60.0
NEVER = 1000.0
SOON = 0.05


class Lifeline:
    """Descriptors 3 and 4 of `hang`: it waits for the end of one, and holds the other."""

    def __init__(self) -> None:
        self.read, self._write = os.pipe()
        self._up, self.up = os.pipe()
        self.pid = 0

    @property
    def files(self) -> list[int]:
        return [self.read, self.up]

    def wait_until_up(self) -> None:
        """Returns when the program has said that it is ready."""
        data = b""
        while not data.endswith(b"\n"):
            assert select.select([self._up], [], [], HANGS_AFTER)[0], "it never came up"
            data += os.read(self._up, 100)
        self.pid = int(data.split()[1])

    def wait_until_gone(self) -> None:
        """Returns when nobody is left of the program and what it started."""
        if self.up >= 0:
            os.close(self.up)
            self.up = -1
        while True:
            assert select.select([self._up], [], [], HANGS_AFTER)[0], "somebody is still there"
            if not os.read(self._up, 100):
                return

    def let_go(self) -> None:
        """Everybody who waits for the end of descriptor 3 now ends."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1

    def close(self) -> None:
        self.let_go()
        try:
            self.wait_until_gone()
        finally:
            os.close(self.read)
            os.close(self._up)


@pytest.fixture
def life() -> Iterator[Lifeline]:
    lifeline = Lifeline()
    yield lifeline
    lifeline.close()


class Ender:
    """The two ways to end a command early, so that a test can be made of both.

    `arguments` for the Cmd, `now` to be called once it is started, and what wait then raises.
    """

    def __init__(self, how: str, action: Callable[[Cmd], object] | None = None) -> None:
        self.called = threading.Event()
        self.error: type[spawnkit.Error]
        self.arguments: dict[str, Any]
        self.now: Callable[[], object]

        def noted(cmd: Cmd) -> None:
            self.called.set()
            if action is not None:
                action(cmd)

        if how == "token":
            token = CancelToken(action=noted) if action else CancelToken()
            self.arguments = {"cancel": token}
            self.now = token.cancel
            self.error = spawnkit.Cancelled
        else:
            self.arguments = {"timeout": 0.2}  # the start is meant to be over by then
            if action:
                self.arguments["cancel"] = noted
            self.now = lambda: None
            self.error = spawnkit.TimeoutExpired


@pytest.fixture(params=["timeout", "token"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def wait_for_the_end_of(cmd: Cmd) -> None:
    """Without waiting for it in any other sense."""
    assert ends(cmd.process.pid, HANGS_AFTER), "it does not end by itself"


def interrupts(life: Lifeline, number: int = signal.SIGINT) -> Callable[[Cmd], None]:
    """An action: wait until the program can handle it, then send a signal."""

    def action(cmd: Cmd) -> None:
        life.wait_until_up()
        cmd.process.signal(number)

    return action


# ---- Go's TestWaitInterrupt, case by case -------------------------------------------------------


def test_without_an_end_ordered_the_program_ends_by_itself(
    engine: str, children: Children, life: Lifeline
) -> None:
    """Go TestWaitInterrupt, "Wait": no cancel, no wait_delay: its own time, its own status."""
    cmd = Cmd(children("hang"), "exit=0", extra_files=life.files, engine=engine)
    cmd.start()
    assert cmd.wait().exit_code == 0


def test_an_action_that_does_nothing_leaves_the_program_its_wait_delay(
    how: str, engine: str, children: Children, life: Lifeline
) -> None:
    """Go TestWaitInterrupt, "WaitDelay": it goes on until something else ends it.

    Differs from Go: that it was to end is told, though it ended with 0.
    """
    ender = Ender(how, lambda cmd: None)
    cmd = Cmd(
        children("hang"),
        "int=0",
        extra_files=life.files,
        wait_delay=NEVER,
        engine=engine,
        **ender.arguments,
    )
    cmd.start()
    ender.now()
    assert ender.called.wait(HANGS_AFTER)
    life.wait_until_up()
    cmd.process.signal(signal.SIGINT)  # it is still there
    with pytest.raises(ender.error) as caught:
        cmd.wait()
    assert caught.value.state.exit_code == 0


def test_a_killed_programs_descendant_has_its_pipes_closed(
    how: str, engine: str, children: Children, life: Lifeline
) -> None:
    """A82: Go TestWaitInterrupt, "SIGKILL-hang": wait returns, the descendant cannot write on."""
    ender = Ender(how, lambda cmd: (life.wait_until_up(), cmd.process.kill()))
    cmd = Cmd(
        children("hang"),
        "orphan",
        "probe",
        stderr=io.BytesIO(),
        extra_files=life.files,
        wait_delay=SOON,
        engine=engine,
        **ender.arguments,
    )
    cmd.start()
    ender.now()
    with pytest.raises(ender.error) as caught:
        cmd.wait()
    assert caught.value.state.signal == signal.SIGKILL
    life.wait_until_gone()  # without being let go: its write failed


def test_a_descendant_that_holds_the_pipes_is_waited_for_no_longer_than_wait_delay(
    engine: str, children: Children, life: Lifeline
) -> None:
    """A83: Go TestWaitInterrupt, "Exit-hang": the program succeeded, its output may lack a part."""
    cmd = Cmd(
        children("hang"),
        "orphan",
        "probe",
        "err=begun",
        "exit=0",
        stderr=spawnkit.PIPE,
        extra_files=life.files,
        wait_delay=SOON,
        engine=engine,
    )
    cmd.start()
    with pytest.raises(spawnkit.WaitDelayError) as caught:
        cmd.wait()
    assert caught.value.state.exit_code == 0
    assert caught.value.stderr.startswith(b"begun")
    assert caught.value.stdout is None
    assert caught.value.name == cmd.args[0]
    assert cmd.process_state is caught.value.state
    life.wait_until_gone()


def test_a_program_that_ignores_the_signal_is_killed_after_wait_delay(
    how: str, engine: str, children: Children, life: Lifeline
) -> None:
    """Go TestWaitInterrupt, "SIGINT-ignored"."""
    ender = Ender(how, interrupts(life))
    cmd = Cmd(
        children("hang"),
        "int=ignore",
        extra_files=life.files,
        wait_delay=SOON,
        engine=engine,
        **ender.arguments,
    )
    cmd.start()
    ender.now()
    with pytest.raises(ender.error) as caught:
        cmd.wait()
    assert caught.value.state.signal == signal.SIGKILL


def test_a_program_that_ends_at_the_signal_was_cancelled_all_the_same(
    how: str, engine: str, children: Children, life: Lifeline
) -> None:
    """Go TestWaitInterrupt, "SIGINT-handled": it ended with 0, and did not finish."""
    ender = Ender(how, interrupts(life))
    cmd = Cmd(children("hang"), "int=0", extra_files=life.files, engine=engine, **ender.arguments)
    cmd.start()
    ender.now()
    with pytest.raises(ender.error) as caught:
        cmd.wait()
    assert caught.value.state.exit_code == 0
    assert caught.value.name == cmd.args[0]


def test_what_it_says_and_its_status_are_told(
    how: str, engine: str, children: Children, life: Lifeline
) -> None:
    """Go TestWaitInterrupt, "SIGQUIT": a dump on stderr, status 2.

    Differs from Go, where a failing status comes before the cancellation.
    """
    ender = Ender(how, interrupts(life, signal.SIGQUIT))
    cmd = Cmd(
        children("hang"),
        "quit=2",
        stderr=spawnkit.PIPE,
        extra_files=life.files,
        engine=engine,
        **ender.arguments,
    )
    cmd.start()
    ender.now()
    with pytest.raises(ender.error) as caught:
        cmd.wait()
    assert caught.value.state.exit_code == 2
    assert caught.value.stderr == b"dump"


# ---- Go's TestCancelErrors, case by case --------------------------------------------------------


class Arbitrary(Exception):  # noqa: N818
    """What an action raises."""


def test_an_error_of_the_action_is_raised_where_the_program_succeeded(
    how: str, engine: str, children: Children
) -> None:
    """Go TestCancelErrors, "success after error"."""
    error = Arbitrary()

    def action(cmd: Cmd) -> None:
        stdin.close()
        raise error

    ender = Ender(how, action)
    cmd = Cmd(children("route"), engine=engine, **ender.arguments)
    stdin = cmd.stdin_pipe()
    cmd.start()
    ender.now()
    with pytest.raises(Arbitrary) as caught:
        cmd.wait()
    assert caught.value is error
    assert cmd.process_state.success


def test_an_action_that_finds_the_program_done_is_no_error(
    how: str, engine: str, children: Children
) -> None:
    """Go TestCancelErrors, "success after ErrProcessDone": it only had not been noticed yet."""
    done = threading.Event()

    def action(cmd: Cmd) -> None:
        assert done.wait(HANGS_AFTER)
        raise spawnkit.ProcessDone

    ender = Ender(how, action)
    cmd = Cmd(children("route"), engine=engine, **ender.arguments)
    stdin, stdout = cmd.stdin_pipe(), cmd.stdout_pipe()
    cmd.start()
    cancel = threading.Thread(target=ender.now)
    cancel.start()
    assert ender.called.wait(HANGS_AFTER)
    stdin.close()
    assert stdout.read() == b""  # the end comes with the program's
    done.set()
    assert cmd.wait().success
    cancel.join(HANGS_AFTER)


def test_a_program_killed_after_a_failed_action(how: str, engine: str, children: Children) -> None:
    """Go TestCancelErrors, "killed after error".

    Differs from Go, which tells the kill: here the error of the action comes first.
    """

    def action(cmd: Cmd) -> None:
        raise Arbitrary

    ender = Ender(how, action)
    cmd = Cmd(children("route"), wait_delay=SOON, engine=engine, **ender.arguments)
    stdin = cmd.stdin_pipe()
    cmd.start()
    ender.now()
    with pytest.raises(Arbitrary):
        cmd.wait()
    assert ender.called.is_set()
    assert cmd.process_state.signal == signal.SIGKILL
    stdin.close()


def test_a_program_killed_after_an_action_that_took_it_for_done(
    how: str, engine: str, children: Children
) -> None:
    """Go TestCancelErrors, "killed after spurious ErrProcessDone": it was not."""

    def action(cmd: Cmd) -> None:
        raise spawnkit.ProcessDone

    ender = Ender(how, action)
    cmd = Cmd(children("route"), wait_delay=SOON, engine=engine, **ender.arguments)
    stdin = cmd.stdin_pipe()
    cmd.start()
    ender.now()
    with pytest.raises((ender.error, spawnkit.ExitError)) as caught:
        cmd.wait()
    assert ender.called.is_set()
    assert caught.value.state.signal == signal.SIGKILL
    stdin.close()


def test_a_program_that_fails_after_a_failed_action(
    how: str, engine: str, children: Children
) -> None:
    """Go TestCancelErrors, "nonzero exit after error".

    Differs from Go, which tells the status: here the error of the action comes first.
    """

    def action(cmd: Cmd) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            stdin.write(b"no such line\n")
        raise Arbitrary

    ender = Ender(how, action)
    cmd = Cmd(children("route"), engine=engine, **ender.arguments)
    stdin = cmd.stdin_pipe()
    cmd.start()
    ender.now()
    with pytest.raises(Arbitrary):
        cmd.wait()
    assert cmd.process_state.exit_code == 1


# ---- tokens -------------------------------------------------------------------------------------


def test_a_token_ends_a_command_from_another_thread(engine: str, children: Children) -> None:
    """Go TestContext: while the first thread waits."""
    token = CancelToken()
    cmd = Cmd(children("route"), cancel=token, engine=engine)
    stdin, stdout = cmd.stdin_pipe(), cmd.stdout_pipe()
    cmd.start()
    stdin.write(b"O:hi\n")
    assert stdout.readline() == b"O:hi\n"
    assert token.cancelled is False
    thread = threading.Thread(target=token.cancel)
    thread.start()
    with pytest.raises(spawnkit.Cancelled) as caught:
        cmd.wait()
    thread.join(HANGS_AFTER)
    assert token.cancelled is True
    assert caught.value.state.signal == signal.SIGKILL
    assert caught.value.name == cmd.args[0]


def test_a_token_ends_a_command_that_nobody_waits_for(engine: str, children: Children) -> None:
    """Go TestContextCancel: a while after it, writing fails, and only then somebody waits."""
    token = CancelToken()
    cmd = Cmd(children("echo"), stdout=spawnkit.DEVNULL, cancel=token, engine=engine)
    stdin = cmd.stdin_pipe()
    cmd.start()
    stdin.write(b"echo")
    token.cancel()
    wait_for_the_end_of(cmd)
    with pytest.raises(BrokenPipeError):
        stdin.write(b"echo")
    with pytest.raises(spawnkit.Cancelled):
        cmd.wait()


def test_a_token_cancelled_before_the_start_starts_nothing(engine: str, tmp_path: Any) -> None:
    token = CancelToken()
    token.cancel()
    token.cancel()  # harmless
    marker = tmp_path / "ran"
    for call in (
        Cmd("/bin/touch", marker, cancel=token, engine=engine).run,
        Cmd("/bin/touch", marker, cancel=token, engine=engine).start,
        lambda: run(["/bin/touch", marker], cancel=token, engine=engine),
        lambda: spawnkit.output(["/bin/touch", marker], cancel=token, engine=engine),
    ):
        with pytest.raises(spawnkit.Cancelled) as caught:
            call()
        assert caught.value.state is None
    assert not marker.exists()


def test_a_token_that_is_not_used_changes_nothing(engine: str) -> None:
    token = CancelToken()
    assert run(["/bin/true"], cancel=token, engine=engine).state.success
    assert spawnkit.output(["/bin/echo", "x"], cancel=token, engine=engine) == b"x\n"
    assert token.cancelled is False
    token.cancel()


def test_one_token_ends_many(engine: str, children: Children) -> None:
    token = CancelToken()
    read, write = os.pipe()
    cmds = [Cmd(children("block"), stdin=read, cancel=token, engine=engine) for _ in range(5)]
    for cmd in cmds:
        cmd.start()
    token.cancel()
    for cmd in cmds:
        with pytest.raises(spawnkit.Cancelled):
            cmd.wait()
    os.close(read)
    os.close(write)


def test_a_token_ends_run_and_output(engine: str, children: Children, life: Lifeline) -> None:
    """With what was captured until then."""
    token = CancelToken()

    def cancel() -> None:
        life.wait_until_up()
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    argv = [children("hang"), "out=begun", "err=too"]
    with pytest.raises(spawnkit.Cancelled) as caught:
        run(argv, capture=True, cancel=token, extra_files=life.files, engine=engine)
    thread.join(HANGS_AFTER)
    assert (caught.value.stdout, caught.value.stderr) == (b"begun", b"too")
    assert caught.value.state.signal == signal.SIGKILL


def test_a_cancellation_after_the_end_of_the_program_waits_for_nothing(
    engine: str, life: Lifeline, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descendant's hold on stdout is all that is left: it is cut, and nobody given a second."""
    monkeypatch.setattr(supervise, "_PATIENCE", NEVER)
    token = CancelToken()
    cmd = Cmd(
        children("hang"),
        "orphan",
        "exit=0",
        stdout=spawnkit.PIPE,
        extra_files=life.files,
        cancel=token,
        engine=engine,
    )
    cmd.start()
    life.wait_until_up()
    assert cmd.process
    while os.path.exists(f"/proc/{cmd.process.pid}"):  # until it is reaped
        os.sched_yield()
    token.cancel()
    with pytest.raises(spawnkit.Cancelled):
        cmd.wait(timeout=HANGS_AFTER)


def test_a_program_that_ended_in_time_was_not_cancelled(
    how: str, engine: str, children: Children
) -> None:
    """Its own status counts where it was over before."""
    ender = Ender(how)
    arguments = {**ender.arguments, **({"timeout": NEVER} if how == "timeout" else {})}
    cmd = Cmd(children("exit"), "3", engine=engine, **arguments)
    cmd.start()
    with pytest.raises(spawnkit.ExitError):
        cmd.wait()
    ender.now()
    assert cmd.wait(check=False).exit_code == 3


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"cancel": lambda cmd: None}, ValueError, "cancel.*timeout"),
        ({"cancel": 3}, TypeError, "cancel"),
        ({"cancel": "kill", "timeout": 1}, TypeError, "cancel"),
        ({"wait_delay": float("nan")}, ValueError, "wait_delay"),
        ({"wait_delay": "1"}, TypeError, "wait_delay"),
        ({"wait_delay": True}, TypeError, "wait_delay"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": "1"}, TypeError, "timeout"),
    ],
    ids=str,
)
def test_what_is_no_order_to_end_is_refused(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    for call in (
        lambda: run(["/bin/true"], **options),
        lambda: Cmd("/bin/true", **options).run(),
        lambda: Cmd("/bin/true", **options).start(),
    ):
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            call()
        assert type(caught.value) is kind


# ---- timeouts -----------------------------------------------------------------------------------


def test_a_timeout_bounds_a_command_that_nobody_waits_for(engine: str, children: Children) -> None:
    """Cmd(timeout=) counts from the start, whoever waits when."""
    cmd = Cmd(children("block"), timeout=0.2, engine=engine)
    stdin = cmd.stdin_pipe()
    cmd.start()
    wait_for_the_end_of(cmd)
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        cmd.wait()
    assert caught.value.timeout == 0.2
    assert caught.value.state.signal == signal.SIGKILL
    assert stdin.closed


def test_a_timeout_tells_all_output_so_far(engine: str, children: Children, life: Lifeline) -> None:
    """A84: TimeoutExpired carries all output so far, of both streams."""
    cmd = Cmd(
        children("hang"),
        "out=" + "o" * 50_000,
        "err=" + "e" * 50_000,
        stdout=spawnkit.PIPE,
        stderr=spawnkit.PIPE,
        extra_files=life.files,
        timeout=1,
        engine=engine,
    )
    cmd.start()
    life.wait_until_up()
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        cmd.wait()
    assert caught.value.stdout == b"o" * 50_000
    assert caught.value.stderr == b"e" * 50_000
    assert cmd.result.stdout == b"o" * 50_000


def test_a_wait_that_is_repeated_loses_no_byte(engine: str, children: Children) -> None:
    """A84: retry loses no byte: the time of a wait is over, the command goes on."""
    cmd = Cmd(children("echo"), stdout=spawnkit.PIPE, engine=engine)
    stdin = cmd.stdin_pipe()
    cmd.start()
    for number in range(20):
        stdin.write(b"%d\n" % number * 1000)
        with pytest.raises(spawnkit.TimeoutExpired) as caught:
            cmd.wait(timeout=0.001)
        assert caught.value.state is None
    stdin.close()
    assert cmd.wait().success
    assert cmd.result.stdout == b"".join(b"%d\n" % number * 1000 for number in range(20))


def test_a_wait_in_time_ends_the_command_in_time(engine: str, children: Children) -> None:
    """Cmd.wait(timeout=) alone, with streams that are pumped."""
    sink = io.BytesIO()
    cmd = Cmd(children("echo"), stdin=b"x" * 300_000, stdout=sink, engine=engine)
    cmd.start()
    assert cmd.wait(timeout=NEVER).success
    assert sink.getvalue() == b"x" * 300_000


@pytest.mark.parametrize("how_long", [0, -1])
def test_a_time_that_is_over_at_the_start(how_long: float, engine: str, children: Children) -> None:
    """A57: for a Cmd as for run: killed, and told."""
    cmd = Cmd(children("block"), engine=engine, timeout=how_long)
    stdin = cmd.stdin_pipe()
    with pytest.raises(spawnkit.TimeoutExpired):
        cmd.run()
    assert stdin.closed


def test_the_timeout_of_run_is_the_commands(engine: str, children: Children) -> None:
    cmd = Cmd(children("block"), engine=engine)
    stdin = cmd.stdin_pipe()
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        cmd.run(timeout=SOON)
    assert caught.value.state.signal == signal.SIGKILL
    assert stdin.closed


def test_a_descendant_does_not_outlast_a_timeout(
    engine: str, children: Children, life: Lifeline
) -> None:
    """A82: grandchild holds the pipe: with the output so far, and the program's own status."""
    argv = [children("hang"), "orphan", "out=so far", "exit=0"]
    begin = time.monotonic()
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        run(argv, capture=True, timeout=1, extra_files=life.files, engine=engine)
    assert time.monotonic() - begin < HANGS_AFTER
    assert caught.value.stdout == b"so far"
    assert caught.value.state.exit_code == 0


def test_wait_delay_without_a_timeout(engine: str, children: Children, life: Lifeline) -> None:
    """A83: the same without timeout but with wait_delay, through run and output."""
    argv = [children("hang"), "orphan", "out=so far", "exit=0"]
    for call in (
        lambda: run(argv, capture=True, wait_delay=SOON, extra_files=life.files, engine=engine),
        lambda: spawnkit.output(argv, wait_delay=SOON, extra_files=life.files, engine=engine),
    ):
        with pytest.raises(spawnkit.WaitDelayError) as caught:
            call()
        assert caught.value.stdout == b"so far"
        assert caught.value.state.success


def test_a_failure_counts_more_than_the_pipes(
    engine: str, children: Children, life: Lifeline
) -> None:
    """A83: WaitDelayError only where the program succeeded."""
    argv = [children("hang"), "orphan", "out=so far", "exit=3"]
    options: dict[str, Any] = {"wait_delay": SOON, "extra_files": life.files, "engine": engine}
    with pytest.raises(spawnkit.ExitError) as caught:
        run(argv, capture=True, **options)
    assert caught.value.state.exit_code == 3
    assert caught.value.stdout == b"so far"


def test_a_second_end_of_time_is_the_same_exception(
    how: str, engine: str, children: Children, life: Lifeline
) -> None:
    """A85: second timeout in the drain: still one exception class, pipes closed."""
    ender = Ender(how, interrupts(life))
    cmd = Cmd(
        children("hang"),
        "orphan",
        "int=0",
        "out=so far",
        stdout=spawnkit.PIPE,
        stderr=spawnkit.PIPE,
        extra_files=life.files,
        wait_delay=SOON,
        engine=engine,
        **ender.arguments,
    )
    cmd.start()
    ender.now()
    with pytest.raises(ender.error) as caught:
        cmd.wait()
    assert caught.value.stdout == b"so far"
    assert caught.value.state.exit_code == 0


def test_wait_again_after_the_end_raises_nothing_new(
    how: str, engine: str, children: Children
) -> None:
    """A85: the state is known, and asking for it again does not wait for anything."""
    ender = Ender(how)
    cmd = Cmd(children("block"), engine=engine, **ender.arguments)
    stdin = cmd.stdin_pipe()
    cmd.start()
    ender.now()
    with pytest.raises(ender.error):
        cmd.wait()
    assert cmd.process_state.signal == signal.SIGKILL
    with contextlib.suppress(ender.error, spawnkit.ExitError):
        assert cmd.wait(check=False) is cmd.process_state
    assert stdin.closed


@pytest.mark.parametrize("wait_delay", [None, SOON])
def test_a_reader_that_blocks_does_not_hold_the_end_up(
    wait_delay: float | None, engine: str
) -> None:
    """A83: nothing that it may still read could be fed to anybody."""
    release = threading.Event()

    class Blocking:
        def read(self, size: int = -1) -> bytes:
            assert release.wait(HANGS_AFTER)
            return b""

    cmd = Cmd("/bin/true", stdin=Blocking(), wait_delay=wait_delay, engine=engine)
    try:
        cmd.run(timeout=HANGS_AFTER)
    finally:
        release.set()
    assert cmd.process_state.success


@pytest.mark.parametrize("wait_delay", [0, float("inf"), None])
def test_a_wait_delay_may_be_nothing_or_for_ever(
    wait_delay: float | None, engine: str, children: Children, life: Lifeline
) -> None:
    """A83: 0 cuts at once, with what is there; no limit waits until the descendant is gone."""
    cmd = Cmd(
        children("hang"),
        "orphan",
        "out=so far",
        "exit=0",
        stdout=spawnkit.PIPE,
        extra_files=life.files,
        wait_delay=wait_delay,
        engine=engine,
    )
    cmd.start()
    life.wait_until_up()
    if wait_delay == 0:
        with pytest.raises(spawnkit.WaitDelayError):
            cmd.wait()
    else:
        wait_for_the_end_of(cmd)
        with pytest.raises(spawnkit.TimeoutExpired):
            cmd.wait(timeout=SOON)
        life.let_go()
        assert cmd.wait().success
    assert cmd.result.stdout == b"so far"


def test_a_writer_that_blocks_does_not_outlast_a_timeout(engine: str) -> None:
    """A82: not only descendants: a writer of ours that never returns, too."""
    release = threading.Event()

    class Blocking:
        def write(self, data: bytes) -> int:
            assert release.wait(HANGS_AFTER)
            return len(data)

    cmd = Cmd("/bin/echo", "x", stdout=Blocking(), timeout=0.5, engine=engine)
    begin = time.monotonic()
    try:
        with pytest.raises(spawnkit.TimeoutExpired):
            cmd.run()
        assert time.monotonic() - begin < HANGS_AFTER / 2
    finally:
        release.set()
    assert cmd.process_state.success


@pytest.mark.parametrize("started", [False, True])
def test_a_signal_handler_may_cancel(started: bool, engine: str, children: Children) -> None:
    """In the thread that waits, in the middle of whatever it is doing."""
    token = CancelToken()
    before = signal.signal(signal.SIGALRM, lambda *_: token.cancel())
    read, write = os.pipe()
    try:
        cmd = Cmd(children("block"), stdin=read, cancel=token, engine=engine)
        if started:
            cmd.start()
        signal.setitimer(signal.ITIMER_REAL, SOON)
        with pytest.raises(spawnkit.Cancelled):
            (cmd.wait if started else cmd.run)()
    finally:
        signal.signal(signal.SIGALRM, before)
        os.close(read)
        os.close(write)


def test_a_cancellation_at_any_moment_of_a_short_life(engine: str, children: Children) -> None:
    """Before the start, in the middle, after the end: one of two outcomes, and nothing is left."""
    told: set[bytes | None] = set()
    for number in range(60):
        token = CancelToken()
        timer = threading.Timer(number * 1e-4, token.cancel)
        timer.start()
        cmd = Cmd(children("echo"), stdin=b"x", stdout=spawnkit.PIPE, cancel=token, engine=engine)
        try:
            cmd.run()
            assert cmd.result.stdout == b"x"
        except spawnkit.Cancelled as error:
            told.add(error.stdout)
        timer.join()
    assert told <= {None, b"", b"x"}


def test_an_action_is_called_with_the_command_and_once(
    how: str, engine: str, children: Children
) -> None:
    seen: list[Cmd] = []

    def action(cmd: Cmd) -> None:
        seen.append(cmd)
        cmd.process.kill()

    ender = Ender(how, action)
    cmd = Cmd(children("block"), engine=engine, **ender.arguments)
    stdin = cmd.stdin_pipe()
    cmd.start()
    ender.now()
    ender.now()
    with pytest.raises(ender.error):
        cmd.wait()
    assert len(seen) == 1
    assert seen[0] is cmd
    stdin.close()


def test_errors_of_ending_are_values(engine: str, children: Children, life: Lifeline) -> None:
    """They cross process borders, as the others do."""
    import pickle

    token = CancelToken()
    token.cancel()
    with pytest.raises(spawnkit.Cancelled) as cancelled:
        run(["/bin/true"], cancel=token, engine=engine)
    argv = [children("hang"), "orphan", "out=x", "exit=0"]
    with pytest.raises(spawnkit.WaitDelayError) as delayed:
        run(argv, capture=True, wait_delay=SOON, extra_files=life.files, engine=engine)
    for error in cancelled.value, delayed.value:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert (copy.stdout, copy.name) == (error.stdout, error.name)
        assert isinstance(error, spawnkit.Error)


# ---- kill and interrupt through handles ---------------------------------------------------------


@pytest.mark.parametrize("found", [False, True])
def test_a_killed_command_has_failed(found: bool, engine: str, children: Children) -> None:
    """Go TestKillStartProcess, and Go TestKillFindProcess: by its own handle, and by its pid."""
    cmd = Cmd(children("block"), "0", "up", engine=engine)
    stdin, stdout = cmd.stdin_pipe(), cmd.stdout_pipe()
    cmd.start()
    assert stdout.read(2) == b"up"
    process = spawnkit.find_process(cmd.process.pid) if found else cmd.process
    process.kill()
    with pytest.raises(spawnkit.ExitError) as caught:
        cmd.wait()
    assert caught.value.state.signal == signal.SIGKILL
    assert stdin.closed
    if found:
        with contextlib.suppress(spawnkit.ProcessDone):
            process.release()


def _in_a_forked_child(program: str) -> list[Any]:
    import os

    import spawnkit

    cmd = spawnkit.Cmd(program, stdout=spawnkit.PIPE)
    stdin = cmd.stdin_pipe()
    cmd.start()
    pid = os.fork()
    if pid == 0:
        code = 0
        for bit, call in enumerate(
            [cmd.wait, lambda: cmd.wait(timeout=0), lambda: cmd.process.kill()]
        ):
            try:
                call()
            except RuntimeError:
                continue
            except BaseException:
                pass
            code |= 1 << bit
        os._exit(code)
    forked = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    stdin.write(b"still there")
    stdin.close()
    state = cmd.wait()
    return [forked, state.exit_code, cmd.result.stdout.decode()]


def test_a_forked_process_cannot_wait_for_a_command_of_ours(
    isolate: Isolate, children: Children
) -> None:
    """A66: Process in a forked child: wait and kill raise, never touch the sibling."""
    assert isolate(_in_a_forked_child, children("echo")) == [0, 0, "still there"]


# ---- the end of the interpreter -----------------------------------------------------------------

LEAVES_ONE = """
import sys, spawnkit
class Endless:
    def read(self, size):
        return b"x" * size
class Sink:
    def write(self, data):
        return len(data)
options = {"stdout": spawnkit.DEVNULL, "stderr": spawnkit.DEVNULL, **dict(OPTIONS)}
cmd = spawnkit.Cmd(sys.argv[1], extra_files=[3, 4], **options)
cmd.start()
print(cmd.process.pid, flush=True)
"""


def leaves_one(program: str, options: str = "") -> list[str]:
    return python(LEAVES_ONE.replace("OPTIONS", options), program)


@pytest.mark.parametrize(
    "options",
    [
        "",
        "stdout=spawnkit.PIPE",
        "stdin=b'x' * 1_000_000, stdout=spawnkit.PIPE",
        "stdin=Endless(), stdout=Sink()",
        "cancel=spawnkit.CancelToken()",
        "timeout=1000",
    ],
)
def test_an_interpreter_ends_whatever_its_commands_do(
    options: str, children: Children, life: Lifeline
) -> None:
    """A68: interpreter exit with live children: no hang, no traceback; the child lives on."""
    argv = leaves_one(children("hang"), options)
    result = run(argv, capture=True, extra_files=life.files, timeout=HANGS_AFTER)
    assert result.stderr == b""
    life.wait_until_up()
    assert life.pid == int(result.stdout)
    assert os.path.exists(f"{PROC}/{life.pid}")  # orphaned, not ended


def test_an_interpreter_that_ends_says_what_was_dropped(children: Children, life: Lifeline) -> None:
    """A68: with -X dev a ResourceWarning at the most, and no traceback."""
    argv = leaves_one(children("hang"))
    argv[1:1] = ["-X", "dev"]
    result = run(argv, capture=True, extra_files=life.files, timeout=HANGS_AFTER)
    assert b"Traceback" not in result.stderr
    assert b"ResourceWarning" in result.stderr
    life.wait_until_up()


SPAWNS_LATE = {
    "atexit": "import atexit; atexit.register(spawn)",
    "atexit after import": "import atexit; atexit.register(spawn); spawn()",
    "__del__": """
class Late:
    def __del__(self):
        spawn()
late = Late()
""",
    "__del__ of a module": """
class Late:
    def __del__(self, spawn=spawn, write=os.write, Gone=AttributeError):
        try:
            spawn()
        except Gone:  # of the modules nothing is left: no code of Python's runs any more
            write(1, b"RuntimeError\\n")
sys.late = Late()
""",
    "thread": """
import threading
def later():
    threading.main_thread().join()
    spawn()
threading.Thread(target=later).start()
""",
}

HEAD = """
import os, sys
import spawnkit
spawnkit.run, spawnkit.Cmd, spawnkit.PIPE
def spawn(run=spawnkit.run, Cmd=spawnkit.Cmd, PIPE=spawnkit.PIPE, write=os.write):
    try:
        out = run(["/bin/echo", "one"], capture=True, input=b"x").stdout
        cmd = Cmd("/bin/echo", "two", stdout=PIPE)
        cmd.run()
        write(1, out + cmd.result.stdout)
    except RuntimeError as error:
        write(1, b"RuntimeError\\n")
"""


@pytest.mark.parametrize("where", SPAWNS_LATE)
def test_spawning_while_the_interpreter_ends(where: str) -> None:
    """A69: spawn from atexit, from __del__, from a thread at shutdown: works, or RuntimeError."""
    argv = python(HEAD + SPAWNS_LATE[where])
    result = run(argv, capture=True, timeout=HANGS_AFTER)
    assert result.stderr == b""
    assert re.fullmatch(rb"(one\n)?(one\ntwo\n|RuntimeError\n)+", result.stdout), result.stdout


def test_a_writer_at_the_end_of_the_interpreter() -> None:
    """A69: where a thread would be needed and none can be started: works, or RuntimeError."""
    program = HEAD + (
        "import atexit, io\n"
        "def late():\n"
        "    sink = io.BytesIO()\n"
        "    try:\n"
        "        spawnkit.Cmd('/bin/echo', 'x', stdout=sink).run()\n"
        "        os.write(1, sink.getvalue())\n"
        "    except RuntimeError as error:\n"
        "        os.write(1, b'RuntimeError\\n')\n"
        "atexit.register(late)\n"
    )
    result = run(python(program), capture=True, timeout=HANGS_AFTER)
    assert result.stderr == b""
    assert result.stdout in (b"x\n", b"RuntimeError\n")


def python(program: str, *arguments: str) -> list[str]:
    import sys

    return [sys.executable, "-c", program, *arguments]
