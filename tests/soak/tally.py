"""What a part of the soak found, and the line per second that says it is still at work."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from support.proc import PROC

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Tally:
    """The figures of one part; `wrong` says in words what is behind those that are not 0."""

    part: str
    spawns: int = 0
    lost: int = 0
    doubled: int = 0
    leaked: int = 0
    strangers: int = 0
    rss: int | None = None  # KiB; None: not asked here
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.wrong or self.lost or self.doubled or self.leaked or self.strangers)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Tally:
        return cls(**json.loads(path.read_text()))


def resident() -> int:
    """Our resident memory in KiB."""
    with open(PROC / "self/statm", "rb") as file:
        return int(file.read().split()[1]) * PAGE // 1024


class Progress:
    """Prints how far it is, once a second at most."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what = total, what
        self.began = self.last = time.monotonic()
        self.before = 0

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def is_due(self) -> bool:
        return time.monotonic() - self.last >= 1.0

    def show(self, done: int, more: str = "") -> None:
        now = time.monotonic()
        rate = (done - self.before) / max(now - self.last, 1e-9)
        self.last, self.before = now, done
        text = f"{self.what}: {done:,} of {self.total:,}, {rate:,.0f} a second"
        print(f"{text}{', ' if more else ''}{more}", flush=True)


def say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)
