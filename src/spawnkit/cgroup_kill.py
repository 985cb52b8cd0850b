"""Ending everything in a cgroup, whatever it forks meanwhile, in bounded time."""

from __future__ import annotations

import contextlib
import os
import time

from . import _core
from .cgroup_tree import members, read, read_value, tree
from .children import KILL
from .process import find_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .process import Process

_FREEZES_WITHIN = 0.1  # seconds; a process in an uninterruptible system call never does
_AT_ONCE = 32  # pidfds that are open at the same time
_FIRST_PAUSE, _LAST_PAUSE = 0.0005, 0.01  # seconds


def kill(directory: str, unified: bool, patience: float) -> tuple[int, list[int]]:
    """Kills what is in it and below; (how many are gone, who is left after `patience` seconds).

    RuntimeError where we are in it ourselves; OSError where no descriptor is free to look.
    """
    seen: set[int] = set()
    end = time.monotonic() + patience
    pause = _FIRST_PAUSE
    while found := members(directory):
        if os.getpid() in found:
            raise RuntimeError(f"kill: this process itself is in cgroup {directory!r}")
        seen |= found
        left = end - time.monotonic()
        if left <= 0:
            break
        if not unified or not _kill_at_once(directory):
            _kill_frozen(directory, unified)
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LAST_PAUSE)
    return len(seen - found), sorted(found)


def _kill_at_once(directory: str) -> bool:
    """By the kernel, forks that are under way included; False before Linux 5.14."""
    return _core.write_file(f"{directory}/cgroup.kill", "1") == 0


def _kill_frozen(directory: str, unified: bool) -> None:
    # While it is frozen it cannot fork, and nobody escapes between the list and the signals. What
    # version 1 has frozen dies when it is thawed, and what the program itself has frozen as well.
    file, on, off = (
        ("cgroup.freeze", "1", "0") if unified else ("freezer.state", "FROZEN", "THAWED")
    )
    try:
        begun = _core.write_file(f"{directory}/{file}", on) == 0  # else a Linux before 5.2
        end = time.monotonic() + _FREEZES_WITHIN * begun
        while not _is_frozen(directory, unified) and time.monotonic() < end:
            time.sleep(_FIRST_PAUSE)
        signal_all(directory, KILL)
    finally:
        for path in reversed(tree(directory)):
            _core.write_file(f"{path}/{file}", off)


def _is_frozen(directory: str, unified: bool) -> bool:
    if unified:
        return read_value(directory, "cgroup.events", "frozen") == 1
    return (read(directory, "freezer.state") or "").strip() == "FROZEN"


def _hold(pids: list[int], handles: list[Process]) -> None:
    """As many as there are descriptors for, but one, which is for those who look. OSError: none."""
    try:
        for pid in pids:
            handles.append(find_process(pid))  # noqa: PERF401 - what is open is to be released
    except OSError:
        if len(handles) < 2:
            raise
        handles.pop().release()


def signal_all(directory: str, number: int) -> None:
    """Signals who is in it and below now, and nobody else."""
    found = sorted(members(directory))
    while found:
        handles: list[Process] = []
        try:
            _hold(found[:_AT_ONCE], handles)
            # A pid may have come to mean a stranger before its pidfd was opened. Who is listed now
            # is whom the pidfd means, or that one is dead already.
            inside = members(directory)
            for handle in handles:
                if handle.pid in inside:
                    with contextlib.suppress(OSError):  # gone; or another user's, who is left then
                        handle.signal(number)
        finally:
            found = found[len(handles) :]
            for handle in handles:
                handle.release()
