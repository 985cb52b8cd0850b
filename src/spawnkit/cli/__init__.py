"""The command line: one module per command, each with `add` (its parser) and `main` (its work)."""

from __future__ import annotations

import argparse
import sys

from .. import __version__
from . import doctor, py, run
from .output import finish, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_COMMANDS = {"run": run, "py": py, "doctor": doctor}


class _Parser(argparse.ArgumentParser):
    """Exits with 125, spawnkit's own failures, and takes no option by its beginning alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        hint = ""
        if "unrecognized arguments" in message:
            hint = " (the command and its own options come after --)"
        say(f"{self.format_usage()}spawnkit: {message}{hint}")
        raise SystemExit(125)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = _Parser(
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
    argv, python = py.split(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(argv, argparse.Namespace(python=python))
    try:
        code: int = arguments.main(arguments)
    except KeyboardInterrupt:
        code = 130  # 128 + SIGINT
    except BrokenPipeError:
        code = 0  # whoever read our output has had enough
    except OSError as error:
        say(f"spawnkit: {error}")
        code = 125
    return code or finish()
