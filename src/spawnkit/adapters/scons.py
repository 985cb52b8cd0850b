"""SCons: its commands run through spawnkit. In SConstruct:

    from spawnkit.adapters import scons
    env = Environment(SPAWN=scons.spawn, PSPAWN=scons.pspawn)

or `scons.use(env)` for an environment that is there already (`DefaultEnvironment()`).

What changes: how the processes are made. A status that was taken by another wait is recovered, or
StatusLost is raised, where `Popen.wait` makes a 0 of it. A variable without a name in `env['ENV']`
is refused.

What does not: each command line goes to `$SHELL -c`, found on the PATH of `env['ENV']`, which is
the whole environment; exit codes, -n after signal n, messages, and nothing is built again. The
commands stay in our process group: Ctrl-C at the terminal reaches them, and SCons ends as it does.
`env.Command` with a Python function, and what tools run to find out a version
(`SCons.Action.scons_subproc_run`), do not come through these hooks.

`scons.use(env, direct=True)` runs a command line without the shell where that would do no more than
split it at spaces: the shell is dash or bash, there are no quotes, `$`, `*`, `;`, `>` or the like,
no built-in command, nothing that is read first. What cannot be run so goes to the shell, which says
what it always says. Such a program does not have the variables `_`, `SHLVL` and `OLDPWD`, which
bash sets; it has PWD. Of one that signal n ended the code is -n, as with bash, which the last
command replaces; dash waits for it, writes a word like "Killed", and makes 128 + n of it.

Follows SCons/Platform/posix.py of SCons 4.11. Nothing of SCons is imported.
"""

from __future__ import annotations

from spawnkit import SpawnError

from .conventions import attempt, returncode, run, stream
from .simple import is_plain, simple_words, with_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence
    from typing import Any

__all__ = ["direct_pspawn", "direct_spawn", "pspawn", "spawn", "use"]


def use(env: MutableMapping[str, Any], *, direct: bool = False) -> None:
    """Sets SPAWN and PSPAWN of a construction environment; its clones have them too.

    direct: run simple command lines without the shell.
    """
    env["SPAWN"] = direct_spawn if direct else spawn
    env["PSPAWN"] = direct_pspawn if direct else pspawn


def spawn(
    sh: str, escape: Callable[[str], str], cmd: str, args: Sequence[str], env: dict[str, str]
) -> int:
    """SCons' `env['SPAWN']`: runs a command line, and returns its exit code, or -n for signal n.

    sh: the shell. args: the words of the command line, quoted already. env: the environment, all of
    it. escape, cmd: not used, as on any POSIX system. Raises OSError where the shell cannot run.
    """
    return pspawn(sh, escape, cmd, args, env, None, None)


def pspawn(
    sh: str,
    escape: Callable[[str], str],
    cmd: str,
    args: Sequence[str],
    env: dict[str, str],
    stdout: Any,
    stderr: Any,
) -> int:
    """SCons' `env['PSPAWN']`, for the checks of Configure: the same with its outputs to files.

    stdout, stderr: as of Popen; None: ours.
    """
    line = [sh, "-c", " ".join(args)]
    return returncode(run(line, env, stdout=stream(stdout), stderr=stream(stderr)).state)


def direct_spawn(
    sh: str, escape: Callable[[str], str], cmd: str, args: Sequence[str], env: dict[str, str]
) -> int:
    """`spawn`, but simple command lines without the shell."""
    return direct_pspawn(sh, escape, cmd, args, env, None, None)


def direct_pspawn(
    sh: str,
    escape: Callable[[str], str],
    cmd: str,
    args: Sequence[str],
    env: dict[str, str],
    stdout: Any,
    stderr: Any,
) -> int:
    """`pspawn`, but simple command lines without the shell."""
    words = simple_words(" ".join(args))
    if words is not None and is_plain(sh, env):
        streams = {"stdout": stream(stdout), "stderr": stream(stderr)}
        try:
            return returncode(attempt(words, with_directory(env), **streams).state)
        except SpawnError:
            pass  # it never ran: a script without "#!", a program that is not there
    return pspawn(sh, escape, cmd, args, env, stdout, stderr)
