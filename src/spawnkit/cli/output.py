"""Messages that must not get in the way: a lost one is no reason to lose an exit code."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Writes a line to stderr; never to anything else, and quietly nowhere if it is closed."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _abandon(2)


def finish() -> int:
    """Flushes stdout: 0, also where its reader has gone; 125 if what was written is lost."""
    if sys.stdout is None:
        return 0
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon(1)
    except OSError as error:
        say(f"spawnkit: stdout: {error.strerror}")
        _abandon(1)
        return 125
    return 0


def _abandon(fd: int) -> None:
    """Points a stream that failed at /dev/null, so that the flush at exit does not fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)
