"""Ctrl-C: it arrives wherever a call is, the child is killed and reaped, nothing else is left.

A signal between two instructions cannot be aimed at from outside, so a timer sweeps over the whole
of a call. A signal that is lost shows as a call that never ends: its child does not.
"""

from __future__ import annotations

import pytest

from support.children import Children
from support.isolated import Isolate

# Without restartable sequences the C core waits in slices; both ways must hear every signal.
TUNABLES = ["glibc.pthread.rseq=1", "glibc.pthread.rseq=0"]


def _interrupts_at_every_point(program: str, engine: str, how: str, rounds: int) -> list[str]:
    """One call per round, interrupted a little later each time; what came out of them."""
    import os
    import signal

    import spawnkit

    class Interrupted(KeyboardInterrupt):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    signal.signal(signal.SIGALRM, interrupt)
    read, write = os.pipe()
    attr = spawnkit.SysProcAttr(setsid=True)
    outcomes = set()

    def call() -> None:
        if how == "run":
            spawnkit.run([program], stdin=read, attr=attr, engine=engine)
        elif how == "captured":
            spawnkit.run([program], stdin=read, capture=True, attr=attr, engine=engine)
        elif how == "fed":
            # More than a pipe holds: it is never read.
            spawnkit.run(["/bin/sleep", "1000"], input=b"x" * 200_000, attr=attr, engine=engine)
        else:
            spawnkit.run([program], stdin=read, timeout=1000, attr=attr, engine=engine)

    for number in range(rounds):
        delay = 2e-6 + number * 1.5e-3 / rounds
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            try:
                call()
                outcomes.add("ended by itself")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            outcomes.add("interrupted")
    os.close(read)
    os.close(write)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return sorted(outcomes)


@pytest.mark.parametrize("tunables", TUNABLES)
@pytest.mark.parametrize("how", ["run", "captured", "fed", "timeout"])
def test_an_interrupt_at_any_point_of_run_ends_it(
    engine: str, how: str, tunables: str, isolate: Isolate, children: Children
) -> None:
    """A signal at each point of a run() of an endless child in its own session arrives."""
    rounds = 50 if engine == "fork" else 150  # a fork of an interpreter is slow
    with isolate.start(
        _interrupts_at_every_point,
        children("block"),
        engine,
        how,
        rounds,
        env={"GLIBC_TUNABLES": tunables},
    ) as running:
        assert running.result() == ["interrupted"]
