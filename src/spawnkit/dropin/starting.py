"""`Popen._execute_child`: a process from the parameters of Popen."""

from __future__ import annotations

import sys

from .. import _core
from ..children import end, spawn_and_settle
from ..errors import SpawnError
from . import counts, planning, standard
from .failing import as_standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from ..plan import Arg, Dir

__all__ = ["as_standard", "execute_child", "start"]

# What setreuid(2) and friends take for "leave it": the standard module then runs the program with
# our own ids.
_NO_CHANGE = 2**32 - 1


def execute_child(
    self: Any,
    args: Any,
    executable: Arg | None,
    preexec_fn: Any,
    close_fds: bool,
    pass_fds: Collection[int],
    cwd: Dir | None,
    env: Mapping[Any, Any] | None,
    startupinfo: Any,
    creationflags: int,
    shell: bool,
    p2cread: int,
    p2cwrite: int,
    c2pread: int,
    c2pwrite: int,
    errread: int,
    errwrite: int,
    restore_signals: bool,
    gid: int | None,
    gids: list[int] | None,
    uid: int | None,
    umask: int,
    start_new_session: bool,
    process_group: int = -1,  # since Python 3.11
    *more: Any,
    **named: Any,
) -> None:
    """Starts the program, by us or by the standard implementation, and closes its pipe ends."""
    reason = _beyond_us(preexec_fn, gid, gids, uid, more or named)
    if not reason:
        start(
            self,
            args,
            executable,
            shell,
            cwd,
            env,
            (p2cread, c2pwrite, errwrite),
            start_new_session,
            close_fds=close_fds,
            pass_fds=pass_fds,
            restore_signals=restore_signals,
            umask=umask,
            process_group=process_group,
        )
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
        return
    counts.note(reason)
    group = (process_group,) if sys.version_info >= (3, 11) else ()
    standard.execute_child(
        self,
        args,
        executable,
        preexec_fn,
        close_fds,
        pass_fds,
        cwd,
        env,
        startupinfo,
        creationflags,
        shell,
        p2cread,
        p2cwrite,
        c2pread,
        c2pwrite,
        errread,
        errwrite,
        restore_signals,
        gid,
        gids,
        uid,
        umask,
        start_new_session,
        *group,
        *more,
        **named,
    )
    _take_over(self)


def _beyond_us(
    preexec_fn: Any, gid: int | None, gids: list[int] | None, uid: int | None, more: object
) -> str:
    """Why our engines cannot start this one; "": they can. ValueError for ids that mean nobody."""
    for name, number in ("user", uid), ("group", gid), *[("extra_groups", n) for n in gids or ()]:
        if number == _NO_CHANGE:
            raise ValueError(f"{name}: {number} is no id, it means no change (setreuid(2))")
    if preexec_fn is not None:
        return "preexec_fn"
    if uid is not None:
        return "user"
    if gid is not None:
        return "group"
    if gids is not None:
        return "extra_groups"
    return "parameters" if more else ""


def start(
    self: Any,
    args: Any,
    executable: Arg | None,
    shell: bool,
    cwd: Dir | None,
    env: Mapping[Any, Any] | None,
    ends: planning.Ends,
    start_new_session: bool,
    **rare: Any,
) -> None:
    """Starts the program through our engine; the ends of pipes are left open.

    rare: those parameters of `planning.pack` that have a default.
    """
    args, executable = planning.command(args, executable, shell)
    sys.audit("subprocess.Popen", executable, args, cwd, env)
    plan = planning.pack(args, executable, cwd, env, ends, start_new_session, **rare)
    sys.audit("spawnkit.spawn", executable, args, cwd, env)
    counts.note()
    child = _core.new_child()
    # A Popen may be dropped before its process was waited for: nobody else closes its pidfd then.
    self._spawnkit_guard = _core.guard_child(child)
    try:
        spawn_and_settle(child, plan, planning.engine())
        self._spawnkit = child
        self.pid = child.pid
        self._child_created = True
    except SpawnError as error:
        end(child)
        raise as_standard(error, executable, cwd) from error
    except BaseException:
        end(child)
        raise


def _take_over(self: Any) -> None:
    """Waits and signals go through us also where the standard implementation made the process."""
    child = _core.new_child()
    if _core.attach(child, self.pid) == 0:
        self._spawnkit_guard = _core.guard_child(child)
        self._spawnkit = child
