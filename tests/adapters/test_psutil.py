"""psutil.Popen, which is built on subprocess.Popen and waits in its own way."""

from __future__ import annotations

import subprocess

import pytest

import spawnkit
from spawnkit.subprocess import stats

psutil = pytest.importorskip("psutil", reason="needs psutil: make adapters")


def test_its_popen_starts_through_us() -> None:
    with spawnkit.install():
        before = stats().ours
        process = psutil.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.name() == "cat"
        assert process.communicate(b"x") == (b"x", None)
        assert process.returncode == 0
    assert stats().ours == before + 1


def test_its_own_wait_leaves_nothing_behind() -> None:
    """It reaps by the number, beside our handle: the oracle looks for the pidfd."""
    with spawnkit.install():
        process = psutil.Popen(["sh", "-c", "exit 3"])
        assert process.wait(60) == 3
        assert process.poll() == 3
        with pytest.raises(psutil.NoSuchProcess):
            process.kill()
        del process
