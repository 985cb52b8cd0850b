"""One run of a child that writes much: its output discarded, kept, or hashed as it comes.

A way of spawning gives two functions, each the one its documentation leads to; `once` makes of them
what bench/subjects.py makes of its ways.
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from bench.build import POUR
from bench.subjects import Once, ResultError

Use = Literal["discard", "keep", "hash"]
USES: tuple[Use, ...] = ("discard", "keep", "hash")
Take = Callable[[bytes], object]

CHUNK = 65536
STEP = 65521
"""A prime below CHUNK: the bytes that are looked at lie elsewhere in each chunk, and in each page.
To look at all would take a tenth of the time that is measured."""


@dataclass(frozen=True)
class Way:
    keep: Callable[[list[str]], bytes | None]
    """Runs the child, returns its output."""
    stream: Callable[[list[str], Take], None]
    """Runs the child, calls the function with each piece of its output."""


def _keep_spawnkit(args: list[str]) -> bytes | None:
    from spawnkit import PIPE, run

    output: bytes = run(args, stdout=PIPE).stdout
    return output


class _Writer:
    """An object with nothing but write()."""

    def __init__(self, write: Take) -> None:
        self.write = write


def _stream_spawnkit(args: list[str], take: Take) -> None:
    from spawnkit import run

    writer: Any = _Writer(take)
    run(args, stdout=writer)


def _keep_subprocess(args: list[str]) -> bytes:
    return subprocess.run(args, check=True, stdout=subprocess.PIPE).stdout


def _stream_subprocess(args: list[str], take: Take) -> None:
    with subprocess.Popen(args, stdout=subprocess.PIPE) as process:
        assert process.stdout
        while data := process.stdout.read(CHUNK):
            take(data)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, args)


WAYS = {
    "spawnkit": Way(_keep_spawnkit, _stream_spawnkit),
    "subprocess": Way(_keep_subprocess, _stream_subprocess),
}


@functools.cache
def digest_of(size: int) -> bytes:
    """SHA-256 of what the child writes; `size` is a multiple of CHUNK."""
    digest = hashlib.sha256()
    chunk = POUR * CHUNK
    for _ in range(size // CHUNK):
        digest.update(chunk)
    return digest.digest()


def _expect(size: int, seen: int, right: bool) -> None:
    if seen != size or not right:
        raise ResultError(f"expected {size} bytes of {POUR!r}, read {seen}, right: {right}")


def once(way: Way, use: Use, args: list[str], size: int) -> Once:
    if use == "keep":

        def keep() -> None:
            out = way.keep(args) or b""
            sample = out[::STEP] + out[-1:]
            _expect(size, len(out), sample == POUR * len(sample))

        return keep

    if use == "discard":

        def discard() -> None:
            seen = 0

            def count(data: bytes) -> None:
                nonlocal seen
                seen += len(data)

            way.stream(args, count)
            _expect(size, seen, True)

        return discard

    expected = digest_of(size)

    def hash_() -> None:
        digest = hashlib.sha256()
        way.stream(args, digest.update)
        _expect(size, size, digest.digest() == expected)

    return hash_
