"""What runs in an isolated interpreter: take the job, run its one function, send the outcome.

`python inside.py JOB`, where JOB is a JSON file. The function arrives as source text, so it may use
nothing but its arguments, its own imports, and `note` and `hear` from this module.
"""

from __future__ import annotations
import __future__

import ctypes
import json
import os
import resource
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

# Far above what the tests fill, close and list, if there is room.
CHANNEL = min(900, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1)

_incoming = b""


def _send(**message: Any) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(CHANNEL, data) :]


def note(value: Any) -> None:
    """Tell the test something while the function is still running."""
    _send(note=value)


def hear() -> Any:
    """Wait for the next word of the test."""
    global _incoming
    while b"\n" not in _incoming:
        data = os.read(CHANNEL, 65536)
        if not data:
            raise EOFError("the test has gone")
        _incoming += data
    line, _incoming = _incoming.split(b"\n", 1)
    return json.loads(line)


def install(rules: str, library: str) -> None:
    """Put the rules of `deny` on this process; a listener goes to the test, which answers it."""
    lib = ctypes.CDLL(library, use_errno=True)
    listener = lib.deny_install(rules.encode())
    if listener < 0:
        raise OSError(ctypes.get_errno(), f"seccomp filter {rules!r}")
    if listener > 0:
        channel = socket.socket(fileno=os.dup(CHANNEL))
        socket.send_fds(channel, [b"L"], [listener])
        channel.close()
        os.close(listener)


def _function(job: dict[str, Any]) -> Any:
    names: dict[str, Any] = {"__name__": "isolated"}
    # Annotations stay text: what they name was not imported here.
    flags = __future__.annotations.compiler_flag
    exec(compile(job["source"], job["file"], "exec", flags, dont_inherit=True), names)
    return names[job["function"]]


def _run(job: dict[str, Any]) -> dict[str, Any]:
    from support import oracle

    def watched(function: Any, *arguments: Any) -> Any:
        """Call it; what it leaves behind is told with the result."""
        if not job["oracle"]:
            return function(*arguments)
        before = oracle.snapshot()
        result = function(*arguments)
        leaks.extend(oracle.leaks_since(before))
        return result

    leaks: list[str] = []
    oracle.prepare()
    if job["deny"]:
        install(job["deny"], job["library"])
    if job["warm"]:
        # Watched on its own: what the first spawn spoils, the ones after it cannot spoil again.
        watched(_first_spawn)
    if job["home"]:
        _first_from_home()
    if job["later"]:
        install(job["later"], job["library"])
    return {"result": watched(_function(job), *job["arguments"]), "leaks": leaks}


def _first_spawn() -> None:
    import spawnkit

    spawnkit.run(["/bin/true"], capture=True)


def _first_from_home() -> None:
    import spawnkit
    from support.workers import in_a_thread

    attr = spawnkit.SysProcAttr(die_with_parent=True)
    in_a_thread(lambda: spawnkit.run(["/bin/true"], attr=attr))


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    os.dup2(job["channel"], CHANNEL, inheritable=False)
    os.close(job["channel"])
    sys.modules["support.inside"] = sys.modules["__main__"]
    try:
        outcome = _run(job)
    except BaseException:
        outcome = {"error": traceback.format_exc()}
    _send(**outcome)


if __name__ == "__main__":
    main()
