"""A descendant that outlives its program, for tests of what becomes of the streams then."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Late:
    """A descendant that is heard and told after its program has ended."""

    def __init__(self) -> None:
        self.stdin, self.gate = os.pipe()
        self._ear, self.fd = os.pipe()

    @property
    def options(self) -> dict[str, Any]:
        return {"stdin": self.stdin, "fd_map": {3: self.fd}}

    def go(self) -> bytes:
        """Let it go on; all that it tells until its end."""
        os.write(self.gate, b"x")
        for fd in (self.stdin, self.fd):
            os.close(fd)
        self.stdin = self.fd = -1
        with open(self._ear, "rb", closefd=False) as file:
            return file.read()

    def close(self) -> None:
        for fd in (self.stdin, self.gate, self._ear, self.fd):
            if fd >= 0:
                os.close(fd)


@contextmanager
def late() -> Iterator[Late]:
    made = Late()
    try:
        yield made
    finally:
        made.close()
