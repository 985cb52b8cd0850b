"""`spawnkit py ARGS`: Python with `install` in force.

The interpreter that runs us is replaced by a new one, with its own options and the program's. So
whatever the program can see of `__main__`, tracebacks, exit, prompts, is Python's own doing. What
installs is a `sitecustomize` of ours (dropin/site).
"""

from __future__ import annotations

import argparse
import os
import sys

from .output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from collections.abc import Sequence

_EPILOG = """\
ARGS are Python's: options, then -m MODULE, -c CODE, a script, a directory, a zip file, or - for
stdin. What is written, raised and returned is as from `python ARGS`. Options of the Python that
runs spawnkit come first: `python -O -m spawnkit py x.py` is `python -O x.py`.

With -I and -E Python reads no PYTHONPATH, with -S it imports no sitecustomize, and these are our
way in: `py` refuses them. With --children a Python started with one of them, or one that has no
spawnkit, runs as it would without.

examples:
  spawnkit py -m pytest
  spawnkit py --children --stats=spawns.json -m build
"""

_OURS = ("--children", "--stats", "--help", "-h")

# There is no other way in that the program could not see: a -c of ours would be its __main__.
_NO_PATH = "Python reads no PYTHONPATH, which is our way in; call spawnkit.install() in the program"
_REFUSED = {
    "I": _NO_PATH,
    "E": _NO_PATH,
    "S": "Python imports no site, and no sitecustomize, which is our way in",
}


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is for our parser, and from the first that is not ours on, Python's."""
    if list(argv[:1]) != ["py"]:
        return list(argv), []
    count = 1
    while count < len(argv) and (argv[count] in _OURS or argv[count].startswith("--stats=")):
        count += 1
    return list(argv[:count]), list(argv[count:])


def add(commands: _SubParsersAction[argparse.ArgumentParser], name: str) -> argparse.ArgumentParser:
    """The parser of `py`."""
    parser = commands.add_parser(
        name,
        help="run a Python program whose subprocess is ours",
        usage="spawnkit py [--children] [--stats[=FILE]] [ARGS ...]",
        description="Runs a Python program with spawnkit.install() in force.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--children", action="store_true", help="the Pythons it starts too")
    parser.add_argument(
        "--stats",
        nargs="?",
        const="-",
        default="",
        metavar="FILE",
        help="at exit, who started how many processes, on stderr; with =FILE each process appends "
        "a line of JSON to it",
    )
    return parser


def main(arguments: argparse.Namespace) -> int:  # noqa: RET503 - execve does not return
    """Replaces this process; returns only if that cannot be."""
    argv = [*_own_options(), *arguments.python]
    letter = _keeps_out(argv)
    if letter:
        say(f"spawnkit: py: with -{letter} {_REFUSED[letter]}")
        return 125
    if not sys.executable:
        say("spawnkit: py: it is not known which Python this is (sys.executable is empty)")
        return 125
    report = arguments.stats
    if report not in ("", "-"):
        report = os.path.abspath(report)
        with open(report, "ab"):
            pass  # where it cannot be written, now is the time to say so
    here = os.path.join(os.path.dirname(os.path.dirname(__file__)), "dropin", "site")
    here = os.path.abspath(here)
    path = os.environ.get("PYTHONPATH")
    others = [part for part in path.split(os.pathsep) if part != here] if path else []
    # Behind ours an empty one cannot be seen, and an entry "" would be the current directory.
    is_empty = "1" * (path == "")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([here, *others]),
        "SPAWNKIT_PY": "\n".join(
            (str(os.getpid()), "1" * arguments.children, is_empty, sys.prefix, report)
        ),
    }
    for stream in sys.stdout, sys.stderr:
        if stream is not None:
            stream.flush()
    os.execve(sys.executable, [sys.executable, *argv], environment)


def _own_options() -> list[str]:
    """The options of the Python that runs us: its command line without us and our arguments."""
    options = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    if options[-1:] == ["spawnkit"] and len(options) > 1:
        options.pop()  # -m spawnkit, -Im spawnkit
        flag = options.pop()[:-1]
    elif options and options[-1].endswith("mspawnkit"):
        flag = options.pop()[: -len("mspawnkit")]
    else:
        flag = ""
        options = options[:-1]  # the script that pip installs
    return [*options, flag] if flag not in ("", "-") else options


def _keeps_out(argv: Sequence[str]) -> str:
    """The letter of the option with which Python reads no PYTHONPATH or no sitecustomize, or ""."""
    if sys.flags.isolated:
        return "I"
    words = iter(argv)
    for word in words:
        if word == "-" or word[:1] != "-":
            break
        if word[:2] == "--":
            if word == "--check-hash-based-pycs":
                next(words, None)
            continue
        for place, letter in enumerate(word[1:], 2):
            if letter in _REFUSED:
                return letter
            if letter in "cm":
                return ""
            if letter in "WX":
                if place == len(word):
                    next(words, None)
                break
    return ""
