"""Finding a program by its name, as a shell would, but never in the current directory."""

from __future__ import annotations

import errno
import os

from .errors import spawn_error

_DEFAULT_PATH = "/bin:/usr/bin"  # execvp(3), where PATH is not set


def find_program(name: bytes) -> bytes:
    """The program that `name` stands for; raises SpawnError when there is none.

    A name with a slash is taken literally. Any other is looked for in the directories of our own
    PATH, not the child's. Empty and relative elements are passed over: a file somebody left in the
    current directory must not run in the place of a program. The first match that cannot run is
    named if nothing better follows.
    """
    if not name:
        raise ValueError("args[0]: empty program name")
    if b"/" in name:
        return name
    worst = None  # the first failure that says more than "not here"
    if name not in (b".", b".."):
        for directory in os.environb.get(b"PATH", _DEFAULT_PATH.encode()).split(b":"):
            if directory[:1] != b"/":
                continue
            path = os.path.join(directory, name)
            error = _why_not(path)
            if error is None:
                return path
            if worst is None and error not in _NOT_HERE:
                worst = error, os.fsdecode(path)
    if worst is not None:
        raise spawn_error(worst[0], "lookpath", f"program {worst[1]!r}", worst[1])
    shown = os.fsdecode(name)
    raise spawn_error(errno.ENOENT, "lookpath", f"program {shown!r} on PATH", shown)


_NOT_HERE = (errno.ENOENT, errno.ENOTDIR)


def _why_not(path: bytes) -> int | None:
    """The errno that execve would give for a path, as far as can be told; None: it may run."""
    # By the effective ids, as execve asks; access(2) by itself goes by the real ones.
    if os.access(path, os.X_OK, effective_ids=True) and not os.path.isdir(path):
        return None
    try:
        os.stat(path)
    except OSError as error:
        return error.errno
    return errno.EACCES
