"""The plain C of bench/floor/, called inside this interpreter. ctypes releases the lock."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench import build


class FloorError(Exception):
    """A run of the floor that failed: it names the stage, and the time it took means nothing."""


class _Report(ctypes.Structure):
    """struct floor_report"""

    _fields_ = (
        ("stage", ctypes.c_char_p),
        ("error", ctypes.c_int),
        ("status", ctypes.c_int),
        ("bytes", ctypes.c_long),
        ("digest", ctypes.c_ubyte * 32),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(build.floor_library()), use_errno=True)
    library.floor_pool_open.restype = ctypes.c_void_p
    library.floor_pool_close.restype = None
    library.floor_hash_open.restype = ctypes.c_char_p
    return library


def _argv(args: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(args) + 1))(*map(os.fsencode, args), None)


def _check(failed: int, report: _Report) -> None:
    if failed:
        stage = report.stage.decode()
        detail = os.strerror(report.error) if report.error else f"wait status {report.status:#x}"
        raise FloorError(f"{stage}: {detail}")


def _loop(
    function: str, args: Sequence[str], expected: int, digest: bytes | None = None
) -> Callable[[int], None]:
    call = getattr(_library(), function)
    argv = _argv(args)

    def block(runs: int) -> None:
        report = _Report()
        _check(call(argv, ctypes.c_long(runs), ctypes.byref(report)), report)
        if report.bytes != runs * expected:
            raise FloorError(f"{function}: {report.bytes} bytes from {runs} runs of {args[0]}")
        if digest is not None and bytes(report.digest) != digest:
            raise FloorError(f"{function}: digest {bytes(report.digest).hex()}")

    return block


def plain(args: Sequence[str]) -> Callable[[int], None]:
    """block(n): n times vfork, execve, wait4."""
    return _loop("floor_plain", args, 0)


def one_pipe(args: Sequence[str], expected: int) -> Callable[[int], None]:
    """The same with stdout read to its end: `expected` bytes from each child."""
    return _loop("floor_one_pipe", args, expected)


def two_pipes(args: Sequence[str], expected: int) -> Callable[[int], None]:
    """The same with stdout and stderr read through poll."""
    return _loop("floor_two_pipes", args, expected)


def keep(args: Sequence[str], expected: int) -> Callable[[int], None]:
    """one_pipe, with the output gathered in memory that grows."""
    return _loop("floor_keep", args, expected)


def hash_(args: Sequence[str], expected: int, digest: bytes) -> Callable[[int], None]:
    """one_pipe, with the SHA-256 of the output by the functions that hashlib calls."""
    refused = _library().floor_hash_open(os.fsencode(_libcrypto()))
    if refused:
        raise FloorError(refused.decode())
    return _loop("floor_hash", args, expected, digest)


def pipeline(stages: Sequence[Sequence[str]], out: int) -> Callable[[int], None]:
    """block(n): n times all stages started, connected by pipes, and waited for.

    out: the last one's stdout, -1: ours.
    """
    call = _library().floor_pipeline
    each = [_argv(args) for args in stages]
    pointers = (ctypes.c_void_p * len(each))(*map(ctypes.addressof, each))

    def block(runs: int) -> None:
        report = _Report()
        assert each  # what the pointers point to
        failed = call(pointers, len(each), out, ctypes.c_long(runs), ctypes.byref(report))
        _check(failed, report)

    return block


def _libcrypto() -> str:
    """Path of the libcrypto that hashlib has loaded; empty where it brings its own."""
    import hashlib

    hashlib.sha256()
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line[line.find("/") :].rstrip("\n")
            if os.path.basename(path).startswith("libcrypto"):
                return path
    return ""


def why_no_hash() -> str | None:
    """None where `hash_` can be called."""
    return None if _libcrypto() else "hashlib has no libcrypto that C could call too"


@contextmanager
def pool(args: Sequence[str], threads: int) -> Iterator[Callable[[int], None]]:
    """block(n): n times the plain loop's work in each of `threads` threads of C."""
    library = _library()
    argv = _argv(args)
    handle = ctypes.c_void_p(library.floor_pool_open(threads))
    if not handle:
        raise FloorError(f"pthread_create: {os.strerror(ctypes.get_errno())}")

    def block(runs: int) -> None:
        report = _Report()
        _check(
            library.floor_pool_run(handle, argv, ctypes.c_long(runs), ctypes.byref(report)), report
        )

    try:
        yield block
    finally:
        library.floor_pool_close(handle)
