"""One side of the demo, in an interpreter of its own: `python -m bench.demo_side NAME`.

Reads lines of JSON, each the argument lists of a chunk; answers each with a line of JSON; at the
end of its input prints its peak memory in bytes. It loads nothing that is not needed, above all not
the other side's library: the memory it reports is what its own way costs.
"""

from __future__ import annotations

import json
import resource
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias, TypedDict

    Triple: TypeAlias = tuple[int, str, str]
    """Status, stdout, stderr; the bytes as latin-1, which JSON carries unchanged."""

    class Answer(TypedDict):
        seconds: float
        cpu: float
        results: list[Triple]


def _cpu() -> float:
    """Processor seconds of this process and of all the children it has waited for."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def _peak() -> int:
    """Bytes. Not ru_maxrss: a process inherits that figure through exec from the one that started
    it, so both sides would show the demo's own."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _way(name: str) -> Callable[[list[str]], tuple[int, bytes, bytes]]:
    if name == "spawnkit":
        import spawnkit

        def through_spawnkit(args: list[str]) -> tuple[int, bytes, bytes]:
            result = spawnkit.run(args, capture=True, check=False)
            return result.state.exit_code, result.stdout or b"", result.stderr or b""

        return through_spawnkit

    import subprocess

    def through_subprocess(args: list[str]) -> tuple[int, bytes, bytes]:
        result = subprocess.run(args, capture_output=True, check=False)
        return result.returncode, result.stdout, result.stderr

    return through_subprocess


def main() -> int:
    run = _way(sys.argv[1])
    for line in sys.stdin:
        commands: list[list[str]] = json.loads(line)
        cpu = _cpu()
        start = time.perf_counter()
        raw = [run(command) for command in commands]
        seconds = time.perf_counter() - start
        cpu = _cpu() - cpu
        results = [(code, out.decode("latin-1"), err.decode("latin-1")) for code, out, err in raw]
        answer: Answer = {"seconds": seconds, "cpu": cpu, "results": results}
        print(json.dumps(answer), flush=True)
    print(_peak(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
