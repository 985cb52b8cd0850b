"""Who started whom, as the kernel saw it: strace's log of a run, independent of what we count.

A start of ours is known by CLONE_CLEAR_SIGHAND, a flag of clone3 that neither CPython nor the C
library's posix_spawn uses. Processes that do not tell their parent of their end (no SIGCHLD) are no
starts: our engine makes one once per process, to learn what the kernel does.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from faults.tracing import Call, Log

CALLS = "clone,clone3,?fork,?vfork,execve,execveat"
# The environment too (-v): whether spawnkit was in it is part of the answer.
STRACE = ("strace", "-f", "--seccomp-bpf", "-qq", "-v", "-s", "4096", "-e", f"trace={CALLS}",
          "-e", "signal=none")  # fmt: skip

_STRING = r'"(?:[^"\\]|\\.)*"'
_EXECVE = re.compile(rf"execve\(({_STRING}), \[((?:{_STRING}(?:, )?)*)(?:\.\.\.)?\], \[(.*)")
_PYTHON = re.compile(r"python[\d.]*$")


@dataclass(frozen=True)
class Image:
    """What a process is, from one execve to the next, and what is forked from it."""

    argv: tuple[str, ...] = ()
    is_python: bool = False
    without: str = ""  # why spawnkit is not in it; "": nothing keeps it out


@dataclass
class Process:
    """A Python that started something. Forks of one are processes of their own."""

    pid: int
    image: Image
    ours: int = 0
    others: Counter[str] = field(default_factory=Counter)


def read(log: Path) -> list[Process]:
    """The Pythons of a log, in the order of their first start."""
    calls = Log(log.read_text(errors="replace")).calls
    # 1. A child made by vfork may be in the log before the number of it that its parent was given.
    # 2. So who is whose is found out first, then what each was when.
    threads: dict[int, int] = {}
    births: dict[int, Call] = {}
    for call in calls:
        if call.name not in ("execve", "execveat") and (call.result or 0) > 0:
            child = call.result or 0
            if "CLONE_THREAD" in call.text:
                threads[child] = threads.get(call.task, call.task)
            else:
                births[child] = call
    places = {id(call): place for place, call in enumerate(calls)}
    images: dict[int, list[tuple[int, Image]]] = {}
    for place, call in enumerate(calls):
        if call.name in ("execve", "execveat") and call.result == 0:
            process = threads.get(call.task, call.task)
            images.setdefault(process, []).append((place, _image(call)))

    def image(process: int, place: int) -> Image:
        for when, found in reversed(images.get(process, [])):
            if when < place:
                return found
        birth = births.get(process)
        if birth is None:
            return Image()
        return image(threads.get(birth.task, birth.task), places[id(birth)])

    found: dict[tuple[int, Image], Process] = {}
    for call in births.values():
        if not _tells_its_parent(call):
            continue
        pid = threads.get(call.task, call.task)
        what = image(pid, places[id(call)])
        if what.is_python:
            process = found.setdefault((pid, what), Process(pid, what))
            if "CLONE_CLEAR_SIGHAND" in call.text:
                process.ours += 1
            else:
                process.others[_kind(call)] += 1
    return list(found.values())


def _tells_its_parent(call: Call) -> bool:
    return call.name in ("fork", "vfork") or "SIGCHLD" in call.text


def _kind(call: Call) -> str:
    """What made it, as the flags tell."""
    if call.name == "vfork" or "CLONE_VFORK" in call.text:
        return "vfork"  # os.system, os.posix_spawn, subprocess without us
    return "fork"  # os.fork, pty.fork, multiprocessing, subprocess with preexec_fn


def _image(call: Call) -> Image:
    found = _EXECVE.match(call.text)
    if not found:
        return Image((call.text[:80],))
    path = found[1][1:-1]
    argv = tuple(word[1:-1] for word in re.findall(_STRING, found[2]))
    environment = [word[1:-1] for word in re.findall(_STRING, found[3])]
    is_python = bool(_PYTHON.search(path)) or _is_script_of_python(path)
    return Image(argv, is_python, _without(argv, environment))


def _without(argv: tuple[str, ...], environment: list[str]) -> str:
    """Why `spawnkit py --children` does not reach it."""
    if not any(word.startswith("SPAWNKIT_PY=") for word in environment):
        return "no SPAWNKIT_PY in its environment"
    if not any(re.match("PYTHONPATH=.*dropin/site", word) for word in environment):
        return "its parent took PYTHONPATH away"
    return "-I, -E or -S" if _keeps_out(argv) else ""


def _keeps_out(argv: tuple[str, ...]) -> bool:
    """-I, -E, -S. The words before -m, -c or the script; an option's value is none of ours."""
    for word in argv[1:]:
        if not word.startswith("-") or word == "-":
            return False
        letters = re.split("[cmWX]", word[1:], maxsplit=1)[0]
        if set(letters) & set("IES"):
            return True
        if set(word) & set("cm"):
            return False
    return False


@cache
def _is_script_of_python(path: str) -> bool:
    """By its first line, if it is still there."""
    try:
        with open(path, "rb") as file:
            first = file.readline(200)
    except OSError:
        return False
    if not first.startswith(b"#!"):
        return False
    words = first[2:].split()
    return any(_PYTHON.search(os.fsdecode(word)) for word in words[:2])
