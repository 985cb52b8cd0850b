"""Adds numbers, and starts a process that adds more."""

import subprocess
import sys

from tiny._sum import add


def main() -> None:
    """What the script of the package does."""
    code = "from tiny._sum import add; print(add(3, 4))"
    subprocess.run([sys.executable, "-c", code], check=True)
    print(add(1, 2))
