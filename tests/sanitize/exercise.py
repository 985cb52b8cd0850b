"""A few seconds of use, for the short form in `make test`: runs, streams, threads, failures."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

import spawnkit
from spawnkit import PIPE

ENGINES = "vfork", "vfork-waiting", "fork", "posix_spawn"


def once(engine: str) -> None:
    """One of each, on one engine."""
    result = spawnkit.run(["/bin/sh", "-c", "cat; echo err >&2; exit 3"], input=b"x" * 100_000,
                          capture=True, check=False, engine=engine)  # fmt: skip
    assert (len(result.stdout), result.stderr, result.state.exit_code) == (100_000, b"err\n", 3)
    with pytest.raises(spawnkit.SpawnError):
        spawnkit.run(["/no/such/program"], engine=engine)
    with pytest.raises(spawnkit.TimeoutExpired):
        spawnkit.run(["/bin/sleep", "60"], timeout=0.01, engine=engine)


def copied(engine: str) -> None:
    """Copiers at both ends, which close theirs while the command is supervised."""
    into = io.BytesIO()
    cmd = spawnkit.Cmd("/bin/cat", stdin=io.BytesIO(b"x" * 100_000), stdout=into, engine=engine)
    cmd.run()
    assert len(into.getvalue()) == 100_000


def waited_for_by_many(engine: str) -> None:
    """One handle, several threads."""
    states = []
    process = spawnkit.start_process("/bin/sh", ["sh", "-c", "exit 4"], engine=engine)
    waiting = [threading.Thread(target=lambda: states.append(process.wait())) for _ in range(3)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    assert [state.exit_code for state in states] == [4, 4, 4]


def written(engine: str) -> None:
    """Writers and spawners."""
    with spawnkit.write_lock():
        pass
    assert spawnkit.run(["/bin/echo"], stdout=PIPE, engine=engine).stdout == b"\n"


def reads_while_it_is_collected() -> None:
    """A finalizer that reads a pipe's end of the same cycle: an error, not an endless wait."""
    told = []

    class Reads:
        def __del__(self) -> None:
            try:
                self.end.read(5)
            except (OSError, ValueError) as error:
                told.append(type(error).__name__)

    gc.collect()
    gc.disable()
    cmd = spawnkit.Cmd("/bin/cat")
    cmd.stdin_pipe()
    reader = Reads()
    reader.itself = reader
    reader.end = cmd.stdout_pipe()
    reader.cmd = cmd
    cmd.start()
    process = cmd.process
    assert process is not None
    del cmd, reader
    gc.enable()
    gc.collect()
    assert told, "it has read"
    process.kill()
    process.wait()


def collected(engine: str) -> None:
    """A cycle of everything that has memory of C's and a finalizer that uses it."""

    def suspended(context: AbstractContextManager[object], *others: object) -> Iterator[None]:
        try:
            yield
        finally:
            context.__exit__(None, None, None)
        del others

    cmd = spawnkit.Cmd("/bin/cat", engine=engine)
    cycle: list[object] = [cmd, cmd.stdin_pipe(), cmd.stdout_pipe()]
    cmd.start()
    process = cmd.process
    assert process is not None
    cycle.append(cycle)
    del cmd, cycle
    gc.collect()
    for make in spawnkit.write_lock, process.handle:
        context: AbstractContextManager[object] = make()
        context.__enter__()  # before there is a generator: the guard's turn comes first
        alone: list[object] = []
        inside = suspended(context, alone)
        next(inside)
        alone.append(inside)
        del alone, context, inside
        gc.collect()
    process.kill()
    process.wait()


def main() -> None:
    """Each in threads, beside the others."""
    failed = []

    def work(engine: str) -> None:
        try:
            for part in (once, copied, waited_for_by_many, written) * 2:
                part(engine)
        except BaseException as error:
            failed.append(repr(error))

    threads = [threading.Thread(target=work, args=(engine,)) for engine in ENGINES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    for engine in ENGINES:
        collected(engine)  # alone: while one thread collects, another's gc.collect() does nothing
    reads_while_it_is_collected()
    print("exercised")


if __name__ == "__main__":
    main()
