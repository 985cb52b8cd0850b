"""A thousand children at once, each with both outputs captured: what they cost their parent.

    python -m bench.many [NUMBER]

Each writes a line to stdout and one to stderr, and waits for the end of its stdin. Counted when all
have written: the resident memory, threads and descriptors of this process, each per child.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import spawnkit
from spawnkit import PIPE, Cmd

SCRIPT = "echo a line of output; echo a line of errors >&2; exec cat"
DESCRIPTORS = 4  # of each: two pipes, a pidfd, a bell


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def count(what: str) -> int:
    """Threads ("task") or descriptors ("fd") of this process."""
    return len(os.listdir(f"/proc/self/{what}"))


def written(cmds: list[Cmd]) -> bool:
    """Has the output of all of them arrived?"""
    return all(
        cmd._running is not None and cmd._running._streams.pump.output[1].length for cmd in cmds
    )


def measure(number: int) -> dict[str, float]:
    """Starts so many, waits until all have written, counts, and lets them end."""
    ends, leash = os.pipe()
    threads = count("task")
    warm = Cmd("true", stdout=PIPE)  # loads what is loaded once
    warm.start()
    warm.wait()
    while count("task") > threads:
        time.sleep(0.001)  # the thread that looked after it is on its way out
    cmds = [Cmd("sh", "-c", SCRIPT, stdin=ends, stdout=PIPE, stderr=PIPE) for _ in range(number)]
    before = resident(), count("task"), count("fd")
    for cmd in cmds:
        cmd.start()
    while not written(cmds):
        time.sleep(0.01)
    after = resident(), count("task"), count("fd")
    os.close(leash)
    for cmd in cmds:
        cmd.wait()
        assert cmd.result is not None
        assert cmd.result == spawnkit.Result(
            cmd.result.state, b"a line of output\n", b"a line of errors\n"
        )
    os.close(ends)
    return {
        "bytes of memory each": (after[0] - before[0]) / number,
        "threads in all": after[1] - before[1],
        "descriptors each": (after[2] - before[2]) / number,
    }


def main(arguments: list[str]) -> int:
    """Prints the table."""
    number = int(arguments[0]) if arguments else 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS * number + 100
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            print(f"{number} children need {wanted} descriptors; the hard limit is {hard}")
            return 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    print(f"{number} children at once, stdout and stderr captured:")
    for what, value in measure(number).items():
        print(f"  {what:22} {value:8,.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
