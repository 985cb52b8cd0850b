"""Run one function in an interpreter of its own, where it may spoil whatever it likes.

Closing 0, 1 and 2, ignoring SIGCHLD, lowering a limit or refusing a system call cannot be undone;
and what the package found out about this kernel it asks only once per process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import inspect
import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.children import Children
from support.proc import PROC

TESTS = Path(__file__).parent.parent

# Tells "ends" from "hangs": every isolated function ends within a few seconds.
HANGS_AFTER = 600.0

# <linux/seccomp.h>: _IOWR('!', 0, struct seccomp_notif) and _IOWR('!', 1, … _resp)
NOTIF_RECV = 0xC0502100
NOTIF_SEND = 0xC0182101
NOTIF = struct.Struct("=QIIiIQ6Q")
ANSWER = struct.Struct("=QqiI")
FLAG_CONTINUE = 1


@dataclass(frozen=True)
class Held:
    """One system call that waits for an answer."""

    listener: int
    id: int
    pid: int
    number: int
    arguments: tuple[int, ...]

    def go(self) -> None:
        """Let the system call happen."""
        self._answer(0, FLAG_CONTINUE)

    def fail(self, error: int) -> None:
        """Have it return this errno instead."""
        self._answer(-error, 0)

    def _answer(self, error: int, flags: int) -> None:
        try:
            fcntl.ioctl(self.listener, NOTIF_SEND, ANSWER.pack(self.id, 0, error, flags))
        except OSError as failure:
            # The caller was killed while it waited: nobody is left to answer.
            if failure.errno != errno.ENOENT:
                raise


class Isolated:
    """The test's side of an isolated interpreter."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self.process = process
        self.channel = channel
        self.listener = -1
        self._incoming = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, word: Any) -> None:
        """Answer one `hear()`."""
        self.channel.sendall(json.dumps(word).encode() + b"\n")

    def note(self) -> Any:
        """Wait for the next `note()` of the function."""
        message = self._message()
        assert "note" in message, message.get("error", message)
        return message["note"]

    def result(self) -> Any:
        """Wait for the function to end; fail if it raised, leaked, or ended in a bad way.

        Calls that are still held are let go: the oracle makes some too.
        """
        while self.listener >= 0 and not self._says_something():
            self.held().go()
        message = self._message()
        assert "error" not in message, f"in the isolated interpreter:\n{message['error']}"
        assert "result" in message, f"the function is still running: {message}"
        self._close_listener()
        code = self.process.wait(HANGS_AFTER)
        assert not message["leaks"], "leaked:\n  " + "\n  ".join(message["leaks"])
        assert code == 0, f"the interpreter ended with {code} after its function was done"
        return message["result"]

    def held(self) -> Held:
        """Wait until a process under the filter makes a call that is to be held."""
        if self.listener < 0:
            self._take_listener()
        data = bytearray(NOTIF.size)
        while True:
            ready = self._ready()
            assert ready, "no system call was held"
            if self.listener in ready:
                break
            raise AssertionError(f"no system call was held: {self._message()}")
        fcntl.ioctl(self.listener, NOTIF_RECV, data)
        ident, pid, _, number, _, _, *arguments = NOTIF.unpack(data)
        return Held(self.listener, ident, pid, number, tuple(arguments))

    def held_in_child(self) -> Held:
        """The same for a child: what the interpreter itself calls is let go."""
        while True:
            held = self.held()
            if not self._is_ours(held):
                return held
            held.go()

    def _is_ours(self, held: Held) -> bool:
        """Whether a thread of the interpreter makes the call, and not a child."""
        return (PROC / f"{self.pid}/task/{held.pid}").exists()

    def let_go_until_note(self, only_ours: bool = False) -> Any:
        """Let every held call go until the function has something to say.

        only_ours: of the interpreter's own; children stay held.
        """
        while not self._says_something():
            held = self.held()
            if self._is_ours(held) or not only_ours:
                held.go()
        return self.note()

    def answer_until_done(self, times: int, error: int) -> int:
        """Fail the first held calls with this errno, then let all go, until the function ends.

        Returns how many have failed.
        """
        failed = 0
        if self.listener < 0:
            self._take_listener()
        while not self._says_something():
            held = self.held()
            if failed < times:
                held.fail(error)
                failed += 1
            else:
                held.go()
        return failed

    def _says_something(self) -> bool:
        """Wait until there is a message (true) or a held call (false)."""
        if b"\n" in self._incoming:
            return True
        ready = self._ready()
        assert ready, "neither a message nor a held call"
        return self.channel.fileno() in ready

    def _ready(self) -> list[int]:
        return select.select([self.listener, self.channel.fileno()], [], [], HANGS_AFTER)[0]

    def _take_listener(self) -> None:
        data, fds, _, _ = socket.recv_fds(self.channel, 1, 1)
        if not fds:
            self._incoming = data
            raise AssertionError(f"no listener came: {self._message()}")
        self.listener = fds[0]

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._incoming:
            data = self.channel.recv(65536)
            assert data, f"the interpreter is gone: exit {self.process.wait(HANGS_AFTER)}"
            self._incoming += data
        line, self._incoming = self._incoming.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def _close_listener(self) -> None:
        if self.listener >= 0:
            # Whoever still waits for an answer gets ENOSYS from the kernel.
            os.close(self.listener)
        self.listener = -1

    def close(self) -> None:
        self.channel.close()
        self._close_listener()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Isolate:
    """Starts functions in interpreters of their own; a fixture."""

    def __init__(self, children: Children, directory: Path) -> None:
        self.children = children
        self.directory = directory
        self.count = 0

    def __call__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run `function(*arguments)` to its end and return its result."""
        with self.start(function, *arguments, **options) as isolated:
            return isolated.result()

    @contextlib.contextmanager
    def start(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        deny: str = "",
        later: str = "",
        oracle: bool = True,
        warm: bool = True,
        home: bool = False,
        under: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ) -> Iterator[Isolated]:
        """Start it, for a test that has something to do while it runs.

        deny: rules of `deny`, in force before the package is imported.
        later: rules in force after one spawn, when the package knows its kernel.
        warm: make that one spawn before the oracle looks; without it nothing is imported.
        home: make one with die_with_parent on another thread too: the thread that the package
            starts for it stays, and is no leak then.
        under: a command that runs the interpreter (strace, valgrind).
        """
        ours, theirs = socket.socketpair()
        ours.settimeout(HANGS_AFTER)
        lines, first = inspect.getsourcelines(function)
        assert not lines[0].startswith((" ", "@")), "the function must stand alone in its module"
        job = {
            "channel": theirs.fileno(),
            "deny": deny,
            "later": later,
            "oracle": oracle,
            "warm": warm,
            "home": home,
            "library": self.children("deny.so") if deny or later else "",
            "file": inspect.getsourcefile(function),
            "source": "\n" * (first - 1) + "".join(lines),
            "function": function.__name__,
            "arguments": arguments,
        }
        self.count += 1
        path = self.directory / f"job-{self.count}.json"
        path.write_text(json.dumps(job))
        process = subprocess.Popen(
            [*under, sys.executable, str(TESTS / "support" / "inside.py"), str(path)],
            pass_fds=[theirs.fileno()],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
                **(env or {}),
            },
        )
        theirs.close()
        isolated = Isolated(process, ours)
        try:
            yield isolated
        finally:
            isolated.close()
