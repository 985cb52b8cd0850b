"""Under which cgroups a new one is made, for which controllers, and why that cannot be."""

from __future__ import annotations

import errno
import os

from . import _core
from .cgroup_tree import own_cgroups, read
from .errors import SpawnError, spawn_error

UNIFIED, FREEZER = "unified", "freezer"  # what processes are found and killed by

_DELEGATE = (
    "give parent= a cgroup that is delegated to us and has no processes of its own, as below "
    "`systemd-run --user --scope -p Delegate=yes`"
)


def find_homes(controllers: list[str], parent: str | None) -> dict[str, str]:
    """By UNIFIED or FREEZER, and by controller: the directory in which to make a cgroup.

    parent: of version 2; what is wanted there and not enabled is, for good. None: our own cgroups,
    of which nothing is changed; a controller of version 1 serves where version 2 has it not.
    """
    try:
        unified, old = own_cgroups() if parent is None else (parent, {})
    except OSError as error:
        raise failure(error, "our own cgroup") from None
    if parent is not None and read(parent, "cgroup.subtree_control") is None:
        raise ValueError(f"parent: {parent!r} is no directory of a cgroup of version 2")
    if unified is not None:
        homes = {UNIFIED: unified}
    elif FREEZER in old:
        homes = {FREEZER: old[FREEZER]}
    else:
        hint = "neither version 2 nor the freezer of version 1 is mounted"
        raise spawn_error(errno.ENOENT, "cgroup", "our own cgroup", hint=hint)
    for controller in controllers:
        if unified is not None and _has(unified, "cgroup.subtree_control", controller):
            homes[controller] = unified
        elif controller in old:
            homes[controller] = old[controller]
        elif parent is not None:
            _enable(parent, controller)
            homes[controller] = parent
        else:
            raise _not_enabled(controller, unified)
    return homes


def failure(error: OSError, item: str, hint: str = "") -> SpawnError:
    """What a system call said about one of a cgroup's files."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = f"not ours to write: {_DELEGATE}"
    path = error.filename
    return spawn_error(error.errno or 0, "cgroup", f"{item} {path!r}", path, hint=hint)


def _has(directory: str, name: str, word: str) -> bool:
    return word in (read(directory, name) or "").split()


def _enable(parent: str, controller: str) -> None:
    file = f"{parent}/cgroup.subtree_control"
    result = _core.write_file(file, f"+{controller}")
    if result == 0:
        return
    hint = ""
    if result == -errno.EBUSY:
        hint = "it has processes of its own: move them into a cgroup below it"
    elif not _has(parent, "cgroup.controllers", controller):
        hint = f"it has no {controller} to give: see its cgroup.controllers"
    error = OSError(-result, os.strerror(-result), file)
    raise failure(error, f"cgroup controller {controller!r}:", hint)


def _not_enabled(controller: str, unified: str | None) -> SpawnError:
    # The errno is what the kernel would say of the file that sets the limit.
    item = f"cgroup controller {controller!r}"
    if unified is None:
        hint = "no hierarchy that has it is mounted"
        return spawn_error(errno.ENOENT, "cgroup", item, hint=hint)
    file = f"{unified}/cgroup.subtree_control"
    hint = f"not in {file}: {_DELEGATE}"
    return spawn_error(errno.ENOENT, "cgroup", item, file, hint=hint)
