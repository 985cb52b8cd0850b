"""One run of a pipeline through each way there is.

All are given the same stages; the last one's stdout is ours, or /dev/null. Each raises when a
status is not 0, but for the shell, which knows the last one only.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from typing import Any

from bench.subjects import Once

Stages = list[list[str]]


def through_spawnkit(stages: Stages, quiet: bool) -> Once:
    from spawnkit import DEVNULL, Cmd, Pipeline

    def once() -> None:
        cmds = [Cmd(*args) for args in stages]
        if quiet:
            cmds[-1].stdout = DEVNULL
        Pipeline(*cmds).run()

    return once


def through_shell(stages: Stages, quiet: bool) -> Once:
    """What people write instead."""
    script = " | ".join(map(shlex.join, stages)) + (" >/dev/null" if quiet else "")

    def once() -> None:
        subprocess.run(["/bin/sh", "-c", script], check=True)

    return once


def through_subprocess(stages: Stages, quiet: bool) -> Once:
    """As its documentation says, "Replacing shell pipeline"."""

    def once() -> None:
        processes: list[subprocess.Popen[bytes]] = []
        for number, args in enumerate(stages, 1):
            last = number == len(stages)
            before = processes[-1].stdout if processes else None
            out = (subprocess.DEVNULL if quiet else None) if last else subprocess.PIPE
            processes.append(subprocess.Popen(args, stdin=before, stdout=out))
            if before is not None:
                before.close()
        for process in processes:
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, process.args)

    return once


def why_no_plumbum() -> str | None:
    """None where it can be measured."""
    try:
        import plumbum  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


def through_plumbum(stages: Stages, quiet: bool) -> Once:
    from plumbum import FG, local

    first, *others = (local[args[0]][args[1:]] for args in stages)
    command: Any = first
    for other in others:
        command = command | other
    if quiet:
        command = command > os.devnull

    def once() -> None:
        command & FG

    return once


WAYS: dict[str, Callable[[Stages, bool], Once]] = {
    "spawnkit": through_spawnkit,
    "subprocess": through_subprocess,
    "sh": through_shell,
    "plumbum": through_plumbum,
}
