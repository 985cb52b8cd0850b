"""Old kernels, containers and emulators: what is refused is worked around, and said."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from support.children import Children
from support.engines import serving
from support.isolated import Isolate

CLONE_VM = "clone[0&0x10100=0x100]"  # without CLONE_THREAD, which makes our own threads
CLONE_VM_ALONE = "clone[0&0x14100=0x100]"  # … and without CLONE_VFORK
CLONE_PIDFD = "clone[0&0x1000]"

OURS = (None, "vfork", "vfork-waiting", "fork")
ALL = (*OURS, "posix_spawn")

# What is refused, and on which engines the child is then made.
ROWS: dict[str, dict[str | None, str]] = {
    "clone3:ENOSYS": {None: "vfork", **{name: name for name in ALL if name}},
    "clone3:EPERM": {None: "vfork", **{name: name for name in OURS if name}},
    "clone3:EINVAL": {None: "vfork", **{name: name for name in OURS if name}},
    "clone3:E2BIG": {None: "vfork", **{name: name for name in OURS if name}},
    f"clone3:ENOSYS,{CLONE_VM_ALONE}:EINVAL": {
        None: "vfork-waiting",
        "vfork": "vfork-waiting",
        "vfork-waiting": "vfork-waiting",
        "fork": "fork",
    },
    f"clone3:EPERM,{CLONE_VM}:EPERM": dict.fromkeys(OURS, "fork"),
    f"clone3:ENOSYS,{CLONE_PIDFD}:EINVAL": {None: "vfork", **{name: name for name in ALL if name}},
    f"clone3:ENOSYS,{CLONE_PIDFD}:EINVAL,pidfd_open:ENOSYS": {
        None: "vfork",
        **{name: name for name in ALL if name},
    },
    "pidfd_open:EPERM,pidfd_send_signal:EPERM": {None: "vfork", **{n: n for n in ALL if n}},
    "close_range:ENOSYS": {None: "vfork", **{name: name for name in ALL if name}},
    "close_range:EPERM,clone3:EPERM,pidfd_open:EPERM,pidfd_send_signal:EPERM": {
        None: "vfork",
        **{name: name for name in OURS if name},
    },
}


def _behaviour(engine: str | None, programs: dict[str, str], directory: str) -> dict[str, Any]:
    """The core of what the package promises, as values that can be compared."""
    import os
    import signal

    import spawnkit
    from support.children import parse_report

    seen: dict[str, Any] = {}
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    loose = os.dup(2)
    os.set_inheritable(loose, True)

    def failing(*args: str, **options: Any) -> list[Any]:
        try:
            spawnkit.run(args, engine=engine, **options)
        except spawnkit.SpawnError as error:
            return [error.errno, error.stage, str(error)]
        return ["no error"]

    ours = engine != "posix_spawn"
    result = spawnkit.run([programs["exit"], "3"], check=False, engine=engine)
    seen["engine"] = result.state.engine
    seen["exit code"] = result.state.exit_code
    seen["signal"] = spawnkit.run(
        [programs["exit"], "signal", "9"], check=False, engine=engine
    ).state.signal
    seen["missing program"] = failing("/no/such/program")
    seen["too long"] = failing("/bin/true", "x" * (1 << 20))
    seen["bad descriptor"] = failing("/bin/true", stdout=4000)
    data = os.urandom(300_000)
    result = spawnkit.run([programs["echo"]], input=data, capture=True, engine=engine)
    seen["echo"] = result.stdout == data and result.stderr == b""
    out = f"{directory}/report"
    attr = spawnkit.SysProcAttr(setsid=True, sigmask=[10])
    options: dict[str, Any] = {}
    if ours:
        attr = spawnkit.SysProcAttr(setsid=True, sigmask=[10], umask=0o31, rlimits={"CORE": 0})
        options = {"dir": directory}
        seen["missing directory"] = failing("/bin/true", dir="/no/such/directory")
        seen["bad limit"] = failing(
            "/bin/true", attr=spawnkit.SysProcAttr(rlimits={"NOFILE": 2**40})
        )
    spawnkit.run([programs["report"], out], attr=attr, engine=engine, **options)
    with open(out) as file:
        report = parse_report(file.read())
    seen["report"] = [
        report["pid"] == report["sid"] == report["pgid"],
        report["umask"],
        report["ppid"] == os.getpid(),
        os.fsdecode(report.cwd),
        sorted(report.mask),
        sorted(report.ignored),
        sorted(report.caught),
        report.rlimits[4][0],
        sorted(report.fds),
    ]
    read, write = os.pipe()
    files = spawnkit.ProcAttr(files=[read])
    process = spawnkit.start_process(programs["block"], ["block"], files, engine=engine)
    os.close(read)
    for timeout in 0, 0.01:
        try:
            process.wait(timeout)
        except spawnkit.TimeoutExpired:
            seen[f"waits {timeout}"] = True
    process.signal(signal.SIGTERM)
    seen["terminated"] = process.wait(600).signal
    os.close(write)
    try:
        spawnkit.run(["/bin/sleep", "1000"], timeout=0.2, engine=engine)
    except spawnkit.TimeoutExpired as error:
        seen["timeout"] = [error.stage, error.state and error.state.signal]
    os.close(loose)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    return seen


@pytest.fixture(scope="module")
def programs(children: Children) -> dict[str, str]:
    return {name: children(name) for name in ("exit", "echo", "report", "block")}


@pytest.fixture(scope="module")
def everything_allowed(
    isolate: Isolate, programs: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[bool, dict[str, Any]]:
    """The same behaviour where nothing is refused, of ours and of posix_spawn."""
    directory = str(tmp_path_factory.mktemp("directory"))
    return {
        True: {"directory": directory, **isolate(_behaviour, "vfork", programs, directory)},
        False: isolate(_behaviour, "posix_spawn", programs, directory),
    }


CASES = [(rules, engine) for rules, engines in ROWS.items() for engine in engines]


@pytest.mark.parametrize(("rules", "asked"), CASES)
def test_what_is_refused_changes_nothing_but_the_engine(
    rules: str,
    asked: str | None,
    everything_allowed: dict[bool, dict[str, Any]],
    isolate: Isolate,
    programs: dict[str, str],
) -> None:
    """A126, A127, A37: falls back (clone3 -> clone -> fork, no pidfd, …); same results."""
    wanted = dict(everything_allowed[asked != "posix_spawn"])
    directory = everything_allowed[True]["directory"]
    wanted.pop("directory", None)
    wanted["engine"] = serving(ROWS[rules][asked])
    assert isolate(_behaviour, asked, programs, directory, deny=rules) == wanted


def test_where_nothing_is_refused_the_engine_is_the_one_asked_for(
    everything_allowed: dict[bool, dict[str, Any]],
) -> None:
    assert everything_allowed[True]["engine"] == "vfork"
    assert everything_allowed[True]["report"][-1] == [0, 1, 2]
    assert everything_allowed[False]["engine"] == "posix_spawn"


# What was found out is said


def _found_features() -> dict[str, Any]:
    import spawnkit

    process = spawnkit.start_process("/bin/true", ["true"])
    has_pidfd = process.pidfd is not None
    process.wait()
    return {**spawnkit.features(), "process.pidfd": has_pidfd}


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ("", {"clone3": True, "clone_pidfd": True, "shared_memory": True, "process.pidfd": True}),
        ("clone3:ENOSYS", {"clone3": False, "clone_pidfd": True, "overlapped": True}),
        (
            f"clone3:ENOSYS,{CLONE_PIDFD}:EINVAL",
            {"clone_pidfd": False, "pidfd_open": True, "process.pidfd": True},
        ),
        (
            f"clone3:ENOSYS,{CLONE_PIDFD}:EINVAL,pidfd_open:ENOSYS",
            {"clone_pidfd": False, "pidfd_open": False, "process.pidfd": False},
        ),
        (f"clone3:EPERM,{CLONE_VM_ALONE}:EINVAL", {"overlapped": False, "shared_memory": True}),
        (f"clone3:EPERM,{CLONE_VM}:EINVAL", {"shared_memory": False}),
        ("close_range:EPERM", {"close_range": False}),
        ("pidfd_send_signal:EPERM", {"pidfd_signal": False}),
    ],
)
def test_features_say_what_is_refused(rules: str, found: dict[str, Any], isolate: Isolate) -> None:
    """A126, A127: CLONE_PIDFD refused: falls back; said in features()."""
    features = isolate(_found_features, deny=rules)
    assert {name: features[name] for name in found} == found


def test_doctor_says_what_is_refused(children: Children) -> None:
    """A127: said in `spawnkit doctor`."""
    doctor = [sys.executable, "-m", "spawnkit", "doctor"]
    rules = f"clone3:ENOSYS,{CLONE_PIDFD}:EINVAL"

    def output(command: list[str]) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    healthy, refused = output(doctor), output([children("deny"), rules, "--", *doctor])
    assert "clone_pidfd" in healthy or "CLONE_PIDFD" in healthy
    changed = set(refused.splitlines()) - set(healthy.splitlines())
    assert any("pidfd" in line.lower() for line in changed), refused


def test_run_on_the_command_line_works_where_much_is_refused(children: Children) -> None:
    """A126: the whole program, not only the library."""
    command = [sys.executable, "-m", "spawnkit", "run", "--", children("exit"), "7"]
    rules = f"clone3:EPERM,{CLONE_VM}:EPERM,close_range:EPERM,pidfd_open:ENOSYS"
    assert subprocess.run([children("deny"), rules, "--", *command]).returncode == 7


# Memory


def test_where_memory_is_not_shared_failures_are_still_told(
    isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A128: VM not shared (valgrind): exec failure is still reported."""
    valgrind = shutil.which("valgrind")
    if not valgrind:
        pytest.skip("valgrind is not installed")
    seen = isolate(
        _failures_under_an_emulator,
        children("report"),
        str(tmp_path / "marker"),
        under=[valgrind, "-q", "--tool=none", "--child-silent-after-fork=yes"],
        env={"PYTHONMALLOC": "malloc"},
        oracle=False,
        warm=False,
    )
    assert seen == [
        ["vfork", 2, 2, "fork"],
        ["vfork-waiting", 2, 2, "fork"],
        ["fork", 2, 2, "fork"],
    ]
    assert not (tmp_path / "marker").exists()


def _failures_under_an_emulator(report: str, marker: str) -> list[Any]:
    import spawnkit

    seen = []
    for engine in "vfork", "vfork-waiting", "fork":
        line: list[Any] = [engine]
        for args, directory in (["/no/such/program"], None), ([report, marker], "/no/such/dir"):
            try:
                spawnkit.run(args, dir=directory, engine=engine)
                line.append("no error")
            except spawnkit.SpawnError as error:
                line.append(error.errno)
        line.append(spawnkit.run(["/bin/true"], engine=engine).state.engine)
        seen.append(line)
    return seen


@pytest.mark.parametrize("rules", ["mmap[3&0x4000]:ENOMEM", "mprotect:ENOMEM"])
def test_no_memory_for_the_childs_stack_is_an_error(
    engine: str, rules: str, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """A131: mmap of the child stack -> ENOMEM: err; with a guard page that cannot be made, too."""
    marker = tmp_path / "ran"
    argv = [children("report"), str(marker)]
    assert isolate(_error_without_a_stack, argv, engine, later=rules) == [["memory", 12]]
    assert not marker.exists()


def _error_without_a_stack(argv: list[str], engine: str) -> list[Any]:

    import spawnkit
    import spawnkit._core
    from support.proc import PROC

    def pages() -> int:
        return int((PROC / "self/statm").read_text().split()[0])

    spawnkit._core.trim()
    before, errors = pages(), []
    for _ in range(20):
        try:
            spawnkit.run(argv, engine=engine)
        except spawnkit.SpawnError as error:
            errors.append((error.stage, error.errno))
    if pages() - before > 256:  # one block that was kept is 64 pages
        errors.append(("pages", pages() - before))
    return [list(error) for error in sorted(set(errors))]


def test_a_tight_address_space_is_an_error_and_no_crash(engine: str, isolate: Isolate) -> None:
    """A131: RLIMIT_AS at what is used already; with room again it works again."""
    assert isolate(_outcomes_in_a_tight_address_space, engine) == [True, True]


def _outcomes_in_a_tight_address_space(engine: str) -> list[bool]:
    import resource

    import spawnkit
    import spawnkit._core
    from support.proc import PROC

    spawnkit.run(["/bin/true"], engine=engine)
    spawnkit._core.trim()
    pages = int((PROC / "self/statm").read_text().split()[0])
    limit = resource.getrlimit(resource.RLIMIT_AS)
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 10), limit[1]))
    try:
        spawnkit.run(["/bin/true"], engine=engine)
        refused = False
    except (spawnkit.SpawnError, MemoryError):
        refused = True
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    return [refused, spawnkit.run(["/bin/true"], engine=engine).state.success]


# posix_spawn


@pytest.mark.parametrize(
    ("options", "item"),
    [
        ({"dir": "/"}, "chdir"),
        ({"attr": spawnkit.SysProcAttr(umask=0o22)}, "umask"),
        ({"attr": spawnkit.SysProcAttr(rlimits={"CORE": 0})}, "rlimit"),
        ({"attr": spawnkit.SysProcAttr(sigignore=[1])}, "sig"),
    ],
)
def test_posix_spawn_refuses_what_it_cannot_do(options: dict[str, Any], item: str) -> None:
    """An engine asked for by name does not pass over what it does not claim: it names it."""
    with pytest.raises((ValueError, NotImplementedError), match=f"posix_spawn.*{item}"):
        spawnkit.run(["/bin/true"], engine="posix_spawn", **options)
