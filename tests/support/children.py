"""The helper children of tests/children/: compiled once per run, found by name, read back."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = Path(__file__).parent.parent / "children"
FLAGS = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion"]


def compile_helper(name: str, target: Path, *flags: str) -> None:
    """RuntimeError with what the compiler says."""
    done = subprocess.run(
        ["cc", *FLAGS, *flags, "-o", str(target), str(SOURCES / f"{name}.c")],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{name}.c does not compile:\n{done.stderr}")


class Children:
    """Compiled helpers by name, and which of them a test asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.used: set[str] = set()
        for source in sorted(SOURCES.glob("*.c")):
            compile_helper(source.stem, directory / source.stem)
        # For a process that is already running: the same filter; allocations that fail.
        for name in "deny", "failing":
            compile_helper(name, directory / f"{name}.so", "-shared", "-fPIC")

    def __call__(self, name: str) -> str:
        path = self.directory / name
        if not path.exists():
            raise LookupError(f"no helper is called {name!r}")
        self.used.add(path.stem)
        return str(path)

    def unused(self) -> set[str]:
        return {source.stem for source in SOURCES.glob("*.c")} - self.used


def ends(pid: int, within: float) -> bool:
    """Whether a child of ours ends by itself; nobody has to reap it for that, but anybody may."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return True
        except ChildProcessError:
            return True
        time.sleep(0.001)
    return False


@dataclass(frozen=True)
class Descriptor:
    """One open descriptor, as the child saw it."""

    flags: int  # F_GETFD
    status: int  # F_GETFL
    mode: int
    device: int
    inode: int
    rdev: int

    @property
    def file(self) -> tuple[int, int]:
        return self.device, self.inode


@dataclass
class Report:
    """What `report` wrote about itself."""

    numbers: dict[str, int] = field(default_factory=dict)
    cwd: bytes = b""
    argv: list[bytes] = field(default_factory=list)
    env: list[bytes] = field(default_factory=list)
    fds: dict[int, Descriptor] = field(default_factory=dict)
    mask: set[int] = field(default_factory=set)
    ignored: set[int] = field(default_factory=set)
    caught: set[int] = field(default_factory=set)
    rlimits: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]


def signals_of(bits: int) -> set[int]:
    return {signal for signal in range(1, 65) if bits >> (signal - 1) & 1}


def parse_report(text: str | bytes | Path) -> Report:
    """Read the lines of `report`, from the text itself or from the file it wrote."""
    if isinstance(text, Path):
        text = text.read_text()
    if isinstance(text, bytes):
        text = text.decode()
    report = Report()
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "cwd":
            report.cwd = bytes.fromhex(value)
        elif key == "arg":
            report.argv.append(bytes.fromhex(value))
        elif key == "env":
            report.env.append(bytes.fromhex(value))
        elif key == "fd":
            number, *rest = map(int, value.split())
            report.fds[number] = Descriptor(*rest)
        elif key in ("mask", "ignored", "caught"):
            setattr(report, key, signals_of(int(value, 16)))
        elif key == "rlimit":
            resource, soft, hard = map(int, value.split())
            report.rlimits[resource] = soft, hard
        else:
            report.numbers[key] = int(value)
    return report
