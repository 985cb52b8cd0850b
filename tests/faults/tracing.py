"""strace on a running process, and what its log says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BEGIN, END = "/mark/begin", "/mark/end"

# Always traced: the marks, and who starts whom.
_ALWAYS = "?access,faccessat,?faccessat2,clone,clone3,?fork,?vfork,execve,execveat"

_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_RESULT = re.compile(r"\) += (-?\d+)(?!.*\) += )")


class Strace:
    """Attached to `pid` and to all that it starts, until `detach`."""

    def __init__(self, pid: int, log: Path, calls: str, inject: str = "") -> None:
        self._log = log
        words = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={_ALWAYS},{calls}"]
        words += ["-e", f"inject={inject}"] if inject else []
        self._strace = subprocess.Popen([*words, "-p", str(pid)], stderr=subprocess.PIPE)
        assert self._strace.stderr is not None
        line = self._strace.stderr.readline()
        if b"attached" not in line:
            self.detach()
            raise RuntimeError(f"strace: {line.decode().strip()}")

    def detach(self) -> None:
        """Everyone runs on without it."""
        if self._strace.returncode is None:
            self._strace.send_signal(signal.SIGTERM)
            self._strace.communicate()

    def log(self) -> Log:
        return Log(self._log.read_text(errors="replace"))


@dataclass
class Call:
    """One system call. nth: which one of its name it is in its task; so does strace count."""

    task: int
    name: str
    nth: int
    text: str
    inside: bool  # between the marks

    @property
    def injected(self) -> bool:
        return "(INJECTED)" in self.text

    @property
    def result(self) -> int | None:
        found = _RESULT.search(self.text)
        return int(found[1]) if found else None


@dataclass
class Log:
    """The calls of all tasks, in the order in which they began."""

    text: str
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        counts: dict[tuple[int, str], int] = {}
        open_calls: dict[int, Call] = {}
        inside = False
        for line in self.text.splitlines():
            found = _LINE.match(line)
            if not found:
                continue
            task, rest = int(found[1]), found[2]
            if resumed := _RESUMED.match(rest):
                if task in open_calls:
                    open_calls.pop(task).text += resumed[2]
                continue
            called = _CALL.match(rest)
            if not called:
                continue  # "--- SIGCHLD", "+++ exited"
            if BEGIN in rest or END in rest:
                inside = BEGIN in rest
                continue
            name = called[1]
            counts[task, name] = nth = counts.get((task, name), 0) + 1
            call = Call(task, name, nth, rest, inside)
            self.calls.append(call)
            if "unfinished ...>" in rest:
                open_calls[task] = call

    def families(self, main: int) -> tuple[set[int], set[int]]:
        """Threads of `main`, and its children."""
        threads, born = {main}, {}
        for call in self.calls:
            is_clone = call.name in ("clone", "clone3", "fork", "vfork")
            if is_clone and call.result and call.result > 0:
                born[call.result] = call
        for task, call in born.items():
            if call.task in threads and "CLONE_THREAD" in call.text:
                threads.add(task)
        children = {task for task, call in born.items() if call.task in threads} - threads
        return threads - {main}, children

    def before_exec(self, tasks: set[int]) -> Iterator[Call]:
        """The calls of these tasks before they became another program, the execve included."""
        over = set()
        for call in self.calls:
            if call.task in tasks and call.task not in over:
                yield call
                if call.name in ("execve", "execveat") and call.result == 0:
                    over.add(call.task)


def mark(path: str) -> None:
    """Says in the log where a use begins and ends."""
    os.access(path, os.F_OK)
