"""An actor: a copy of this process that runs uses, so that a crash or a hang is a result too.

A fork without exec: everything is imported and every answer of the kernel known, in milliseconds.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import re
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import loop
from faults.uses import Place, Use
from spawnkit import children
from support import oracle

# Longer than what a use may take before it is called a hang, by the actor itself.
GIVEN_UP_AFTER = loop.HANGS_AFTER + 15


class GoneError(Exception):
    """The actor crashed, or was killed because it did not answer."""


class Channel:
    """One side: whole Python objects, by sendmsg and recvmsg, which no fault is made of."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def say(self, word: Any) -> None:
        try:
            self._end.send(pickle.dumps(word))
        except OSError as error:
            raise GoneError from error

    def hear(self) -> Any:
        try:
            data = self._end.recv(1 << 20)
        except OSError as error:
            raise GoneError from error
        if not data:
            raise GoneError
        return pickle.loads(data)


class Actor:
    """`play(channel)` in a process of its own; a context manager that leaves nothing of it."""

    def __init__(self, play: Callable[[Channel], None]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self.pid = os.fork()
        if self.pid == 0:
            try:
                ours.close()
                os.dup2(self._words.fileno(), 2)
                os.setsid()  # then setsid can be called in vain
                play(Channel(theirs))
            except GoneError:
                pass
            finally:
                os._exit(0)
        theirs.close()
        ours.settimeout(GIVEN_UP_AFTER)
        self._end = ours
        self._channel = Channel(ours)
        self.say, self.hear = self._channel.say, self._channel.hear

    def end(self) -> str:
        """How it went, and its last words."""
        for _ in range(1000):
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            signal.sigtimedwait([], 0.01)  # its end of the channel closes just before it ends
        self._end.close()
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        how = f"it ended with {os.waitstatus_to_exitcode(status)}"
        if not ended:
            # What it has started first: a hang may wait for them.
            for pid in [*_descendants(self.pid), self.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            how = "it had to be killed"
        self._words.seek(0)
        words = self._words.read().decode(errors="replace").strip()
        self._words.close()
        return f"{how}: {words[-2000:]}"


def _descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (path / "children").read_text().split()):
                found += [*_descendants(child), child]
    return found


def warm(use: Use, place: Place) -> None:
    """Everything is imported, every answer of the kernel known."""
    for _ in range(3):
        use(place)
        loop._tidy(place.directory)


# What Python itself says for want of memory or threads, where MemoryError was to be expected: its
# locks and threads; frames that cannot be added to a traceback; os.fspath, which then does not find
# __fspath__.
_PYTHONS_OWN = re.compile(
    r"RuntimeError: can't (start new thread|allocate (read )?lock)"
    r"|SystemError: error return without exception set"
    r"|TypeError: .*str, bytes or (os\.)?PathLike.* not PosixPath.*"
)


def attempt(
    use: Use, place: Place, arm: Callable[[], object], disarm: Callable[[], object]
) -> tuple[str, str]:
    """A use between the two: the outcome in a word, and what is wrong with it."""

    failure: BaseException | None = None

    def armed(place: Place) -> None:
        # In here: what watches over it is not to fail.
        nonlocal failure
        arm()
        try:
            use(place)
        except BaseException as error:
            failure = error
            raise
        finally:
            disarm()

    outcome, problem = loop._attempt(armed, place)
    if failure is not None and _PYTHONS_OWN.fullmatch(f"{outcome}: {failure}"):
        return outcome, ""
    return outcome, problem


def tidied(place: Place, before: oracle.Facts) -> list[str]:
    """What is left behind since `before`."""
    loop._tidy(place.directory)
    _reap()
    leaks = oracle.differences(before, oracle.snapshot())
    if leaks:
        gc.collect()
        _reap()
        leaks = oracle.leaks_since(before)
    if leaks:
        oracle.reap_leftovers()
        children._orphans.clear()
    return leaks


def _reap() -> None:
    """Reaps the package's orphans, as a later spawn does it. Of a handle that was dropped the
    process lives on; here it is killed, for the uses cannot do that."""
    for child in children._orphans:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    end = time.monotonic() + oracle.SETTLE_SECONDS
    children.reap_orphans()
    while children._orphans and time.monotonic() < end:
        children.reap_orphans()
