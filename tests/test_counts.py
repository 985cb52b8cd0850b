"""What one spawn costs, in system calls: of the parent, and of the child before its program."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from support.isolated import Isolate


@pytest.fixture(scope="module")
def strace() -> str:
    found = shutil.which("strace")
    if not found:
        pytest.skip("strace is not installed")
    return found


def _marked_runs(awake: bool, options: dict[str, object]) -> None:
    import os

    import spawnkit

    if not awake:
        spawnkit.set_spin(0)
    for _ in range(3):
        spawnkit.run(["/bin/true"], **options)  # type: ignore[arg-type]
    os.access("/mark/begin", os.F_OK)
    spawnkit.run(["/bin/true"], **options)  # type: ignore[arg-type]
    os.access("/mark/end", os.F_OK)


def count(
    isolate: Isolate, strace: str, log: Path, awake: bool = False, **options: object
) -> tuple[list[str], ...]:
    """The calls of the parent during one run(), and of the child up to its execve."""
    isolate(_marked_runs, awake, options, under=[strace, "-f", "-o", str(log)], oracle=False)
    parent, child = [], []
    main, inside, executed = "", False, False
    for line in log.read_text().splitlines():
        pid, call = line.split(None, 1)
        name = re.match(r"[a-z_0-9]+", call)
        if "/mark/" in call:
            main, inside = pid, "/mark/begin" in call
        elif inside and name:  # not "<... resumed>", "+++ exited", "--- SIGCHLD"
            if pid == main:
                parent.append(name[0])
            elif not executed:
                child.append(name[0])
                executed = name[0] == "execve"
    assert child[-1] == "execve"
    return parent, child[:-1]


def test_a_plain_run_makes_few_system_calls(isolate: Isolate, strace: str, tmp_path: Path) -> None:
    """After warm-up, its wait asleep: parent at most 5, child at most 5 before execve."""
    parent, child = count(isolate, strace, tmp_path / "log")
    assert len(parent) <= 5, parent
    assert len(child) <= 5, child


def test_a_run_with_a_timeout_makes_few_more(isolate: Isolate, strace: str, tmp_path: Path) -> None:
    """A pidfd to sleep on, and no timer."""
    parent, child = count(isolate, strace, tmp_path / "log", timeout=600.0)
    assert len(parent) <= 7, parent
    assert len(child) <= 5, child


def test_a_wait_that_is_awake_adds_what_it_needs_to_look(
    isolate: Isolate, strace: str, tmp_path: Path
) -> None:
    """May it be awake at all, and then by turns: the processor is given up, and a look."""
    parent, _ = count(isolate, strace, tmp_path / "log", awake=True)
    others = [name for name in parent if not name.startswith("sched_")]
    yields = parent.count("sched_yield")
    assert parent.count("sched_getscheduler") <= 1
    assert parent.count("sched_getaffinity") <= 1
    assert len(parent) - len(others) <= yields + 2, parent
    assert len(others) - yields <= 5, parent  # each yield has its look, and the rest is as above


def test_the_default_is_vfork_and_no_handlers_are_reset_one_by_one(
    isolate: Isolate, strace: str, tmp_path: Path
) -> None:
    """One clone3 with CLONE_VM: that the fast path is taken is part of what is promised."""
    parent, child = count(isolate, strace, tmp_path / "log")
    assert "clone3" in parent or "clone" in parent
    assert child.count("rt_sigaction") <= 2  # SIGPIPE and SIGXFSZ, which Python ignores
    lines = (tmp_path / "log").read_text().splitlines()
    clones = [line for line in lines if re.match(r"\d+ +clone3?\(", line)]
    assert "CLONE_VM" in clones[-1]
