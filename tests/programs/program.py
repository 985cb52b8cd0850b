"""What a program of `make programs` is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MATERIAL = Path(__file__).parent / "material"


@dataclass(frozen=True)
class Step:
    """One command line: what follows `python`, or `spawnkit py`.

    status: what it ends with. A program that could not do its work would look the same twice.
    python: another interpreter than that of the programs, relative to the directory of the run.
    """

    words: tuple[str, ...]
    status: int = 0
    python: str = ""


def step(line: str, status: int = 0, python: str = "") -> Step:
    """The words between the spaces."""
    return Step(tuple(line.split()), status, python)


@dataclass(frozen=True)
class Change:
    """What is never the same twice, in texts and in files, is made the same before a comparison."""

    pattern: str
    by: str
    reason: str

    def apply(self, text: str) -> str:
        return re.sub(self.pattern, self.by, text, flags=re.MULTILINE)


@dataclass(frozen=True)
class LeftOut:
    """Files whose content is not compared, but that they are there; a pattern of fnmatch."""

    pattern: str
    reason: str


# Of every program.
LEFT_OUT = (LeftOut("*.pyc", "the time of the source is in it"),)


@dataclass(frozen=True)
class Program:
    """One program, run twice.

    material: the directory that the steps are run in, copied; None: that of its name in MATERIAL.
    distributions: whose versions are printed.
    needs: commands without which it is left out.
    sorted_lines: a pattern of files ("stdout", "stderr" too, of each step) whose lines come in the
        order in which concurrent processes get done, and are sorted.
    """

    name: str
    steps: tuple[Step, ...]
    distributions: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    sorted_lines: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    material: Path | None = None
