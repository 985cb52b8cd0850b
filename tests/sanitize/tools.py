"""The three tools: how the package is built for each, how an interpreter is run under it, and
where its reports end up."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
BUILD = ROOT / "build" / "sanitize" / str(sys.implementation.cache_tag)
HERE = TESTS / "sanitize"

# Fortified functions go past the runtime's own; frames are for its stack traces.
FLAGS = "-g -O1 -fno-omit-frame-pointer -U_FORTIFY_SOURCE"

# Undefined behaviour traps, and ASan's handler reports the SIGILL with its stack: beside libasan,
# libubsan cannot be told to write to a file.
ADDRESS = "-fsanitize=address,undefined -fsanitize-undefined-trap-on-error"

VALGRIND = (
    "valgrind --quiet --trace-children=no --leak-check=full --show-leak-kinds=definite "
    "--errors-for-leak-kinds=definite --num-callers=30"
)


class MissingError(Exception):
    """Something that the tool needs is not here; says what."""


@dataclass(frozen=True)
class Tool:
    """One of them."""

    name: str
    checks: str
    instruments: str = ""  # for compiler and linker
    runtime: str = ""

    @property
    def place(self) -> Path:
        return BUILD / self.name

    @property
    def library(self) -> Path:
        return self.place / "lib"

    @property
    def python(self) -> Path:
        """A command that is the interpreter under the tool."""
        return self.place / "bin" / "python"

    # ---- made once --------------------------------------------------------------------------

    def prepare(self) -> None:
        """Builds what is not there or is older than its sources. MissingError."""
        self._write_wrapper()
        stamp = self.library / ".built"
        if not stamp.exists() or any(
            path.stat().st_mtime > stamp.stat().st_mtime for path in _sources()
        ):
            self._build()
            stamp.touch()

    def _build(self) -> None:
        try:
            import setuptools  # noqa: F401
        except ImportError:
            raise MissingError("setuptools is not installed in this environment") from None
        shutil.rmtree(self.library, ignore_errors=True)
        self.place.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "setup.py", "-q", "build", "--force"]
        command += ["--build-base", str(self.place / "objects"), "--build-lib", str(self.library)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={
                **os.environ,
                "SPAWNKIT_CFLAGS": f"{FLAGS} {self.instruments}",
                "LDFLAGS": self.instruments,  # setuptools hands it to the linker
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: it does not build:\n{done.stdout}")

    def planted(self) -> Path:
        """The library of planted defects, compiled as the package is."""
        target = self.place / "planted.so"
        source = HERE / "planted.c"
        if not target.exists() or source.stat().st_mtime > target.stat().st_mtime:
            flags = [*FLAGS.split(), *self.instruments.split()]
            command = ["cc", *flags, "-fPIC", "-shared", "-pthread"]
            subprocess.run([*command, "-o", str(target), str(source)], check=True)
        return target

    # ---- running ----------------------------------------------------------------------------

    def _write_wrapper(self) -> None:
        path = os.pathsep.join(map(str, (HERE / "site", self.library, TESTS)))
        variables = {"PYTHONMALLOC": "malloc", "SANITIZE_PYTHON": str(self.python)}
        command = [sys.executable]
        log = "log_path=${SANITIZE_REPORTS:?}/report"
        if self.runtime:
            variables["LD_PRELOAD"] = _runtime(self.runtime)
            variables["LSAN_OPTIONS"] = f"suppressions={self._lines('leak')}:print_suppressions=0"
            # Freed memory is kept back for a while: 256 MiB of it made each fork slow. Up to GCC 13
            # the runtime takes some blocks of thread-local storage for glibc 2.19's, which had a
            # size in front, and LeakSanitizer crashes on what it reads there.
            asan = "handle_sigill=1:quarantine_size_mb=16:intercept_tls_get_addr=0"
            leaks = "detect_leaks=${SANITIZE_LEAKS:-1}"
            variables["ASAN_OPTIONS"] = f"{log}:{asan}:{leaks}"
            variables["TSAN_OPTIONS"] = f"{log}:suppressions={self._lines('race')}"
        else:
            if not shutil.which("valgrind"):
                raise MissingError("valgrind is not installed (Debian: apt-get install valgrind)")
            # Interpreters that the tests start run without it: it would take hours.
            variables.pop("SANITIZE_PYTHON")
            places = f"--suppressions={self._memcheck()}", "--log-file=$SANITIZE_REPORTS/report.%p"
            command = [*VALGRIND.split(), *places, sys.executable]
        lines = [f'export {name}="{value}"' for name, value in variables.items()]
        lines.append(f'export PYTHONPATH="{path}${{PYTHONPATH:+:$PYTHONPATH}}"')
        words = " ".join(f'"{word}"' for word in command)
        self.python.parent.mkdir(parents=True, exist_ok=True)
        self.python.write_text("\n".join(["#!/bin/sh", *lines, f'exec {words} "$@"\n']))
        self.python.chmod(0o755)

    def _lines(self, wanted: str) -> Path:
        """The suppressions of one kind, as the sanitizers want them."""
        lines = [f"{kind}:{place}\n" for kind, place in suppressions() if kind == wanted]
        path = self.place / wanted
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines))
        return path

    def _memcheck(self) -> Path:
        """The same as memcheck wants them."""
        blocks = []
        for kind, place in suppressions():
            if kind == "race":
                continue
            rule = f"Memcheck:{kind}\n {'obj' if '/' in place else 'fun'}:{place}"
            if kind == "leak":
                rule = f"Memcheck:Leak\n fun:*alloc\n fun:{place}"
            blocks.append(f"{{\n {kind} {place}\n {rule}\n}}\n")
        path = self.place / "memcheck"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(blocks))
        return path

    def environment(self, reports: Path, **more: str) -> dict[str, str]:
        """For a process that starts `python`: its reports, and its children's, go there."""
        shutil.rmtree(reports, ignore_errors=True)
        reports.mkdir(parents=True)
        return {**os.environ, "SANITIZE_REPORTS": str(reports), **more}


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("address", "ASan, UBSan, LSan", ADDRESS, "libasan.so"),
        Tool("thread", "TSan", "-fsanitize=thread", "libtsan.so"),
        Tool("memory", "valgrind memcheck"),
    )
}


def suppressions() -> Iterator[tuple[str, str]]:
    """Kind and place, for each line that is no comment."""
    for line in (HERE / "suppressions").read_text().splitlines():
        if line and not line.startswith("#"):
            kind, place = line.split()
            yield kind, place


# How each kind of report begins. A file that has none of these is from a runtime that has failed:
# that counts too.
_BEGINNINGS = (
    r"==\d+==\s*ERROR: (?!LeakSanitizer: detected)",
    r"Direct leak of ",
    r"WARNING: ThreadSanitizer",
    r"==\d+== (?:Conditional jump|Use of uninit|Syscall param|Source and dest|Argument )",
    r"==\d+== (?:Invalid |Mismatched |Jump to|Process terminating|.* definitely lost)",
)
_BEGINS = re.compile(f"^(?:{'|'.join(_BEGINNINGS)})", re.MULTILINE)


def read_reports(reports: Path) -> list[str]:
    """The text of every report in the files of a run."""
    found = []
    for path in sorted(reports.iterdir()):
        # Valgrind's word that it does not know a system call, and answers ENOSYS: no report.
        text = re.sub(r"^--\d+-- .*\n", "", path.read_text(errors="replace"), flags=re.MULTILINE)
        if not text.strip():
            continue
        starts = [match.start() for match in _BEGINS.finditer(text)] or [0]
        ends = [*starts[1:], len(text)]
        found += [text[start:end].rstrip() for start, end in zip(starts, ends, strict=True)]
    return found


def _runtime(name: str) -> str:
    """The path of a runtime of the compiler's."""
    found = subprocess.run(
        ["cc", f"-print-file-name={name}"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    if not os.path.isabs(found):
        raise MissingError(f"cc has no {name} (Debian: it comes with gcc, for this architecture)")
    return os.path.realpath(found)


def _sources() -> Iterator[Path]:
    yield ROOT / "setup.py"
    yield ROOT / "pyproject.toml"
    yield from (ROOT / "csrc").iterdir()
    yield from (ROOT / "src" / "spawnkit").rglob("*.py*")


def describe() -> str:
    """The compiler and the interpreter, for the log."""
    cc = subprocess.run(["cc", "--version"], stdout=subprocess.PIPE, text=True, check=True)
    python = f"Python {platform.python_version()}"
    return f"{cc.stdout.splitlines()[0]}; {python}; {platform.machine()}"
