"""os.system through our engine: what system(3) does to signals meanwhile is part of it."""

from __future__ import annotations

import os
import signal
import sys

from .. import _core, _ops
from ..children import spawn_and_settle
from ..errors import SpawnError
from ..plan import assemble
from . import counts, planning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FUNCTIONS"]

_SYSTEM = os.system

_NO_SHELL = 127 << 8  # as if it had exited with 127: system(3)


def _system(command: Any) -> int:
    try:
        text = planning.fsencode(command)
    except (TypeError, ValueError):
        return _SYSTEM(command)  # its messages
    sys.audit("os.system", text)
    sys.audit("spawnkit.spawn", "/bin/sh", ["sh", "-c", text], None, None)
    counts.note()
    keyboard = _core.new_keyboard()
    guard = _core.guard_keyboard(keyboard)
    child = _core.new_child()
    child_guard = _core.guard_child(child)
    mask = _core.signal_mask()
    try:
        _core.keyboard_ignore(keyboard)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        return _status(child, text, keyboard.heeded, mask)
    finally:
        try:
            if not mask & _ops.bits([signal.SIGCHLD]):
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])  # and its handler
        finally:
            _core.keyboard_heed(keyboard)
            del guard, child_guard


def _status(child: _core.Child, command: bytes, heeded: int, mask: int) -> int:
    """As waitpid(2) gives it; -1: no process could be made, or its status is lost."""
    ops = _ops.op(_ops.SIG_DEFAULT, x=heeded) + _ops.op(_ops.SIG_MASK, x=mask)
    argv = b"sh\0-c\0" + command + b"\0"
    plan = assemble(b"/bin/sh\0", 1, argv, 3, _core.environment(), ops, b"")
    raised: BaseException | None = None
    try:
        spawn_and_settle(child, plan, _core.ENGINES[None])
    except SpawnError as error:
        return _NO_SHELL if error.stage == "exec" else -1
    except BaseException as error:
        if not _core.is_made(child):
            raise
        raised = error
    # A handler that raises does not end the wait: the standard one calls it only after the shell.
    while True:
        try:
            result = _core.wait(child, _core.FOREVER)
            break
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised
    return int(child.status) if result == _core.OK else -1


_system.__name__ = _system.__qualname__ = _SYSTEM.__name__
_system.__module__, _system.__doc__ = _SYSTEM.__module__, _SYSTEM.__doc__

FUNCTIONS: dict[str, Any] = {"system": _system}
