"""A zoo of programs that do not want to end, or not properly: each call ends, and leaves nobody.

`make zoo` prints how long each took.
"""

from __future__ import annotations

import os
import select
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import spawnkit
from support.children import Children

# What each has written by the end; of those that write on, its beginning.
ZOO = {
    "ignores": b"begun\n",
    "forks": b"begun\n",
    "escapes": b"begun\n",
    "daemon": b"begun\n",
    "leaves": b"begun\n",
    "floods": b"z" * 4096,
    "deaf": b"begun\n",
    "half": b"begun\n\xc3",
    "stops": b"begun\n",
    "chatters": b"begun\nchatter\n",
}

# Tells "ends" from "hangs": it is to be over after 1 + 0.2 + 0.5 + 0.2 s on an idle machine.
HANGS_AFTER = 60.0


@dataclass
class Visit:
    """What came of one call."""

    seconds: float
    error: spawnkit.TimeoutExpired | spawnkit.WaitDelayError
    alive: bool

    @property
    def stdout(self) -> bytes:
        """What it had written."""
        assert isinstance(self.error.stdout, bytes)
        return self.error.stdout

    @property
    def named(self) -> bool:
        """Is it said that somebody may be left?"""
        kill = self.error.kill
        return kill is None or bool(kill.survivors) or not kill.complete


def visit(program: str, kind: str) -> Visit:
    """Runs one of them, looks whether anything of it is alive, and then lets it end."""
    ends, leash = os.pipe()
    try:
        before = time.monotonic()
        with pytest.raises((spawnkit.TimeoutExpired, spawnkit.WaitDelayError)) as raised:
            spawnkit.run(
                [program, kind],
                capture=True,
                input=b"x" * 100_000,
                extra_files=[leash],
                timeout=1,
                grace=0.2,
                wait_delay=0.2,
                kill="tree",
                max_output=1 << 20,
            )
        seconds = time.monotonic() - before
        os.close(leash)
        leash = -1
        # A moment, for descriptors of the dead that are being closed.
        alive = not select.select([ends], [], [], 0.2)[0]
        return Visit(seconds, raised.value, alive)
    finally:
        os.close(ends)
        if leash >= 0:
            os.close(leash)


@pytest.mark.parametrize("kind", ZOO)
def test_a_call_ends_and_nobody_is_left_or_he_is_named(kind: str, children: Children) -> None:
    """A78, A82: the output so far, and nobody alive; who could not be caught is named."""
    came = visit(children("zoo"), kind)
    assert came.seconds < HANGS_AFTER
    assert came.stdout.startswith(ZOO[kind])
    assert not came.alive or came.named
    if kind != "escapes":  # whom only luck, or a cgroup, catches
        assert not came.alive
        assert came.error.kill is not None
        assert came.error.kill.means == "tree"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        program = Children(Path(directory))("zoo")
        print(f"{'kind':10} {'seconds':>7}  killed  alive  what was raised")
        for kind in ZOO:
            came = visit(program, kind)
            killed = came.error.kill.killed if came.error.kill else 0
            print(f"{kind:10} {came.seconds:7.2f} {killed:7}  {'YES' if came.alive else 'no':5}  "
                  f"{str(came.error).replace(directory + '/', '')[:120]}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
