"""The inputs of the comparator: what is done through each side, in an interpreter of its own.

A side's function does one thing through its library and returns what it saw, as facts. Whether
that is right is judged from the facts, by one function for both sides. subprocess gets the call
that its manual recommends for the purpose.

`python -m bench.inputs NAME SIDE` runs one function, and prints its facts as JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Any

from bench.ticker import ticking

Facts = dict[str, Any]
Look = Callable[[], Facts]

FALSE = "/bin/false"
CODE = 1  # what it exits with
HELD = 1_000_000  # microseconds that the slow setup takes
PR_SET_PDEATHSIG = 1


class Waits(Exception):  # noqa: N818
    """spawnkit does not have what the input is about yet."""


def _outcome(call: Callable[[], object]) -> Facts:
    """What a call returned or raised."""
    try:
        return {"returned": call()}
    except Waits:
        raise
    except Exception as error:
        return {"raised": type(error).__name__, "message": str(error)}


def _status(state: Any) -> int:
    """As subprocess says it: the exit code, or the signal below zero."""
    return int(state.exit_code) if state.signal is None else -int(state.signal)


def _run(args: list[str], **options: Any) -> int:
    import spawnkit

    return _status(spawnkit.run(args, check=False, **options).state)


def _subprocess_run(args: list[str], **options: Any) -> int:
    return subprocess.run(args, check=False, **options).returncode


def _needs(parameter: str, what: str) -> None:
    import spawnkit

    if parameter not in inspect.signature(spawnkit.SysProcAttr).parameters:
        raise Waits(f"waits for {what} (not there yet)")


# ---- C1, C2: credentials ------------------------------------------------------------------------


def _ids(user: int) -> Facts:
    if os.geteuid() != 0:
        return {"left out": "only root can change to another user"}

    def call() -> str:
        command = ["/bin/sh", "-c", "echo $(id -u) $(id -g) $(id -G)"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, user=user)
        return done.stdout.strip()

    return _outcome(call)


def _user_of_spawnkit() -> Facts:
    _needs("credential", "credentials")
    return {"left out": "credentials are there, and this comparison is yet to be written"}


def _is_refused(facts: Facts) -> bool:
    return facts.get("raised") == "ValueError"


def _has_no_group_of_root(facts: Facts) -> bool:
    return "returned" in facts and "0" not in str(facts["returned"]).split()


# ---- C3, C4, C5: a status that is lost ----------------------------------------------------------


def _children() -> bool:
    """Is there a child left that nobody has waited for?"""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _ignored(run: Callable[[list[str]], int]) -> Facts:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return _outcome(lambda: run([FALSE]))


def _stolen_from_subprocess() -> Facts:
    process = subprocess.Popen([FALSE])
    os.waitpid(process.pid, 0)
    return _outcome(process.wait)


def _stolen_from_spawnkit() -> Facts:
    import spawnkit

    process = spawnkit.start_process(FALSE, ["false"])
    os.waitpid(process.pid, 0)
    return _outcome(lambda: _status(process.wait()))


def _no_such_child(run: Callable[[list[str]], int]) -> Facts:
    run(["/bin/true"])  # what a library asks the kernel once is asked
    _ready()
    facts = _outcome(lambda: run([FALSE]))
    facts["zombie"] = _children()
    return facts


def _is_not_made_up(facts: Facts) -> bool:
    """The program's own status, or an error; and nothing is left."""
    told = "raised" in facts or facts.get("returned") == CODE
    return told and not facts.get("zombie", False)


# ---- C6, C7: between clone and exec -------------------------------------------------------------


def _killed(run: Callable[[list[str]], int]) -> Facts:
    return _outcome(lambda: run(["/bin/true"]))


def _is_an_error(facts: Facts) -> bool:
    return "raised" in facts


def _stall(run: Callable[[list[str]], int]) -> Facts:
    begin = monotonic_ns()
    with ticking() as gaps:
        facts = _outcome(lambda: run(["/bin/true"]))
    facts["took"] = (monotonic_ns() - begin) / 1e9
    facts["stall"] = max(gaps) / 1e9
    return facts


def _goes_on(facts: Facts) -> bool:
    """Other threads lost less than half of the time for which the setup was held."""
    return facts.get("returned") == 0 and facts["stall"] < HELD / 1e6 / 2 < facts["took"]


# ---- C8, C9, C10: names, variables, arguments ---------------------------------------------------


def _planted(run: Callable[..., int]) -> Facts:
    path = ":/bin:/usr/bin"
    with tempfile.TemporaryDirectory() as directory:
        planted = Path(directory) / "ls"
        planted.write_text("#!/bin/sh\ntouch ran\n")
        planted.chmod(0o755)
        os.chdir(directory)
        os.environ["PATH"] = path
        facts = _outcome(lambda: run(["ls"], env={"PATH": path}))
        facts["planted"] = Path("ran").exists()
        os.chdir("/")
    return facts


def _is_not_run(facts: Facts) -> bool:
    return facts["planted"] is False


def _variables(environment: Callable[[Any], bytes]) -> Facts:
    def seen(env: Any) -> Facts:
        return _outcome(lambda: sorted(v.decode() for v in environment(env).split(b"\0") if v))

    return {"empty": seen({"": "x"}), "twice": seen({b"A": b"1", "A": "2"})}


ENVIRONMENT = ["/bin/cat", "/proc/self/environ"]


def _variables_of_subprocess(env: Any) -> bytes:
    return subprocess.run(ENVIRONMENT, check=True, stdout=subprocess.PIPE, env=env).stdout


def _variables_of_spawnkit(env: Any) -> bytes:
    import spawnkit

    return bytes(spawnkit.run(ENVIRONMENT, stdout=spawnkit.PIPE, env=env).stdout or b"")


def _are_exact(facts: Facts) -> bool:
    refused: bool = facts["empty"].get("raised") == "ValueError"
    return refused and facts["twice"] == {"returned": ["A=2"]}


# ---- C11: PDEATHSIG -----------------------------------------------------------------------------


def _in_a_thread(start: Callable[[], None]) -> None:
    """Returns when it is gone, and not only joined: a signal that came with its end is there."""
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    while os.path.exists(f"/proc/self/task/{thread.native_id}"):
        os.sched_yield()


def _death_signal_of_subprocess() -> Facts:
    libc = ctypes.CDLL(None)
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        started.append(
            subprocess.Popen(
                ["/bin/cat"],
                stdin=subprocess.PIPE,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        )

    _in_a_thread(start)
    started[0].communicate()  # without the signal it ends with its input
    return {"returned": started[0].returncode}


def _death_signal_of_spawnkit() -> Facts:
    import spawnkit

    attr = spawnkit.SysProcAttr(die_with_parent=True)
    cmd = spawnkit.Cmd("/bin/cat", attr=attr)
    stdin = cmd.stdin_pipe()
    _in_a_thread(cmd.start)
    stdin.close()
    return {"returned": _status(cmd.wait(check=False))}


def _lives_on(facts: Facts) -> bool:
    return facts.get("returned") == 0


# ---- all of them --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What strace does to a system call of a side, and how its log shows that it came."""

    calls: dict[str, str]
    what: str
    mark: str
    attach: bool = False  # not from the start, but once the side says that it is ready


@dataclass(frozen=True)
class Input:
    name: str
    what: str
    must: str  # "it must …"
    is_right: Callable[[Facts], bool]
    sides: dict[str, Look]
    fault: Fault | None = None
    words: Callable[[Facts], str] = field(default=lambda facts: in_words(facts))


def in_words(facts: Facts) -> str:
    """What was observed."""
    if "left out" in facts:
        return str(facts["left out"])
    if "raised" in facts:
        return f"raised {facts['raised']}: {facts['message']}"
    return f"returned {facts['returned']!r}"


def _zombie_words(facts: Facts) -> str:
    left = "a zombie is left" if facts["zombie"] else "nothing is left"
    return f"{in_words(facts)}; {left}"


def _stall_words(facts: Facts) -> str:
    stall = f"another thread stood still for {facts['stall'] * 1000:.1f} ms"
    return f"{in_words(facts)} after {facts['took']:.2f} s; {stall}"


def _planted_words(facts: Facts) -> str:
    return f"{in_words(facts)}; ./ls {'ran' if facts['planted'] else 'did not run'}"


def _variable_words(facts: Facts) -> str:
    return f"empty name: {in_words(facts['empty'])}; A twice: {in_words(facts['twice'])}"


def _both(
    look: Callable[[Callable[..., int]], Facts], **renamed: dict[str, Any]
) -> dict[str, Look]:
    """The same through both, with options by side."""
    ours, theirs = renamed.get("spawnkit", {}), renamed.get("subprocess", {})
    return {
        "subprocess": lambda: look(lambda args, **more: _subprocess_run(args, **theirs, **more)),
        "spawnkit": lambda: look(lambda args, **more: _run(args, **ours, **more)),
    }


_IN_A_DIRECTORY: dict[str, dict[str, Any]] = {
    "subprocess": {"cwd": "/"},
    "spawnkit": {"dir": "/"},
}
_CHDIR = {"subprocess": "chdir", "spawnkit": "chdir"}

INPUTS = [
    Input(
        "C1",
        "as root, user=4294967295, which is (uid_t)-1",
        "refuse it: to the kernel it means no change",
        _is_refused,
        {"subprocess": lambda: _ids(2**32 - 1), "spawnkit": _user_of_spawnkit},
    ),
    Input(
        "C2",
        "as root, user=65534 and nothing else; the child prints uid, gid, groups",
        "give up the groups too",
        _has_no_group_of_root,
        {"subprocess": lambda: _ids(65534), "spawnkit": _user_of_spawnkit},
    ),
    Input(
        "C3",
        "SIGCHLD is ignored; the program is false",
        "tell 1, or that the status is lost; never 0",
        _is_not_made_up,
        _both(_ignored),
    ),
    Input(
        "C4",
        "somebody else's os.waitpid takes the status of false before ours",
        "tell 1, or that the status is lost; never 0",
        _is_not_made_up,
        {"subprocess": _stolen_from_subprocess, "spawnkit": _stolen_from_spawnkit},
    ),
    Input(
        "C5",
        "the kernel says ECHILD once to the system call that waits for false",
        "tell 1, or an error; leave no zombie",
        _is_not_made_up,
        _both(_no_such_child),
        Fault(
            {"subprocess": "wait4", "spawnkit": "waitid"},
            "error=ECHILD:when=1",
            "ECHILD (No child processes) (INJECTED)",
            attach=True,
        ),
        _zombie_words,
    ),
    Input(
        "C6",
        "the child is killed in its chdir, before exec",
        "say that the program never ran",
        _is_an_error,
        _both(_killed, **_IN_A_DIRECTORY),
        Fault(_CHDIR, "signal=KILL", "+++ killed by SIGKILL +++"),
    ),
    Input(
        "C7",
        f"the child's chdir takes {HELD / 1e6:.0f} s",
        "let other threads go on meanwhile",
        _goes_on,
        _both(_stall, **_IN_A_DIRECTORY),
        Fault(_CHDIR, f"delay_enter={HELD}", "(DELAYED)"),
        _stall_words,
    ),
    Input(
        "C8",
        'PATH begins with an empty element, in our environment and in env=; "ls"; there is a ./ls',
        "not run ./ls",
        _is_not_run,
        _both(_planted),
        words=_planted_words,
    ),
    Input(
        "C9",
        'env={"": "x"}, and env={b"A": b"1", "A": "2"}',
        "refuse the empty name; pass A once, the last",
        _are_exact,
        {
            "subprocess": lambda: _variables(_variables_of_subprocess),
            "spawnkit": lambda: _variables(_variables_of_spawnkit),
        },
        words=_variable_words,
    ),
    Input(
        "C10",
        "no arguments at all: []",
        "refuse it with a ValueError",
        _is_refused,
        _both(lambda run: _outcome(lambda: run([]))),
    ),
    Input(
        "C11",
        "a child with PDEATHSIG, made by a thread that then ends, while the process lives",
        "let it live",
        _lives_on,
        {"subprocess": _death_signal_of_subprocess, "spawnkit": _death_signal_of_spawnkit},
    ),
]


def _ready() -> None:
    """Whoever watches may begin."""
    print("ready", flush=True)
    sys.stdin.readline()


def main() -> None:
    name, side = sys.argv[1:]
    (one,) = (one for one in INPUTS if one.name == name)
    # A shell's job in the background ignores it, and who started us may too.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    facts: Facts = {}
    try:
        facts = one.sides[side]()
    except Waits as reason:
        facts = {"waits": str(reason)}
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
