"""The programs, what they are made to do, and what of their results is never the same twice."""

from __future__ import annotations

from programs.program import MATERIAL, Change, LeftOut, Program, step

SECONDS = Change(r"\b\d+(\.\d+)? ?(s|sec|seconds?)\b", "N s", "durations")
IN_VENV = "venv/bin/python"

PIP = Program(
    "pip",
    (
        step("-m venv venv"),
        # With the setuptools that is there, later with one that pip gets for this build alone.
        step("-m pip wheel --no-deps --no-build-isolation -w wheels ./tiny"),
        step("-m pip install --find-links wheels tiny", python=IN_VENV),
        step("-m tiny", python=IN_VENV),
        step("-m pip list", python=IN_VENV),
        step("-m pip uninstall --yes tiny", python=IN_VENV),
        step("-m pip install --no-cache-dir ./tiny", python=IN_VENV),
        step("-m pip check", python=IN_VENV),
        step("-m pip install no-such-distribution-anywhere", 1, python=IN_VENV),
    ),
    ("pip", "setuptools"),
    changes=(
        Change(r"pip-ephem-wheel-cache-\w+", "pip-ephem-wheel-cache-N", "a temporary directory"),
    ),
)

BUILD = Program(
    "build",
    (
        step("-m build --outdir dist tiny"),
        step("-m tarfile -l dist/tiny-1.2.tar.gz"),
        step("-m build --no-isolation --wheel --outdir again tiny"),
        step("-m build --outdir dist no-such-directory", 1),
    ),
    ("build",),
    changes=(
        Change(r"/build-env-\w{8}/", "/build-env-N/", "a temporary directory"),
        Change(r"/(\.tmp-|tmp)\w{8}/", "/tmpN/", "a temporary directory"),
    ),
    material=MATERIAL / "pip",
    left_out=(LeftOut("dist/*.tar.gz", "the times of its files are in it; they are listed"),),
)

XDIST = Program(
    "xdist",
    # No traceback: it shows the lines of subprocess that an exception came through, the standard
    # module's or ours, and the `__cause__` that ours has. Its type and message are compared.
    (step("-m pytest -n 2 -rA --tb=no --junitxml=report.xml -p no:cacheprovider", 1),),
    ("pytest", "pytest-xdist"),
    changes=(
        SECONDS,
        Change(r'(time|timestamp|hostname)="[^"]*"', "", "durations and dates in the XML"),
        Change(r'(<failure message="[^"]*">)[^<]*', r"\1", "the traceback"),
        Change(r"><", ">\n<", "one element is one line, to be sorted"),
        Change(r"\[gw\d\]|gw\d", "gwN", "to which worker a test comes"),
        Change(r"^[.sFx]+ *\[ *\d+%\]$", "", "the order in which tests end"),
    ),
    sorted_lines=("*stdout", "file report.xml"),
)

IPYTHON = Program("ipython", (step("-m IPython --no-banner cells.ipy", 1),), ("ipython",))

GITPYTHON = Program(
    "gitpython",
    (step("history.py"),),
    ("GitPython",),
    needs=("git",),
    changes=(Change(r"> \d{10} [+-]\d{4}\t", "> N\t", "in logs: when it was done"),),
    left_out=(LeftOut("*index", "the times and inodes of files are in it"),),
)

NOX = Program(
    "nox",
    (step("-m nox --list"), step("-m nox", 1), step("-m nox -R -s apart")),
    ("nox",),
    changes=(SECONDS, Change(r", took N s|in N s", "", "durations of less than a second are none")),
)

INVOKE = Program(
    "invoke",
    (
        step("-m invoke --list"),
        step("-m invoke build check"),
        step("-m invoke slow", 1),
        step("-m invoke terminal"),
        step("-m invoke wrong", 6),
    ),
    ("invoke",),
)

MESON = Program(
    "meson",
    (
        step("-m mesonbuild.mesonmain setup out"),
        step("-m mesonbuild.mesonmain compile -C out"),
        step("-m mesonbuild.mesonmain test -C out", 1),
        step("-m mesonbuild.mesonmain introspect out --tests"),
    ),
    ("meson", "ninja"),
    needs=("gcc",),
    changes=(
        Change(r"\b\d+\.\d+s", "N s", "durations"),
        Change(r'(time|duration|starttime)("?[=:] ?"?)[\d.e-]+', r"\1\2N", "durations in files"),
        Change(r"\d{4}-\d\d-\d\dT[\d:.]+|^(start time: +)[\d:]+", "N", "dates"),
        Change(r"MALLOC_PERTURB_(\W+)\d+", r"MALLOC_PERTURB_\1N", "a number by chance"),
        Change(r"/cc\w{6}\.(\w+)", r"/ccN.\1", "temporary files of the compiler"),
        Change(r"/tmp\w{8}\b", "/tmpN", "temporary directories"),
        Change(r"^\[\d+/6\] ", "[N/6] ", "the order in which compilers end"),
        Change(r"^( *)\d+/7 ", r"\1N/7 ", "the order in which tests end"),
        Change(r"^(>>> |command: +)(\S+=\S+ )+", r"\1", "the environment in the order of a set"),
        Change(
            r" SPAWNKIT_PY='[^']*'|, \"SPAWNKIT_PY\": \"[^\"]*\"|/[^\s\"]*/spawnkit/dropin/site:",
            "",
            "the environment of the tests is written into a log; --children is in it",
        ),
    ),
    left_out=(
        LeftOut("out/.ninja_*", "the times of files are in it"),
        LeftOut("out/meson-private/*.dat", "sets are in it, in the order of addresses"),
    ),
    sorted_lines=("*test -C out: stdout", "*compile -C out: stdout",
                  "file out/meson-logs/testlog.*", "file out/meson-info/intro-buildoptions.json"),
)  # fmt: skip

SCONS = Program(
    "scons",
    (step("-m SCons -j2 -k", 2), step("-m SCons -k main"), step("-m SCons -c")),
    ("SCons",),
    needs=("gcc",),
    left_out=(LeftOut(".sconsign.dblite", "the times of files are in it"),),
    sorted_lines=("*-j2*std*", "file config.log"),
)

PRE_COMMIT = Program(
    "pre-commit",
    (
        step("repository.py"),
        step("-m pre_commit run --all-files", 1),
        step("-m pre_commit run --files file1.txt", 1),
        step("-m pre_commit install"),
        step("commit.py"),
    ),
    ("pre-commit",),
    needs=("git",),
    changes=(SECONDS, Change(r"/patch\d+-\d+", "/patchN", "a time and a pid are in its name")),
    left_out=(LeftOut(".git/index", "the times and inodes of files are in it"),),
)

PROGRAMS = (
    PIP, BUILD, XDIST, IPYTHON, GITPYTHON, NOX, INVOKE, MESON, SCONS, PRE_COMMIT,
)  # fmt: skip
