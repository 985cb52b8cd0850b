"""What the adapter for SCons saves: a build of tiny commands, with it and without it in turns.

    python -m bench.adapters [--commands 300] [--pairs 15] [-j JOBS]

Each build is a SCons of its own, in an empty directory, from the end of its SConstruct to the end
of the process: starting and reading are left out. Time is what a clock shows; processor is the time
of SCons and of its commands on processors, which a busy machine disturbs less. A figure is the
median of the ratios of neighbouring builds, less is better, with the quartiles beside it. Needs
SCons, which `make adapters-bench` installs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import spawnkit

SCONSTRUCT = """
import atexit, os, time
from spawnkit.adapters import scons
env = Environment(tools=[])
if {adapter!r} != "none":
    scons.use(env, direct={adapter!r} == "direct")
for n in range({commands}):
    env.AlwaysBuild(env.Command("t%d" % n, [], {command!r}))
begun = time.monotonic(), sum(os.times()[:4])
atexit.register(lambda: print("took", time.monotonic() - begun[0], sum(os.times()[:4]) - begun[1]))
"""

# A built-in is the shell alone; of a program the shell makes a second process, or becomes it.
ROWS = [
    ("a built-in command (true)", "true", "shell"),
    ("a program (/bin/true)", "/bin/true", "shell"),
    ("a program, direct=True", "/bin/true", "direct"),
]


def build(command: str, adapter: str, options: argparse.Namespace) -> tuple[float, ...]:
    """Seconds that one build took, and seconds on processors."""
    with tempfile.TemporaryDirectory() as directory:
        script = SCONSTRUCT.format(adapter=adapter, commands=options.commands, command=command)
        Path(directory, "SConstruct").write_text(script, encoding="utf-8")
        call = [sys.executable, "-m", "SCons", "-Q", "-s", f"-j{options.jobs}"]
        said = spawnkit.output(call, dir=directory, encoding="utf-8")
    assert isinstance(said, str)
    return tuple(map(float, said.rpartition("took ")[2].split()))


def ratios(
    command: str, adapter: str, options: argparse.Namespace
) -> Iterator[tuple[float, float]]:
    """The adapter's times by SCons' own, pair by pair; who comes first alternates."""
    for pair in range(options.pairs):
        order = ("none", adapter) if pair % 2 else (adapter, "none")
        took = {name: build(command, name, options) for name in order}
        yield took[adapter][0] / took["none"][0], took[adapter][1] / took["none"][1]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--commands", type=int, default=300, help="in each build (300)")
    parser.add_argument("--pairs", type=int, default=15, help="of builds (15)")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="at once (1)")
    options = parser.parse_args()
    if find_spec("SCons") is None:
        sys.exit("bench.adapters needs SCons: make adapters-bench")
    print(f"{'':<28} {'time':<22} processor")
    for title, command, adapter in ROWS:
        cells = []
        for column in zip(*ratios(command, adapter, options), strict=True):
            low, middle, high = statistics.quantiles(column, n=4)
            cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        print(f"{title:<28} {cells[0]:<22} {cells[1]}", flush=True)


if __name__ == "__main__":
    main()
