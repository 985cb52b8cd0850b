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
    current directory must not run in the place of a program. A match that may not be executed is
    remembered and named if nothing better follows.
    """
    if not name:
        raise ValueError("args[0]: empty program name")
    if b"/" in name:
        return name
    denied = None
    if name not in (b".", b".."):
        for directory in os.environb.get(b"PATH", _DEFAULT_PATH.encode()).split(b":"):
            if directory[:1] != b"/":
                continue
            path = os.path.join(directory, name)
            if os.access(path, os.X_OK):
                if not os.path.isdir(path):
                    return path
            elif denied is None and os.path.isfile(path):
                denied = path
    if denied is not None:
        shown = os.fsdecode(denied)
        raise spawn_error(errno.EACCES, "lookpath", f"program {shown!r}", shown)
    shown = os.fsdecode(name)
    raise spawn_error(errno.ENOENT, "lookpath", f"program {shown!r} on PATH", shown)
