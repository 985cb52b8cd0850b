"""`python -m soak.reuse`: an old handle, whose process is gone and whose pid a stranger has.

In a pid namespace of its own, where nobody else makes processes, and the next pid is chosen by
writing ns_last_pid. The stranger is another process's child. It notes the signals it gets: none.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import spawnkit
from soak.programs import program
from soak.tally import Progress, Tally, say
from support import oracle
from support.engines import CLAIMS

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
CODE = 251  # what `ledger` exits with where there is no ledger
TIMEOUT = 0.1  # for a command whose time must be over soon, but not before the stranger is there
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGKILL, 0)

# A program that has ended, and a descendant that holds its stdout until we close descriptor 3.
OUTLIVED = "cat <&3 & exit 3"


class Strangers:
    """The process that makes strangers."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [program("stranger")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.made = 0
        self.hits: list[str] = []

    def _ask(self, line: str) -> list[str]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    @contextlib.contextmanager
    def with_pid(self, pid: int) -> Iterator[None]:
        """A stranger that has this pid and leads a group of that number."""
        answer = self._ask(str(pid))
        assert answer == ["up", str(pid)], f"no stranger with pid {pid}: {answer}"
        try:
            yield
        finally:
            answer = self._ask("end")
            self.made += 1
            if answer != ["got", "0"]:
                self.hits.append(" ".join(answer))

    def close(self) -> None:
        self.process.communicate()


class Missed(Exception):  # noqa: N818
    """The time of a command was over before its stranger was there: once more."""


def _start(engine: str) -> spawnkit.Process:
    return spawnkit.start_process(program("ledger"), ["ledger", "7"], engine=engine)


def _expect_done(*calls: Callable[[], object]) -> None:
    for call in calls:
        try:
            call()
        except spawnkit.ProcessDone:
            continue
        raise AssertionError(f"{call} did not say that the process is over")


def _expect_its_own_status(process: spawnkit.Process) -> None:
    """Its own, or that nobody knows: never another's, and no wait for another's end."""
    for wait in (process.poll, lambda: process.wait(timeout=0), process.wait):
        with contextlib.suppress(spawnkit.StatusLost):
            state = wait()
            assert state, "it has ended, and poll does not know"
            assert state.exit_code == CODE, f"another's status: {state}"


def _await_reaped(pid: int) -> None:
    while os.path.exists(f"/proc/{pid}"):
        os.sched_yield()


# One function for each way to the old handle. The process has been waited for, or (stolen) somebody
# else in our process has taken its status.


def _gone(process: spawnkit.Process, stolen: bool) -> None:
    if stolen:
        os.waitpid(process.pid, 0)
    else:
        process.wait()


def _signal(strangers: Strangers, engine: str, stolen: bool) -> None:
    process = _start(engine)
    _gone(process, stolen)
    with strangers.with_pid(process.pid):
        _expect_done(*(lambda n=number: process.signal(n) for number in SIGNALS))  # type: ignore[misc]
    _expect_its_own_status(process)


def _kill(strangers: Strangers, engine: str, stolen: bool) -> None:
    process = _start(engine)
    _gone(process, stolen)
    with strangers.with_pid(process.pid):
        _expect_done(process.kill, process.kill)
    _expect_its_own_status(process)


def _terminate(strangers: Strangers, engine: str, stolen: bool) -> None:
    process = _start(engine)
    _gone(process, stolen)
    with strangers.with_pid(process.pid):
        _expect_done(process.terminate)
        _expect_its_own_status(process)
        _expect_done(process.terminate)


def _wait(strangers: Strangers, engine: str, stolen: bool) -> None:
    process = _start(engine)
    _gone(process, stolen)
    with strangers.with_pid(process.pid):
        _expect_its_own_status(process)


def _context(strangers: Strangers, engine: str, stolen: bool) -> None:
    process = _start(engine)
    with process.handle() as pidfd:
        _gone(process, stolen)
        with strangers.with_pid(process.pid):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                raise AssertionError("a pidfd reached somebody")
            _expect_done(process.kill)
    with strangers.with_pid(process.pid):
        _expect_done(process.kill)
    _expect_its_own_status(process)


def _found(strangers: Strangers, engine: str, stolen: bool) -> None:
    process = _start(engine)
    found = spawnkit.find_process(process.pid)
    _gone(process, stolen)
    with strangers.with_pid(process.pid):
        _expect_done(found.kill, found.terminate)
    _expect_its_own_status(process)
    found.release()


def _release(strangers: Strangers, engine: str, stolen: bool) -> None:
    process = _start(engine)
    pid = process.pid
    _gone(process, stolen)
    with strangers.with_pid(pid):
        process.release()
        _expect_done(process.kill)
        spawnkit.run(["/bin/true"])  # reaps what was released


def _drop(strangers: Strangers, engine: str, stolen: bool) -> None:
    process = _start(engine)
    _gone(process, stolen)
    with strangers.with_pid(process.pid), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del process
        spawnkit.run(["/bin/true"])


def _sibling(strangers: Strangers, engine: str, stolen: bool) -> None:
    """The stranger is a child of our own."""
    process = _start(engine)
    _gone(process, stolen)
    read, write = os.pipe()
    LAST_PID.write_text(str(process.pid - 1))
    files = spawnkit.ProcAttr(files=[read, 2, 2])
    sibling = spawnkit.start_process("/bin/cat", ["cat"], files, engine="vfork")
    assert sibling.pid == process.pid, "the sibling got another pid"
    os.close(read)
    try:
        _expect_done(process.kill, process.terminate)
        _expect_its_own_status(process)
        process.release()
        spawnkit.run(["/bin/true"])
        assert sibling.poll() is None
    finally:
        os.close(write)
        state = sibling.wait()
        strangers.made += 1
        if not state.success:
            strangers.hits.append(f"a sibling: {state}")


@contextlib.contextmanager
def _outlived(**options: object) -> Iterator[spawnkit.Cmd]:
    """A command that is not over though its process has ended and been reaped."""
    read, write = os.pipe()
    cmd = spawnkit.Cmd(
        "/bin/sh", "-c", OUTLIVED, stdout=spawnkit.PIPE, extra_files=[read], **options
    )
    try:
        cmd.start()
        os.close(read)
        assert cmd.process
        _await_reaped(cmd.process.pid)
        yield cmd
    finally:
        os.close(write)


def _timeout(strangers: Strangers, engine: str, _: bool) -> None:
    """The time of a command passes: its process is killed, if there is one."""
    due = time.monotonic() + TIMEOUT
    with _outlived(timeout=TIMEOUT, engine=engine) as cmd:
        assert cmd.process
        with strangers.with_pid(cmd.process.pid):
            in_time = time.monotonic() < due
            with contextlib.suppress(spawnkit.TimeoutExpired):
                cmd.wait(check=False)
                raise AssertionError("the time is over, and nothing says so")
            _expect_done(cmd.process.kill)
    if not in_time:
        strangers.made -= 1
        raise Missed


def _cancel(strangers: Strangers, engine: str, _: bool) -> None:
    token = spawnkit.CancelToken()
    with _outlived(cancel=token, engine=engine) as cmd:
        assert cmd.process
        with strangers.with_pid(cmd.process.pid):
            token.cancel()
            with contextlib.suppress(spawnkit.Cancelled):
                cmd.wait(check=False)
                raise AssertionError("cancelled, and nothing says so")


def _action(strangers: Strangers, engine: str, _: bool) -> None:
    """An action that kills for itself, and a `wait_delay` after which we do."""
    token = spawnkit.CancelToken(lambda cmd: cmd.process.kill())  # type: ignore[union-attr]
    with _outlived(cancel=token, wait_delay=0.001, engine=engine) as cmd:
        assert cmd.process
        with strangers.with_pid(cmd.process.pid):
            token.cancel()
            with contextlib.suppress(spawnkit.Cancelled, spawnkit.WaitDelayError):
                cmd.wait(check=False)


USES: dict[str, Callable[[Strangers, str, bool], None]] = {
    "signal": _signal,
    "kill": _kill,
    "terminate": _terminate,
    "wait": _wait,
    "context exit": _context,
    "found": _found,
    "release": _release,
    "drop": _drop,
    "sibling": _sibling,
    "timeout": _timeout,
    "cancel": _cancel,
    "action": _action,
}


def _check_that_strangers_tell(strangers: Strangers) -> None:
    """A run in which none was hit means something only if a hit would show."""
    pid = _ended_pid()
    for number, answer in ((signal.SIGTERM, "got 1"), (signal.SIGKILL, "killed 9")):
        for target in (pid, -pid):
            with strangers.with_pid(pid):
                os.kill(target, number)
            assert strangers.hits == [answer], f"{number} was not noted: {strangers.hits}"
            strangers.hits.clear()
    strangers.made = 0


def _ended_pid() -> int:
    process = _start("vfork")
    process.wait()
    return process.pid


def reuse(count: int) -> Tally:
    """So many forced reuses."""
    tally = Tally("reuse")
    strangers = Strangers()
    _check_that_strangers_tell(strangers)
    before = oracle.snapshot()
    progress = Progress(count, "reuse")
    used: Counter[str] = Counter()
    cases = itertools.cycle(itertools.product(USES, CLAIMS, (False, True)))
    missed = 0
    while strangers.made < count:
        name, engine, stolen = next(cases)
        hits = len(strangers.hits)
        try:
            USES[name](strangers, engine, stolen)
            used[name] += 1
        except Missed:
            missed += 1
        except Exception as error:
            tally.wrong.append(f"{name} {engine} stolen={stolen}: {error!r}")
        tally.wrong += [f"{name} {engine} stolen={stolen}: {h}" for h in strangers.hits[hits:]]
        if len(tally.wrong) > 20:
            break
        if progress.is_due():
            progress.show(strangers.made, f"{len(strangers.hits)} strangers hit")
    leaks = oracle.leaks_since(before)
    strangers.close()
    tally.seconds = progress.seconds()
    tally.spawns = strangers.made
    tally.strangers = len(strangers.hits)
    tally.leaked = len(leaks)
    tally.wrong += leaks
    tally.notes = [
        "pids taken by a stranger, by what was then done with the old handle: "
        + ", ".join(f"{n} {name}" for name, n in used.items()),
        f"{missed} more came too late for their timeout, and were made again",
    ]
    return tally


def why_not() -> str:
    """Why no pid can be chosen here; empty: it can."""
    if not shutil.which("unshare"):
        return "unshare (util-linux) is not installed"
    probe = [*NAMESPACE, "sh", "-c", 'cat "$1" >"$2"', "sh", str(LAST_PID), str(LAST_PID)]
    done = subprocess.run([*probe], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def command(*arguments: str) -> list[str]:
    """What runs this module in a namespace of its own. A shell is its init: it reaps orphans."""
    inside = [sys.executable, "-m", "soak.reuse", *arguments]
    return [*NAMESPACE, "sh", "-c", '"$@"; exit $?', "sh", *inside]


def main() -> int:
    """The command; 1 where something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m soak.reuse", description=__doc__)
    parser.add_argument("--reuses", type=int, default=1000)
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    oracle.prepare()
    if os.getpid() > 100:
        say("reuse: this is no pid namespace of its own: python -m soak")
        return 2
    tally = reuse(options.reuses)
    tally.write(options.result)
    return 0 if tally.is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
