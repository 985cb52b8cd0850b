"""Runs one suite in one interpreter to its end, whatever its tests do to the process they run in.

What a test leaves unfinished, because the interpreter crashed or nothing ended for too long, is a
result of that test; the tests after it run in a new interpreter.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.interpreters import Interpreter
from conformance.suites import Suite
from support.groups import end_group, end_orphans, ended
from support.oracle import child_pids

INSIDE = Path(__file__).parent / "inside.py"

# After so many tests without an end something general is wrong; each may have cost minutes.
ENOUGH = 10

LOOKS_EVERY = 0.05  # seconds
WRITES_ITS_TRACEBACK = 2.0  # seconds, generously
LAST_LINES = 7

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Record:
    """What became of one test. Beside unittest's outcomes there are crashed, hung and escaped."""

    test: str
    outcome: str
    why: str = ""  # the reason of a skip, the traceback of a failure
    subtests: int = 0
    seconds: float = 0.0


@dataclass
class Run:
    """What became of a suite."""

    log: Path
    there: list[str] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    skipped: str = ""  # why the module skipped itself as a whole
    broken: list[str] = field(default_factory=list)  # what no test can be named for
    spawned: list[dict[str, Any]] = field(default_factory=list)  # stats(), of each interpreter
    left_running: int = 0  # processes that the tests left, ended by us
    seconds: float = 0.0


@dataclass(frozen=True)
class Options:
    """What is the same for each run."""

    out: Path
    only: list[str] = field(default_factory=list)  # parts of names; empty: every test
    hangs_after: float = 300.0  # seconds in which no test begins or ends
    path: list[str] = field(default_factory=list)  # where suites are that are not CPython's
    progress: Progress = lambda *_: None


class _Reader:
    """Reads the lines that were written since the last look."""

    def __init__(self, path: Path, run: Run) -> None:
        self._path, self._run = path, run
        self._at = 0
        self.begun: str | None = None  # and not ended
        self.done = False

    def look(self) -> bool:
        """Whether there was anything new."""
        if not self._path.exists():
            return False
        with open(self._path, "rb") as file:
            file.seek(self._at)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]
        self._at += len(new)
        for line in new.splitlines():
            self._take(json.loads(line))
        return bool(new)

    def _take(self, line: dict[str, Any]) -> None:
        run = self._run
        if "begin" in line:
            self.begun = line["begin"]
        elif "test" in line:
            run.records.setdefault(line["test"], Record(**line))
            self.begun = None
        elif "escaped" in line:
            test = line["escaped"]
            run.records[test] = Record(test, "escaped", "a forked child came back from the test")
        elif "there" in line:
            run.there, run.chosen = line["there"], line["chosen"]
        elif "suite_skipped" in line:
            run.skipped = line["suite_skipped"]
        elif "cannot" in line:
            run.broken.append(line["cannot"])
        elif "done" in line:
            self.done = True
            if line["done"] is not None:
                run.spawned.append(line["done"])


def run_suite(interpreter: Interpreter, suite: Suite, mode: str, options: Options) -> Run:
    """The suite, with as many interpreters as it takes."""
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"{suite.module}-{mode}"
    run = Run(options.out / f"{name}.log")
    lines = options.out / f"{name}.jsonl"
    for old in run.log, lines:
        old.unlink(missing_ok=True)
    began = time.monotonic()
    unfinished = 0
    while True:
        reader = _Reader(lines, run)
        how = _once(interpreter, suite, mode, options, reader, run, lines)
        if reader.done or run.broken:
            break
        if reader.begun is None:
            run.broken.append(f"outside of any test:\n{_last_lines(run.log)}\n{how}")
            break
        outcome = "hung" if how.startswith("hung") else "crashed"
        why = f"{_last_lines(run.log)}\n{how}"
        run.records[reader.begun] = Record(reader.begun, outcome, why)
        unfinished += 1
        if unfinished == ENOUGH:
            run.broken.append(f"{ENOUGH} tests crashed or hung: those after them were not run")
            break
    run.seconds = time.monotonic() - began
    return run


def _once(
    interpreter: Interpreter,
    suite: Suite,
    mode: str,
    options: Options,
    reader: _Reader,
    run: Run,
    lines: Path,
) -> str:
    """One interpreter, until it ends or hangs. How it ended."""
    place = Path(tempfile.mkdtemp(prefix="conformance-"))
    others = set(child_pids())
    try:
        reader.look()
        reader.begun = None  # of the interpreter before this one
        request = place / "request.json"
        request.write_text(
            json.dumps(
                {
                    "module": suite.module,
                    "part": list(suite.part),
                    "mode": mode,
                    "site": interpreter.site,
                    "path": options.path,
                    "only": options.only,
                    "done": list(run.records),
                    "lines": str(lines.absolute()),
                }
            )
        )
        here = place / "cwd"
        here.mkdir()
        with open(run.log, "ab") as log:
            process = subprocess.Popen(
                [interpreter.python, str(INSIDE), str(request)],
                cwd=here,
                env=_environment(place),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # to end all that is left of it
            )
        try:
            return _watch(process, reader, run, options)
        finally:
            end_group(process.pid)
            process.wait()
            reader.look()
            run.left_running += end_orphans(others)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _environment(place: Path) -> dict[str, str]:
    """Ours, without what would change the interpreter that is judged."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    temporary = place / "tmp"
    temporary.mkdir()
    return {**kept, "TMPDIR": str(temporary)}


def _watch(process: subprocess.Popen[bytes], reader: _Reader, run: Run, options: Options) -> str:
    """Until it has ended, unreaped, or hangs. How."""
    last = time.monotonic()
    while not (status := ended(process.pid)):
        time.sleep(LOOKS_EVERY)
        if reader.look():
            last = time.monotonic()
            options.progress(reader.begun or "", len(run.records), len(run.chosen))
        elif time.monotonic() - last > options.hangs_after:
            os.kill(process.pid, signal.SIGUSR1)
            time.sleep(WRITES_ITS_TRACEBACK)
            return f"hung: no test began or ended for {options.hangs_after:g} s"
    if status.si_code == os.CLD_EXITED:
        return f"the interpreter ended with {status.si_status}"
    return f"the interpreter was ended by {signal.Signals(status.si_status).name}"


def _last_lines(log: Path) -> str:
    """What the last test that began has left in the log: where it was, else the end of it."""
    text = log.read_text(errors="replace")
    lines = text[text.rfind("\n=== ") + 1 :].splitlines()
    # faulthandler begins with the innermost call.
    tracebacks = [n for n, line in enumerate(lines) if line.endswith("(most recent call first):")]
    chosen = lines[tracebacks[-1] :][:LAST_LINES] if tracebacks else lines[-LAST_LINES:]
    return "\n".join(chosen)
