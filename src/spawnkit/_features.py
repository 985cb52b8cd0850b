"""What this machine lets spawnkit do, asked and shown."""

from __future__ import annotations

import os
import platform

from . import _core

__all__ = ["features"]


def features() -> dict[str, bool | int | str | None]:
    """What the kernel offers and what spawnkit makes of it: what `spawnkit doctor` prints.

    True and False are answers, None is "not asked": a question that needs a child is answered by
    the first real spawn, which this does not do for you. `status_stolen` counts the exit statuses
    that somebody else's wait took away so far.
    """
    found: dict[str, bool | int | str | None] = {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "libc": os.confstr("CS_GNU_LIBC_VERSION") or "not glibc",
    }
    for name, answer in _core.features().items():
        if name == "status_stolen":
            found[name] = answer
        else:
            found[name] = None if answer < 0 else bool(answer)
    return found
