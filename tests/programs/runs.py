"""Runs a program once, in one way, in a directory made afresh, and takes down what came of it."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from programs.program import LEFT_OUT, MATERIAL, Program, Step
from programs.starts import Starts, read_lines, said, seen
from programs.traced import STRACE, read
from support.groups import end_group, end_orphans, ended
from support.oracle import child_pids

PLAIN, OURS, TRACED = "plain", "spawnkit", "traced"

LOOKS_EVERY = 0.05  # seconds


@dataclass(frozen=True)
class Where:
    """The surroundings of every run.

    python: the interpreter that has the programs.
    path: directories in which any Python of its version finds spawnkit and what that needs.
    place: the directory of the runs; the same path each time, since programs write it into files.
    out: where logs are kept.
    limit: seconds for each step.
    """

    python: str
    path: tuple[str, ...]
    place: Path
    out: Path
    limit: float = 300.0
    variables: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """All that can be seen of a run, by name: "1 status", "1 stdout", "file a/b"."""

    facts: dict[str, str] = field(default_factory=dict)
    statuses: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    starts: Starts = field(default_factory=Starts)
    left: int = 0  # processes that were left running, ended by us
    seconds: float = 0.0


def run_program(program: Program, way: str, where: Where) -> Outcome:
    """The steps, one after the other; after one that hangs there is no other."""
    shutil.rmtree(where.place, ignore_errors=True)
    for name in "home", "tmp":
        (where.place / name).mkdir(parents=True)
    work = where.place / "work"
    shutil.copytree(program.material or MATERIAL / program.name, work)
    logs = where.out.absolute() / program.name / way
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    outcome = Outcome()
    began = time.monotonic()
    for number, step in enumerate(program.steps, 1):
        command = _command(step, way, where, work, logs / str(number))
        name = f"{number} {' '.join(step.words)[:60]}"
        if not _do(command, name, logs / f"{number}", where, outcome):
            break
        outcome.facts[f"{name}: stdout"] = _text(logs / f"{number}.stdout")
        outcome.facts[f"{name}: stderr"] = _text(logs / f"{number}.stderr")
    outcome.seconds = time.monotonic() - began
    for number in range(1, len(program.steps) + 1):
        lines = read_lines(logs / f"{number}.jsonl")
        trace = logs / f"{number}.strace"
        outcome.starts += seen(lines, read(trace)) if trace.exists() else said(lines)
    _take_files(program, work, outcome)
    _make_the_same(program, outcome)
    return outcome


def _command(step: Step, way: str, where: Where, work: Path, logs: Path) -> list[str]:
    python = str(work / step.python) if step.python else where.python
    if way == PLAIN:
        return [python, *step.words]
    ours = ["-m", "spawnkit", "py", "--children", f"--stats={logs}.jsonl"]
    tracer = [*STRACE, "-o", f"{logs}.strace"] if way == TRACED else []
    return [*tracer, python, *ours, *step.words]


def environment(where: Where) -> dict[str, str]:
    """What programs cannot do without, and nobody's own configuration; no dates, names, colours."""
    writer = {"NAME": "Writer", "EMAIL": "writer@example.com", "DATE": "2020-02-02T02:02:02+0000"}
    git = {f"GIT_{who}_{what}": text for who in ("AUTHOR", "COMMITTER")
           for what, text in writer.items()}  # fmt: skip
    return {
        "PATH": os.pathsep.join([os.path.dirname(where.python), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(where.path),
        "PYTHONHASHSEED": "0",  # the order of sets is written into files
        "CFLAGS": "-g0",  # the names of temporary directories are in debugging information
        "SOURCE_DATE_EPOCH": "1580608922",
        "HOME": str(where.place / "home"),
        "TMPDIR": str(where.place / "tmp"),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "COLUMNS": "80",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        **git,
        **where.variables,
    }


def _do(command: list[str], name: str, logs: Path, where: Where, outcome: Outcome) -> bool:
    """Whether it ended by itself."""
    others = set(child_pids())
    with open(f"{logs}.stdout", "wb") as stdout, open(f"{logs}.stderr", "wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=where.place / "work",
            env=environment(where),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,  # to end all that is left of it
        )
    began = time.monotonic()
    try:
        while not (status := ended(process.pid)):
            if time.monotonic() - began > where.limit:
                outcome.hung.append(f"{name}: had not ended after {where.limit:g} s")
                return False
            time.sleep(LOOKS_EVERY)
        how = "" if status.si_code == os.CLD_EXITED else signal.Signals(status.si_status).name
        status_is = how or str(status.si_status)
        outcome.facts[f"{name}: status"] = status_is
        outcome.statuses.append(status_is)
        return True
    finally:
        end_group(process.pid)
        process.wait()
        outcome.left += end_orphans(others)


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="backslashreplace")


def _take_files(program: Program, work: Path, outcome: Outcome) -> None:
    """Each file's kind, permission to execute, and content; texts as they are, for the eye."""
    for path in sorted(work.rglob("*")):
        name = str(path.relative_to(work))
        fact = f"file {name}"
        if path.is_symlink():
            outcome.facts[fact] = f"a link to {os.readlink(path)}"
        elif path.is_dir():
            outcome.facts[fact] = "a directory"
        elif any(fnmatch.fnmatch(name, one.pattern) for one in (*LEFT_OUT, *program.left_out)):
            outcome.facts[fact] = "there; its content is not compared"
        elif path.is_file():
            content = path.read_bytes()
            runs = "executable\n" if os.access(path, os.X_OK) else ""
            try:
                outcome.facts[fact] = runs + content.decode()
            except UnicodeDecodeError:
                outcome.facts[fact] = f"{runs}sha256 {hashlib.sha256(content).hexdigest()}"
        else:
            outcome.facts[fact] = "neither file, nor directory, nor link"


def _make_the_same(program: Program, outcome: Outcome) -> None:
    for name, text in outcome.facts.items():
        for change in program.changes:
            text = change.apply(text)
        if any(fnmatch.fnmatch(name, pattern) for pattern in program.sorted_lines):
            text = "\n".join(sorted(text.split("\n")))
        outcome.facts[name] = text
