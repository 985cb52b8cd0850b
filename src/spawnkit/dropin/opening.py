"""`Popen.__init__` for what most programs ask for: their options cost a few comparisons.

Everything else goes through the standard `__init__` of the running interpreter, with its checks,
its warnings and its messages, and ends in our `_execute_child`.
"""

from __future__ import annotations

import functools
import io
import os
import subprocess
import threading

from . import planning, standard, starting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["init"]

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL

_QUICK = frozenset(
    ("stdin", "stdout", "stderr", "cwd", "env", "shell", "executable", "start_new_session")
)


@functools.wraps(standard.init)
def init(self: Any, args: Any, *positional: Any, **options: Any) -> None:
    """Starts the program; parameters and exceptions as those of subprocess.Popen."""
    get = options.get
    streams = get("stdin"), get("stdout"), get("stderr")
    if (
        positional
        or not _QUICK.issuperset(options)
        or not _are_quick(streams)
        or type(self)._execute_child is not starting.execute_child
        or type(self)._get_handles is not standard.get_handles
    ):
        standard.init(self, args, *positional, **options)
        return
    if subprocess._active:  # type: ignore[attr-defined]
        subprocess._cleanup()  # type: ignore[attr-defined]
    self._waitpid_lock = threading.Lock()
    self._input = None
    self._communication_started = False
    self.args = args
    self.stdin = self.stdout = self.stderr = None
    self.pid = self.returncode = None
    self.encoding = self.errors = None
    self.pipesize = -1
    self.text_mode = None
    self._sigint_wait_secs = standard.INTERRUPT_GRACE
    self._closed_child_pipe_fds = False
    ends = _Ends()
    try:
        if streams != _INHERITED:
            ends.open(self, *streams)
        starting.start(
            self,
            args,
            get("executable"),
            True,
            (),
            get("cwd"),
            get("env"),
            get("shell", False),
            ends.theirs,
            True,
            -1,
            get("start_new_session", False),
            -1,
        )
    except BaseException:
        for file in self.stdin, self.stdout, self.stderr:
            if file is not None:
                file.close()
        raise
    finally:
        self._closed_child_pipe_fds = True
        for fd in ends.opened:
            os.close(fd)


_INHERITED = (None, None, None)


def _are_quick(streams: tuple[Any, Any, Any]) -> bool:
    stdin, stdout, stderr = streams
    return (
        (stdin is None or stdin is PIPE or stdin is DEVNULL)
        and (stdout is None or stdout is PIPE or stdout is DEVNULL)
        and (
            stderr is None
            or stderr is PIPE
            or stderr is DEVNULL
            or (stderr is STDOUT and stdout is not None)
        )
    )


class _Ends:
    """The child's ends of its streams, as they are opened.

    theirs: what the plan wants. opened: what is ours to close once the child has its copies.
    """

    __slots__ = ("opened", "theirs")

    def __init__(self) -> None:
        self.theirs = planning.INHERITED
        self.opened: list[int] = []

    def open(self, popen: Any, stdin: int | None, stdout: int | None, stderr: int | None) -> None:
        """Opens pipes and /dev/null; our ends become the Popen's files."""
        null = -1
        if DEVNULL in (stdin, stdout, stderr):
            null = os.open(os.devnull, os.O_RDWR)
            self.opened.append(null)
        read = write = error = null
        if stdin is None:
            read = -1
        elif stdin is PIPE:
            read, ours = self._pipe(0)
            popen.stdin = io.BufferedWriter(_file(ours, "wb"))
        if stdout is None:
            write = -1
        elif stdout is PIPE:
            write, ours = self._pipe(1)
            popen.stdout = io.BufferedReader(_file(ours, "rb"))
        if stderr is None:
            error = -1
        elif stderr is STDOUT:
            error = write
        elif stderr is PIPE:
            error, ours = self._pipe(1)
            popen.stderr = io.BufferedReader(_file(ours, "rb"))
        self.theirs = read, write, error

    def _pipe(self, child_writes: int) -> tuple[int, int]:
        """The child's end, and ours."""
        ends = os.pipe()
        self.opened.append(ends[child_writes])
        return ends[child_writes], ends[1 - child_writes]


def _file(fd: int, mode: str) -> io.FileIO:
    try:
        return io.FileIO(fd, mode)
    except BaseException:
        os.close(fd)
        raise
