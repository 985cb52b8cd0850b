"""Does each target find anything? A defect is planted in a copy of what it fuzzes.

`python -m fuzz.planted` tries them all; `make fuzz` does that first.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fuzz import build, corpus

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "src" / "spawnkit"


@dataclass(frozen=True)
class Defect:
    """One text in the place of another."""

    target: str
    file: str
    was: str
    becomes: str


DEFECTS = (
    # A source is overwritten before its last use.
    Defect("planner", "fdplan.c", "wanted[source].readers++;", "wanted[source].readers = 1;"),
    # A ring is opened at a stream that the child inherits.
    Defect("planner", "fdplan.c", "int number = 3;", "int number = 0;"),
    # The scratch descriptor reaches the program.
    Defect("planner", "fdplan.c", "(sk_move){wanted[i].target, spare, 1}", "(sk_move){wanted[i]"
           ".target, spare, 0}"),
    # A directory at the end of the plan, one byte beyond it.
    Defect("plans", "plan.c", "op[i].text >= size ||", "op[i].text > size ||"),
    # Strings that are counted once too often.
    Defect("plans", "plan.c", "strings == wanted ? 0 : -1", "strings + 1 >= wanted ? 0 : -1"),
    # A range of descriptors that is another one in the child.
    Defect("plans", "plan.c", "op[i].x > op[i].y || op[i].y > UINT32_MAX", "op[i].x > op[i].y"),
    # One that is none.
    Defect("plans", "plan.c", "op[i].x > op[i].y || op[i].y > UINT32_MAX", "op[i].x > UINT32_MAX"),
    # A plan that says it is longer than it is.
    Defect("plans", "plan.c", "plan->size != size || ", ""),
    # A failure is passed over.
    Defect("plans", "child.c", "return sys_setpgid(0, op->a);", "sys_setpgid(0, op->a);\n"
           "        return 0;"),
    # The report's pipe is closed with the rest.
    Defect("plans", "child.c", "close_span((unsigned)channel + 1, last);",
           "close_span((unsigned)channel, last);"),
    # The wrong argument is named.
    Defect("arguments", "plan.py", 'encode(arg, f"{item}[{i}]")', 'encode(arg, f"{item}[0]")'),
    # The first one wins.
    Defect("variables", "environment.py", "    variables.pop(name, None)  # its place",
           "    if name in variables:\n        return  # its place"),
    # Programs are looked for beyond one in a directory that is not absolute.
    Defect("programs", "lookpath.py", "raise DotError(os.fsdecode(name), os.fsdecode(candidate))",
           "continue"),
    # A script loses the descriptor that its interpreter opens.
    Defect("packing", "plan.py", "None if exec_keep else target", "target"),
    # Standard streams are closed with the rest.
    Defect("packing", "_ops.py", "for fd in sorted(kept | wanted.keys()):",
           "for fd in sorted(wanted.keys()):"),
    # What is released is never reaped.
    Defect("machine", "process.py", "                adopt(self._child)\n",
           "                _core.drop(self._child)\n"),
    # Two waits, two states.
    Defect("machine", "process.py", "        return self._final\n",
           "        return ProcessState(self._child)\n"),
)  # fmt: skip


# What a target says when it has found something; that it does not even start says nothing.
SAYS = re.compile(
    r"^(?:planner: .*|plans: (?!\d+ refused).*|\w+: seed \d+|"
    r".*ERROR: AddressSanitizer: [\w-]+|.*runtime error: .*|.*AssertionError.*)$",
    re.MULTILINE,
)


def found(defect: Defect, place: Path, clang: str | None) -> str:
    """Plants it, and fuzzes for a moment: what the target then says; empty: nothing."""
    copy = place / f"planted-{DEFECTS.index(defect)}"
    tree = build.CORE if defect.file.endswith(".c") else PACKAGE
    shutil.copytree(tree, copy / tree.name, ignore=shutil.ignore_patterns("__pycache__"))
    changed = copy / tree.name / defect.file
    text = changed.read_text(encoding="utf-8")
    if text.count(defect.was) != 1:
        raise LookupError(f"{defect.file}: {text.count(defect.was)} times {defect.was!r}")
    changed.write_text(text.replace(defect.was, defect.becomes), encoding="utf-8")
    tests = str(ROOT / "tests")
    environment = {**os.environ, "PYTHONPATH": f"{copy}:{tests}"}
    if tree == build.CORE:
        program = build.build(defect.target, copy, clang, watched=True, core=copy / "csrc")
        command = [str(program), "-runs=300000", f"-max_len={build.LONGEST[defect.target]}"]
        if defect.target == "plans":
            directory = place / "corpus"
            command += [str(directory)] if clang else sorted(map(str, directory.iterdir()))
    elif defect.target == "machine":
        command = [sys.executable, "-m", "fuzz.machine", "-max_total_time=20", "-shrink=0"]
    else:
        command = [sys.executable, "-m", "fuzz.values", defect.target, "-runs=20000"]
    with open(copy / "log", "w", encoding="utf-8") as log:
        done = subprocess.run(command, cwd=copy, env=environment, stdout=log, stderr=log)
    said = SAYS.search((copy / "log").read_text(encoding="utf-8", errors="replace"))
    return said[0].strip(" |") if said and done.returncode else ""


def main() -> int:
    """The command; 1 where a defect was not found."""
    missed = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        place = Path(directory)
        clang = build.find_clang(place)
        corpus.write(place / "corpus")
        for defect in DEFECTS:
            if len(sys.argv) > 1 and defect.target not in sys.argv[1:]:
                continue
            said = found(defect, place, clang)
            missed += not said
            what = f"{defect.file}: {' '.join(defect.was.split())[:34]}"
            said = re.sub(r".*/(?=\w+\.\w:)|.*ERROR: ", "", said)[:58]
            print(f"planted: {defect.target:9} {what:50} {said or 'MISSED'}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
