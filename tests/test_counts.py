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


def _marked_runs(options: dict[str, object]) -> None:
    import os

    import spawnkit

    for _ in range(3):
        spawnkit.run(["/bin/true"], **options)  # type: ignore[arg-type]
    os.access("/mark/begin", os.F_OK)
    spawnkit.run(["/bin/true"], **options)  # type: ignore[arg-type]
    os.access("/mark/end", os.F_OK)


def count(isolate: Isolate, strace: str, log: Path, **options: object) -> tuple[list[str], ...]:
    """The calls of the parent during one run(), and of the child up to its execve."""
    isolate(_marked_runs, options, under=[strace, "-f", "-o", str(log)], oracle=False)
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
    """After warm-up: parent at most 5, child at most 5 before execve."""
    parent, child = count(isolate, strace, tmp_path / "log")
    assert len(parent) <= 5, parent
    assert len(child) <= 5, child


def test_a_run_with_a_timeout_makes_few_more(isolate: Isolate, strace: str, tmp_path: Path) -> None:
    """A pidfd to sleep on, and no timer."""
    parent, child = count(isolate, strace, tmp_path / "log", timeout=600.0)
    assert len(parent) <= 7, parent
    assert len(child) <= 5, child


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
