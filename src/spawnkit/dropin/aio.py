"""asyncio's subprocesses: the loop watches the pidfd of the handle, and the handle reaps.

asyncio starts a process through `subprocess.Popen`, which is ours by then, and waits through a
child watcher. A program that chooses none gets one of two: a thread for each process (Python 3.10
and 3.11, and where pidfds are refused), or a pidfd (3.12 and later). Both wait by the process's
number, beside the handle, and a status is there only once:

    1. the process ends; `transport.close()` polls, and the handle reaps;
    2. the watcher's waitpid finds nothing: it reports 255.

So for processes of ours these two do what stands here.

A watcher that a program chose itself, SafeChildWatcher or a class of its own, goes on as it is.
uvloop starts its processes in C: nothing of it comes by here.
"""

from __future__ import annotations

import functools
import sys

from .. import _core
from ..errors import StatusLost
from . import replacing
from .waiting import internal_poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["begin", "end", "look"]

_MODULE = "asyncio.unix_events"
# Python 3.14 has taken them out of public view.
_WATCHERS = (
    "ThreadedChildWatcher",
    "PidfdChildWatcher",
    "_ThreadedChildWatcher",
    "_PidfdChildWatcher",
)

# What the module defines after them.
_LAST = ("DefaultEventLoopPolicy", "_DefaultEventLoopPolicy")

_MOMENT = 0.002  # seconds between two looks at a process that its tracer has yet to let go

# Where the replaced methods are to be noted, while asyncio is not loaded yet.
_awaited: replacing.Replaced | None = None


def begin(replaced: replacing.Replaced) -> None:
    """Replaces the watchers' method, now or once asyncio is there: it is too slow to load it here.

    For whoever holds `replacing.lock`.
    """
    global _awaited
    _awaited = replaced
    look()


def end() -> None:
    """Does not wait for asyncio any more."""
    global _awaited
    _awaited = None


def look() -> None:
    """Is asyncio there? Asked by each Popen that asyncio may have made: it waits after that."""
    global _awaited
    if _awaited is None or _MODULE not in sys.modules:
        return
    with replacing.lock:
        replaced, module = _awaited, sys.modules.get(_MODULE)
        # Another thread may be in the midst of importing it: the policy comes last.
        if replaced is None or not any(hasattr(module, name) for name in _LAST):
            return
        for name in _WATCHERS:
            watcher = getattr(module, name, None)
            if watcher is not None:
                ours = _made(watcher.add_child_handler)
                replaced.put(watcher, "add_child_handler", ours)
        _awaited = None


def _made(standard: Callable[..., Any]) -> Callable[..., Any]:
    """A watcher's `add_child_handler`, which leaves to the standard one what is not ours."""

    @functools.wraps(standard)
    def add_child_handler(self: Any, pid: int, callback: Callable[..., Any], *args: Any) -> Any:
        popen = _popen_of(pid, args)
        if popen is None:
            return standard(self, pid, callback, *args)
        pidfd = _core.new_pidfd()
        guard = _core.guard_pidfd(pidfd)
        # A duplicate: whoever else waits for the Popen closes the handle's own, and the loop would
        # wait for ever, since the kernel forgets a closed descriptor without a word (epoll(7)).
        result = _core.dup_pidfd(popen._spawnkit, pidfd)
        if result not in (_core.OK, _core.DONE):
            return standard(self, pid, callback, *args)
        from asyncio import get_running_loop

        loop = get_running_loop()
        if result == _core.DONE:
            _tell(loop, popen, callback, args)
        else:
            loop.add_reader(pidfd.fd, _ended, loop, popen, pidfd, guard, callback, args)
        return None

    return add_child_handler


def _popen_of(pid: int, args: tuple[Any, ...]) -> Any:
    """The Popen behind a transport, if we have its handle."""
    from subprocess import Popen

    if len(args) == 1 and hasattr(args[0], "get_extra_info"):
        popen = args[0].get_extra_info("subprocess")
        if isinstance(popen, Popen) and popen.pid == pid:
            return popen if getattr(popen, "_spawnkit", None) is not None else None
    return None


def _ended(
    loop: Any,
    popen: Any,
    pidfd: _core.Pidfd,
    guard: _core.Guard,
    callback: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    loop.remove_reader(pidfd.fd)
    _core.close_pidfd(pidfd)
    _tell(loop, popen, callback, args)


def _tell(loop: Any, popen: Any, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Calls back with the exit code, once it can be had.

    A process that is traced is over for its pidfd first, and for its parent when the tracer (gdb,
    strace) has been told: ptrace(2).
    """
    code = _code(popen)
    if code is None:
        loop.call_later(_MOMENT, _tell, loop, popen, callback, args)
    else:
        callback(popen.pid, code, *args)


def _code(popen: Any) -> int | None:
    """The exit code; None while it cannot be had.

    255 and a warning in the log where nobody knows it: that is asyncio's way.
    """
    try:
        code = internal_poll(popen)
    except (StatusLost, ChildProcessError):
        from asyncio.log import logger

        logger.warning(
            "child process pid %d exit status already read: will report returncode 255", popen.pid
        )
        return 255
    return None if code is None else int(code)
