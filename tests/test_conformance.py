"""The tool behind `make conformance`, on made-up suites: what it has to find out, it finds out."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import spawnkit
from conformance import private
from conformance.__main__ import conform, nothing_of_ours
from conformance.interpreters import CannotError, Interpreter, find
from conformance.private import Entry, ListError
from conformance.runs import Options, Record, Run, run_suite
from conformance.suites import DROPIN, INSTALLED, PLAIN, SUITES, Suite
from conformance.verdict import compare, judge, useless

VERSION = ".".join(map(str, sys.version_info[:2]))

# Tells "hangs" from "ends": an interpreter starts, and a made-up test ends, within moments.
HANGS_AFTER = 10.0

HEAD = """
import os, signal, subprocess, unittest
OURS = subprocess.__name__ == "spawnkit.subprocess"
"""
BODY = """
class Made(unittest.TestCase):
    def test_a(self):
        subprocess.run(["true"], check=True)
    def test_z(self):
        pass
"""

Make = Callable[..., Suite]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """A suite of our own making: `made(further methods, modes, top=code of the module)`."""

    def make(methods: str, *modes: str, top: str = "") -> Suite:
        lines = "".join(f"    {line}\n" for line in methods.splitlines())
        (tmp_path / "made_up.py").write_text(HEAD + top + BODY + lines)
        return Suite("made_up", modes or (DROPIN,))

    return make


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(tmp_path / "out", hangs_after=HANGS_AFTER, path=[str(tmp_path)])


@pytest.fixture(scope="module")
def us() -> Interpreter:
    """The interpreter of the tests, with the package that they test."""
    home = Path(spawnkit.__file__).parent.parent
    return Interpreter(VERSION, sys.version.split()[0], sys.executable, str(home))


Judge = Callable[..., tuple[int, str]]


@pytest.fixture
def judged(us: Interpreter, options: Options, capsys: pytest.CaptureFixture[str]) -> Judge:
    """The status and all that is printed: `judged(suite, entries…)`."""

    def run(suite: Suite, *entries: Entry) -> tuple[int, str]:
        status = conform([us], [suite], entries, options)
        return status, capsys.readouterr().out

    return run


def _entry(test: str, *versions: str) -> Entry:
    return Entry(f"made_up.Made.{test}", versions or (VERSION,), "subprocess._x", "a reason")


@pytest.mark.parametrize("mode", [DROPIN, INSTALLED])
def test_what_passes_everywhere_is_good(made: Make, judged: Judge, mode: str) -> None:
    status, text = judged(made("", mode))
    assert status == 0, text
    assert "Conformance: 1 of 1 suites good, 2 tests." in text
    assert len([line for line in text.splitlines() if line.startswith("FAILED")]) == 0


def test_cpythons_own_tests_pass_through_the_drop_in(
    us: Interpreter, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    """A138: all of test_subprocess but for the named list; `make conformance` has more of it."""
    pytest.importorskip("test.test_subprocess", reason="this Python comes without its tests")
    real = Options(options.out, hangs_after=300.0)
    status = conform([us], [Suite("test.test_subprocess", (DROPIN,))], private.read(), real)
    assert status == 0, capsys.readouterr().out


DEFECTS = {
    "fails": ("self.assertFalse(OURS)", "failed, passed with", "AssertionError: True is not false"),
    "errs": ("if OURS: raise OSError('no pipe')", "error, passed with", "OSError: no pipe"),
    "skips": ("if OURS: self.skipTest('not here')", "skipped, passed with", "not here"),
    "crashes": ("if OURS: os.abort()", "crashed, passed with", "SIGABRT"),
    "ends": ("if OURS: os._exit(0)", "crashed, passed with", "ended with 0"),
    "escapes": (
        "if OURS and not os.fork(): return\nif OURS: os.wait()",
        "escaped, passed with",
        "a forked child came back from the test",
    ),
    "a subtest fails": (
        "for n in range(3):\n    with self.subTest(n=n): self.assertFalse(OURS and n == 1)",
        "failed, passed with",
        "(n=1)",
    ),
    "a subtest is skipped": (
        "for n in range(3):\n    with self.subTest(n=n):\n        if OURS: self.skipTest('n')",
        "skipped, passed with",
        "n",
    ),
    "subtests are missing": (
        "for n in range(2 if OURS else 3):\n    with self.subTest(n=n): pass",
        "2 subtests, 3 with the standard module",
        "",
    ),
    "succeeds unexpectedly": (
        "self.assertTrue(OURS)\ntest_d = unittest.expectedFailure(test_d)",
        "unexpected success, expected failure with",
        "",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_what_only_the_plain_module_passes_fails(made: Make, judged: Judge, defect: str) -> None:
    code, what, why = DEFECTS[defect]
    inner = [line if line.startswith("test_d") else f"    {line}" for line in code.splitlines()]
    status, text = judged(made("\n".join(["def test_d(self):", *inner])))
    assert status == 1
    (failed,) = [line for line in text.splitlines() if line.startswith("FAILED")]
    assert "dropin made_up.Made.test_d: " in failed
    assert what in failed
    assert why in text
    # The tests after it were run all the same.
    assert ", 3 tests." in text
    assert text.count("FAILED") == 1


def test_a_hang_is_the_failure_of_its_test_and_shows_where(
    made: Make, us: Interpreter, options: Options
) -> None:
    code = "def test_d(self):\n    if OURS: self.wait()\ndef wait(self):\n    signal.pause()"
    run = run_suite(us, made(code), DROPIN, options)
    record = run.records["made_up.Made.test_d"]
    assert record.outcome == "hung"
    assert " in wait" in record.why
    assert " in test_d" in record.why
    assert run.records["made_up.Made.test_z"].outcome == "passed"
    assert not run.broken


def test_what_tests_leave_running_is_ended(
    made: Make, us: Interpreter, options: Options, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    end = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    try:
        code = f"""def test_d(self):
    os.set_inheritable(os.open({str(held)!r}, os.O_WRONLY), True)
    if not os.fork():
        os.execv("/bin/sleep", ["sleep", "1000"])
"""
        run = run_suite(us, made(code), PLAIN, options)
        assert run.records["made_up.Made.test_d"].outcome == "passed"
        hung_up = select.poll()
        hung_up.register(end, 0)
        assert hung_up.poll(HANGS_AFTER * 1000) == [(end, select.POLLHUP)]
    finally:
        os.close(end)


def test_fixtures_speak_for_the_tests_they_keep_from_running(
    made: Make, us: Interpreter, options: Options
) -> None:
    code = "@classmethod\ndef setUpClass(cls):\n    if OURS: raise unittest.SkipTest('no class')"
    suite = made(code)
    plain, ours = (run_suite(us, suite, mode, options) for mode in (PLAIN, DROPIN))
    verdict = judge(VERSION, plain, ours, [])
    assert [failed.what for failed in verdict.failed] == 2 * [
        "skipped, passed with the standard module"
    ]
    assert "no class" in verdict.failed[0].ours.why


def test_a_module_that_skips_itself_with_ours_is_no_pass(made: Make, judged: Judge) -> None:
    top = "if OURS: raise unittest.SkipTest('nothing here')"
    status, text = judged(made("", top=top))
    assert status == 1
    assert "the module skips itself: nothing here (the standard one: no)" in text


def test_a_module_that_got_around_ours_is_not_judged(made: Make, judged: Judge) -> None:
    """Its tests would pass, and say nothing of ours."""
    top = "import sys; ours = sys.modules.pop('subprocess'); import subprocess\n"
    for put_back in "", "sys.modules['subprocess'] = ours\n":
        status, text = judged(made("", top=top + put_back))
        assert status == 1
        assert "made_up has taken <module 'subprocess' from" in text


def test_what_the_plain_module_does_not_pass_is_shown_apart(made: Make, judged: Judge) -> None:
    code = """def test_d(self):
    self.skipTest("for nobody")
def test_e(self):
    self.fail("always")
def test_f(self):
    self.assertTrue(OURS)
"""
    status, text = judged(made(code))
    assert status == 0, text
    apart = text.partition("the standard module itself does not pass:\n")[2]
    assert "skipped: for nobody (" in apart
    assert "failed: made_up.Made.test_e: AssertionError: always (" in apart
    assert "failed: made_up.Made.test_f: " in apart


def test_who_fails_where_the_plain_module_skips_fails(made: Make, judged: Judge) -> None:
    status, text = judged(made("def test_d(self):\n    if not OURS: self.skipTest('x')\n    1 / 0"))
    assert status == 1
    assert "test_d: error, skipped with the standard module" in text


# The list


def test_an_entry_excepts_its_test_on_its_versions_alone(made: Make, judged: Judge) -> None:
    suite = made("def test_d(self):\n    self.assertFalse(OURS)")
    status, text = judged(suite, _entry("test_d"))
    assert status == 0, text
    assert "made_up.Made.test_d: replaces subprocess._x: a reason" in text
    status, text = judged(suite, _entry("test_d", "3.9"))
    assert status == 1


@pytest.mark.parametrize(
    ("code", "entry", "what"),
    [
        ("", "test_d", "there is no such test"),
        ("", "test_a", f"{VERSION}: it passes: take it out"),
        ("def test_d(self): 1 / 0", "test_d", f"{VERSION}: the standard module does not pass it"),
    ],
)
def test_an_entry_that_nothing_needs_fails(
    made: Make, judged: Judge, code: str, entry: str, what: str
) -> None:
    status, text = judged(made(code), _entry(entry))
    assert status == 1
    assert f"USELESS in private.ini: made_up.Made.{entry}: {what}" in text


def test_an_entry_of_a_suite_that_did_not_run_is_not_judged(tmp_path: Path) -> None:
    run = Run(tmp_path, there=["made_up.Made.test_a"])
    ran = [(VERSION, "made_up", run, run)]
    assert useless([_entry("test_d", "3.9")], ran) == []
    assert useless([Entry("other.Made.test_d", (VERSION,), "x", "y")], ran) == []
    assert len(useless([_entry("test_d")], ran)) == 1


ENTRY = "[test.Made.test_{}]\nversions = 3.10 3.13\nreplaces = _x\nreason = for one\n and all\n"


def _list(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "list.ini"
    path.write_text(text)
    return path


def test_the_list_is_read(tmp_path: Path) -> None:
    (entry,) = private.read(_list(tmp_path, ENTRY.format(1)))
    assert entry == Entry("test.Made.test_1", ("3.10", "3.13"), "_x", "for one and all")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("".join(map(ENTRY.format, range(26))), "26 entries; at most 25"),
        (ENTRY.format(1) * 2, "already exists"),
        (ENTRY.format(1).replace("3.13", "3.1"), "versions: '3.10 3.1'"),
        (ENTRY.format(1).replace("3.10 3.13", ""), "versions: ''"),
        (ENTRY.format(1).replace("replaces = _x", "replaces ="), "replaces is empty"),
        (ENTRY.format(1).replace("replaces = _x\n", ""), "missing or unknown: replaces"),
        (ENTRY.format(1).replace("reason", "because"), "missing or unknown: because, reason"),
        ("versions = 3.10\n", "no section headers"),
    ],
)
def test_a_list_that_is_wrong_is_refused(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(ListError, match=wrong):
        private.read(_list(tmp_path, text))


def test_the_list_of_the_repository_is_one() -> None:
    entries = private.read()
    assert len(entries) <= private.AT_MOST
    modules = tuple(f"{suite.module}." for suite in SUITES)
    assert all(entry.test.startswith(modules) for entry in entries)


# The rest


def test_records_are_compared() -> None:
    def record(outcome: str, subtests: int = 0) -> Record:
        return Record("t", outcome, subtests=subtests)

    assert compare(record("passed", 2), record("passed", 2)) == ""
    assert compare(record("failed"), record("passed")) == ""
    assert compare(record("skipped"), record("skipped")) == ""
    assert compare(record("failed"), record("failed")) == ""
    assert compare(record("passed", 2), record("passed", 1))
    assert compare(record("expected failure"), record("passed"))
    assert compare(record("failed"), record("hung"))
    assert compare(record("passed"), record("not run"))


def test_a_suite_in_which_spawnkit_made_no_process_is_no_success(tmp_path: Path) -> None:
    run = Run(tmp_path, spawned=[{"spawnkit": 0, "standard": {"preexec_fn": 3}}])
    assert nothing_of_ours(run)
    run.spawned.append({"spawnkit": 1, "standard": {}})
    assert not nothing_of_ours(run)


def test_chosen_tests_are_the_only_ones(made: Make, us: Interpreter, options: Options) -> None:
    suite = Suite(made("").module, (PLAIN,), ("Made.test_z", "*.none"))
    run = run_suite(us, suite, PLAIN, options)
    assert list(run.records) == run.there == ["made_up.Made.test_z"]
    some = Options(options.out, only=["t_a"], hangs_after=HANGS_AFTER, path=options.path)
    run = run_suite(us, made(""), PLAIN, some)
    assert (list(run.records), len(run.there)) == (["made_up.Made.test_a"], 2)


def test_a_module_that_cannot_be_imported_is_broken(made: Make, judged: Judge) -> None:
    made("")
    status, text = judged(Suite("no_such_module", (DROPIN,)))
    assert status == 1
    assert "BROKEN" in text
    assert "No module named 'no_such_module'" in text


def test_results_are_kept(made: Make, judged: Judge, options: Options) -> None:
    judged(made("def test_d(self):\n    self.assertFalse(OURS)"))
    results = json.loads((options.out / "results.json").read_text())
    (suite,) = results["suites"]
    assert [failed["test"] for failed in suite["failed"]] == ["made_up.Made.test_d"]
    assert len(suite["records"]["ours"]) == 3


def test_a_version_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(CannotError, match="not found"):
        find("2.6")
