"""Where the tests look into /proc.

Where `make degrade` runs them without /proc, the oracle still needs one: it is mounted elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "PROC_OF_THE_TESTS"

PROC = Path(os.environ.get(VARIABLE, "/proc"))


def as_seen(text: str) -> str:
    """What is said of a program that is a descriptor: only /proc shows what is in its file."""
    return text if os.path.exists("/proc/self") else text[: text.rindex(" (")]
