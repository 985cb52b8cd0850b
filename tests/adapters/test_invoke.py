"""invoke with `spawnkit.adapters.invoke`: the same results and exceptions as without.

Most of it runs in this interpreter, where the oracle sees whatever a run leaves behind.
"""

from __future__ import annotations

import gc
import io
import os
import select
import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from conftest import HOLD, Outcome, Project  # type: ignore[import-not-found]
from support.isolated import Isolate

invoke = pytest.importorskip("invoke", reason="invoke is not installed (make adapters)")
from invoke.exceptions import Failure, ThreadException  # noqa: E402
from invoke.runners import Local  # noqa: E402

import spawnkit  # noqa: E402
from spawnkit.adapters.invoke import SpawnkitLocal  # noqa: E402


def run(runner: Any, command: str, **options: Any) -> Any:
    config = invoke.Config(overrides={"runners": {"local": runner}, "run": {"in_stream": False}})
    return invoke.Context(config).run(command, **options)


def told(runner: Any, command: str, **options: Any) -> list[Any]:
    """All that a run shows: result or exception, and what was written where."""
    streams = {name: io.StringIO() for name in ("out_stream", "err_stream")}
    made = {name: make() for name, make in options.items() if callable(make)}
    facts: list[Any] = []
    with warnings.catch_warnings():
        # invoke leaves its pipes to the collector, which says so. For ours, see the oracle.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            result = run(runner, command, **{**options, **made, **streams})
        except Exception as error:
            facts += [type(error), str(error)]
            result = getattr(error, "result", None)
            error.__traceback__ = None
        if result is not None:
            facts += [result.exited, result.stdout, result.stderr, result.command, result.hide]
            facts += [result.shell, result.encoding, result.env, result.pty, type(result.pid)]
        del result
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()  # cancelled; it holds the runner for a moment more
        gc.collect()
    return [*facts, *(stream.getvalue() for stream in streams.values())]


RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "output": ("echo a; echo b >&2", {}),
    "hidden": ("echo a; echo b >&2", {"hide": True}),
    "half hidden": ("echo a; echo b >&2", {"hide": "err"}),
    "unicode": ("printf 'grüße ☃ %s\\n' \"$WORD\"", {"env": {"WORD": "naïve"}}),
    "no text": ("printf '\\377\\376 a'", {}),
    "encoding": ("printf '\\344'", {"encoding": "latin-1"}),
    "large": ("head -c 300000 /dev/zero | tr '\\0' x", {"hide": True}),
    "exit": ("echo a; exit 3", {}),
    "warn": ("echo a; exit 3", {"warn": True}),
    "signal": ("kill -9 $$", {"warn": True}),
    "echo": ("echo a", {"echo": True}),
    "dry": ("echo a > /nope/nope", {"dry": True}),
    "input": ("cat; echo end", {"in_stream": lambda: io.StringIO("hello\nyou\n")}),
    "input that is not read": ("exec <&-; echo a", {"in_stream": lambda: io.StringIO("x" * 99)}),
    "environment": ("echo $A-$HOME", {"env": {"A": "1"}, "replace_env": True}),
    "shell": ("echo $0", {"shell": "/bin/sh"}),
    "shell on the path of the environment": ("echo $0", {"shell": "sh"}),
    "no such shell": ("echo", {"shell": "/nope/shell"}),
    "no such shell on PATH": ("echo", {"shell": "no-such-shell"}),
    "no shell at all": ("echo", {"shell": "/etc/passwd"}),
    "a program that is not there": ("no-such-program a b", {}),
    "wrong environment": ("echo", {"env": {"A": 1}}),
    "timeout that is long enough": ("echo a", {"timeout": 600}),
    "timeout": ("echo begun; exec sleep 1000", {"timeout": 0.5}),
    "asking": (
        "printf 'name? '; read name; echo hello $name; printf 'age? '; read age; echo $age",
        {
            "watchers": lambda: [
                invoke.Responder(r"name\? ", "Ada\n"),
                invoke.Responder(r"age\? ", "36\n"),
            ]
        },
    ),
}


@pytest.mark.parametrize(("command", "options"), RUNS.values(), ids=RUNS)
def test_runs_end_and_are_told_as_without(command: str, options: dict[str, Any]) -> None:
    plain, ours = told(Local, command, **options), told(SpawnkitLocal, command, **options)
    if command == "echo" and "env" in options:
        assert plain[0] is ours[0] is TypeError  # each says in its own words which it was
    else:
        assert ours == plain


def held(fifo: Path) -> io.TextIOWrapper:
    """Our end of a FIFO that a command HOLDs: readable once nobody does."""
    return open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8")


def is_over(end: io.TextIOWrapper) -> bool:
    """Has everybody who held it gone? What they have said is read."""
    while select.select([end], [], [], 60)[0]:
        if not os.read(end.fileno(), 100):
            return True
    return False


def test_a_timeout_ends_all_that_was_started(tmp_path: Path) -> None:
    """invoke kills the shell, and waits for those who hold its pipes."""
    os.mkfifo(tmp_path / "fifo0")
    hold = HOLD.format(directory=tmp_path, n=0)
    script = f"setsid sh -c '{hold}' & read line < {tmp_path}/fifo0; echo begun; wait"
    with held(tmp_path / "fifo0") as end:
        with pytest.raises(invoke.exceptions.CommandTimedOut) as caught:
            run(SpawnkitLocal, script, timeout=3, hide=True)
        assert is_over(end)
    assert caught.value.result.stdout == "begun\n"


def test_a_command_whose_watcher_failed_is_ended(tmp_path: Path) -> None:
    """A wrong password, say: nobody would answer it any more."""
    os.mkfifo(tmp_path / "fifo0")
    watcher = invoke.FailingResponder(r"password: ", "wrong\n", r"sorry")
    asking = "printf 'password: '; read word; echo sorry; " + HOLD.format(directory=tmp_path, n=0)
    with held(tmp_path / "fifo0") as end:
        with pytest.raises(Failure) as caught:
            run(SpawnkitLocal, asking, watchers=[watcher], hide=True)
        assert is_over(end)
    assert caught.value.result.stdout == "password: sorry\n"


class Broken(io.StringIO):
    """A stream of ours that cannot be written to."""

    def write(self, text: str) -> int:
        raise OSError(f"no room for {text!r}")


def test_a_command_whose_reader_failed_is_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo0")
    with held(tmp_path / "fifo0") as end:
        with pytest.raises(ThreadException, match="no room for 'begun"):
            run(
                SpawnkitLocal,
                "echo begun; " + HOLD.format(directory=tmp_path, n=0),
                out_stream=Broken(),
            )
        assert is_over(end)


class Interrupted(SpawnkitLocal):  # type: ignore[misc]
    """Ctrl-C between start and wait."""

    def _finish(self) -> Any:
        raise KeyboardInterrupt


def test_a_command_that_ctrl_c_struck_before_the_wait_is_ended(tmp_path: Path) -> None:
    """The oracle looks for the thread that feeds it."""
    os.mkfifo(tmp_path / "fifo0")
    hold = HOLD.format(directory=tmp_path, n=0)
    with held(tmp_path / "fifo0") as end:
        with pytest.raises(KeyboardInterrupt):
            run(Interrupted, hold, in_stream=io.StringIO("a"), hide=True)
        assert is_over(end)


def test_asynchronous_commands_run_at_the_same_time(tmp_path: Path) -> None:
    """Each waits for the other one."""
    for name in "ab":
        os.mkfifo(tmp_path / name)
    meet = "cd {}; if [ {} = a ]; then echo > b; read x < a; else read x < b; echo > a; fi; echo {}"
    promises = [
        run(SpawnkitLocal, meet.format(tmp_path, name, name), asynchronous=True, timeout=60)
        for name in "ab"
    ]
    assert all(promise.pid > 0 for promise in promises)
    assert [promise.join().stdout for promise in promises] == ["a\n", "b\n"]


def test_a_disowned_command_goes_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    os.mkfifo(tmp_path / "done")
    result = run(SpawnkitLocal, f"cd {tmp_path}; read x < go; echo $$ > done", disown=True)
    assert (result.exited, result.disowned) == (None, True)
    (tmp_path / "go").write_text("\n")
    assert int((tmp_path / "done").read_text()) == result.pid
    os.waitid(os.P_PID, result.pid, os.WEXITED | os.WNOWAIT)
    spawnkit.run(["true"])  # a later spawn reaps it
    with pytest.raises(ChildProcessError):
        os.waitpid(result.pid, 0)


def test_a_kill_from_outside_is_the_result() -> None:
    """`Runner.kill` and `Promise`: what invoke's timer calls, without its timer."""
    promise = run(SpawnkitLocal, "exec sleep 1000", asynchronous=True, warn=True)
    promise.runner.kill()
    assert promise.join().exited == -signal.SIGKILL
    promise.runner.kill()  # it is over: nothing


def _import_without_invoke() -> list[str]:
    import sys

    sys.modules["invoke"] = None  # type: ignore[assignment] # what makes the import of it fail
    try:
        import spawnkit.adapters.invoke  # noqa: F401
    except ImportError as error:
        return [str(error), str(error.name)]
    return []


def test_without_invoke_the_import_says_what_to_do(isolate: Isolate) -> None:
    said = isolate(_import_without_invoke, warm=False)
    assert said[0].startswith("spawnkit.adapters.invoke needs invoke 2 or later")


# invoke passes on what comes while it waits; between start and wait Ctrl-C ends invoke itself.
TASKS = """
import os, sys, threading, time
import counting
from invoke import Collection, task

def tell_when_waiting(main=threading.main_thread().ident):
    names = []
    while not {{"wait", "_finish"}} <= set(names):
        time.sleep(0.001)
        frame, names = sys._current_frames()[main], []
        while frame is not None:
            frame, names = frame.f_back, [*names, frame.f_code.co_name]
    os.write(os.open("fifo1", os.O_WRONLY), b"begun\\n")

@task
def work(c):
    with c.cd("/usr"), c.prefix("echo before"):  # the first one gets the input
        c.run("pwd; cat; echo b >&2")
    c.run("exit 4", warn=True)
    print(c.run("test -t 1 && echo terminal", pty=True, hide=True).stdout)
    c.run("echo a", hide=True)
    c.run("exit 5")

@task
def hold(c, timeout=None):
    threading.Thread(target=tell_when_waiting, daemon=True).start()
    c.run({hold!r}, **({{"timeout": int(timeout)}} if timeout else {{}}))

ns = Collection(work, hold)
if os.environ.get("ADAPTER"):
    from spawnkit.adapters.invoke import SpawnkitLocal
    ns.configure({{"runners": {{"local": SpawnkitLocal}}}})
"""


def tasks(projects: tuple[Project, Project]) -> None:
    for project in projects:
        project.write("tasks.py", TASKS.format(hold=HOLD.format(directory=".", n=0)))


def test_a_file_of_tasks(projects: tuple[Project, Project]) -> None:
    tasks(projects)
    found: list[Outcome] = [
        project.run("-m", "invoke", "work", input="from us\n", ADAPTER=adapter)
        for project, adapter in zip(projects, ("", "yes"), strict=True)
    ]
    plain, ours = found
    assert (ours.code, ours.stdout, ours.stderr) == (plain.code, plain.stdout, plain.stderr)
    assert ours.code == 5
    assert "from us" in ours.stdout
    assert "terminal" in ours.stdout
    # The one with a terminal is invoke's own: pty.fork.
    assert (plain.ours, plain.theirs) == (0, 4)
    assert (ours.ours, ours.theirs) == (4, 0)


@pytest.mark.parametrize("timeout", [[], ["--timeout", "1000"]], ids=["no-timeout", "timeout"])
def test_ctrl_c_ends_a_command(projects: tuple[Project, Project], timeout: list[str]) -> None:
    """Also one in a process group of its own, where it is passed on."""
    tasks(projects)
    outcomes = [
        project.interrupt(2, "-m", "invoke", "hold", *timeout, ADAPTER=adapter)
        for project, adapter in zip(projects, ("", "yes"), strict=True)
    ]
    assert outcomes[1] == outcomes[0]
    assert outcomes[0] == (256 - signal.SIGINT, "")
