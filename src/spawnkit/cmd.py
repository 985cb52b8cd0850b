"""Cmd: one command, described, started, waited for. Go's `exec.Cmd`."""

from __future__ import annotations

import io
import os

from . import _core
from .environment import as_dict
from .errors import DotError, SpawnError, TimeoutExpired
from .lookpath import find_program
from .plan import encode
from .prepare import encode_dir
from .result import check_text
from .running import Running, exit_error, run_to_the_end
from .streams import HELD, NAMES, PIPE, STDOUT, Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeAlias

    from .attributes import SysProcAttr
    from .cancel import CancelToken
    from .cgroups import Cgroup
    from .pipeline import Pipeline
    from .pipes import PipeEnd
    from .plan import Arg, Dir, Environment, File
    from .process import Process
    from .result import Result
    from .state import ProcessState
    from .streams import Stream, Three

    Reading: TypeAlias = io.BufferedReader[PipeEnd] | io.TextIOWrapper[Any]
    Writing: TypeAlias = PipeEnd | io.TextIOWrapper[Any]

__all__ = ["Cmd"]

KEPT_FOR_ERRORS = 32 << 10  # of stderr, from each end, by `output`; Go's number

_OPTIONS = (
    "env",
    "dir",
    "stdin",
    "stdout",
    "stderr",
    "extra_files",
    "fd_map",
    "exec_fd",
    "attr",
    "cgroup",
    "timeout",
    "idle_timeout",
    "cancel",
    "grace",
    "kill",
    "wait_delay",
    "max_output",
    "overflow",
    "encoding",
    "errors",
    "engine",
)


class Cmd:
    """One command: a program, its arguments, and the surroundings it is to have.

    >>> Cmd("echo", "hello").output()
    b'hello\\n'

    `run` starts it and waits; `output` also returns what it wrote; `start` and `wait` do it in two
    steps, with the process in `process` meanwhile. Each parameter is an attribute, which may be
    changed until the start. A Cmd is used once, also when its start failed (`clone` makes a fresh
    one), and belongs to one thread.

    What to run:

    args: the program and its arguments, as str, bytes or PathLike. A program name without a slash
        is looked for on our PATH (`look_path`), not the child's; with one it is taken literally,
        relative to `dir`.
    path: the program to execute where it is not args[0], taken literally; None: args[0] says which.
    exec_fd: an open file, or its descriptor, to execute (execveat(2)); args[0] is then only a name.
        Of a script with a "#!" line the descriptor stays open in the program (fexecve(3)). None: by
        path.
    env: the whole environment as a mapping, or an `Env`; None: ours, with PWD set where `dir` is
        given.
    dir: the working directory; None: ours.
    attr: a SysProcAttr: session, group, umask, limits, signals. None: nothing special.
    cgroup: a Cgroup, which the program is in from its first instruction; it may have others in it,
        and is yours to close. None: ours.

    Its streams:

    stdin, stdout, stderr: one of
        None: ours, unchanged. DEVNULL: /dev/null.
        a descriptor, or a file that has one: the program gets it as it is, not flushed.
        a path (str, PathLike), relative to our directory: read from the beginning, or created and
        emptied. A FIFO is refused, because its open may wait for ever.
        any other object with read() or write(): copied by a thread; text where it is a text object.
        stdin only: bytes, bytearray, memoryview: fed. An iterator: each item is fed as it comes,
        from a thread; bytes, or str with an `encoding`.
        stdout, stderr only: PIPE: gathered in memory, in `result` after the wait. A callable:
        called in a thread with each line (`each_line`); what it raises ends the command.
        `each_chunk`, `tee`.
        MEMORY: a file in memory, whose view is in `result` after the wait (memfd_create(2)); nobody
        reads meanwhile, and what descendants write later is refused.
        both or none: ORDERED: `result.ordered` has each write in its order, with stream and time; a
        write has to fit into a socket's buffer.
        stderr only: STDOUT, or the same object or path as stdout: where stdout goes.
    extra_files: descriptors or files that become 3, 4, … in the program; None in the list: closed.
    fd_map: {descriptor of the program: ours, or None for closed}. No others are open in it.
    encoding, errors: as for bytes.decode, without translation of newlines: what is captured and
        what pipes and callables give and get is str. None: bytes, and UTF-8 for text objects.

    Its end:

    timeout: seconds from the start until process and streams have to be over; then the process is
        killed, and `wait` raises TimeoutExpired, whatever its status. None or infinity: no limit; 0
        or less: over at once.
    idle_timeout: the same, after so many seconds without any output; only output that comes
        through us is heard (PIPE, a writer). None or infinity: it may be silent.
    cancel: a CancelToken, whose `cancel` ends the command: Cancelled. Or what to call with this Cmd
        at the timeout, in place of SIGKILL; it needs a timeout, and a wait_delay if the program may
        ignore it. ProcessDone raised in it means that the program had ended; any other exception is
        raised by `wait`. None: nothing but the timeout.
    grace: seconds between SIGTERM and SIGKILL, when it has to end; with a `cancel` to call, between
        that and SIGKILL. After Ctrl-C too. None: no SIGTERM.
    kill: whom these signals reach. "process", or None: it alone. "group": its process group, which
        it leads (setpgid(2); so Ctrl-C at the terminal does not reach it). "tree": that, and all
        descendants, wherever they went, that are found in /proc by parentage or by the variable
        SPAWNKIT_RUN, which their environment gets: `KillReport` says who was missed. "cgroup":
        whoever is in its `cgroup`; where that is None, in one made for it, which is removed with
        all that is left in it at its end. Where `attr` has a new PID namespace, "group" and "tree"
        are whoever is in that, and SIGTERM goes to the process alone. Such a kill takes up to half
        a second more, or a second.
    wait_delay: seconds from the timeout or cancellation until SIGKILL and the closing of pipes, and
        from the program's own end where a descendant holds its streams (WaitDelayError if it was
        successful); with `grace`, from SIGKILL. 0 or less: at once. None: as long as it takes;
        after a kill by default, only what is in the pipes is taken.
    max_output: bytes that are kept of each stream with PIPE. None: all.
    overflow: what is to happen beyond that. "truncate": the first and the last half of max_output
        is kept, with a line between them; the program may write on. "kill": it is ended as at a
        timeout, and what came first is its result, whatever its status. "error": it is ended, and
        OutputLimitError raised.
    engine: "vfork", "vfork-waiting", "fork" or "posix_spawn"; None chooses. Where memory cannot be
        shared, "fork" serves for both of the first; `ProcessState.engine` says which one did.

    What it leaves: `process` (a Process, from the start on), `process_state` and `result` (after
    the wait), `broken_pipe` (it did not read all of its input), `err` (of the search on PATH). Each
    but `broken_pipe` is None where there is none.

    Wrong values raise ValueError, TypeError or (`encoding`, `errors`) LookupError when it is
    started, before any process is. Follows Go's os/exec/exec.go; differs in that None means
    inherit, not /dev/null, and more: docs/architecture.md, "Where we differ from Go".
    """

    has_group = False  # unless `attr` or `kill` give it one

    # A misspelt option would be an attribute nobody reads; and a thousand of them take less.
    __slots__ = (
        *_OPTIONS,
        "__weakref__",
        "_ends",
        "_err",
        "_found",
        "_path",
        "_running",
        "_searched",
        "_streams",
        "_used",
        "args",
        "process",
        "process_state",
        "result",
    )

    def __init__(
        self,
        *args: Arg,
        path: Arg | None = None,
        env: Environment | None = None,
        dir: Dir | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        extra_files: Sequence[File | None] = (),
        fd_map: Mapping[int, File | None] | None = None,
        exec_fd: File | None = None,
        attr: SysProcAttr | None = None,
        cgroup: Cgroup | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        cancel: CancelToken | Callable[[Cmd], object] | None = None,
        grace: float | None = None,
        kill: str | None = None,
        wait_delay: float | None = None,
        max_output: int | None = None,
        overflow: str = "truncate",
        encoding: str | None = None,
        errors: str = "strict",
        engine: str | None = None,
    ) -> None:
        """See the class."""
        self.args: Sequence[Arg] = args
        self._path = path
        self.env = env
        self.dir = dir
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.extra_files = extra_files
        self.fd_map = fd_map
        self.exec_fd = exec_fd
        self.attr = attr
        self.cgroup = cgroup
        self.timeout = timeout
        self.idle_timeout = idle_timeout
        self.cancel = cancel
        self.grace = grace
        self.kill = kill
        self.wait_delay = wait_delay
        self.max_output = max_output
        self.overflow = overflow
        self.encoding = encoding
        self.errors = errors
        self.engine = engine
        self.process: Process | None = None
        self.process_state: ProcessState | None = None
        self.result: Result | None = None
        self._searched: object = None  # the name that the next two are about
        self._found: bytes | None = None
        self._err: BaseException | None = None
        self._used = False
        self._streams: Streams | None = None  # with the pipes that the caller asked for
        self._ends: list[PipeEnd] = []
        self._running: Running | None = None

    @property
    def name(self) -> str:
        """The program as it was asked for, for messages."""
        if not self.args:
            return ""
        name = self.args[0]
        return os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else repr(name)

    # ---- what it is -----------------------------------------------------------------------------

    @property
    def path(self) -> Arg:
        """The program: as given, or as found on PATH; the name itself where nothing was found."""
        if self._path is not None:
            return self._path
        if self.exec_fd is not None:
            return self.args[0]
        self._search()
        return self.args[0] if self._found is None else os.fsdecode(self._found)

    @path.setter
    def path(self, path: Arg | None) -> None:
        self._path = path

    @property
    def err(self) -> BaseException | None:
        """What is wrong with the program's name, which `start` will raise: Go's `Cmd.Err`.

        A SpawnError, or a DotError for a program found through a relative element of PATH. The
        search is made when it is first asked for. Setting it to None allows what was found.
        """
        if self._path is None and self.exec_fd is None:
            self._search()
        return self._err

    @err.setter
    def err(self, error: BaseException | None) -> None:
        self._search()
        self._err = error

    def _search(self) -> None:
        if not self.args or self._searched is self.args[0]:
            return
        name = encode(self.args[0], "args[0]")
        self._err = self._found = None
        try:
            self._found = find_program(name)
        except DotError as error:
            self._err = error
            self._found = os.fsencode(error.path)
        except SpawnError as error:
            self._err = error
        self._searched = self.args[0]

    def _program(self) -> Arg | None:
        """What to execute, where that has been settled; else `prepare` searches PATH."""
        if self._path is not None or self.exec_fd is not None:
            return self._path
        if self.args and self._searched is self.args[0]:
            if self._err is not None:
                raise self._err
            return self.args[0] if self._found is None else self._found
        return None

    @property
    def broken_pipe(self) -> bool:
        """The program did not read all of its input; known after the wait."""
        return self.result is not None and self.result.broken_pipe

    def environ(self) -> dict[str, str]:
        """The environment as the child will see it. Changing it changes nothing."""
        return as_dict(self.env, None if self.dir is None else encode_dir(self.dir))

    def clone(self) -> Cmd:
        """A fresh Cmd with the same description; pipes that were asked for are not part of it.

        Readers, writers and callables are the same objects: a reader goes on where it is.
        """
        options: dict[str, Any] = {name: getattr(self, name) for name in _OPTIONS}
        for name in NAMES:
            if options[name] is HELD:
                options[name] = None
        fresh = Cmd(*self.args, path=self._path, **options)
        fresh._searched, fresh._found, fresh._err = self._searched, self._found, self._err
        return fresh

    def __or__(self, other: Cmd | Pipeline) -> Pipeline:
        """A Pipeline: the stdout of this one becomes the stdin of the other."""
        from .pipeline import Pipeline

        return Pipeline(self) | other

    def __str__(self) -> str:
        """The resolved program and its arguments, quoted for a POSIX shell."""
        import shlex

        words = [os.fsdecode(arg) for arg in self.args]
        if words and self.err is None:
            words[0] = os.fsdecode(self.path)
        return shlex.join(words)

    def __repr__(self) -> str:
        """Cmd('ls', '-l', dir='/tmp')."""
        shown = [repr(arg) for arg in self.args]
        if self._path is not None:
            shown.append(f"path={self._path!r}")
        fresh = Cmd()
        shown += [
            # Not the environment, which may hold secrets, nor input that may be long.
            f"{name}={'...' if name == 'env' or isinstance(value, bytes) else repr(value)}"
            for name in _OPTIONS
            if (value := getattr(self, name)) is not (default := getattr(fresh, name))
            and value != default
        ]
        return f"Cmd({', '.join(shown)})"

    # ---- pipes ----------------------------------------------------------------------------------

    def stdin_pipe(self) -> Writing:
        """A pipe to its stdin, to write to; `close` it for the end of the input.

        Unbuffered: each write waits until all of it is in the pipe, or raises BrokenPipeError. With
        an encoding it takes text. `wait` closes it once the process has ended, not before.
        ValueError where stdin is set, RuntimeError after the start, SpawnError when there is no
        descriptor left. pipe(7).
        """
        end = self._pipe(0)
        text = check_text(self.encoding, self.errors)
        if text is None:
            return end
        return io.TextIOWrapper(end, *text, newline="", write_through=True)

    def stdout_pipe(self) -> Reading:
        """A pipe from its stdout, to read from.

        Buffered, in bytes, or text with an encoding. `wait` closes it once the process has ended:
        read to the end before you wait. ValueError where stdout is set, RuntimeError after the
        start, SpawnError when there is no descriptor left. pipe(7).
        """
        return self._output_pipe(1)

    def stderr_pipe(self) -> Reading:
        """The same for its stderr."""
        return self._output_pipe(2)

    def _output_pipe(self, index: int) -> Reading:
        reader = io.BufferedReader(self._pipe(index))
        text = check_text(self.encoding, self.errors)
        return reader if text is None else io.TextIOWrapper(reader, *text, newline="")

    def _pipe(self, index: int) -> PipeEnd:
        name = NAMES[index]
        if self._used:
            raise RuntimeError(f"Cmd: {name}_pipe after the start")
        self._refuse_set(index)
        if self._streams is None:
            self._streams = Streams()
        end = self._streams.pipe(index)
        self._ends.append(end)
        setattr(self, name, HELD)
        return end

    def _refuse_set(self, index: int) -> None:
        if getattr(self, NAMES[index]) is not None:
            raise ValueError(f"{NAMES[index]}: already set")

    # ---- running --------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the command; returns once its program runs. `wait` must follow.

        Until then threads of ours copy readers and writers, call callables, feed bytes, gather
        PIPE, and watch timeout and token. Raises SpawnError when it cannot run, TimeoutExpired and
        Cancelled when its time was over before, ValueError, TypeError or LookupError for bad input,
        RuntimeError when the Cmd was used before.
        """
        self._use()
        Running(self, self.timeout, self._three()).start(self, in_background=True)

    def wait(self, timeout: float | None = None, check: bool = True) -> ProcessState:
        """Waits for a started command and its streams, and returns how it ended.

        timeout: seconds for this call only: when they pass TimeoutExpired is raised and the command
        goes on. None or infinity: as long as it takes; 0 or less: only asks. check: raise ExitError
        unless it exited with 0. Closes the command's pipes. After the end it returns the same
        state, or raises ExitError, again.

        Raises, the first that applies: RuntimeError when it was not started or its start failed,
        and in a process forked since; what an action raised; TimeoutExpired and Cancelled by
        `timeout=` and `cancel=` of the Cmd, or what a callable raised; ExitError, with the next two
        as its cause; WaitDelayError; what a reader or writer raised. UnicodeDecodeError for output
        that does not decode. StatusLost as Process.wait. Ctrl-C leaves the command as it is.
        wait(2).
        """
        running = self._running
        if running is None:
            return self._ended(check)
        if not running.await_end(_core.deadline_after(timeout)):
            raise TimeoutExpired(self.name, timeout or 0.0)
        with running.concluding:
            if self._running is None:  # another thread was faster, and has taken the streams
                return self._ended(check)
            state = running.conclude(self, check)
        assert state is not None
        return state

    def run(self, timeout: float | None = None, check: bool = True) -> ProcessState:
        """Starts the command, waits for it and its streams, and returns how it ended.

        timeout: in place of the Cmd's own, seconds from the start; None: the Cmd's own. check:
        raise ExitError unless it exited with 0. Raises as `start` and `wait`, but ends the process
        first. Ctrl-C gives a child in our own process group 0.25 s to end, then kills it.
        """
        self._use()
        timeout = self.timeout if timeout is None else timeout
        return run_to_the_end(self, timeout, check, self._three())

    def output(self) -> bytes | str:
        """Runs the command and returns what it wrote to its stdout: bytes, or str with an encoding.

        Its stderr, where None, is not shown but kept for `ExitError.stderr`: the first and the last
        32 KiB. ValueError where stdout is set. Raises as `run`.
        """
        self._use()
        self._refuse_set(1)
        if self.stderr is not None:
            return self._captured((self.stdin, PIPE, self.stderr))
        return self._captured((self.stdin, PIPE, PIPE), KEPT_FOR_ERRORS)

    def combined_output(self) -> bytes | str:
        """Runs the command and returns what it wrote to stdout and stderr, in its order.

        ValueError where one of them is set. Raises as `run`.
        """
        self._use()
        self._refuse_set(1)
        self._refuse_set(2)
        return self._captured((self.stdin, PIPE, STDOUT))

    def _captured(self, three: Three, kept: int = 0) -> bytes | str:
        run_to_the_end(self, self.timeout, True, three, kept)
        assert self.result is not None
        captured: bytes | str = self.result.stdout
        return captured

    def _three(self) -> Three:
        return self.stdin, self.stdout, self.stderr

    def _ended(self, check: bool) -> ProcessState:
        state, result = self.process_state, self.result
        if state is None or result is None:
            if self.process is not None:
                raise RuntimeError("Cmd: a stage of a pipeline, which is what to wait for")
            raise RuntimeError("Cmd: its start failed" if self._used else "Cmd: not started")
        if check and not state.success:
            raise exit_error(self.name, result)
        return state

    def _use(self) -> None:
        if self._used:
            raise RuntimeError("Cmd: already started; a Cmd is used once")
        self._used = True
