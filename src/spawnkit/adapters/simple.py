"""Command lines that a shell does nothing to but split them at spaces."""

from __future__ import annotations

import os
import re
from functools import lru_cache

from spawnkit import SpawnError

from .conventions import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Nothing of this is special to a shell in any place: no quotes, expansions, patterns, operators,
# comments, braces, tildes. A first word with "=" is an assignment, with "%" a job.
_LINE = re.compile(r"[\w./+-]+(?: +[\w./+,:@%=-]+)* *", re.ASCII)

# What dash or bash take for something else than a program: a built-in `echo` is not /bin/echo, and
# `cd` is no program at all.
_WORDS = """
    if then else elif fi case esac for in do done while until select function time coproc
    . alias bg bind break builtin caller cd chdir command compgen complete compopt continue declare
    dirs disown echo enable eval exec exit export false fc fg getopts hash help history jobs kill
    let local logout mapfile popd printf pushd pwd read readarray readonly return set shift shopt
    source suspend test times trap true type typeset ulimit umask unalias unset wait
"""
_SHELL_WORDS = frozenset(_WORDS.split())
_SHELLS = ("dash", "bash")

# What a shell reads before the command line, or what changes how it reads that.
_STARTUP = ("ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS")


def simple_words(line: str) -> list[str] | None:
    """The arguments of a simple command line; None for one that is the shell's."""
    if not _LINE.fullmatch(line):
        return None
    words = line.split()
    return None if words[0] in _SHELL_WORDS else words


def is_plain(shell: str, env: Mapping[str, str]) -> bool:
    """Would this shell run a simple line as it stands, in the environment as it is?

    Not where it is told to read a file first, nor where a name is none of the shell's: dash drops
    such a variable, and bash may make a function of it. Without PATH each shell has its own.
    """
    return (
        "PATH" in env
        and not any(name in env for name in _STARTUP)
        and all(name.isascii() and name.isidentifier() for name in env)
        and _is_known(shell, env["PATH"])
    )


@lru_cache
def _is_known(shell: str, path: str) -> bool:
    """Is it dash or bash? Others have more words of their own; busybox may have a program in it."""
    try:
        found = find(shell, {"PATH": path})
    except SpawnError:
        return False
    return os.path.basename(os.path.realpath(found)) in _SHELLS


def with_directory(env: Mapping[str, str]) -> dict[str, str]:
    """The environment with PWD as a shell sets it: kept where it names our directory."""
    directory = env.get("PWD", "")
    try:
        if directory[:1] == "/" and os.path.samefile(directory, "."):
            return dict(env)
    except OSError:
        pass  # it names nothing
    try:
        return {**env, "PWD": os.getcwd()}
    except OSError:
        return dict(env)  # ours was removed
