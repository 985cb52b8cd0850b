"""waf: its commands run through spawnkit. In wscript, outside any function:

    from spawnkit.adapters import waf
    waf.use()

What changes: how the processes are made. There are no `-j` Python processes that wait to start
commands (waf's pre-forked workers). A program that cannot run is said in one line, not in a
worker's traceback. After a timeout only what is in the pipes is read, so a descendant in another
session that holds one does not hold up the build. A command with a timeout has the variable
SPAWNKIT_RUN. A status that was taken by another wait is recovered, or StatusLost is raised.

What does not: exit codes, -n after signal n, outputs, environment, directory. stdin is /dev/null
where both outputs are captured, as in waf's workers. At a timeout the process group is killed where
the command has a session of its own, which waf sees to. Commands without one stay in our process
group: Ctrl-C at the terminal reaches them.

Other keyword arguments than those waf itself uses (`preexec_fn`, `encoding`, `close_fds=False`, …),
and a PATH with relative directories, go waf's own way (`Utils.run_regular_process`). Tools of waf
that use `subprocess` by themselves (waf_unit_test, doxygen) do not come through this hook.

Follows waflib/Utils.py of waf 2.1.4. waf is imported when it is used, not by the import of this.
"""

from __future__ import annotations

import os
import subprocess
from functools import partial

from spawnkit import PIPE, SysProcAttr, TimeoutExpired

from .conventions import returncode, run, stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["run_process", "use"]

_EXPRESSED = {"stdin", "stdout", "stderr", "cwd", "env", "shell", "start_new_session", "close_fds"}


def use() -> None:
    """Rebinds `waflib.Utils.run_process`; needs waf, of course."""
    from waflib import Utils

    Utils.run_process = run_process
    # As under WAF_NO_PREFORK: nobody would use the workers.
    Utils.get_process = Utils.alloc_process_pool = Utils.nada


def run_process(
    cmd: str | Sequence[str], kwargs: dict[str, Any], cargs: dict[str, Any] | None = None
) -> tuple[int, bytes | None, bytes | None]:
    """waf's `Utils.run_process`: (exit code or -n for signal n, stdout, stderr).

    cmd, kwargs: what Popen would get. cargs: `timeout` in seconds, `input` in bytes. An output is
    None where it was not captured. Raises subprocess.TimeoutExpired, with the outputs so far, when
    the command was killed for its timeout; OSError where it cannot run.
    """
    cargs = {} if cargs is None else cargs
    command = _command(cmd, kwargs, cargs)
    if command is None:
        from waflib import Utils

        outcome: tuple[int, bytes | None, bytes | None]
        outcome = Utils.run_regular_process(cmd, kwargs, cargs)
        return outcome
    try:
        result = command()
    except TimeoutExpired as error:
        raise subprocess.TimeoutExpired(
            cmd, cargs["timeout"], output=error.stdout, stderr=error.stderr
        ) from error
    return returncode(result.state), result.stdout, result.stderr


def _command(
    cmd: str | Sequence[str], kwargs: dict[str, Any], cargs: dict[str, Any]
) -> partial[Any] | None:
    """What to call; None for what is not to be done here."""
    env = kwargs.get("env")
    stdin, stdout, stderr = (stream(kwargs.get(name)) for name in ("stdin", "stdout", "stderr"))
    fed = stdin is PIPE
    if (
        kwargs.keys() - _EXPRESSED
        or cargs.keys() - {"timeout", "input"}
        or not kwargs.get("close_fds", True)
        or not all(map(os.path.isabs, os.get_exec_path(env or None)))
        or ("input" in cargs and not fed)
        or (fed and not (stdout or stderr))  # nobody would write to it, nor close it
    ):
        return None
    if stdout and stderr and "stdin" not in kwargs:
        stdin, env = stream(subprocess.DEVNULL), env or None
    args = [cmd] if isinstance(cmd, (str, bytes, os.PathLike)) else list(cmd)
    if kwargs.get("shell"):
        args = ["/bin/sh", "-c", *args]
    own = bool(kwargs.get("start_new_session"))
    timeout = cargs.get("timeout")
    return partial(
        run,
        args,
        env,
        dir=kwargs.get("cwd"),
        stdin=None if fed else stdin,
        input=(cargs.get("input") or b"") if fed else None,
        stdout=stdout,
        stderr=stderr,
        attr=SysProcAttr(setsid=True) if own else None,
        timeout=timeout,
        kill="group" if own and timeout is not None else None,
    )
