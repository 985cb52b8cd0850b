"""Of the processes that Pythons started, how many were ours, and why the rest were not."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from programs.traced import Process


@dataclass
class Starts:
    """The account of one program.

    said: what the lines of --stats=FILE add up to.
    seen: what strace saw, or None where there is no strace; `reasons` are of this, else of `said`.
    mute: processes that had spawnkit, started something, and wrote no line.
    wrong: what does not agree.
    """

    said_ours: int = 0
    said_standard: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    seen_ours: int | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    mute: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __iadd__(self, other: Starts) -> Starts:
        self.said_ours += other.said_ours
        self.said_standard += other.said_standard
        self.lines += other.lines
        if other.seen_ours is not None:
            self.seen_ours = (self.seen_ours or 0) + other.seen_ours
        self.reasons += other.reasons
        self.mute += other.mute
        self.wrong += other.wrong
        return self

    @property
    def ours(self) -> int:
        return self.said_ours if self.seen_ours is None else self.seen_ours

    @property
    def all(self) -> int:
        return self.ours + sum(self.reasons.values())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Those of --stats=FILE; none where no process got so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def said(lines: list[dict[str, Any]]) -> Starts:
    """The account by our own word alone."""
    starts = Starts(lines=len(lines))
    for line in lines:
        starts.said_ours += line["ours"]
        starts.said_standard.update(line["standard"])
    starts.reasons = Counter(starts.said_standard)
    return starts


def seen(lines: list[dict[str, Any]], processes: list[Process]) -> Starts:
    """The account as the kernel saw it; the lines tell the reasons."""
    starts = said(lines)
    starts.seen_ours = 0
    starts.reasons = Counter()
    # What a process was last has written the line; execve lets it write none before.
    last = {process.pid: process for process in processes}
    written = {line["pid"]: line for line in lines}
    for process in processes:
        starts.seen_ours += process.ours
        shown = in_short(process.image.argv)
        if process.image.without:
            what = f"a Python without spawnkit ({process.image.without}): {shown}"
            starts.reasons[what] += process.others.total()
        elif last[process.pid] is process and process.pid in written:
            _explain(starts, process, written[process.pid])
        else:
            starts.mute.append(shown)
            starts.reasons[f"without a line: {shown}"] += process.others.total()
    starts.reasons = +starts.reasons
    return starts


def _explain(starts: Starts, process: Process, line: dict[str, Any]) -> None:
    # A start that fails before there is a process counts in the line: there may be fewer, not more.
    if process.ours > line["ours"]:
        starts.wrong.append(
            f"pid {process.pid} says {line['ours']} starts of ours, strace saw {process.ours}"
        )
    standard = Counter(line["standard"])
    starts.reasons.update(standard)
    around = process.others.copy()
    for _ in range(standard.total()):
        # preexec_fn is a fork; the other reasons may be either.
        kind = "fork" if around["fork"] else "vfork"
        around[kind] -= 1
    for kind, count in (+around).items():
        what = "os.fork, pty, multiprocessing" if kind == "fork" else "os.system, os.posix_spawn"
        starts.reasons[f"around subprocess ({what}): {in_short(process.image.argv)}"] += count


def in_short(argv: tuple[str, ...] | list[str]) -> str:
    """A command line, short: the names of paths, and of long arguments the beginning."""
    words = [re.sub(r"^/\S*/", "", word) for word in argv]
    words = [word if len(word) < 25 else word[:22] + "…" for word in words]
    text = " ".join(words[:5]) + (" …" if len(words) > 5 else "")
    return text.replace("\\n", " ")
