"""invoke: its commands run through spawnkit. In tasks.py, for a collection of tasks:

    from spawnkit.adapters.invoke import SpawnkitLocal
    ns.configure({"runners": {"local": SpawnkitLocal}})

or, without one, `Context(Config(overrides={"runners": {"local": SpawnkitLocal}}))`.

What changes: how the processes are made, and

- with a `timeout` the command and all it has started are killed when it is over, wherever they
  went (kill="tree"). invoke kills the shell alone, and waits for whoever holds its pipes. For this
  such a command has a process group of its own: Ctrl-Z does not reach it; Ctrl-C is passed on;
- the end of a command is seen when it comes, not at invoke's next look;
- a command that is given up, because a watcher failed or a second exception came, is killed and
  reaped. invoke leaves it running.

What does not: `shell -c command`, streams, watchers, `hide`, `warn`, `echo`, `asynchronous`,
results, exceptions and messages, -n after signal n. Without a `timeout` commands stay in our
process group. `pty=True` is invoke's own: there are no pseudo-terminals here yet.

Follows `Local` in invoke/runners.py of invoke 3.0.3. Needs invoke: else the import fails.
"""

from __future__ import annotations

import io
import os
import signal
from contextlib import suppress

import spawnkit
from spawnkit.dropin.failing import as_standard

from .conventions import find, returncode

try:
    from invoke.runners import Local
except ImportError as error:
    text = "spawnkit.adapters.invoke needs invoke 2 or later (pip install invoke)"
    raise ImportError(text, name=error.name) from error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SpawnkitLocal"]

_PATIENCE = 5.0  # seconds for a kill to take effect, and for our threads to see it


class SpawnkitLocal(Local):
    """invoke's runner `Local`, with processes of spawnkit. See the module for what differs."""

    process: _Started | None = None

    def start(self, command: str, shell: str, env: dict[str, Any]) -> None:
        """Starts `shell -c command`. Raises OSError where the shell cannot run."""
        self.process = None
        if self.using_pty:
            super().start(command, shell, env)
            return
        tree = self.opts["timeout"] is not None and not self._disowned
        self.process = _Started(command, shell, env, tree)
        if self._disowned:
            self.process.disown()

    def wait(self) -> None:
        """Waits until the process has ended or one of our own threads has failed."""
        if self.process is None:
            super().wait()
            return
        while not (self.process.ended(self.input_sleep) or self.has_dead_threads):
            pass

    def send_interrupt(self, interrupt: KeyboardInterrupt) -> None:
        """Passes Ctrl-C on: as invoke does, and as a signal to a group of its own."""
        if self.process is not None:
            self.process.interrupt()
        super().send_interrupt(interrupt)

    def kill(self) -> None:
        """Kills it: with all it has started where it has a timeout; invoke's timer calls this."""
        if self.process is None:
            super().kill()
        else:
            self.process.kill()

    def stop(self) -> None:
        """The end of every run: nothing of it is left running or open."""
        super().stop()
        if self.process is not None:
            self.process.give_up()
            self.program_finished.set()  # for the thread that feeds it, where nobody waited
            threads = [t for t in getattr(self, "threads", {}).values() if t.is_alive()]
            for thread in threads:
                thread.join(_PATIENCE)
            # Somebody else may hold the other end. A thread that still reads keeps the pipes, until
            # this object goes: closed under its hands, a number could be another file's by then.
            if not any(thread.is_alive() for thread in threads):
                self.process.close()


class _Started:
    """A running command: as much of Popen as `Local` uses."""

    def __init__(self, command: str, shell: str, env: dict[str, Any], tree: bool) -> None:
        self.returncode: int | None = None
        self._token = spawnkit.CancelToken() if tree else None
        pipes: list[io.FileIO] = []
        try:
            for _ in range(3):
                read, write = os.pipe()
                pipes += io.FileIO(read, "rb"), io.FileIO(write, "wb")
            self._cmd = spawnkit.Cmd(
                shell,
                "-c",
                command,
                path=find(shell, env),
                env=env,
                stdin=pipes[0],
                stdout=pipes[3],
                stderr=pipes[5],
                cancel=self._token,
                kill="tree" if tree else None,
            )
            self._cmd.start()
        except BaseException as error:
            for pipe in pipes:
                pipe.close()
            if isinstance(error, spawnkit.SpawnError):
                raise as_standard(error, shell, None) from error
            raise
        for pipe in (pipes[0], pipes[3], pipes[5]):
            pipe.close()
        self.stdin, self.stdout, self.stderr = pipes[1], pipes[2], pipes[4]
        assert self._cmd.process is not None
        self._process = self._cmd.process
        self.pid = self._process.pid

    def ended(self, timeout: float) -> bool:
        """Waits so many seconds for its end."""
        if self.returncode is None:
            try:
                state = self._cmd.wait(timeout, check=False)
            except spawnkit.TimeoutExpired:
                return False
            except spawnkit.Cancelled as error:
                if error.state is None:
                    raise  # it could not be killed: who is left is in the message
                state = error.state
            self.returncode = returncode(state)
        return True

    def poll(self) -> int | None:
        """Its return code; None while it runs."""
        self.ended(0)
        return self.returncode

    def kill(self) -> None:
        """Ends it; nothing if it has ended."""
        if self._token is not None:
            self._token.cancel()
            return
        with suppress(spawnkit.ProcessDone):
            self._process.kill()

    def interrupt(self) -> None:
        """Ctrl-C for a process group that the terminal does not send it to."""
        if self._token is None or self.returncode is not None:
            return
        with suppress(spawnkit.ProcessDone, ProcessLookupError):
            self._process.signal(0)  # ProcessDone: its number may be another group's by now
            os.killpg(self.pid, signal.SIGINT)

    def disown(self) -> None:
        """It goes on without us: nobody reads, writes or waits. A later spawn reaps it."""
        self._process.release()
        self.close()

    def give_up(self) -> None:
        """Kills and reaps it, if it runs still."""
        if self.returncode is None:
            self.kill()
            if not self.ended(_PATIENCE):
                self._process.release()  # in an uninterruptible system call: reaped later

    def close(self) -> None:
        """Closes our ends of its pipes."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
