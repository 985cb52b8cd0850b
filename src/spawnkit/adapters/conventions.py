"""What the hooks expect: a command as `subprocess.Popen` takes it, and what comes back."""

from __future__ import annotations

import os
import subprocess

import spawnkit
from spawnkit.dropin.failing import as_standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_STREAMS = {
    subprocess.PIPE: spawnkit.PIPE,
    subprocess.STDOUT: spawnkit.STDOUT,
    subprocess.DEVNULL: spawnkit.DEVNULL,
}


def stream(given: Any) -> Any:
    """A `stdin=`, `stdout=` or `stderr=` of Popen as spawnkit has it."""
    return _STREAMS.get(given, given) if isinstance(given, int) else given


def find(name: Any, env: Mapping[Any, Any] | None) -> str:
    """Where Popen finds a program: on the PATH of the environment that it is given.

    env: None: ours. A hit in a relative directory of PATH counts, as it does there. Raises
    SpawnError where there is none.
    """
    if b"/" in os.fsencode(name):
        return os.fsdecode(name)  # execve tells what is wrong with it
    try:
        return spawnkit.look_path(name, path=os.pathsep.join(os.get_exec_path(env)))
    except spawnkit.DotError as error:
        return error.path


def attempt(args: Sequence[Any], env: Mapping[Any, Any] | None, **options: Any) -> spawnkit.Result:
    """Runs a command whatever its status; raises as `spawnkit.run`.

    env: all of it; None: ours. options: of `spawnkit.run`.
    """
    # Not None: PWD would follow the command's directory, and these tools leave it as it is.
    variables = os.environ if env is None else env
    return spawnkit.run(args, path=find(args[0], env), env=variables, check=False, **options)


def run(args: Sequence[Any], env: Mapping[Any, Any] | None, **options: Any) -> spawnkit.Result:
    """The same, but what keeps a program from running is the exception that Popen raises."""
    try:
        return attempt(args, env, **options)
    except spawnkit.SpawnError as error:
        raise as_standard(error, args[0], options.get("dir")) from error


def returncode(state: spawnkit.ProcessState) -> int:
    """Popen's: the code it exited with, or the negative number of the signal that ended it."""
    return state.exit_code if state.signal is None else -state.signal
