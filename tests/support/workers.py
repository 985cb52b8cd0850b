"""Spawning from other threads than the first; for isolated interpreters too."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from support.proc import PROC

if TYPE_CHECKING:
    from spawnkit import SysProcAttr

T = TypeVar("T")


def in_a_thread(function: Callable[[], T]) -> T:
    """What `function` returns or raises in a thread of its own, once the kernel has seen its end:
    what the end of that thread does to a child has been done by then."""
    returned: list[T] = []
    raised: list[BaseException] = []
    number = 0

    def run() -> None:
        nonlocal number
        number = threading.get_native_id()
        try:
            returned.append(function())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    while (PROC / f"self/task/{number}").exists():
        os.sched_yield()
    if raised:
        raise raised[0]
    return returned[0]


class Echo:
    """A child that answers, and never ends by itself: it holds its own stdin open."""

    def __init__(self, program: str, attr: SysProcAttr | None, engine: str) -> None:
        from spawnkit import ProcAttr, start_process

        stdin, self._to = os.pipe()
        self._from, stdout = os.pipe()
        files = ProcAttr(files=[stdin, stdout, 2, self._to], sys=attr)
        self.process = start_process(program, ["echo"], files, engine=engine)
        os.close(stdin)
        os.close(stdout)

    def answer(self) -> str:
        """Its answer; empty: it is dead."""
        os.write(self._to, b"still here")
        return os.read(self._from, 100).decode()

    def end(self) -> str | None:
        """Which engine had made it."""
        self.process.kill()
        os.close(self._to)
        os.close(self._from)
        return self.process.wait().engine
