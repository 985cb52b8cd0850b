"""The interpreter around us: its limits, its collector, its subinterpreters."""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.isolated import Isolate


def _in_a_subinterpreter(isolated: bool) -> Any:
    """What an import and a run say in another interpreter of this process, then in this one."""
    import os
    import sys

    import spawnkit

    code = f"""
import os, sys
sys.path[:0] = {sys.path!r}
try:
    import spawnkit
    said = spawnkit.run(["/bin/echo", "said"], capture=True).stdout
except ImportError as error:
    said = b"ImportError: " + str(error).encode()
os.write({{}}, said)
"""
    read, write = os.pipe()
    try:
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters  # type: ignore[import-not-found]

            number = interpreters.create("isolated" if isolated else "legacy")
            interpreters.exec(number, code.replace("{}", str(write)))
        else:
            import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]

            number = interpreters.create(isolated=isolated)
            interpreters.run_string(number, code.replace("{}", str(write)))
        interpreters.destroy(number)
        said = os.read(read, 1000).decode()
    finally:
        os.close(read)
        os.close(write)
    return [said, spawnkit.run(["/bin/true"]).state.success]


@pytest.mark.parametrize("isolated", [False, True], ids=["legacy", "isolated"])
def test_a_subinterpreter_works_or_says_why_not(isolate: Isolate, isolated: bool) -> None:
    """A137: it imports and runs, or raises an ImportError of CPython's own; we go on as before."""
    said, goes_on = isolate(_in_a_subinterpreter, isolated, oracle=False)
    assert said == "said\n" or ("ImportError" in said and "subinterpreters" in said)
    assert goes_on


def _growth(engine: str | None) -> list[int]:
    """Blocks of memory that each of three rounds left, after three to get warm."""
    import contextlib
    import gc
    import itertools
    import sys

    import spawnkit

    def use() -> None:
        for _ in range(20):
            spawnkit.run(["/bin/echo", "x"], capture=True, timeout=60, engine=engine)
            spawnkit.run(["/bin/true"], env={"A": "1"}, dir="/", input=b"x")
            cmd = spawnkit.Cmd("/bin/cat", stdout=spawnkit.PIPE, engine=engine)
            with cmd.stdin_pipe() as stdin:
                cmd.start()
                stdin.write(b"x")
            cmd.wait()
            process = spawnkit.start_process("/bin/true", ["true"], engine=engine)
            process.wait()
            for wrong in ["/no/such/program"], ["/bin/true", "\0"]:
                with contextlib.suppress(spawnkit.SpawnError, ValueError):
                    spawnkit.run(wrong, engine=engine)

    blocks = []
    for _ in range(7):
        use()
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    return [later - earlier for earlier, later in itertools.pairwise(blocks[3:])]


def test_rounds_leave_no_objects(isolate: Isolate, engine: str) -> None:
    """A136: three rounds to get warm, then three that count: a leak is 20 blocks a round."""
    growth = isolate(_growth, engine)
    assert sum(growth) < 20, growth


def _under(name: str, soft: int) -> list[str]:
    """What runs say while a limit of ours, which the child inherits, is tight."""
    import resource

    import spawnkit

    said = []
    limit = getattr(resource, f"RLIMIT_{name}")
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (soft, before[1]))
    try:
        for options in {}, {"capture": True}, {"engine": "fork"}, {"input": b"x" * 100_000}:
            for program in "/bin/true", "/bin/cat":
                try:
                    state = spawnkit.run([program], check=False, **options).state  # type: ignore[arg-type]
                except (spawnkit.SpawnError, MemoryError, OSError) as error:
                    said.append(f"{type(error).__mro__[0].__name__}: {error}")
                else:
                    said.append(str(state))
    finally:
        resource.setrlimit(limit, before)
    said.append(str(spawnkit.run(["/bin/true"]).state))
    return said


@pytest.mark.parametrize(
    ("name", "soft"),
    [
        ("AS", 1 << 20),
        ("AS", 4 << 20),
        ("AS", 16 << 20),
        ("AS", 64 << 20),
        ("STACK", 1 << 16),
        ("STACK", 1 << 13),
        ("DATA", 1 << 16),
        ("FSIZE", 0),
    ],
)
def test_a_tight_limit_is_an_error_or_the_programs_own_end(
    isolate: Isolate, name: str, soft: int
) -> None:
    """A132: RLIMIT_AS, _STACK and others tight: no crash of ours, no hang, nothing left."""
    *under, after = isolate(_under, name, soft)
    assert after == "exit status 0"
    for said in under:
        assert re.match(r"exit status \d|signal: |MemoryError: |\w*Error: .", said), said


def test_a_limit_on_processor_time_ends_the_program(isolate: Isolate) -> None:
    """A132: RLIMIT_CPU, given to the child: its end is SIGXCPU or SIGKILL, and reported as that."""
    assert isolate(_out_of_time) in (["signal: cpu time limit exceeded"], ["signal: killed"])


def _out_of_time() -> list[str]:
    import spawnkit

    attr = spawnkit.SysProcAttr(rlimits={"CPU": 1, "CORE": 0})
    return [
        str(spawnkit.run(["/bin/sh", "-c", "while :; do :; done"], check=False, attr=attr).state)
    ]
