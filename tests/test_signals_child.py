"""Signals: what the child starts with, and that the parent's state is left alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import SysProcAttr
from support import oracle
from support.children import Children, Report, parse_report
from support.engines import ignored_by
from support.isolated import Isolate

Reporter = Callable[..., Report]

EVERY = set(range(1, 65))
FIXED = {signal.SIGKILL, signal.SIGSTOP}


def _blocks_all_and_spawns(argv: list[str], engine: str, mask: list[int]) -> None:
    """Every signal blocked by the raw call: the C library's would leave 32 and 33 out."""
    import ctypes
    import platform

    import spawnkit

    syscall = ctypes.CDLL(None).syscall
    number = {"x86_64": 14, "aarch64": 135}[platform.machine()]
    every, before = ctypes.c_uint64(2**64 - 1), ctypes.c_uint64()
    size = ctypes.c_size_t(8)
    syscall(number, 2, ctypes.byref(every), ctypes.byref(before), size)
    try:
        spawnkit.run(argv, attr=spawnkit.SysProcAttr(sigmask=mask), engine=engine)
    finally:
        syscall(number, 2, ctypes.byref(before), None, size)


@pytest.mark.parametrize("mask", [[], [signal.SIGUSR1, signal.SIGTERM, 64]])
def test_the_mask_is_the_one_asked_for(
    engine: str, mask: list[int], isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A46: child starts with an empty mask (or the one asked), even if the parent blocks all."""
    out = tmp_path / "out"
    isolate(_blocks_all_and_spawns, [children("report"), str(out)], engine, mask)
    assert parse_report(out).mask == set(mask)


@pytest.mark.needs("ignore")
def test_every_signal_can_be_blocked(engine: str, report: Reporter) -> None:
    """A46: all 64, the C library's own included; the kernel leaves out KILL and STOP."""
    attr = SysProcAttr(sigmask=EVERY)
    seen = report(lambda argv: spawnkit.run(argv, attr=attr, engine=engine))
    assert seen.mask == EVERY - FIXED


def test_a_blocked_signal_of_the_parent_is_not_pending_in_the_child(
    engine: str, report: Reporter
) -> None:
    """A46: what waits for the parent is the parent's."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        # To this thread: another one, a test runner's watchdog, may not have blocked it.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        report(lambda argv: spawnkit.run(argv, engine=engine))
        assert signal.sigpending() == {signal.SIGUSR1}
    finally:
        assert signal.sigtimedwait([signal.SIGUSR1], 0) is not None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])


@pytest.fixture
def dispositions() -> Any:
    """A parent with handlers for some signals and none of others' business for some."""
    changed: dict[int, Any] = {
        signal.SIGUSR1: lambda *_: None,
        signal.SIGTERM: lambda *_: None,
        signal.SIGRTMIN: lambda *_: None,
        signal.SIGHUP: signal.SIG_IGN,
        signal.SIGUSR2: signal.SIG_IGN,
        signal.SIGRTMAX: signal.SIG_IGN,
    }
    before = {number: signal.signal(number, handler) for number, handler in changed.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


IGNORED = {signal.SIGHUP, signal.SIGUSR2, signal.SIGRTMAX}


@pytest.mark.usefixtures("dispositions")
def test_handlers_are_default_and_what_is_ignored_stays_so(engine: str, report: Reporter) -> None:
    """A47: all handlers are default; SIGPIPE, SIGXFSZ default again; the rest stays ignored."""
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    seen = report(lambda argv: spawnkit.run(argv, engine=engine))
    assert seen.caught == set()
    assert seen.ignored == IGNORED | ignored_by(engine)


@pytest.mark.usefixtures("dispositions")
def test_an_ignored_signal_can_be_given_back_its_default(engine: str, report: Reporter) -> None:
    """A47: sigdefault."""
    attr = SysProcAttr(sigdefault=[signal.SIGHUP, signal.SIGRTMAX])
    seen = report(lambda argv: spawnkit.run(argv, attr=attr, engine=engine))
    assert seen.ignored == {signal.SIGUSR2} | ignored_by(engine)


@pytest.mark.usefixtures("dispositions")
@pytest.mark.needs("ignore")
def test_asked_for_ignored_signals_are_ignored(engine: str, report: Reporter) -> None:
    """A47: asked SIG_IGN kept, SIGPIPE among them."""
    asked = {signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, 33}
    attr = SysProcAttr(sigignore=asked)
    seen = report(lambda argv: spawnkit.run(argv, attr=attr, engine=engine))
    assert seen.ignored == asked | IGNORED
    assert seen.caught == set()


@pytest.mark.needs("ignore")
def test_every_signal_can_be_ignored_and_defaulted(engine: str, report: Reporter) -> None:
    """A47: all 64 at once are no error; KILL and STOP have their disposition for ever."""
    attr = SysProcAttr(sigignore=EVERY)
    seen = report(lambda argv: spawnkit.run(argv, attr=attr, engine=engine))
    assert seen.ignored == EVERY - FIXED
    attr = SysProcAttr(sigdefault=EVERY)
    assert report(lambda argv: spawnkit.run(argv, attr=attr, engine=engine)).ignored == set()


def test_a_process_written_to_dies_of_sigpipe(engine: str, children: Children) -> None:
    """A47: SIGPIPE ends a child that writes to nobody, as in a shell."""
    read, write = os.pipe()
    os.close(read)
    result = spawnkit.run([children("flood"), "1"], stdout=write, check=False, engine=engine)
    os.close(write)
    assert result.state.signal == signal.SIGPIPE


def _is_signalled_before_exec(directory: str, engine: str) -> list[Any]:
    import signal

    import spawnkit

    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    outcome: Any = "ran"
    try:
        spawnkit.run(["/bin/true"], dir=directory, engine=engine)
    except spawnkit.SpawnError as error:
        outcome = error.signal
    signal.signal(signal.SIGUSR1, before)
    return [outcome, heard]


@pytest.mark.needs("dir")
@pytest.mark.parametrize("deny", ["", "clone3:ENOSYS"])
def test_a_handler_never_runs_in_a_child(
    engine: str, deny: str, isolate: Isolate, tmp_path: Path
) -> None:
    """A47, A49: a signal to the child before exec has its default effect; our handler is ours.

    It would run in our memory: Python in the parent would believe that it got the signal.
    """
    with isolate.start(
        _is_signalled_before_exec, str(tmp_path), engine, deny=deny, later="chdir:hold"
    ) as running:
        held = running.held()
        os.kill(held.pid, signal.SIGUSR1)
        held.go()
        assert running.result() == [signal.SIGUSR1, []]


# A48: every way to succeed or fail, by name

OUTCOMES: dict[str, Callable[..., Any]] = {
    "success": lambda run, _: run(["/bin/true"]),
    "captured": lambda run, _: run(["/bin/true"], capture=True, input=b"x"),
    "exit status": lambda run, _: run(["/bin/false"], check=False),
    "missing program": lambda run, _: run(["/no/such/program"]),
    "missing interpreter": lambda run, path: run([path / "script"]),
    "not a program": lambda run, path: run([path / "data"]),
    "bad descriptor": lambda run, _: run(["/bin/true"], stdout=987654),
    "too long": lambda run, _: run(["/bin/true", "x" * (1 << 20)]),
    "group": lambda run, _: run(["/bin/true"], attr=SysProcAttr(setpgid=True, pgid=2**31 - 1)),
    "timeout": lambda run, _: run(["/bin/sleep", "1000"], timeout=0.01),
}
OUTCOMES_OF_OURS: dict[str, Callable[..., Any]] = {
    "missing directory": lambda run, path: run(["/bin/true"], dir=path / "missing"),
    "limit": lambda run, _: run(["/bin/true"], attr=SysProcAttr(rlimits={"NOFILE": 2**40})),
}


@pytest.mark.usefixtures("dispositions")
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_parents_signals_are_left_alone(engine: str, outcome: str, tmp_path: Path) -> None:
    """A48: parent's mask and dispositions same after success and after each failure."""
    succeeds = outcome in ("success", "captured", "exit status")
    check_that_nothing_changed(OUTCOMES[outcome], succeeds, engine, tmp_path)


@pytest.mark.usefixtures("dispositions")
@pytest.mark.needs("dir", "rlimits")
@pytest.mark.parametrize("outcome", OUTCOMES_OF_OURS)
def test_the_parents_signals_are_left_alone_by_steps_of_ours(
    engine: str, outcome: str, tmp_path: Path
) -> None:
    """A48: the same for steps that posix_spawn does not have."""
    check_that_nothing_changed(OUTCOMES_OF_OURS[outcome], False, engine, tmp_path)


def check_that_nothing_changed(
    outcome: Callable[..., Any], succeeds: bool, engine: str, path: Path
) -> None:
    (path / "script").write_text("#!/no/such/interpreter\n")
    (path / "data").write_bytes(b"no program")
    for name in "script", "data":
        (path / name).chmod(0o755)

    def run(args: list[Any], **options: Any) -> Any:
        return spawnkit.run(args, engine=engine, **options)

    # A mask that is not empty: SIGTTOU, as an example.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        before = oracle.snapshot()
        if succeeds:
            outcome(run, path)
        else:
            with pytest.raises((spawnkit.SpawnError, spawnkit.TimeoutExpired)):
                outcome(run, path)
        assert oracle.leaks_since(before) == []
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTTOU])
