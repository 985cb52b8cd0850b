"""Compiles the floor and the children into build/bench/; what is newer than its sources stays.

`python -m bench.build` does only this, and prints where the files are.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
OUTPUT = BENCH.parent / "build" / "bench"

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
# noseparate-code: one mapping and two page faults for the whole program, instead of two and three.
CHILD = ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noseparate-code"]
FLOOR = ["-O2", "-g", "-shared", "-fPIC", "-pthread"]


class BuildError(Exception):
    """The compiler is missing, or refused; the message is what it said."""


def _compile(name: str, sources: list[Path], headers: list[Path], flags: list[str]) -> Path:
    target = OUTPUT / name
    # This file is among the inputs, because the flags stand in it.
    inputs = [*sources, *headers, Path(__file__)]
    if target.exists() and target.stat().st_mtime > max(i.stat().st_mtime for i in inputs):
        return target
    OUTPUT.mkdir(parents=True, exist_ok=True)
    # A new file takes the old one's name: writing into a program that runs is ETXTBSY, and two
    # builds at once would each see half of the other's.
    fresh = target.with_name(f"{name}.{os.getpid()}")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = [*compiler, *WARNINGS, *flags, *map(str, sources), "-o", str(fresh)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"no C compiler: {error} (set CC to the one to use)") from error
    if done.returncode != 0:
        fresh.unlink(missing_ok=True)
        raise BuildError(f"{shlex.join(command)}\n{done.stderr}")
    fresh.replace(target)
    return target


def exit_child() -> Path:
    """A static program of three instructions that ends with status 0."""
    child = BENCH / "child"
    return _compile("exit", [child / "exit.S"], [child / "child.h"], CHILD)


def hello_child() -> Path:
    """A static program that writes `HELLO` to its stdout and ends with status 0."""
    child = BENCH / "child"
    return _compile("hello", [child / "hello.S"], [child / "child.h"], CHILD)


HELLO = b"hello world\n"


def pour_child() -> Path:
    """A static program that writes so many MiB of `POUR` to its stdout and ends with status 0."""
    child = BENCH / "child"
    return _compile("pour", [child / "pour.S"], [child / "child.h"], CHILD)


POUR = b"x"


def floor_library() -> Path:
    floor = BENCH / "floor"
    sources = [floor / name for name in ("floor.c", "keep.c", "hash.c", "pipeline.c", "pool.c")]
    return _compile("libfloor.so", sources, [floor / "floor.h"], FLOOR)


def main() -> int:
    try:
        for path in (exit_child(), hello_child(), pour_child(), floor_library()):
            print(path)
    except BuildError as error:
        print(f"bench.build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
