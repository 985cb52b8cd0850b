"""Importing the package does nothing but bring names."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from support.isolated import Isolate

# What costs time and what a program that spawns a process has no use for.
NOT_LOADED = {"dataclasses", "typing", "asyncio", "concurrent.futures", "subprocess", "threading"}


def _changes_by_the_import() -> list[str]:
    from support import oracle

    before = oracle.snapshot()
    import spawnkit
    import spawnkit.cmd
    import spawnkit.process

    for name in spawnkit.__all__:
        getattr(spawnkit, name)
    # Loaded and not used: our own snapshot would count it otherwise.
    return oracle.differences(before, oracle.snapshot())


def test_importing_everything_leaves_the_process_as_it_was(isolate: Isolate) -> None:
    """No thread, descriptor, handler or child; no changed mask, limit or environment."""
    assert isolate(_changes_by_the_import, warm=False, oracle=False) == []


def modules_loaded_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(out.split())


def test_importing_and_running_load_no_heavy_modules() -> None:
    nothing = modules_loaded_by("pass")
    for code in (
        "import spawnkit",
        "import spawnkit; spawnkit.run(['/bin/true'])",
        "import spawnkit; spawnkit.run(['/bin/true'], capture=True, input=b'', timeout=9)",
    ):
        assert not (modules_loaded_by(code) - nothing) & NOT_LOADED, code


def test_the_import_alone_loads_nothing_of_ours() -> None:
    ours = {name for name in modules_loaded_by("import spawnkit") if name.startswith("spawnkit")}
    assert ours == {"spawnkit"}


def test_every_public_name_is_there() -> None:
    import spawnkit

    found: dict[str, Any] = {name: getattr(spawnkit, name) for name in spawnkit.__all__}
    assert None not in found.values()
    assert set(spawnkit.__all__) <= set(dir(spawnkit))
