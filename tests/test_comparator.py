"""`make comparator`: what spawnkit must do is done, and what is wrong is called wrong."""

from __future__ import annotations

import dataclasses
import shutil
import sys

import pytest

from bench import comparator
from bench.inputs import INPUTS, Facts, Fault, Input, in_words

BY_NAME = {one.name: one for one in INPUTS}


def judged(one: Input, side: str) -> comparator.Seen:
    seen = comparator.look(one, side)
    if one.fault and shutil.which("strace") is None:
        pytest.skip(seen.words)
    if "ermitted" in seen.words and seen.right is None:
        pytest.skip(seen.words)  # nobody may be traced here
    return seen


@pytest.mark.parametrize("one", INPUTS, ids=lambda one: one.name)
def test_spawnkit_does_what_it_must(one: Input) -> None:
    seen = judged(one, "spawnkit")
    if one.name in ("C1", "C2"):
        assert seen.right is None
        assert seen.words.startswith("waits for ")
    else:
        assert seen.right, seen.words


def test_both_sides_are_printed_and_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["comparator", "C3", "C10", "C11"])
    assert comparator.main() == 0
    printed = capsys.readouterr().out
    for one in (BY_NAME[name] for name in ("C3", "C10", "C11")):
        assert f"{one.name:4} {one.what}" in printed
    assert printed.count("     subprocess") == printed.count("     spawnkit") == 3
    assert "spawnkit    right 3 of 3" in printed


GOOD: dict[str, Facts] = {
    "C3": {"returned": 1},
    "C4": {"raised": "StatusLost", "message": "x"},
    "C5": {"returned": 1, "zombie": False},
    "C6": {"raised": "SpawnError", "message": "x"},
    "C7": {"returned": 0, "took": 1.0, "stall": 0.01},
    "C8": {"raised": "DotError", "message": "x", "planted": False},
    "C9": {
        "empty": {"raised": "ValueError", "message": "x"},
        "twice": {"returned": ["A=2"]},
    },
    "C10": {"raised": "ValueError", "message": "x"},
    "C11": {"returned": 0},
}
BAD: list[tuple[str, Facts]] = [
    ("C3", {"returned": 0}),
    ("C4", {"returned": 0, "raised": None}),
    ("C5", {"returned": 0}),
    ("C5", {"zombie": True}),
    ("C6", {"returned": -9, "raised": None}),
    ("C7", {"stall": 1.0}),
    ("C7", {"took": 0.1}),  # nothing was held
    ("C8", {"planted": True}),
    ("C9", {"empty": {"returned": ["=x"]}}),
    ("C9", {"twice": {"returned": ["A=1", "A=2"]}}),
    ("C10", {"raised": "IndexError"}),
    ("C11", {"returned": -9}),
]


@pytest.mark.parametrize(("name", "spoiled"), BAD)
def test_a_wrong_answer_is_called_wrong(name: str, spoiled: Facts) -> None:
    assert BY_NAME[name].is_right(GOOD[name])
    assert BY_NAME[name].words(GOOD[name])
    wrong = {key: value for key, value in {**GOOD[name], **spoiled}.items() if value is not None}
    assert not BY_NAME[name].is_right(wrong)


def test_a_fault_that_never_came_is_found_out() -> None:
    fault = Fault(dict.fromkeys(comparator.SIDES, "chdir"), "error=EIO", "(INJECTED)")
    seen = judged(dataclasses.replace(BY_NAME["C3"], fault=fault), "spawnkit")
    assert seen == comparator.Seen("left out: the fault in chdir never came", None)


def test_a_side_that_dies_is_found_out() -> None:
    unknown = dataclasses.replace(BY_NAME["C3"], name="C99")
    seen = comparator.look(unknown, "spawnkit")
    assert seen.right is None
    assert "left out: its interpreter ended with 1: ValueError" in seen.words


def test_words_say_what_was_observed() -> None:
    assert in_words({"returned": 0}) == "returned 0"
    assert in_words({"raised": "A", "message": "b"}) == "raised A: b"
