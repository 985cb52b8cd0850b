"""Ctrl-C at each instruction of the package's Python code, one call per instruction."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def strike_everywhere(call: Callable[[], object], check: Callable[[], object]) -> list[Any]:
    """How many calls were interrupted before one was not, and what `check` found wrong after each.

    `check` returns something true where something is wrong.
    """
    import spawnkit

    home = os.path.dirname(spawnkit.__file__)
    counted = strike_at = 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal counted
        if not frame.f_code.co_filename.startswith(home):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            counted += 1
            if counted == strike_at:
                signal.raise_signal(signal.SIGINT)
        return trace

    def is_interrupted(at: int) -> bool:
        nonlocal counted, strike_at
        counted, strike_at = 0, at
        sys._getframe().f_trace_opcodes = True  # 3.12 looks at it only in settrace
        sys.settrace(trace)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    call()  # everything is imported
    wrong = []
    for at in range(1, 100_000):
        interrupted = is_interrupted(at)
        found = check()
        if found:
            wrong.append([at, found])
        if not interrupted:
            return [at - 1, wrong]
    raise AssertionError("a call without end")
