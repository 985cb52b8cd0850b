"""The real tools, each in a project of its own, with the adapter and without.

Not part of the normal run, which needs none of these tools: `make adapters` installs and runs.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

# Written into each project: counts who makes processes, by the audit events of both.
COUNTING = """
import atexit, collections, json, os, sys
_seen = collections.Counter()
def _hook(event, args):
    # `file` is asked by Python's platform.architecture(), which waf calls.
    if event == "spawnkit.spawn" or (event == "subprocess.Popen" and args[0] != "file"):
        _seen[event] += 1
sys.addaudithook(_hook)
_path, _pid = os.environ["COUNTS"], os.getpid()
def _write():
    if os.getpid() == _pid:
        with open(_path, "w") as file:
            json.dump(_seen, file)
atexit.register(_write)
"""


# A command that says that it runs, and whose end is the end of file of the FIFO.
HOLD = "exec 3>{directory}/fifo{n}; echo begun >&3; exec sleep 1000"


def kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


class Outcome(NamedTuple):
    """What one run of a tool came to."""

    code: int
    stdout: str
    stderr: str
    ours: int  # processes that spawnkit made
    theirs: int  # and that subprocess made


class Project:
    """A directory with a build in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.write("counting.py", COUNTING)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, *arguments]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        counts = str(self.directory / "counts.json")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SCONS", "WAF", "INVOKE"))}
        return {**kept, "COUNTS": counts, "PYTHONDONTWRITEBYTECODE": "1", **(extra or {})}

    def interrupt(self, count: int, *arguments: str, **extra: str) -> tuple[int, str]:
        """Runs the tool until `count` commands run that HOLD a FIFO, then does what Ctrl-C does.

        That is SIGINT to the whole process group, as a terminal sends it. Returns the tool's code,
        and what it said, once no command is left.
        """
        fifos = [self.directory / f"fifo{n}" for n in range(count)]
        for fifo in fifos:
            os.mkfifo(fifo)
        with ExitStack() as closing:
            said = closing.enter_context(open(self.directory / "said", "w+"))
            running = subprocess.Popen(
                self.command(arguments),
                cwd=self.directory,
                env=self.environment(extra),
                stdin=subprocess.PIPE,  # open, as a terminal's is
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            assert running.stdin is not None
            closing.callback(running.stdin.close)
            closing.callback(running.wait)
            closing.callback(kill_group, running.pid)
            ends = [closing.enter_context(open(fifo)) for fifo in fifos]
            assert [end.readline() for end in ends] == ["begun\n"] * count
            os.killpg(running.pid, signal.SIGINT)
            for end in ends:
                assert select.select([end], [], [], 60)[0], "a command runs still"
                assert end.read() == ""  # nobody holds it any more
            code = running.wait(60)
            said.seek(0)
            return code, said.read()

    def run(self, *arguments: str, input: str = "", **extra: str) -> Outcome:
        """Runs the tool in it; `extra` are variables of its environment."""
        counts = self.directory / "counts.json"
        counts.unlink(missing_ok=True)
        ran = subprocess.run(
            self.command(arguments),
            cwd=self.directory,
            env=self.environment(extra),
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        seen = json.loads(counts.read_text()) if counts.exists() else {}
        ours, theirs = seen.get("spawnkit.spawn", 0), seen.get("subprocess.Popen", 0)
        return Outcome(ran.returncode, ran.stdout, ran.stderr, ours, theirs)


@pytest.fixture
def projects(tmp_path: Path) -> tuple[Project, Project]:
    """Two empty projects: one for the tool as it is, one for the tool with the adapter.

    Their paths have the same length and last part, so that outputs can be compared.
    """
    for name in ("plain", "ours_"):
        (tmp_path / name).mkdir()
    return Project(tmp_path / "plain" / "project"), Project(tmp_path / "ours_" / "project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a tool that is not there, and say which."""
    needed = {"test_scons": "SCons", "test_waf": "waflib", "test_invoke": "invoke"}
    for item in items:
        tool = needed.get(item.path.stem)
        if tool is not None and find_spec(tool) is None:
            item.add_marker(pytest.mark.skip(reason=f"{tool} is not installed (make adapters)"))
