"""The standard module's own methods, kept from the moment the drop-in was loaded.

After `install` the class has ours in their place, which end here for whatever they leave to them.
"""

from __future__ import annotations

import os
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# Untyped: most of them are private, and their parameters differ from version to version.
METHODS: dict[str, Any] = dict(vars(subprocess.Popen))

init = METHODS["__init__"]
get_handles = METHODS["_get_handles"]
execute_child = METHODS["_execute_child"]
internal_poll = METHODS["_internal_poll"]
wait = METHODS["_wait"]
communicate = METHODS["_communicate"]
public_communicate = METHODS["communicate"]
send_signal = METHODS["send_signal"]

run = subprocess.run

# How long `wait` and `run` leave a child to itself after a Ctrl-C that it has had too.
INTERRUPT_GRACE = 0.25


def uses_vfork() -> bool:
    """The standard module's documented switch: `subprocess._USE_VFORK = False`."""
    return getattr(subprocess, "_USE_VFORK", True) is not False


def spawns_posix(executable: Any, close_fds: bool) -> bool:
    """Would the standard module go by os.posix_spawn, as far as it depends on these parameters?

    From Python 3.13 on it does so for most paths, before that where nothing is to be closed.
    """
    return (
        getattr(subprocess, "_USE_POSIX_SPAWN", False)
        and (not close_fds or getattr(subprocess, "_HAVE_POSIX_SPAWN_CLOSEFROM", False))
        and bool(os.path.dirname(executable))
    )
