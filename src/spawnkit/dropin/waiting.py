"""poll, wait, send_signal, rusage: what a Popen asks of its process once it runs.

Waits do not poll: a timeout of `wait` sleeps until the process ends (pidfd_open(2)).
"""

from __future__ import annotations

import errno
import operator
import os
import subprocess
import threading

from .. import _core
from ..errors import StatusLost
from ..state import Rusage
from . import standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "UNHEEDED",
    "Usage",
    "deadline_of",
    "internal_poll",
    "send_signal",
    "settle_up",
    "wait",
]

# Of a Popen in a forked process: the thread to which `wait` returns None instead of raising.
UNHEEDED = "_spawnkit_unheeded"

_GONE = (_core.LOST, _core.STALE, -errno.ECHILD)


def deadline_of(timeout: float | None) -> int:
    """`timeout` seconds from now as C wants it, for whatever can be added to a float."""
    return _core.FOREVER if timeout is None else _core.deadline_after(0.0 + timeout)


def settle_up(self: Any, child: _core.Child, result: int) -> None:
    """Notes how the process ended, or raises what `result`, other than OK, stands for."""
    if result == _core.OK:
        self.returncode = os.waitstatus_to_exitcode(child.status)
    elif result == _core.STALE:
        raise ChildProcessError(
            errno.ECHILD, f"process {child.pid} is the child of the process we were forked from"
        )
    else:
        _core.raise_for(result, child, None)


def internal_poll(self: Any, _deadstate: int | None = None, *rest: Any, **more: Any) -> Any:
    """The exit code; None while it runs.

    _deadstate: what is to pass for the code where that can never be had; a wait that fails
    otherwise leaves it None then. Without it StatusLost and OSError are raised, not 0 returned.
    """
    if self.returncode is None:
        child = getattr(self, "_spawnkit", None)
        if child is None:
            return standard.internal_poll(self, _deadstate, *rest, **more)
        result = _core.wait(child, _core.NOW)
        if _deadstate is not None and result in _GONE:
            self.returncode = _deadstate
        elif result == _core.OK or (result != _core.TIMEOUT and _deadstate is None):
            settle_up(self, child, result)
    return self.returncode


def wait(self: Any, timeout: float | None) -> Any:
    """The exit code, once it has ended; TimeoutExpired, StatusLost."""
    if self.returncode is None:
        child = getattr(self, "_spawnkit", None)
        if child is None:
            return standard.wait(self, timeout)
        result = _core.wait(child, deadline_of(timeout))
        if result == _core.TIMEOUT:
            raise subprocess.TimeoutExpired(self.args, timeout)  # type: ignore[arg-type]
        if result == _core.STALE and self.__dict__.get(UNHEEDED) == threading.get_ident():
            return None  # `communicate` is to return the output
        settle_up(self, child, result)
    return self.returncode


def send_signal(self: Any, sig: int) -> None:
    """Sends it a signal, through its pidfd: never to another process of the same number.

    Nothing happens where it has ended; what standard and ours have in common is that a process that
    others have waited for counts as such.
    """
    child = getattr(self, "_spawnkit", None)
    if child is None:
        standard.send_signal(self, sig)
        return
    if _is_over(self):
        return
    number = operator.index(sig)
    result = _core.signal(child, number)
    if result == _core.OK:
        return
    if result == -errno.EINVAL:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # no such signal
    if result != _core.DONE:
        _core.raise_for(result, child, None)
    if not _core.is_over(child) and _core.wait(child, _core.NOW) == _core.TIMEOUT:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))  # it runs all the same


def _is_over(popen: Any) -> bool:
    try:
        return popen.poll() is not None
    except (StatusLost, ChildProcessError):
        return True
    except OSError:  # nobody can say now; a signal by its pidfd does no harm
        return False


class Usage:
    """`Popen.rusage`: a spawnkit.Rusage once the process was waited for, before that None.

    None also where its status was lost, or the standard implementation waited. A subclass may have
    an attribute of that name: this one gives way.
    """

    def __get__(self, instance: Any, owner: object) -> Any:
        """See the class."""
        if instance is None:
            return self
        child = instance._spawnkit
        if child is None or instance.returncode is None or not child.usage_known:
            return None
        return Rusage(_core.rusage(child))
