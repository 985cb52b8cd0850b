"""`spawnkit doctor`: what this machine lets spawnkit do, and whether it works."""

from __future__ import annotations

import argparse
import json
import sys
import time

from .. import _core
from .._features import features
from .._run import run
from ..errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import _SubParsersAction

_MEANING = {
    "kernel": "Linux release",
    "machine": "architecture",
    "libc": "C library",
    "shared_memory": "a vforked child shares our memory; without it the fork engine serves",
    "overlapped": "we go on while the child sets itself up; without it the kernel holds us",
    "clone3": "clone3 with CLONE_CLEAR_SIGHAND; without it signals are blocked around clone",
    "clone_pidfd": "CLONE_PIDFD; without it pidfd_open right after the clone",
    "into_cgroup": "CLONE_INTO_CGROUP; without it a child moves there itself: milliseconds",
    "pidfd_open": "pidfds at all; without them signals go by pid, timed waits look now and then",
    "pidfd_wait": "waitid(P_PIDFD); without it waits go by pid",
    "pidfd_signal": "pidfd_send_signal; without it signals go by pid while it is not reaped",
    "pidfd_info": "a status that another wait took can be read back; without it: StatusLost",
    "close_range": "without it /proc/self/fd is read, without that each number is tried",
    "signal_guard": "rseq: waits lose no signal; without it the main thread waits in slices",
    "status_stolen": "exit statuses taken by somebody else's wait, in this process",
}


def add(commands: _SubParsersAction[argparse.ArgumentParser], name: str) -> argparse.ArgumentParser:
    """The parser of `doctor`."""
    parser = commands.add_parser(
        name,
        help="show what this machine allows, and try every engine",
        description="Shows what kernel and C library offer, what is done where something is "
        "missing, and starts /bin/true through every engine. Exit code 0 if all is well, 1 if an "
        "engine that should work does not.",
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Prints the report."""
    engines = {name: _try(name) for name in _core.ENGINE_NAMES.values()}
    chosen = _try(None).get("engine", "none")
    found = features()
    if arguments.json:
        report = {**_versions(), "features": found, "engines": engines, "chosen": chosen}
        print(json.dumps(report, indent=2))
    else:
        _show(found, engines)
        print(f"chosen by itself: {chosen}")
    return 0 if all("error" not in trial for trial in engines.values()) else 1


def _versions() -> dict[str, str]:
    from .. import __version__

    return {"spawnkit": __version__, "python": sys.version.split()[0]}


def _try(engine: str | None) -> dict[str, str]:
    """Starts `true` through an engine. With a deadline, so that a pidfd is asked for too."""
    start = time.perf_counter()
    try:
        state = run(["true"], engine=engine, timeout=10).state
    except (Error, OSError) as error:
        return {"error": str(error)}
    milliseconds = (time.perf_counter() - start) * 1e3
    return {"engine": state.engine, "milliseconds": f"{milliseconds:.3f}"}


def _show(found: dict[str, bool | int | str | None], engines: dict[str, dict[str, str]]) -> None:
    print("spawnkit {spawnkit}, Python {python}".format(**_versions()))
    words = {True: "yes", False: "no", None: "not asked"}
    for name, answer in found.items():
        shown = words[answer] if answer is None or isinstance(answer, bool) else str(answer)
        print(f"  {name:14} {shown:18} {_MEANING[name]}")
    print("engines, each starting `true` once:")
    for name, trial in engines.items():
        if "error" in trial:
            print(f"  {name:14} fails: {trial['error']}")
        else:
            served = "" if trial["engine"] == name else f", served by {trial['engine']}"
            print(f"  {name:14} works, {trial['milliseconds']} ms{served}")
