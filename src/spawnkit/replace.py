"""execute: the program that takes the place of this one. Go's `syscall.Exec`."""

from __future__ import annotations

import sys

from . import _core
from .environment import resolve
from .lookpath import find_program
from .plan import pack_execute
from .prepare import what_to_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from .plan import Arg, Environment, File

__all__ = ["execute"]


def execute(
    args: Sequence[Arg],
    *,
    path: Arg | None = None,
    env: Environment | None = None,
    exec_fd: File | None = None,
) -> NoReturn:
    """Replaces the calling program; returns only by raising.

    args: a list or tuple: the program's name and its arguments. Without `path` and `exec_fd` the
        name is searched for as by `run`.
    path: the program, taken literally; None: args[0] says which.
    env: its whole environment as a mapping, or an `Env`; None: ours.
    exec_fd: a descriptor or file object: the program itself (execveat(2)), also one that has no
        name any more. None: by path. A "#!" script is opened again by its interpreter (fexecve(3))
        and so keeps the descriptor; any other program only if it is not close-on-exec.

    What stays: the process id, the parent, the children (which the new program has to wait for),
    the directory, umask and limits, and every descriptor that is not close-on-exec. Python opens
    all its files close-on-exec, except 0, 1 and 2.

    What is lost: all threads, at once and wherever they are; what atexit, `finally` and `with`
    would have done; the buffers of files. sys.stdout and sys.stderr are flushed first.

    Signals: SIGPIPE and SIGXFSZ, which Python ignores, are default again, and nothing is blocked;
    handlers become default, what else is ignored stays so. Those two are discarded if they are
    pending. Another thread that writes to a broken pipe between that and the exec ends the process.

    If the program cannot run, signals and descriptors are as they were, also when several threads
    have tried, and SpawnError is raised as by `run`. Raises ValueError and TypeError for bad input,
    OSError if a stream cannot be flushed.
    Audit event: "spawnkit.execute" with the program (for exec_fd, its number), args, env.
    """
    argv, program, fd = what_to_run(args, path, exec_fd)
    variables = resolve(env, None)
    if fd is None and path is None and b"/" not in program:
        program = find_program(program)
    sys.audit("spawnkit.execute", program if fd is None else fd, args, env)
    plan = pack_execute(program, argv, len(args), variables, fd)
    for stream in (sys.stdout, sys.stderr):
        # None without a console; closed, or replaced by whatever has a write() only.
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()
    raise _core.execute(plan)
