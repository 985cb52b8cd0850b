"""The soak in short (`make soak` is the long form), and that it finds what it is there to find."""

from __future__ import annotations

import argparse
import array
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import soak.__main__ as command
from soak import reuse, storm
from soak.tally import Tally
from support.children import Children

SHORT: dict[str, Any] = {
    "spawns": 10_000,
    "threads": 8,
    "hertz": 1000,
    "engine": None,
    "reuses": 100,
    "programs": 200,
}


def run(part: str, directory: Path, under: tuple[str, ...] = (), **options: Any) -> Tally:
    arguments = command.commands(argparse.Namespace(**{**SHORT, **options}))[part]
    return command.run(part, [*under, *arguments], directory / part)


def check(tally: Tally) -> None:
    assert tally.wrong == []
    assert tally.is_good
    assert tally.spawns > 0


@pytest.fixture(autouse=True)
def search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts are interpreters of their own."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))


def test_in_a_storm_of_signals_nothing_is_lost_doubled_or_leaked(tmp_path: Path) -> None:
    """A49: 10^4 spawns at 1 kHz; no handler runs in a child; who is hit before exec says so."""
    check(run("storm", tmp_path))


def test_the_storm_on_each_engine(engine: str, tmp_path: Path) -> None:
    """A49: the same."""
    check(run("storm", tmp_path, engine=engine, spawns=1000))


def test_the_storm_where_the_child_resets_the_handlers_itself(
    children: Children, tmp_path: Path
) -> None:
    """A49: without clone3 the signals are blocked around the clone."""
    check(run("storm", tmp_path, (children("deny"), "clone3:ENOSYS", "--"), spawns=2000))


def test_a_forced_reuse_of_a_pid_hits_no_stranger(tmp_path: Path) -> None:
    """A73: signal, kill, terminate, wait, timeout, cancel, end of a `with`, dropped handle."""
    reason = reuse.why_not()
    if reason:
        pytest.skip(f"no pid can be chosen here: {reason}")
    check(run("reuse", tmp_path))


def test_programs_are_written_and_executed_at_once(tmp_path: Path) -> None:
    """A8: never ETXTBSY under the lock, and no start that fails for good without it."""
    tally = run("busy", tmp_path)
    check(tally)
    assert "0 tries met ETXTBSY" in tally.notes[0]


# What must be found


def test_a_ledger_that_is_wrong_is_found_out() -> None:
    for numbers, lost, doubled in (
        ([0, 2, 1, 3], 0, 0),
        ([0, 1, 3], 1, 0),
        ([0, 1, 1, 2, 3], 0, 1),
        ([0, 1, 2, 3, 99], 0, 1),
        ([0, 1, 1, 3], 1, 1),
    ):
        tally = Tally("storm")
        one = storm.Soak(None)
        os.write(one.ledger, array.array("I", numbers).tobytes())
        one.check_ledger(4, tally)
        one.close()
        assert (tally.lost, tally.doubled) == (lost, doubled)
        assert tally.is_good == (not lost and not doubled)


def test_a_wrong_status_is_found_out() -> None:
    one = storm.Soak(None)
    one.path = "/bin/true"
    for number in (1, 2, 250):  # exit 0 and no output: right for the last only
        one.spawn(number)
    one.close()
    assert len(one.wrong) == 2


def test_a_part_that_dies_is_found_out(tmp_path: Path) -> None:
    tally = command.run("storm", ["/bin/false"], tmp_path / "result")
    assert not tally.is_good
    assert "WRONG: it ended with 1" in command.table([tally])


def test_a_handler_in_another_process_is_found_out() -> None:
    handlers = storm.Handlers()
    try:
        assert handlers.in_other_processes() == 0
        signal.raise_signal(signal.SIGUSR1)
        assert handlers.in_other_processes() == 0
        assert handlers.heard == {signal.SIGUSR1: 1}
        pid = os.fork()
        if pid == 0:
            signal.raise_signal(signal.SIGUSR1)
            os._exit(0)
        os.waitpid(pid, 0)
        assert handlers.in_other_processes() == 1
    finally:
        handlers.restore()
