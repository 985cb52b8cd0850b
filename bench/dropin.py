"""The drop-in's rows: one call, made through the standard `subprocess` and through ours.

Each function takes the module and returns `once`, as those of bench.subjects do: both sides run the
same lines, in the same interpreter. The standard module stays as it is: `spawnkit.install` would
put our methods onto its class, and leave nothing to compare with.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.subjects import TIMEOUT, Once, ResultError, expect

MODULES = {"subprocess": "subprocess", "spawnkit": "spawnkit.subprocess"}
"""The sides, and the module that each imports."""

Make = Callable[[Any, list[str], bytes], Once]
"""Module, arguments, what the child writes."""


def _ended(returncode: int) -> None:
    if returncode:
        raise ResultError(f"the child ended with {returncode}")


def _run(module: Any, args: list[str], _: bytes, **options: Any) -> Once:
    run = module.run

    def plain() -> None:
        run(args, check=True)

    def with_options() -> None:
        run(args, check=True, **options)

    return with_options if options else plain


def _run_with_env(module: Any, args: list[str], _: bytes) -> Once:
    return _run(module, args, _, env=dict(os.environ))


def _captured(module: Any, args: list[str], output: bytes) -> Once:
    run = module.run

    def once() -> None:
        done = run(args, check=True, capture_output=True)
        expect(output, done.stdout, done.stderr)

    return once


def _captured_text(module: Any, args: list[str], output: bytes) -> Once:
    run, text = module.run, output.decode()

    def once() -> None:
        done = run(args, check=True, capture_output=True, text=True)
        if (done.stdout, done.stderr) != (text, ""):
            raise ResultError(f"expected {text!r}, read {done.stdout!r} and {done.stderr!r}")

    return once


def _check_output(module: Any, args: list[str], output: bytes) -> Once:
    check_output = module.check_output
    return lambda: expect(output, check_output(args), None)


def _call(module: Any, args: list[str], _: bytes) -> Once:
    call = module.call
    return lambda: _ended(call(args))


def _popen_wait(module: Any, args: list[str], _: bytes) -> Once:
    popen = module.Popen
    return lambda: _ended(popen(args).wait())


def _popen_communicate(module: Any, args: list[str], output: bytes) -> Once:
    popen, pipe = module.Popen, module.PIPE

    def once() -> None:
        process = popen(args, stdout=pipe, stderr=pipe)
        expect(output, *process.communicate())
        _ended(process.returncode)

    return once


QUIET: dict[str, Make] = {
    "run": _run,
    "call": _call,
    "popen-wait": _popen_wait,
    "env": _run_with_env,
    "timeout": partial(_run, timeout=TIMEOUT),
}
"""Of a child that writes nothing."""

WRITING: dict[str, Make] = {
    "run-captured": _captured,
    "run-captured-text": _captured_text,
    "check_output": _check_output,
    "popen-communicate": _popen_communicate,
}
"""Of a child whose output is read, and compared."""

SESSION = partial(_run, start_new_session=True)
PREEXEC = partial(_run, preexec_fn=os.setsid)
"""The same wish, as it was written before there was start_new_session."""


def maker(side: str, make: Make) -> Callable[..., Once]:
    """`make` with the side's module, imported when the side is opened."""

    def made(args: list[str], output: bytes = b"") -> Once:
        return make(importlib.import_module(MODULES[side]), args, output)

    return made


# What a peer (bench.peer) is asked for by name.
PEERS: dict[str, Callable[[list[str]], Once]] = {
    "dropin-session": maker("spawnkit", SESSION),
    "subprocess-session": maker("subprocess", SESSION),
    "subprocess-preexec": maker("subprocess", PREEXEC),
}
