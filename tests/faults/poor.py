"""`python -m faults.poor`: the loop once more where something else is missing already.

One fault at a time does not reach the error handling of a second choice: that needs a kernel on
which the first choice is refused. And what the kernel can do is found out by the first use.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from degrade.conditions import no_pidfd

OURS = ("vfork", "vfork-waiting", "fork")


@dataclass(frozen=True)
class Poor:
    """A condition, and which uses meet it."""

    name: str
    uses: tuple[str, ...]
    engines: tuple[str, ...] = (*OURS, "posix_spawn")
    deny: str = ""
    first: bool = False

    def command(self) -> list[str]:
        """The loop's."""
        options = [f"--use={use}" for use in self.uses]
        options += [f"--engine={engine}" for engine in self.engines]
        if self.deny:
            options.append(f"--deny={self.deny}")
        if self.first:
            options.append("--first")
        return [sys.executable, "-m", "faults.loop", *options]


POOR = (
    Poor("the first use in a process", ("plain", "captured", "attributes"), first=True),
    Poor("no clone3", ("plain", "attributes", "process"), OURS, "clone3:ENOSYS"),
    Poor(
        "no pidfd",
        ("plain", "process", "timed_out", "cancelled", "background", "found"),
        deny=no_pidfd(),
    ),
    Poor(
        "no shared memory, first use",
        ("plain", "process", "timed"),
        ("vfork",),
        "clone3:ENOSYS,clone[0&0x10100=0x100]:EPERM",
        first=True,
    ),
    Poor("no close_range", ("descriptors", "attributes"), deny="close_range:ENOSYS"),
)


def main() -> int:
    """The command; 1 where something was wrong."""
    wrong = 0
    for poor in POOR:
        print(f"==> {poor.name}", flush=True)
        wrong |= subprocess.run(poor.command()).returncode
    return wrong


if __name__ == "__main__":
    sys.exit(main())
