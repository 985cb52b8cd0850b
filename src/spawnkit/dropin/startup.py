"""What happens in an interpreter that `spawnkit py` has started, before its program."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys

from .counts import Stats, stats
from .installing import install

__all__ = ["begin"]


def begin(report: str, wanted: bool) -> None:
    """Installs, and tells at exit who started what.

    report: "": nobody; "-": stderr, of the process that was wanted; else a file, to which each
        process appends one line of JSON.
    """
    install()
    if report and (wanted or report != "-"):
        # The first to be registered is the last to run.
        atexit.register(_Report(report).tell)


class _Report:
    """The counts of this process alone: a forked one begins at zero."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._pid = os.getpid()
        self._before = stats()
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._before = stats()

    def tell(self) -> None:
        now, before = stats(), self._before
        standard = {
            reason: count - before.standard.get(reason, 0)
            for reason, count in now.standard.items()
            if count != before.standard.get(reason, 0)
        }
        counts = Stats(now.ours - before.ours, standard)
        if self._target == "-":
            if os.getpid() == self._pid:
                _say(_in_words(counts))
        else:
            _append(self._target, counts)


def _in_words(counts: Stats) -> str:
    others = sum(counts.standard.values())
    why = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.standard.items()))
    return f"spawnkit: processes started: {counts.ours} by spawnkit, {others} by Python" + (
        f" ({why})" if why else ""
    )


def _append(path: str, counts: Stats) -> None:
    import json

    line = json.dumps(
        {
            "pid": os.getpid(),
            "argv": sys.orig_argv,
            "ours": counts.ours,
            "standard": counts.standard,
        }
    )
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # In one call: other processes append too.
            os.write(fd, line.encode() + b"\n")
        finally:
            os.close(fd)
    except OSError as error:
        _say(f"spawnkit: {error}")


def _say(text: str) -> None:
    # Closed: there is nobody else to be told.
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
