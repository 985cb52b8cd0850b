"""The interpreters to judge on: found as `make test-all` finds them, asked, and given spawnkit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")

# It is asked: the shims of pyenv are there for versions that do not start, and some systems leave
# out venv, and many the tests. In a virtual environment, the one that it was made from answers.
ASK = """
import importlib.util, json, sys
def is_missing(name):
    try:
        return importlib.util.find_spec(name) is None
    except ImportError:
        return True
wanted = ["venv", "ensurepip", "test.test_subprocess", "test.test_asyncio.test_subprocess"]
print(json.dumps([
    "%d.%d" % sys.version_info[:2], sys.version.split()[0],
    getattr(sys, "_base_executable", sys.executable), list(filter(is_missing, wanted)),
]))
"""


class CannotError(Exception):
    """This interpreter is left out; the text says why."""


@dataclass(frozen=True)
class Interpreter:
    """One to judge on."""

    version: str  # 3.13
    name: str  # 3.13.0
    python: str
    site: str = ""  # the directory in which it finds spawnkit and cffi


def find(version: str) -> Interpreter:
    """The first on PATH, then the newest that pyenv keeps, that has all that is needed."""
    directories = os.get_exec_path()
    candidates = [os.path.join(place, f"python{version}") for place in directories]
    candidates += [os.path.join(place, "python3") for place in directories]
    root = Path(os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv")))
    kept = [path for path in root.glob(f"versions/{version}.*/bin/python") if path.exists()]
    candidates += map(str, sorted(kept, key=_patch, reverse=True))
    reason = "not found (on PATH or in pyenv)"
    for candidate in filter(os.path.exists, candidates):
        asked = subprocess.run([candidate, "-c", ASK], capture_output=True, text=True)
        if asked.returncode:
            continue
        found, name, python, missing = json.loads(asked.stdout)
        if found != version:
            continue
        if not missing:
            return Interpreter(version, name, python)
        reason = f"{python} has no {', no '.join(missing)}"
    raise CannotError(reason)


def _patch(path: Path) -> list[int]:
    """3.9.18 is newer than 3.9.2."""
    number = path.parent.parent.name.split(".")[2]
    return [int("".join(filter(str.isdigit, number)) or 0)]


def build_wheel(out: Path) -> Path:
    """One for all of them, of the tree as it is."""
    place = out / "wheel"
    shutil.rmtree(place, ignore_errors=True)
    _do([sys.executable, "-m", "build", "--outdir", str(place), str(ROOT)], out / "wheel.log")
    return next(place.glob("*.whl"))


def install(interpreter: Interpreter, wheel: Path, out: Path) -> Interpreter:
    """A virtual environment of its own, kept from run to run, with this wheel in it."""
    place = out / interpreter.name / "venv"
    log = out / interpreter.name / "install.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    python = str(place / "bin" / "python")
    made = place / ".made"
    if not made.exists() or made.read_text() != interpreter.python:
        shutil.rmtree(place, ignore_errors=True)
        _do([interpreter.python, "-m", "venv", str(place)], log)
        made.write_text(interpreter.python)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "install"]
    _do([*pip, str(wheel)], log)  # with cffi
    _do([*pip, "--force-reinstall", "--no-deps", str(wheel)], log)
    where = "import sysconfig, spawnkit.subprocess; print(sysconfig.get_path('platlib'))"
    asked = subprocess.run([python, "-c", where], capture_output=True, text=True)
    if asked.returncode:
        raise CannotError(f"spawnkit does not load there: {asked.stderr.strip()}")
    return Interpreter(
        interpreter.version, interpreter.name, interpreter.python, asked.stdout.strip()
    )


def _do(command: list[str], log: Path) -> None:
    with open(log, "wb") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode
    if code:
        text = log.read_text(errors="replace")
        raise CannotError(f"{' '.join(command)} ended with {code}:\n{text[-2000:]}")
