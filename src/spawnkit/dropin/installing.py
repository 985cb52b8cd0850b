"""`install` and `uninstall`: the standard module gets our methods, and its own back."""

from __future__ import annotations

import os
import subprocess
from types import BuiltinFunctionType

from . import aio, os_spawn, os_system, standard
from .methods import METHODS
from .replacing import Replaced, lock, name_of
from .short import made_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Installation", "install", "uninstall"]

# What a wrapper around may stay: the standard ones below it end in our methods.
_MAY_BE_WRAPPED = frozenset(("__init__", "communicate"))


class Installation:
    """What one `install` has put in force; a context manager, which ends it."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[_Part]) -> None:
        """For `install`."""
        self._parts = parts

    def __enter__(self) -> Installation:
        """Itself; everything is in force already."""
        return self

    def __exit__(self, *exc: object) -> None:
        """As `uninstall` does for this very installation; nothing where that was done before."""
        with lock:
            if self in _installed:
                _end(self)


class _Part:
    """Something that can be put in force; in force as long as somebody uses it."""

    def __init__(self) -> None:
        self._users = 0
        self.replaced = Replaced()

    def enter(self) -> None:
        if not self._users:
            try:
                self.put()
            except BaseException:
                self.take_back()
                raise
        self._users += 1

    def leave(self) -> None:
        if self._users == 1:
            self.take_back()
        self._users -= 1

    def strangers(self) -> list[str]:
        """What somebody else has put over ours, if this user is the last."""
        return self.replaced.strangers() if self._users == 1 else []

    def put(self) -> None:
        raise NotImplementedError

    def take_back(self) -> None:
        self.replaced.undo()


class _Subprocess(_Part):
    """The methods of subprocess.Popen, subprocess.run, asyncio's watchers."""

    def put(self) -> None:
        popen = _standard_popen()
        wrapped = [name for name in METHODS if _is_strange(popen, name)]
        for name in wrapped:
            if name not in _MAY_BE_WRAPPED:
                raise _too_late(popen, name)
        # From the last to the first: whoever starts a process through us in another thread
        # meanwhile finds the methods that wait for it.
        for name in reversed(METHODS):
            if name not in wrapped:
                self.replaced.put(popen, name, METHODS[name])
        aio.begin(self.replaced)
        # A `run` of somebody else's goes through the class anyhow.
        if not _is_strange(subprocess, "run"):
            self.replaced.put(subprocess, "run", made_run(standard.run, vars(subprocess), popen))

    def take_back(self) -> None:
        aio.end()
        self.replaced.undo()


class _Functions(_Part):
    """Functions of os, by name."""

    def __init__(self, functions: dict[str, Any]) -> None:
        super().__init__()
        self._functions = functions

    def put(self) -> None:
        for name in self._functions:
            if not isinstance(vars(os)[name], BuiltinFunctionType):
                raise _too_late(os, name)
        for name, function in self._functions.items():
            self.replaced.put(os, name, function)


_subprocess = _Subprocess()
_posix_spawn = _Functions(os_spawn.FUNCTIONS)
_system = _Functions(os_system.FUNCTIONS)

_installed: list[Installation] = []


def install(*, posix_spawn: bool = False, system: bool = False) -> Installation:
    """Puts our engine below the standard `subprocess`, in the whole program.

    >>> import subprocess
    >>> with spawnkit.install():
    ...     subprocess.run(["echo", "hello"], capture_output=True).stdout
    b'hello\\n'

    The methods of the class subprocess.Popen are replaced, so that this reaches whoever has
    imported it before, its subclasses, and all that is built on it: subprocess.call, check_output
    and so on, os.popen, asyncio's subprocesses (with their waits). What differs from the standard
    module: docs/subprocess.md. Out of reach is what does not go through that class: os.fork,
    os.spawn*, multiprocessing's own processes, uvloop, other packages' C code.

    posix_spawn: os.posix_spawn and os.posix_spawnp too. system: os.system too.

    Each call counts, and is ended by one `uninstall`, or by `with`. From any thread. It is in force
    in forked processes too. RuntimeError, and nothing is changed, where somebody else has replaced
    what we would have to (gevent's monkey patches, say): the message names it.
    """
    parts: list[_Part] = [_subprocess]
    if posix_spawn:
        parts.append(_posix_spawn)
    if system:
        parts.append(_system)
    with lock:
        entered: list[_Part] = []
        try:
            for part in parts:
                part.enter()
                entered.append(part)
        except BaseException:
            for part in entered:
                part.leave()
            raise
        installation = Installation(parts)
        _installed.append(installation)
    return installation


def uninstall() -> None:
    """Ends the latest `install` that is still in force; after the last, all is as it was before.

    Processes that were started before live on, and the standard methods wait for them; only
    `Popen.rusage` is gone.

    RuntimeError without an `install`; and, with nothing changed, where somebody else has replaced a
    method of ours since: the message names it. Theirs may call ours and has to go first.
    """
    with lock:
        if not _installed:
            raise RuntimeError("uninstall: nothing is installed")
        _end(_installed[-1])


def _end(installation: Installation) -> None:
    strangers = [stranger for part in installation._parts for stranger in part.strangers()]
    if strangers:
        raise RuntimeError(
            "uninstall: replaced by others after install, who have to put it back first: "
            + "; ".join(strangers)
        )
    _installed.remove(installation)
    for part in reversed(installation._parts):
        part.leave()


def _standard_popen() -> Any:
    """The class itself. A program may have put a subclass in its place."""
    for base in getattr(subprocess.Popen, "__mro__", ()):
        if base.__module__ == "subprocess" and base.__qualname__ == "Popen":
            return base
    raise _too_late(subprocess, "Popen")


def _is_strange(owner: Any, name: str) -> bool:
    """Is it something else than what the standard module has defined?"""
    found = vars(owner).get(name)
    return found is not None and getattr(found, "__globals__", None) is not vars(subprocess)


def _too_late(owner: Any, name: str) -> RuntimeError:
    return RuntimeError(
        f"install: {name_of(owner, name)} is {vars(owner)[name]!r}: somebody else has replaced it; "
        "install() has to come first, or cannot be combined with that"
    )
