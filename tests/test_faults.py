"""The loop of `make faults` in short: some uses on one engine; and that it would find something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FAULTS = TESTS.parent / "build/faults/lib"


def loop(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    if not FAULTS.exists():
        pytest.skip("the package was not built with faults in it (make test does that)")
    code = f"{code}\nimport faults.loop; exit(faults.loop.main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": f"{FAULTS}{os.pathsep}{TESTS}"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def faults(done: subprocess.CompletedProcess[str]) -> int:
    """How many there were; none of them wrong."""
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"^(\d+) faults in .*success", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return int(found[1])


@pytest.mark.parametrize(
    ("use", "least"),
    [
        ("captured", 150),
        ("attributes", 150),
        ("process", 150),
        ("copied", 150),
        ("teed", 150),
        ("in_memory", 150),
        ("in_order", 150),
        ("from_a_worker", 80),
        ("sealed", 80),
    ],
)
def test_each_system_call_fails_once(use: str, least: int) -> None:
    """A129: success or a clear error, and nothing is left; on the engine that is the default."""
    done = loop("--engine", "vfork", "--use", use)
    assert faults(done) > least


@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="with one processor no wait is awake (csrc/spin.c)"
)
def test_a_wait_that_is_awake_is_among_them() -> None:
    given_up = loop("--engine", "vfork", "--use", "awake", "--case", "awake vfork sched_yield")
    assert faults(given_up) > 8
    assert faults(loop("--engine", "vfork", "--use", "awake")) > 150


@pytest.mark.parametrize("poor", ["--first", "--deny=close_range:ENOSYS"])
def test_each_fails_once_where_less_is_known_or_there(poor: str) -> None:
    done = loop(poor, "--engine", "vfork", "--use", "plain")
    assert faults(done) > {"--first": 70, "--deny=close_range:ENOSYS": 90}[poor]


PLANTED = """
import os, spawnkit
from faults.uses import use

@use
def planted(place):
    fd = os.dup(0)
    try:
        spawnkit.run(["/bin/true"])
    except spawnkit.SpawnError:
        {defect}
    os.close(fd)
"""


@pytest.mark.parametrize(
    ("defect", "complaint"),
    [
        ("raise", "descriptor 3 is left"),
        ("assert False, 'it is not as asked'", "a wrong answer: it is not as asked"),
        ("os.close(fd); {}['x']", "not an error of ours: KeyError('x')"),
        ("os.spawnlp(os.P_NOWAIT, 'true', 'true')", "child"),
    ],
)
def test_the_loop_finds(defect: str, complaint: str) -> None:
    done = loop("--engine", "vfork", "--use", "planted", code=PLANTED.format(defect=defect))
    assert done.returncode == 1
    assert complaint in done.stdout


def test_a_build_without_faults_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "faults.loop"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "make faults" in done.stderr
