"""One run of one child through each way there is: the things that are compared.

Every function here returns `once`, a callable without arguments that runs the child, and raises
when the status is not 0 or the output is not what the child writes. All are given the same
arguments, environment (inherited) and streams (inherited, or read to their end).
"""

from __future__ import annotations

import os
import resource
import select
import subprocess
from collections.abc import Callable
from typing import Literal

Once = Callable[[], None]
Capture = Literal["none", "stdout", "both"]
Maker = Callable[..., Once]

TIMEOUT = 10.0


class ResultError(Exception):
    """A child ended otherwise, or wrote something else, than this benchmark's children do."""


def why_no_spawnkit() -> str | None:
    """None when spawnkit can be measured; else the reason it cannot."""
    try:
        import spawnkit

        _ = spawnkit.run
    except (ImportError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def expect(expected: bytes, out: bytes | None, err: bytes | None) -> None:
    if (out or b"") != expected or err:
        raise ResultError(f"expected {expected!r} on stdout, read {out!r} and {err!r} on stderr")


# The three ways share one signature: args, what is captured, what that must be, a deadline.


def through_spawnkit(
    args: list[str],
    capture: Capture = "none",
    expected: bytes = b"",
    timeout: float | None = None,
) -> Once:
    from spawnkit import PIPE, run

    if capture == "none" and timeout is None:

        def plain() -> None:
            run(args)

        return plain

    if capture == "none":

        def limited() -> None:
            run(args, timeout=timeout)

        return limited

    if capture == "stdout":

        def stdout() -> None:
            result = run(args, stdout=PIPE, timeout=timeout)
            expect(expected, result.stdout, result.stderr)

        return stdout

    def both() -> None:
        result = run(args, capture=True, timeout=timeout)
        expect(expected, result.stdout, result.stderr)

    return both


def through_subprocess(
    args: list[str],
    capture: Capture = "none",
    expected: bytes = b"",
    timeout: float | None = None,
) -> Once:
    from subprocess import PIPE, run

    if capture == "none" and timeout is None:

        def plain() -> None:
            run(args, check=True)

        return plain

    if capture == "none":

        def limited() -> None:
            run(args, check=True, timeout=timeout)

        return limited

    if capture == "stdout":

        def stdout() -> None:
            result = run(args, check=True, stdout=PIPE, timeout=timeout)
            expect(expected, result.stdout, result.stderr)

        return stdout

    def both() -> None:
        result = run(args, check=True, capture_output=True, timeout=timeout)
        expect(expected, result.stdout, result.stderr)

    return both


def _read_all(*descriptors: int) -> list[bytes]:
    """What a careful program writes by hand around os.posix_spawn: poll, read, until both end."""
    chunks: dict[int, list[bytes]] = {fd: [] for fd in descriptors}
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    waiting = len(descriptors)
    while waiting:
        for fd, _ in poll.poll():
            data = os.read(fd, 65536)
            if data:
                chunks[fd].append(data)
            else:
                poll.unregister(fd)
                waiting -= 1
    return [b"".join(chunks[fd]) for fd in descriptors]


def through_posix_spawn(
    args: list[str],
    capture: Capture = "none",
    expected: bytes = b"",
    timeout: float | None = None,
) -> Once:
    """os.posix_spawn and os.wait4: the least Python can do, with none of the care around it."""
    if timeout is not None:
        raise ValueError("os.posix_spawn has no timeout")
    program, environ = args[0], os.environ

    def reap(pid: int) -> None:
        _, status, _ = os.wait4(pid, 0)
        if status:
            raise ResultError(f"{program}: wait status {status:#x}")

    if capture == "none":

        def plain() -> None:
            reap(os.posix_spawn(program, args, environ))

        return plain

    if capture == "stdout":

        def stdout() -> None:
            out, child_out = os.pipe()
            actions = [(os.POSIX_SPAWN_DUP2, child_out, 1)]
            pid = os.posix_spawn(program, args, environ, file_actions=actions)
            os.close(child_out)
            chunks = []
            while data := os.read(out, 65536):
                chunks.append(data)
            os.close(out)
            reap(pid)
            expect(expected, b"".join(chunks), None)

        return stdout

    def both() -> None:
        out, child_out = os.pipe()
        err, child_err = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, child_out, 1), (os.POSIX_SPAWN_DUP2, child_err, 2)]
        pid = os.posix_spawn(program, args, environ, file_actions=actions)
        os.close(child_out)
        os.close(child_err)
        expect(expected, *_read_all(out, err))
        os.close(out)
        os.close(err)
        reap(pid)

    return both


# A child with attributes: a session of its own, a mask, a limit, a directory.

UMASK = 0o027
DIRECTORY = "/"
NOFILE = 256


def attributed_through_spawnkit(args: list[str]) -> Once:
    from spawnkit import SysProcAttr, run

    attr = SysProcAttr(setsid=True, umask=UMASK, rlimits={"NOFILE": (NOFILE, NOFILE)})

    def once() -> None:
        run(args, dir=DIRECTORY, attr=attr)

    return once


def attributed_through_subprocess(args: list[str]) -> Once:
    """subprocess has no field for limits: they take a preexec_fn, and that takes a real fork."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (NOFILE, NOFILE))

    def once() -> None:
        subprocess.run(
            args,
            check=True,
            cwd=DIRECTORY,
            start_new_session=True,
            umask=UMASK,
            preexec_fn=limits,
        )

    return once


WAYS: dict[str, Maker] = {
    "spawnkit": through_spawnkit,
    "subprocess": through_subprocess,
    "posix_spawn": through_posix_spawn,
}
ATTRIBUTED: dict[str, Maker] = {
    "spawnkit": attributed_through_spawnkit,
    "subprocess": attributed_through_subprocess,
}
