"""`spawnkit py`: what Python does alone, it does with us, to the byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

Outcome = tuple[int, str, str]

OURS = "import subprocess; print(subprocess.Popen._execute_child.__module__)"


def python(
    *arguments: str | Path,
    directory: Path | None = None,
    input: str = "",
    env: dict[str, str] | None = None,
    executable: str = sys.executable,
) -> Outcome:
    done = subprocess.run(
        [executable, *map(str, arguments)],
        input=input,
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, **(env or {})},
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def py(*arguments: str | Path, options: Sequence[str] = (), **more: object) -> Outcome:
    return python(*options, "-m", "spawnkit", "py", *arguments, **more)  # type: ignore[arg-type]


FACTS = """
import os, sys
for name, value in sorted(globals().items()):
    if name not in ("os", "sys", "__loader__", "__spec__", "__builtins__"):
        print(name, value)
print(type(__loader__), type(__spec__), __builtins__)
print(getattr(__spec__, "name", None), getattr(__spec__, "origin", None))
print(sys.argv, sys.path, sys.orig_argv, sys.flags, sys.warnoptions, sys._xoptions)
print(len(sys.meta_path), sys.path_hooks[0])
print([path for path in sys.path_importer_cache if "/dropin/site" in path])
print(sorted(os.environ.items()), os.getcwd())
print([name for name in sys.modules if "site" in name])
print(sys.modules["__main__"].__dict__ is globals())
"""

TRACEBACK = """
import subprocess, sys
def fail():
    return 1 / 0
try:
    subprocess.run(["/no/such/program"])
except OSError as error:
    print(error, error.filename)
fail()
"""

PICKLE = """
import multiprocessing, pickle, sys
class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x
def double(point): return Point(2 * point.x)
if __name__ == "__main__":
    data = pickle.dumps(Point(1))
    print(data, pickle.loads(data) == Point(1))
    for method in "spawn", "forkserver", "fork":
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, pool.map(double, [Point(3)])[0].x)
else:
    print("imported as", __name__)
"""

SCRIPTS = {
    "facts": FACTS,
    "traceback": TRACEBACK,
    "pickle": PICKLE,
    "syntax": "print('x'\nfor\n",
    "exit-none": "import sys; sys.exit()",
    "exit-number": "import sys; sys.exit(3)",
    "exit-text": "import sys; sys.exit('over')",
    "exit-other": "import sys; sys.exit([1])",
    "exit-large": "import sys; sys.exit(2**40)",
    "thread": "import sys, threading\nt = threading.Thread(target=sys.exit, args=[4]); t.start()\n"
    "t.join(); print('on')",
    "thread-error": "import threading\nt = threading.Thread(target=lambda: 1 / 0); t.start()\n",
    "interrupt": "raise KeyboardInterrupt",
    "signal": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    "atexit": "import atexit, subprocess\natexit.register(subprocess.run, ['echo', 'bye'])\n"
    "atexit.register(print, 'last', flush=True)",
    "killed": "import os, signal; print('x', flush=True); os.kill(os.getpid(), signal.SIGKILL)",
    "input": "import sys; print(input(), sys.stdin.read())",
    "threads": "import threading; print([t.name for t in threading.enumerate()])",
    "warning": "import warnings; warnings.warn('old', DeprecationWarning); print(__debug__)",
    "unclosed": "f = open('/dev/null'); del f; import gc; gc.collect()",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script(tmp_path: Path, name: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPTS[name])
    more = {"directory": tmp_path, "input": "one\ntwo\n"}
    alone = python("script.py", "-x", "--", "--help", **more)  # type: ignore[arg-type]
    assert py("script.py", "-x", "--", "--help", **more) == alone


@pytest.mark.parametrize(
    "options",
    [
        ["-O"],
        ["-OO", "-B", "-u"],
        ["-W", "error", "-X", "utf8"],
        ["-Werror::DeprecationWarning", "-Xdev"],
        ["-bb", "-s", "-q", "-P"] if sys.version_info >= (3, 11) else ["-bb", "-s", "-q"],
        ["--check-hash-based-pycs", "never", "-X", "tracemalloc=5"],
    ],
    ids=lambda options: " ".join(options),
)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_pythons_options(tmp_path: Path, options: list[str], before: bool) -> None:
    """Those of the Python that runs us, and those behind `py`."""
    for name in "facts", "warning", "unclosed":
        script = tmp_path / f"{name}.py"
        script.write_text(SCRIPTS[name])
        alone = python(*options, script)
        ours = py(script, options=options) if before else py(*options, script)
        assert ours == alone, name


def test_options_in_one_word_with_ours() -> None:
    alone = python("-OBc", FACTS)
    code, out, err = python("-OBm", "spawnkit", "py", "-c", FACTS)
    assert (code, err) == (0, "")
    assert out.replace("'-OB', '-c'", "'-OBc'") == alone[1]
    assert python("-mspawnkit", "py", "-c", OURS) == (0, "spawnkit.dropin.starting\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", FACTS, "-c", "--stats"],
        ["-c", TRACEBACK],
        ["-m", "package", "-m", "x"],
        ["-m", "package.module"],
        ["-m", "package.missing"],
        ["-m", "json.tool", "--help"],
        ["directory", "x"],
        ["archive.zip", "x"],
        ["-", "x"],
        [],
        ["-i", "facts.py"],
        ["-ic", "x = 5"],
        ["-x", "facts.py"],
        ["no-such-file"],
        ["-V"],
        ["-Z"],
    ],
    ids=lambda arguments: " ".join(arguments).split("\n")[0],
)
def test_other_ways_to_name_a_program(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "facts.py").write_text(FACTS)
    for name in "package", "directory":
        (tmp_path / name).mkdir()
        (tmp_path / name / "__main__.py").write_text(FACTS)
    (tmp_path / "package" / "module.py").write_text(FACTS)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", FACTS)
    # What an import leaves behind would be there the second time only.
    more = {"input": "import sys\nprint(sys.argv)\n1 / 0\n", "directory": tmp_path}
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    alone = python(*arguments, env=env, **more)  # type: ignore[arg-type]
    assert py(*arguments, env=env, **more) == alone


@pytest.mark.parametrize("path", ["", "more", "more:", ":more", "more:less"])
def test_pythons_variables(tmp_path: Path, path: str) -> None:
    """What PYTHONPATH was, it is for the program; a sitecustomize that is there runs."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "sitecustomize.py").write_text("import sys; sys.customized = __file__")
    env = {
        "PYTHONPATH": path,
        "PYTHONOPTIMIZE": "1",
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "x",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    code = FACTS + "\nprint(getattr(sys, 'customized', None))"
    alone = python("-c", code, env=env, directory=tmp_path)
    ours = py("-c", code, env=env, directory=tmp_path)
    assert ours == alone
    assert ("sitecustomize.py" in ours[1]) == ("more" in path)


def test_pytest_itself(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import subprocess\n"
        "def test_it(capfd):\n"
        "    subprocess.run(['echo', 'x'])\n"
        "    assert capfd.readouterr().out == 'x\\n'\n"
        "    assert subprocess.Popen._execute_child.__module__ == 'spawnkit.dropin.starting'\n"
    )
    code, out, err = py("-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path)
    assert (code, err) == (0, ""), out


def test_it_is_installed_and_children_are_not() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {OURS!r}])"
    assert py("-c", OURS) == (0, "spawnkit.dropin.starting\n", "")
    assert py("-c", child) == (0, "subprocess\n", "")


@pytest.mark.parametrize("flags", [[], ["-s"], ["-I"], ["-E"], ["-S"]], ids=lambda f: "".join(f))
def test_children_have_it_where_it_can_be(flags: list[str]) -> None:
    """A grandchild too; nothing happens in those that keep everybody out."""
    script = (
        "import subprocess, sys\n"
        "print(subprocess.Popen._execute_child.__module__, flush=True)\n"
        "if len(sys.argv) > 1:\n"
        f"    subprocess.run([sys.executable, *{flags}, '-c', sys.argv[1], *sys.argv[2:]])\n"
    )
    out = py("--children", "-c", script, script, "pass")
    theirs = "subprocess" if flags and flags != ["-s"] else "spawnkit.dropin.starting"
    assert out == (0, f"spawnkit.dropin.starting\n{theirs}\n", "")


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A Python without spawnkit."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    other = str(tmp_path / "bare" / "bin" / "python")
    if python("-c", "import spawnkit", executable=other)[0] == 0:
        pytest.skip("a new environment here has spawnkit by itself (PYTHONPATH?)")
    return other


def test_a_child_without_spawnkit_runs_as_ever(bare: str) -> None:
    """Another environment: no package of ours, no word, and a sys.path of its own."""
    code = (
        "import subprocess, sys; print(subprocess.Popen._execute_child.__module__, sys.path,"
        "'sitecustomize' in sys.modules, 'spawnkit' in sys.modules)"
    )
    run = f"import subprocess; subprocess.run([{bare!r}, '-c', {code!r}])"
    alone = python("-c", code, executable=bare)
    assert alone[1].startswith("subprocess ")
    assert py("--children", "-c", run) == alone


def test_multiprocessing_children_have_it() -> None:
    whose = '__import__("subprocess").Popen._execute_child.__module__'
    code = (
        "import multiprocessing\n"
        "context = multiprocessing.get_context('spawn')\n"
        "with context.Pool(1) as pool:\n"
        f"    print(pool.apply(eval, [{whose!r}]))"
    )
    assert py("-c", code)[1] == "subprocess\n"
    assert py("--children", "-c", code) == (0, "spawnkit.dropin.starting\n", "")


STARTS = """
import os, subprocess, sys
subprocess.run(["true"])
subprocess.run(["true"], preexec_fn=os.getpid)
if os.fork() == 0:
    subprocess.run(["true"])
    sys.exit()
os.wait()
subprocess.run([sys.executable, "-c", "import subprocess; subprocess.run(['true'])"])
"""


def test_counts_on_stderr() -> None:
    words = "spawnkit: processes started: 2 by spawnkit, 1 by Python (preexec_fn 1)\n"
    assert py("--stats", "-c", STARTS) == (0, "", words)
    assert py("--stats", "--children", "-c", STARTS) == (0, "", words)
    assert py("--stats", "-c", "raise SystemExit(7)") == (
        7,
        "",
        "spawnkit: processes started: 0 by spawnkit, 0 by Python\n",
    )


@pytest.mark.parametrize("children", [False, True])
def test_counts_in_a_file(tmp_path: Path, children: bool) -> None:
    """One line for each process: a forked one, and each Python with --children."""
    options = ["--children"] if children else []
    assert py(*options, "--stats=counts", "-c", STARTS, directory=tmp_path) == (0, "", "")
    lines = [json.loads(line) for line in (tmp_path / "counts").read_text().splitlines()]
    forked, *child, first = lines
    assert (forked["ours"], forked["standard"]) == (1, {})
    assert (first["ours"], first["standard"]) == (2, {"preexec_fn": 1})
    assert first["argv"] == [sys.executable, "-c", STARTS]
    assert [line["ours"] for line in child] == [1] * children
    assert len({line["pid"] for line in lines}) == len(lines)


@pytest.mark.parametrize(
    ("options", "arguments", "said"),
    [
        ([], ["-I", "x.py"], "py: with -I Python reads no PYTHONPATH, which is our way in"),
        ([], ["-uE", "x.py"], "py: with -E Python reads no PYTHONPATH, which is our way in"),
        ([], ["-W", "x", "-S"], "py: with -S Python imports no site, and no sitecustomize"),
        (["-I"], ["x.py"], "py: with -I Python reads no PYTHONPATH"),
        (["-E"], ["x.py"], "py: with -E Python reads no PYTHONPATH"),
        ([], ["--stats=/no/such/file", "x.py"], "/no/such/file"),
        ([], ["--children=5", "x.py"], "unknown option --children=5"),
    ],
)
def test_what_cannot_be_is_said(options: list[str], arguments: list[str], said: str) -> None:
    code, out, err = py(*arguments, options=options)
    assert (code, out) in ((125, ""), (2, ""))
    assert said in err


def test_the_letters_of_a_script_are_its_own(tmp_path: Path) -> None:
    script = tmp_path / "x.py"
    script.write_text("import sys; print(sys.argv[1:])")
    assert py("-W", "ignore", script, "-I", "-S") == (0, "['-I', '-S']\n", "")


def test_from_a_directory_that_has_the_package(tmp_path: Path, bare: str) -> None:
    """`python -m` finds spawnkit in the current directory; the program's path does not have it."""
    import _cffi_backend

    import spawnkit

    here, library = tmp_path / "here", tmp_path / "library"
    here.mkdir()
    library.mkdir()
    (here / "spawnkit").symlink_to(Path(spawnkit.__file__).parent)
    backend = Path(_cffi_backend.__file__)
    (library / backend.name).symlink_to(backend)
    code = OURS + "; import sys; print([path for path in sys.path if 'here' in path])"
    env = {"PYTHONPATH": str(library)}
    said = py("-c", code, directory=here, env=env, executable=bare)
    assert said == (0, "spawnkit.dropin.starting\n[]\n", "")
    said = py("-c", code, directory=tmp_path, env=env, executable=bare)
    assert (said[0], "No module named spawnkit" in said[2]) == (1, True)
