"""The C programs of the soak, compiled into build/soak/; what is newer than its source stays."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent.parent / "build" / "soak"

WARNINGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
FLAGS = {
    # One mapping for the whole program; nothing that wants a C library.
    "ledger": ["-nostdlib", "-static", "-no-pie", "-fno-stack-protector", "-fcf-protection=none",
               "-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-Wl,-z,noexecstack"],
    "watch": ["-shared", "-fPIC"],
    "cancel": ["-shared", "-fPIC", "-pthread"],
}  # fmt: skip


def program(name: str) -> str:
    """The path of one, compiled."""
    source, target = HERE / f"{name}.c", OUTPUT / name
    inputs = [source, Path(__file__)]
    if target.exists() and target.stat().st_mtime > max(i.stat().st_mtime for i in inputs):
        return str(target)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    # A new file takes the old one's name: writing into a program that runs is ETXTBSY.
    fresh = OUTPUT / f"{name}.{os.getpid()}"
    flags = [flag for flag in FLAGS.get(name, []) if not _is_foreign(flag)]
    command = [*shlex.split(os.environ.get("CC", "cc")), *WARNINGS, *flags]
    subprocess.run([*command, "-o", str(fresh), str(source)], check=True)
    fresh.replace(target)
    return str(target)


def _is_foreign(flag: str) -> bool:
    return flag.startswith("-fcf-protection") and os.uname().machine != "x86_64"
