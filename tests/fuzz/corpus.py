"""Plans as the packer makes them: where the fuzzing of plans begins."""

from __future__ import annotations

import itertools
from pathlib import Path

from spawnkit import SysProcAttr, plan

ATTRIBUTES = (
    None,
    SysProcAttr(setsid=True, umask=0o27, die_with_parent=True),
    SysProcAttr(setpgid=True, pgid=7, rlimits={"CORE": 0, "NOFILE": 4, "AS": -1}),
    SysProcAttr(namespaces=["pid"], die_with_parent=True),
    SysProcAttr(sigmask=range(1, 65), sigignore=[1, 2, 9], sigdefault=[15, 19]),
)
CGROUPS = ((b"/a/cgroup", True), (b"/another/" + b"y" * 40, False))
DIRECTORIES: tuple[tuple[bytes | None, tuple[tuple[bytes, bool], ...]], ...] = (
    (None, ()),
    (b"/", ()),
    (None, CGROUPS[:1]),
    (b"a/long/directory/" + b"x" * 40, CGROUPS),
)
MAPS: tuple[dict[int, int | None], ...] = (
    {},
    {0: 5, 1: 0},
    {1: 2, 2: 1, 3: None, 7: 7},
)
STRINGS = (
    (b"/bin/true", b"true\0", 1, (b"", 0)),
    (b"", b"\0\0--\0", 3, (b"A=1\0\0B=\0=\0", 4)),
)


def plans() -> list[bytes]:
    """All of them; the same ones each time."""
    packed = [
        plan.pack(*strings, dir, dict(wanted), kept, attr, exec_fd, exec_fd is not None, cgroups)
        for strings, (dir, cgroups), wanted, attr, kept, exec_fd in itertools.product(
            STRINGS, DIRECTORIES, MAPS, ATTRIBUTES, (plan.STANDARD, frozenset()), (None, 6)
        )
    ]
    return sorted(set(packed))


def write(directory: Path) -> list[str]:
    """Each into a file of its own; which ones."""
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for number, data in enumerate(plans()):
        path = directory / f"plan-{number:03}"
        path.write_bytes(data)
        files.append(str(path))
    return files
