"""One suite, inside the interpreter that is judged: `python inside.py REQUEST`, started by runs.py.

Run by the interpreter itself, not by a virtual environment, where some of CPython's tests skip
themselves; spawnkit is found through a directory put last on sys.path. Each test leaves a line of
JSON as it begins and another as it ends, so that of a crash or a hang the test is known. The
surroundings are those that `python -m test -u all` makes, with verbose off.

Nothing of this package is imported: it would be on the path of the tests.
"""

from __future__ import annotations

import faulthandler
import fnmatch
import importlib
import json
import os
import signal
import sys
import time
import traceback
import types
import unittest
from collections.abc import Iterator
from typing import Any

# Of several things that were said of one test, the last of these counts.
SEVERITY = ("passed", "expected failure", "skipped", "unexpected success", "failed", "error")


class CannotError(Exception):
    """This suite cannot be judged; the text says why."""


class Lines:
    """The file that the driver reads. Opened for each line: a test may look at our descriptors."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pid = os.getpid()

    def write(self, **line: Any) -> None:
        if os.getpid() != self._pid:
            # 1. A test forked. 2. The child came back from the test instead of ending there.
            # 3. Here it would go on with the next test, beside its parent.
            line = {"escaped": line.get("test", line.get("begin", "?"))}
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(fd, json.dumps(line).encode() + b"\n")
        finally:
            os.close(fd)
        if "escaped" in line:
            os._exit(70)


class Recorder(unittest.TestResult):
    """Writes what became of each test."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines
        self.told: set[str] = set()
        self.fixtures: dict[str, tuple[str, str]] = {}  # class or module: why its tests do not run
        self._said: list[tuple[str, str]] = []
        self._subtests = 0
        self._began = 0.0
        self._running = False

    def startTest(self, test: Any) -> None:  # noqa: N802
        super().startTest(test)
        self._said, self._subtests, self._running = [], 0, True
        print(f"=== {test.id()}", file=sys.__stderr__, flush=True)
        self.lines.write(begin=test.id())
        self._began = time.monotonic()

    def stopTest(self, test: Any) -> None:  # noqa: N802
        seconds = time.monotonic() - self._began
        super().stopTest(test)
        self._running = False
        silent = [("error", "unittest did not say how it ended")]
        self._tell(test.id(), self._said or silent, seconds)

    def _tell(self, test: str, said: list[tuple[str, str]], seconds: float = 0.0) -> None:
        outcome = max((outcome for outcome, _ in said), key=SEVERITY.index)
        why = "\n".join(why for each, why in said if each == outcome and why)
        self.told.add(test)
        self.lines.write(
            test=test, outcome=outcome, why=why, subtests=self._subtests, seconds=round(seconds, 3)
        )

    def _say(self, test: Any, outcome: str, why: str = "") -> None:
        if why:
            print(f"{test.id()}: {outcome}: {why}", file=sys.__stderr__, flush=True)
        if isinstance(test, unittest.TestCase):
            if self._running:
                self._said.append((outcome, why))
            else:  # some versions do not start a test that is skipped
                self._subtests = 0
                self._tell(test.id(), [(outcome, why)])
            return
        # What stands for a fixture of a class or a module: "setUpClass (test.test_os.PidTests)".
        name, _, place = test.id().partition(" (")
        if name in ("setUpClass", "setUpModule"):
            self.fixtures[place.rstrip(")")] = (outcome, f"{name}: {why}")
        else:
            self._subtests = 0
            self._tell(test.id(), [(outcome, why)])

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        self._say(test, "passed")

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._say(test, "failed", self._text(test, err))

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self._say(test, "error", self._text(test, err))

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        self._say(test, "skipped", str(reason))

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._say(test, "expected failure")

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        self._say(test, "unexpected success")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        self._subtests += 1
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            text = f"{subtest.id()}\n{self._text(test, err)}"
            self._say(test, "failed" if failed else "error", text)

    def _text(self, test: Any, err: Any) -> str:
        return self._exc_info_to_string(err, test)  # type: ignore[attr-defined,no-any-return]


def take_the_place(mode: str, site: str) -> types.ModuleType:
    """Have `import subprocess` mean what the mode says. The module that tests have to see."""
    if mode == "plain":
        import subprocess

        return subprocess
    sys.path.append(site)
    if mode == "dropin":
        import spawnkit.subprocess

        sys.modules["subprocess"] = spawnkit.subprocess
        return spawnkit.subprocess
    import subprocess

    import spawnkit

    before = dict(vars(subprocess)), dict(vars(subprocess.Popen))
    spawnkit.install()
    if before == (dict(vars(subprocess)), dict(vars(subprocess.Popen))):
        raise CannotError("spawnkit.install() has changed nothing")
    return subprocess


def surroundings() -> None:
    """What regrtest sets up. Without these some tests fail or skip that pass under it."""
    import resource

    from test import support
    from test.support import os_helper

    # With SIGUSR1 the driver asks where a test hangs. SIGALRM because regrtest has it so.
    faulthandler.enable(file=2)
    for number in signal.SIGALRM, signal.SIGUSR1:
        faulthandler.register(number, file=2, chain=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 1024:
        wanted = 1024 if hard == resource.RLIM_INFINITY else min(1024, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    # stdout is a file here, and a name that cannot be encoded is printed into it.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    support.record_original_stdout(sys.stdout)
    support.verbose = False
    support.use_resources = None  # all
    sys.addaudithook(lambda *_: None)
    # Every child's environment has something in it that is not ASCII.
    if os_helper.TESTFN_UNDECODABLE:
        os.environb.setdefault(b"PYTHONREGRTEST_UNICODE_GUARD", os_helper.TESTFN_UNDECODABLE)
    elif os_helper.FS_NONASCII:
        os.environ.setdefault("PYTHONREGRTEST_UNICODE_GUARD", os_helper.FS_NONASCII)


def load(name: str, seen: types.ModuleType) -> list[unittest.TestCase]:
    """The tests of the module, in unittest's order."""
    module = importlib.import_module(name)
    taken = [value for value in vars(module).values() if isinstance(value, types.ModuleType)]
    taken.append(sys.modules["subprocess"])
    for found in taken:
        if found.__name__ in ("subprocess", seen.__name__) and found is not seen:
            raise CannotError(f"{name} has taken {found!r}, not {seen!r}")
    loader = unittest.TestLoader()
    tests = loader.loadTestsFromModule(module)
    if loader.errors:
        raise CannotError("\n".join(map(str, loader.errors)))
    return list(_each(tests))


def _each(tests: Any) -> Iterator[unittest.TestCase]:
    if isinstance(tests, unittest.TestSuite):
        for inner in tests:
            yield from _each(inner)
    else:
        yield tests


def run(request: dict[str, Any], lines: Lines) -> None:
    """The tests of the request, all but those that it calls done."""
    from test.support import os_helper

    module, done = request["module"], set(request["done"])
    seen = take_the_place(request["mode"], request["site"])
    surroundings()
    # SAVEDCWD is the directory that we were started in, the tests' own one lies below it.
    with os_helper.temp_cwd(f"test_python_{os.getpid()}", quiet=True):
        try:
            everything = load(module, seen)
        except unittest.SkipTest as skip:
            lines.write(suite_skipped=str(skip))
            everything = []
        there = [test for test in everything if _matches(test.id(), module, request["part"])]
        only = request["only"] or [""]
        chosen = [test for test in there if any(word in test.id() for word in only)]
        lines.write(there=[test.id() for test in there], chosen=[test.id() for test in chosen])
        recorder = Recorder(lines)
        unittest.TestSuite(test for test in chosen if test.id() not in done)(recorder)
        for test in (test.id() for test in chosen):
            fixture = next((f for f in recorder.fixtures if test.startswith(f"{f}.")), None)
            if fixture and test not in recorder.told | done:
                recorder._subtests = 0
                recorder._tell(test, [recorder.fixtures[fixture]])
    lines.write(done=counts(request["mode"]))


def _matches(test: str, module: str, part: list[str]) -> bool:
    name = test.removeprefix(f"{module}.")
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in part)


def counts(mode: str) -> Any:
    """How many processes spawnkit has made in this interpreter, and how many it left to CPython."""
    if mode == "plain":
        return None
    import spawnkit.subprocess

    stats = spawnkit.subprocess.stats()
    return {"spawnkit": stats.ours, "standard": stats.standard}


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    # As `python -m` has it. Ours holds modules whose names are common.
    sys.path[0] = os.getcwd()
    sys.path[1:1] = request["path"]
    del sys.argv[1:]
    lines = Lines(request["lines"])
    if "test" in sys.modules:
        raise CannotError("`test` was imported before us")
    try:
        run(request, lines)
    except Exception as error:
        traceback.print_exc()
        text = str(error) if isinstance(error, CannotError) else traceback.format_exc()
        lines.write(cannot=text)
        sys.exit(1)


if __name__ == "__main__":
    main()
