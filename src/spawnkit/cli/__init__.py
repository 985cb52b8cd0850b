"""The command line: one module per command, each with `add` (its parser) and `main` (its work)."""

from __future__ import annotations

import argparse
import os
import sys

from .. import __version__
from . import doctor, run

_COMMANDS = {"run": run, "doctor": doctor}


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="spawnkit",
        description="Starts processes: fast, exact, safe.",
        epilog="`spawnkit COMMAND --help` tells the rest.",
    )
    top.add_argument("--version", action="version", version=f"spawnkit {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        module.add(commands, name).set_defaults(main=module.main)
    return top


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.main(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has had enough. Nothing may be flushed at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        print(f"spawnkit: {error}", file=sys.stderr)
        return 125
