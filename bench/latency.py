"""`python -m bench.latency`: how long others have to wait for a spawn.

Three promises, each as a figure, with `subprocess` beside it:
  Ctrl-C     a signal at random moments of a run() of an endless child: until it is raised
  threads    a child whose setup takes a second: the longest stall of another Python thread
  timeout    a child stopped before exec: until run(timeout=0.3) ends, and what it says
The last two need strace, which holds the child back from outside.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from time import monotonic, monotonic_ns

import spawnkit
from bench.ticker import ticking

# Endless for our purposes; what a rival loses track of ends by itself all the same.
ENDLESS = ["/bin/sleep", "60"]


class Poker:
    """The process that interrupts us."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.poke", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.to, self.by = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.read(self.by, 64)

    def interrupt(self, call: Callable[[], None], delay: int) -> tuple[int, bool]:
        """Interrupts a call; nanoseconds until KeyboardInterrupt is out of it, and was it lost?"""
        try:
            os.write(self.to, b"%d\n" % delay)
            call()
            raise AssertionError("the endless call ended by itself")
        except KeyboardInterrupt:
            arrived = monotonic_ns()
        os.write(self.to, b"arrived\n")
        sent, lost = map(int, os.read(self.by, 64).split())
        return arrived - sent, bool(lost)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def through_spawnkit() -> None:
    spawnkit.run(ENDLESS, attr=spawnkit.SysProcAttr(setsid=True))


def through_waitpid() -> None:
    """The standard library's own blocking wait, with as much care for the child as it allows.

    A signal between the spawn and the `try` leaves the child running: `forget_nobody` ends it.
    """
    pid = os.posix_spawn(ENDLESS[0], ENDLESS, os.environ, setsid=True)
    try:
        os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def forget_nobody(but: int) -> None:
    """Ends our children, except one."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        children = [int(word) for word in file.read().split()]
    for pid in children:
        if pid != but:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def interrupts(count: int) -> None:
    for name, call in (("spawnkit.run", through_spawnkit), ("os.waitpid", through_waitpid)):
        poker = Poker()
        random.seed(1)
        found = []
        for done in range(count):
            # Around the few hundred microseconds of a spawn: before, inside, and well after it.
            found.append(poker.interrupt(call, random.randrange(0, 600_000)))
            if call is through_waitpid:
                forget_nobody(but=poker.process.pid)
            if sys.stderr.isatty() and done % 100 == 0:
                print(f"\r{name}: {done} of {count}", end="", file=sys.stderr)
        poker.close()
        times = [time for time, _ in found]
        lost = sum(lost for _, lost in found)
        late = sum(time > 200_000_000 for time in times)
        print(
            f"Ctrl-C    {name:14} {count} signals: median {statistics.median(times) / 1e6:.2f} ms, "
            f"worst {max(times) / 1e6:.1f} ms, over 200 ms: {late}, lost until the next one: {lost}"
        )


def stall(which: str) -> None:
    """Under strace, which holds the child for a second in chdir."""
    begin = monotonic()
    with ticking() as gaps:
        if which == "spawnkit":
            spawnkit.run(["/bin/true"], dir="/")
        else:
            subprocess.run(["/bin/true"], cwd="/", check=True)
    took = monotonic() - begin
    print(f"threads   {which:14} setup took {took:.2f} s, longest stall {max(gaps) / 1e6:.1f} ms")


def stopped() -> None:
    """Under strace, which stops the child in chdir."""
    begin = monotonic()
    try:
        spawnkit.run(["/bin/true"], dir="/", timeout=0.3)
    except spawnkit.TimeoutExpired as error:
        print(f"timeout   {'spawnkit.run':14} ended after {monotonic() - begin:.2f} s: {error}")
    else:
        raise SystemExit("the child was not stopped")


def under_strace(injection: str, *arguments: str) -> None:
    strace = shutil.which("strace")
    if strace is None:
        print(f"{arguments[0]:9} left out: strace is not installed")
        return
    command = [strace, "-f", "-qq", "--seccomp-bpf", "-o", os.devnull, "-e", "trace=chdir"]
    command += ["-e", f"inject=chdir:{injection}", sys.executable, "-m", "bench.latency"]
    subprocess.run([*command, "--part", *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--signals", type=int, default=1000, help="how many signals (1000)")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        stall(arguments.part[1]) if arguments.part[0] == "threads" else stopped()
        return
    interrupts(arguments.signals)
    for which in ("spawnkit", "subprocess"):
        under_strace("delay_enter=1000000", "threads", which)
    under_strace("signal=STOP", "timeout")


if __name__ == "__main__":
    main()
