"""Sends SIGINT to a process, each time after so many nanoseconds of busy waiting.

`python -m bench.poke PID`: reads a delay per line, waits it out, signals, writes the moment of the
signal (CLOCK_MONOTONIC, ns). Then it reads a line that says the signal has arrived; if none comes
within a second, it signals again, so that a lost one cannot hang its victim, and writes "lost".
"""

from __future__ import annotations

import os
import select
import signal
import sys
from time import monotonic_ns

RESCUE_AFTER = 1.0


def main() -> None:
    victim = int(sys.argv[1])
    os.write(1, b"ready\n")
    while line := os.read(0, 64):
        begin = monotonic_ns()
        end = begin + int(line)
        while monotonic_ns() < end:
            pass
        sent = monotonic_ns()
        os.kill(victim, signal.SIGINT)
        arrived = bool(select.select([0], [], [], RESCUE_AFTER)[0])
        if not arrived:
            os.kill(victim, signal.SIGINT)
        os.read(0, 64)
        os.write(1, b"%d %d\n" % (sent, not arrived))


if __name__ == "__main__":
    main()
