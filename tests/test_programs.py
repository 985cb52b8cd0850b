"""The tool behind `make programs`, on made-up programs: what it has to find out, it finds out."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cffi
import pytest

import spawnkit
from programs.__main__ import compare, why_not_traced
from programs.program import MATERIAL, Change, LeftOut, Program, step
from programs.programs import PROGRAMS
from programs.runs import Where
from programs.starts import in_short, said, seen
from programs.traced import Image, Process, read

# Tells "hangs" from "ends".
LIMIT = 60.0

SPAWNS = "import subprocess, sys\nsubprocess.run(['true'])\n"

Make = Callable[..., Program]
Compared = Callable[..., tuple[int, str]]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """A program of our own making: `made(code after SPAWNS, status=…, fields of Program)`."""

    def make(code: str, status: int = 0, **fields: object) -> Program:
        material = tmp_path / "material"
        material.mkdir()
        (material / "program.py").write_text(SPAWNS + code)
        program = Program("made-up", (step("program.py", status),), material=material)
        return dataclasses.replace(program, **fields)  # type: ignore[arg-type]

    return make


@pytest.fixture
def where(tmp_path: Path) -> Where:
    homes = {str(Path(module.__file__ or "").parent.parent) for module in (spawnkit, cffi)}
    return Where(sys.executable, tuple(homes), tmp_path / "run", tmp_path / "out", LIMIT)


@pytest.fixture
def compared(where: Where, capsys: pytest.CaptureFixture[str]) -> Compared:
    """The status and all that is printed."""

    def run(program: Program, **fields: object) -> tuple[int, str]:
        surroundings = dataclasses.replace(where, **fields)  # type: ignore[arg-type]
        return compare([program], surroundings), capsys.readouterr().out

    return run


@pytest.fixture
def strace() -> None:
    why = why_not_traced()
    if why:
        pytest.skip(f"what processes do not tell cannot be counted: {why}")


def last(text: str) -> str:
    return text.splitlines()[-1]


def test_what_does_the_same_is_good(made: Make, compared: Compared) -> None:
    status, text = compared(made("print('a line')\nopen('file', 'w').write('text')"))
    assert status == 0, text
    assert last(text) == "Programs: 1 of 1 the same, 100.0 % of 1 starts by spawnkit."


DEFECTS = {
    "stdout": ("print(OURS)", "stdout:\n    @@ -1 +1 @@\n    -False\n    +True"),
    "stderr": ("print(OURS, file=sys.stderr)", "stderr:\n    @@ -1 +1 @@\n    -False\n    +True"),
    "status": ("sys.exit(3 if OURS else 0)", "status:\n    @@ -1 +1 @@\n    -0\n    +3"),
    "signal": ("if OURS: os.kill(os.getpid(), 9)", "-0\n    +SIGKILL"),
    "content": ("open('file', 'w').write(str(OURS))", "file file:\n    @@ -1 +1 @@\n    -False"),
    "more": ("if OURS: open('file', 'w')", "file file: only in the other run"),
    "less": ("if not OURS: os.mkdir('place')", "file place: only in the plain run"),
    "mode": ("open('f', 'w')\nif OURS: os.chmod('f', 0o755)", "file f:\n    @@ -0,0 +1 @@"),
    "bytes": ("open('f', 'wb').write(b'\\xff' * (1 + OURS))", "file f:\n    @@ -1 +1 @@\n    -sha"),
    "link": ("os.symlink(str(OURS), 'f')", "-a link to False\n    +a link to True"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_what_differs_is_found(made: Make, compared: Compared, defect: str) -> None:
    code, shown = DEFECTS[defect]
    head = "import os\nOURS = 'spawnkit' in sys.modules\n"
    status, text = compared(made(head + code))
    assert status == 1
    assert "NOT THE SAME made-up, spawnkit: " in text
    assert shown in text
    assert "differs from itself" not in text
    assert last(text).startswith("Programs: 0 of 1 the same, ")


BY_CHANCE = "import os; print('number', os.urandom(8).hex())"


def test_what_is_never_the_same_twice_is_said_to_be_so(made: Make, compared: Compared) -> None:
    status, text = compared(made(BY_CHANCE))
    assert status == 1
    assert "NOT THE SAME made-up, plain, a second time, differs from itself: " in text


def test_what_is_never_the_same_twice_can_be_made_so(made: Make, compared: Compared) -> None:
    status, text = compared(made(BY_CHANCE, changes=(Change("r [0-9a-f]{16}", "r N", "chance"),)))
    assert status == 0, text


def test_a_file_whose_content_is_left_out_has_to_be_there(made: Make, compared: Compared) -> None:
    code = "import os; open('file', 'w').write(os.urandom(8).hex())\n"
    left_out = (LeftOut("file", "chance"),)
    program = made(code, left_out=left_out)
    status, text = compared(program)
    assert status == 0, text
    (program.material or Path()).joinpath("program.py").write_text(
        SPAWNS + code + "if 'spawnkit' in sys.modules: os.unlink('file')"
    )
    status, text = compared(program)
    assert status == 1
    assert "file file: only in the plain run" in text


def test_lines_may_come_in_any_order(made: Make, compared: Compared) -> None:
    code = "lines = ['a', 'b']\nfor line in sorted(lines, reverse='spawnkit' in sys.modules): "
    program = made(code + "print(line)", sorted_lines=("*stdout",))
    status, text = compared(program)
    assert status == 0, text
    status, text = compared(dataclasses.replace(program, sorted_lines=()))
    assert status == 1


def test_a_program_that_does_not_work_at_all_is_not_good(made: Make, compared: Compared) -> None:
    status, text = compared(made("sys.exit(4)"))
    assert status == 1
    assert "plain: the steps ended with 4 where 0 was expected" in text


def test_a_program_that_hangs_is_ended(made: Make, compared: Compared) -> None:
    code = "print(flush=True)\nsubprocess.run(['sleep', '1000'])"
    status, text = compared(made(code), limit=2.0)
    assert status == 1
    for way in "plain", "spawnkit":
        assert f"made-up, {way}: 1 program.py: had not ended after 2 s" in text


# Who started what


def test_too_few_starts_of_ours_are_not_enough(made: Make, compared: Compared) -> None:
    code = "for _ in range(3): subprocess.run(['true'], preexec_fn=int)"
    status, text = compared(made(code))
    assert status == 1
    assert "made-up: 3: preexec_fn" in text
    assert text.splitlines()[-2:] == [
        "Programs: 1 of 1 the same, 25.0 % of 4 starts by spawnkit.",
        "That is less than 95 %.",
    ]


def test_without_strace_the_processes_are_asked(
    made: Make, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("programs.__main__.why_not_traced", lambda: "not today")
    code = "import os; os.system('true'); subprocess.run(['true'], preexec_fn=int)"
    status, text = compared(made(code))
    assert status == 1
    assert "Counted is what the processes themselves say: not today." in text
    assert "Programs: 1 of 1 the same, 50.0 % of 2 starts by spawnkit." in text


def test_a_program_without_a_start_of_ours_is_not_good(made: Make, compared: Compared) -> None:
    program = made("")
    (program.material or Path()).joinpath("program.py").write_text("print()")
    status, text = compared(program)
    assert status == 1
    assert "not one process was started by spawnkit" in text
    assert "Programs: 0 of 1 the same, none of 0 starts by spawnkit." in text


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.system('true')", "around subprocess (os.system, os.posix_spawn): "),
        ("if os.fork(): os.wait()", "around subprocess (os.fork, pty, multiprocessing): "),
        (
            "subprocess.run([sys.executable, '-Ic', INNER])",
            "a Python without spawnkit (-I, -E or -S): ",
        ),
        (
            "subprocess.run([sys.executable, '-c', INNER], env={**os.environ, 'PYTHONPATH': ''})",
            "a Python without spawnkit (its parent took PYTHONPATH away): ",
        ),
        (
            "subprocess.run([sys.executable, '-c', INNER], env={})",
            "a Python without spawnkit (no SPAWNKIT_PY in its environment): ",
        ),
        (
            "subprocess.run([sys.executable, '-c', 'import os; os.system(\"true\"); os._exit(0)'])",
            "without a line: ",
        ),
    ],
)
def test_what_the_lines_do_not_tell_is_seen(
    made: Make, compared: Compared, code: str, reason: str
) -> None:
    head = "import os\nINNER = 'import subprocess; subprocess.run([\"true\"])'\n"
    status, text = compared(made(head + code))
    assert status == 1, text
    (line,) = [line for line in text.splitlines() if line.startswith("  made-up: 1: ")]
    assert line.startswith(f"  made-up: 1: {reason}")
    assert "Programs: 1 of 1 the same, " in text


@pytest.mark.usefixtures("strace")
def test_a_process_that_wrote_no_line_is_counted_all_the_same(
    made: Make, compared: Compared
) -> None:
    inner = "import os, subprocess; subprocess.run(['true']); os._exit(0)"
    status, text = compared(made(f"subprocess.run([sys.executable, '-c', {inner!r}])"))
    assert status == 0, text
    assert "100.0 % of 3 starts" in text
    assert "processes that started others and wrote no line: 1" in text


def test_more_starts_than_a_process_tells_of_are_wrong() -> None:
    process = Process(7, Image(("python", "x.py"), is_python=True), ours=2)
    line = {"pid": 7, "argv": ["python", "x.py"], "ours": 1, "standard": {}}
    assert seen([line], [process]).wrong == ["pid 7 says 1 starts of ours, strace saw 2"]
    # Fewer: the third failed before there was a process.
    assert not seen([{**line, "ours": 3}], [process]).wrong


def test_reasons_of_ours_explain_what_is_seen() -> None:
    process = Process(7, Image(("python",), is_python=True), 1, Counter(fork=3, vfork=2))
    line = {"pid": 7, "argv": ["python"], "ours": 1, "standard": {"preexec_fn": 2}}
    assert seen([line], [process]).reasons == {
        "preexec_fn": 2,
        "around subprocess (os.fork, pty, multiprocessing): python": 1,
        "around subprocess (os.system, os.posix_spawn): python": 2,
    }
    assert said([line, line]).reasons == {"preexec_fn": 4}


LOG = """\
10 execve("/usr/bin/python3", ["python3", "x.py"], ["A=1", "SPAWNKIT_PY=10\\n1", "PYTHONPATH=/s/\
dropin/site"]) = 0
10 clone(child_stack=0x1, flags=CLONE_VM|CLONE_VFORK) = 11
10 clone3({flags=CLONE_VM|CLONE_VFORK|CLONE_THREAD, exit_signal=0}, 88) = 12
12 clone3({flags=CLONE_VM|CLONE_CLEAR_SIGHAND, exit_signal=SIGCHLD}, 64 <unfinished ...>
13 execve("/bin/sh", ["sh", "-c", "a \\"b\\""], ["A=1"]) = 0
12 <... clone3 resumed>) = 13
13 vfork() = 14
10 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 15
15 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD}, 88) = 16
16 execve("/usr/bin/nothing", ["nothing"], ["A=1"]) = -1 ENOENT (No such file or directory)
"""


def test_a_log_is_read(tmp_path: Path) -> None:
    """Threads are their process; a shell's children are nobody's; a fork is what its parent was."""
    (tmp_path / "log").write_text(LOG)
    image = Image(("python3", "x.py"), is_python=True)
    assert read(tmp_path / "log") == [
        Process(10, image, 1, Counter(fork=1)),
        Process(15, image, 0, Counter(vfork=1)),
    ]


def test_a_command_line_is_shown_in_short() -> None:
    words = ["/usr/bin/python3", "-c", "import a; " * 9, "a", "b", "c"]
    assert in_short(words) == "python3 -c import a; import a; im… a b …"


# The rest


def test_results_are_kept(made: Make, compared: Compared, where: Where) -> None:
    compared(made("subprocess.run(['true'], preexec_fn=int)"))
    (result,) = json.loads((where.out / "results.json").read_text())
    assert result["program"] == "made-up"
    assert result["runs"]["spawnkit"]["starts"]["said_standard"] == {"preexec_fn": 1}
    assert result["runs"]["plain"]["statuses"] == ["0"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_each_program_has_what_it_is_run_in(program: Program) -> None:
    assert (program.material or MATERIAL / program.name).is_dir()
    assert program.distributions
    assert all(change.reason for change in (*program.changes, *program.left_out))
