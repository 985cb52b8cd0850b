"""How a process ended, as a value: ProcessState, WaitStatus, Rusage."""

from __future__ import annotations

import os
import pickle
import resource

import pytest

import spawnkit
from spawnkit import Rusage, WaitStatus
from support.children import Children
from support.engines import serving


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exit status 0"),
        (0x100, "exit status 1"),
        (0xFF00, "exit status 255"),
        (9, "signal: killed"),
        (15, "signal: terminated"),
        (0x8B, "signal: segmentation fault (core dumped)"),
        (0x137F, "stop signal: stopped (signal)"),
        (0xFFFF, "continued"),
    ],
)
def test_a_wait_status_reads_like_gos(status: int, text: str) -> None:
    assert str(WaitStatus(status)) == text


def test_a_wait_status_agrees_with_the_macros_for_every_value() -> None:
    for value in range(1 << 16):
        status = WaitStatus(value)
        assert status.exited == os.WIFEXITED(value)
        assert status.signaled == os.WIFSIGNALED(value)
        assert status.stopped == os.WIFSTOPPED(value)
        assert status.continued == os.WIFCONTINUED(value)
        assert status.exit_status == (os.WEXITSTATUS(value) if os.WIFEXITED(value) else -1)
        assert status.signal == (os.WTERMSIG(value) if os.WIFSIGNALED(value) else None)


def test_what_a_process_used_is_told(engine: str) -> None:
    """A65: rusage >= 0, present; maxrss marked as a floor."""
    state = spawnkit.run(["/bin/true"], engine=engine).state
    usage = state.sys_usage()
    assert isinstance(usage, Rusage)
    assert len(Rusage.__slots__) == 16
    for name in Rusage.__slots__:
        assert getattr(usage, name) >= 0
    assert usage.minflt > 0
    assert (state.user_time, state.system_time) == (usage.utime, usage.stime)
    assert state.max_rss == usage.maxrss
    assert usage.maxrss % 1024 == 0
    assert usage.maxrss > 0
    # The kernel folds our own peak in, so the figure of a small program says nothing exact.
    assert not state.max_rss_exact


def test_rusage_has_the_fields_of_the_resource_module(engine: str) -> None:
    """A65: the same figures as os.wait4 would have given, field by field by name."""
    state = spawnkit.run(["/bin/true"], engine=engine).state
    fields = [name.removeprefix("ru_") for name in dir(resource.getrusage(0)) if "ru_" in name]
    assert sorted(fields) == sorted(Rusage.__slots__)
    assert state.sys_usage() is not None


def test_processor_time_is_counted(engine: str) -> None:
    """A65: a child that burns time has burnt it."""
    code = "s=0; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    state = spawnkit.run(["/bin/sh", "-c", code], engine=engine).state
    assert state.user_time is not None
    assert state.system_time is not None
    # The kernel tells the two apart by what it saw at its ticks, and there may have been few.
    assert state.user_time + state.system_time > 0
    assert state.wall_time > 0


def test_a_state_is_a_value(engine: str, children: Children) -> None:
    state = spawnkit.run([children("exit"), "3"], check=False, engine=engine).state
    other = spawnkit.run([children("exit"), "3"], check=False, engine=engine).state
    copy = pickle.loads(pickle.dumps(state))
    assert copy == state
    assert hash(copy) == hash(state)
    assert copy != other
    assert (copy.exit_code, copy.engine, copy.pid) == (3, serving(engine), state.pid)
    assert copy.sys_usage() == state.sys_usage()
    assert copy.wall_time == state.wall_time
    assert repr(copy) == repr(state)


def test_errors_are_values_too(engine: str, children: Children) -> None:
    """They cross process borders: every field survives pickling."""
    with pytest.raises(spawnkit.ExitError) as exited:
        spawnkit.run([children("exit"), "3"], capture=True, engine=engine)
    with pytest.raises(spawnkit.SpawnError) as missing:
        spawnkit.run(["/no/such/program"], engine=engine)
    with pytest.raises(spawnkit.TimeoutExpired) as late:
        spawnkit.run(["/bin/sleep", "1000"], timeout=0.5, engine=engine)
    for error in exited.value, missing.value, late.value:
        copy = pickle.loads(pickle.dumps(error))
        assert str(copy) == str(error)
        assert isinstance(copy, spawnkit.Error)
    copy = pickle.loads(pickle.dumps(missing.value))
    for name in "errno", "stage", "item", "filename", "signal":
        assert getattr(copy, name) == getattr(missing.value, name)
    assert isinstance(copy, FileNotFoundError)
    assert pickle.loads(pickle.dumps(exited.value)).state == exited.value.state
