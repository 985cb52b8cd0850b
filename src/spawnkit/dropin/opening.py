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
from subprocess import PIPE

from .. import _core
from . import aio, planning, standard, starting
from .streams import NOT_GIVEN, Streams, are_known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["init"]

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
        or not are_known(*streams)
        or type(self)._execute_child is not starting.execute_child
        or type(self)._get_handles is not standard.get_handles
    ):
        aio.look()
        if PIPE in streams and (get("encoding") or get("errors")):
            # Refused in the standard `__init__`, it would leave the other pipes open.
            io.TextIOWrapper(io.BytesIO(), get("encoding") or "utf-8", get("errors"))
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
    self._closed_child_pipe_fds = True  # we do that, whatever happens
    opened = None
    ends = planning.INHERITED
    try:
        if streams != NOT_GIVEN:
            opened = Streams(*streams)
            ends = opened.open()
            _make_files(self, opened)
        starting.start(
            self,
            args,
            get("executable"),
            get("shell", False),
            get("cwd"),
            get("env"),
            ends,
            get("start_new_session", False),
        )
    except BaseException:
        for file in self.stdin, self.stdout, self.stderr:
            if file is not None:
                file.close()
        raise
    finally:
        if opened is not None:
            _core.close_pump(opened.pump)


def _make_files(popen: Any, opened: Streams) -> None:
    if opened.is_pipe(0):
        (popen.stdin,) = one_file(opened.pump, 0)
    if opened.is_pipe(1):
        (popen.stdout,) = one_file(opened.pump, 1)
    if opened.is_pipe(2):
        (popen.stderr,) = one_file(opened.pump, 2)


def one_file(pump: _core.Pump, stream: int) -> Iterator[Any]:
    """Makes our end of a pipe into a file with a descriptor of its own, when it is unpacked.

    That is one step of the interpreter. Between two steps a signal handler could raise: a
    descriptor that nobody has yet stays open for good, and a file in a variable for as long as the
    traceback lives, while an `__exit__` waits for a child that waits for the end of that file.
    """
    ours = (pump.ours[stream],)
    if stream:
        return map(io.BufferedReader, map(io.FileIO, map(os.dup, ours), ("rb",)))
    os.set_blocking(ours[0], True)  # of both: they are one open file
    return map(io.BufferedWriter, map(io.FileIO, map(os.dup, ours), ("wb",)))
