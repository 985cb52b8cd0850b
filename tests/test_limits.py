"""At the very limit: with 0, 1, 2, … descriptors or processes to spare."""

from __future__ import annotations

from typing import Any

import pytest

from support.isolated import Isolate

# What a start may answer with, and a thread that cannot be had.
CLEAR = {
    "descriptors": {"SpawnError 24", "OSError 24"},
    "processes": {"SpawnError 11", "RuntimeError can't start new thread"},
}


@pytest.mark.parametrize("what", ["plain", "captured", "reader and writer"])
@pytest.mark.parametrize("limit", ["descriptors", "processes"])
def test_at_the_limit_an_error_is_clear_and_leaves_nothing(
    engine: str, limit: str, what: str, isolate: Isolate
) -> None:
    """A39: spare = 0, 1, 2, …: it runs or says which limit; nothing is left, nothing hangs."""
    outcomes = isolate(_outcomes_by_spare, limit, what, engine, oracle=False)
    words, leaks = zip(*outcomes, strict=True)
    assert not any(leaks), outcomes
    assert set(words) <= {"ran", *CLEAR[limit]}, words
    if (limit, what) != ("descriptors", "plain"):  # which needs none
        assert words[0] != "ran"
    assert words[-1] == "ran"
    # Once there are enough there are enough.
    assert list(words) == sorted(words, key=lambda word: word == "ran")


def _outcomes_by_spare(limit: str, what: str, engine: str) -> list[list[Any]]:
    import contextlib
    import ctypes
    import io
    import os
    import resource

    import spawnkit
    from support import oracle
    from support.proc import PROC

    def use() -> str:
        if what == "plain":
            return "ran" * spawnkit.run(["/bin/true"], engine=engine).state.success
        if what == "captured":
            result = spawnkit.run(["/bin/cat"], input=b"x", capture=True, engine=engine)
            return "ran" * (result.stdout == b"x")
        out = io.BytesIO()
        spawnkit.Cmd(
            "/bin/cat", stdin=io.BytesIO(b"x"), stdout=out, stderr=io.BytesIO(), engine=engine
        ).run()
        return "ran" * (out.getvalue() == b"x")

    def processes() -> int:
        """Threads of this user, as the limit counts them."""
        count = 0
        for pid in filter(str.isdigit, os.listdir(PROC)):
            with contextlib.suppress(OSError):
                with open(f"{PROC}/{pid}/status") as file:
                    lines = dict(line.split(":", 1) for line in file if ":" in line)
                if lines["Uid"].split()[0] == str(os.getuid()):
                    count += int(lines["Threads"])
        return count

    assert use() == "ran"  # everything is imported
    with contextlib.suppress(FileNotFoundError):
        spawnkit.run(["/no/such/program"], engine=engine)
    if limit == "processes" and os.geteuid() == 0:
        # The limit is not for root. Whoever changes ids loses /proc/self, until told otherwise.
        os.setgroups([])
        os.setresgid(61008, 61008, 61008)
        os.setresuid(61008, 61008, 61008)
        assert ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) == 0  # PR_SET_DUMPABLE
    number = resource.RLIMIT_NOFILE if limit == "descriptors" else resource.RLIMIT_NPROC
    soft, hard = resource.getrlimit(number)
    outcomes: list[list[Any]] = []
    while outcomes[-2:] != [["ran", []]] * 2 and len(outcomes) < 20:
        before = oracle.snapshot()
        filling = []
        if limit == "descriptors":
            resource.setrlimit(number, (48, hard))
            with contextlib.suppress(OSError):
                while True:
                    filling.append(os.dup(2))
            for fd in [filling.pop() for _ in outcomes]:
                os.close(fd)
        else:
            resource.setrlimit(number, (processes() + len(outcomes), hard))
        try:
            outcome = use()
        except OSError as error:
            ours = isinstance(error, spawnkit.SpawnError)
            outcome = f"{'SpawnError' if ours else type(error).__name__} {error.errno}"
        except RuntimeError as error:
            outcome = f"RuntimeError {error}"
        for fd in filling:
            os.close(fd)
        resource.setrlimit(number, (soft, hard))
        outcomes.append([outcome, oracle.leaks_since(before)])
    return outcomes
