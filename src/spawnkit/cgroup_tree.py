"""The trees of cgroups: where they are mounted, which directories are our own, what is below one.

cgroups(7), "/proc files"; proc_pid_mountinfo(5).
"""

from __future__ import annotations

import errno
import os
import re

# What is wrong with us then, and says nothing about a cgroup: that it is empty, say, or not there.
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

_ESCAPED = re.compile(rb"\\([0-7]{3})")  # as mountinfo writes blanks in a path


def own_cgroups() -> tuple[str | None, dict[str, str]]:
    """The directory of our cgroup of version 2, and those of version 1 by controller.

    None, and no entry, where it is not mounted or lies outside of what is. OSError without /proc.
    """
    memberships: dict[bytes, bytes] = {}  # by controller; b"" for version 2
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(b":", 2)
        memberships.update(dict.fromkeys(controllers.split(b","), path))
    unified: str | None = None
    old: dict[str, str] = {}
    for line in _lines("/proc/self/mountinfo"):
        fields, _, rest = line.partition(b" - ")
        kind, _, options = rest.split(b" ", 2)
        if kind not in (b"cgroup", b"cgroup2"):
            continue
        root, place = (_ESCAPED.sub(_unescape, field) for field in fields.split(b" ")[3:5])
        names = [b""] if kind == b"cgroup2" else options.split(b",")
        for name in names:
            directory = _below_mount(memberships.get(name), root, place)
            if directory is None:
                continue
            if kind == b"cgroup2":
                unified = unified or directory
            else:
                old.setdefault(os.fsdecode(name), directory)
    return unified, old


def _lines(path: str) -> list[bytes]:
    with open(path, "rb") as file:
        return file.read().splitlines()


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8)])


def _below_mount(path: bytes | None, root: bytes, place: bytes) -> str | None:
    """Where a cgroup is, of a mount that shows what is below `root`."""
    root = root.rstrip(b"/")
    if path is None or path.startswith(b"/.."):  # a name outside of our cgroup namespace
        return None
    if path != root and not path.startswith(root + b"/"):
        return None
    return os.fsdecode(place + path[len(root) :].rstrip(b"/"))


def read(directory: str, name: str) -> str | None:
    """One of a cgroup's files; None where there is none, or no cgroup any more.

    OSError where no descriptor or memory is left.
    """
    try:
        with open(f"{directory}/{name}", "rb", buffering=0) as file:
            return file.read().decode("ascii")
    except OSError as error:
        _raise_if_short(error)
        return None


def _raise_if_short(error: OSError) -> None:
    if error.errno in _SHORT:
        raise error


def read_value(directory: str, name: str, key: str = "") -> int | None:
    """A number in one of a cgroup's files: the whole of it, or the one that stands after a key."""
    for line in (read(directory, name) or "").splitlines():
        before, _, value = line.rpartition(" ")
        if before == key and value.isdigit():
            return int(value)
    return None


def tree(directory: str) -> list[str]:
    """A cgroup after all those below it, as they can be removed. OSError as `read`."""
    return [path for path, _, _ in os.walk(directory, topdown=False, onerror=_raise_if_short)]


def members(directory: str) -> set[int]:
    """The processes in a cgroup and below it, but those that have no pid in our namespace.

    OSError as `read`: what could not be looked at is not empty.
    """
    found: set[int] = set()
    for path in tree(directory):
        found.update(map(int, (read(path, "cgroup.procs") or "").split()))
    found.discard(0)
    return found
