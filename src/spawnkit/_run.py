"""run and output: a command in one call."""

from __future__ import annotations

import errno

from . import _core
from .errors import SpawnError
from .execution import execute
from .prepare import prepare
from .result import Result, check_text
from .streams import MEMORY, ORDERED, PIPE, Pipes, Streams, as_input, check_streams, is_supervised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Literal

    from .attributes import SysProcAttr
    from .cancel import CancelToken
    from .cgroups import Cgroup
    from .cmd import Cmd
    from .plan import Arg, Dir, Environment, File
    from .streams import CheckedThree, Stream

__all__ = ["output", "run"]


def run(
    args: Sequence[Arg],
    *,
    capture: bool | Literal["memory", "ordered"] = False,
    input: _core.Buffer | str | None = None,
    timeout: float | None = None,
    check: bool = True,
    encoding: str | None = None,
    errors: str = "strict",
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
    idle_timeout: float | None = None,
    cancel: CancelToken | Callable[[Cmd], object] | None = None,
    grace: float | None = None,
    kill: str | None = None,
    wait_delay: float | None = None,
    max_output: int | None = None,
    overflow: str = "truncate",
    engine: str | None = None,
) -> Result:
    """Runs a command to its end.

    args: a list or tuple: the program and its arguments; see `Cmd`, also for the other parameters.
    capture: gather stdout and stderr in memory; the same as PIPE for both. PIPE for one gathers
        that one. What is not gathered goes where ours goes. "memory" and "ordered" are MEMORY and
        ORDERED for both.
    input: bytes for its stdin (str with an encoding); a program that does not read them all is no
        error (`Result.broken_pipe`). None: its stdin is `stdin`, and ours where that is None.
    timeout: seconds for start, program and streams together; None or infinity: no limit; 0 or less:
        over at once. When they pass, the process is killed and reaped and TimeoutExpired raised,
        with what was captured.
    check: raise ExitError, with what was captured, unless it exits with 0.
    encoding, errors: as for bytes.decode: what is captured is str. None: bytes.

    Ctrl-C gives a child in our own process group 0.25 s to end, then kills it; it is reaped, and
    KeyboardInterrupt goes on. Raises SpawnError when the program cannot run, Cancelled and
    WaitDelayError by `cancel` and `wait_delay`, what a reader, writer or callable raised,
    StatusLost when nobody can say how it ended, ValueError, TypeError and LookupError (`encoding`)
    for bad input before any process is made. Go has no such function: it is `Cmd.run` with a
    `Result`.

    >>> run(["/bin/echo", "hello"], capture=True).stdout
    b'hello\\n'
    """
    if capture:
        if stdout is not None or stderr is not None:
            raise ValueError("capture: given together with stdout or stderr")
        stdout = stderr = PIPE if capture is True else _capture(capture)
    text = None if encoding is None else check_text(encoding, errors)
    if input is not None:
        if stdin is not None:
            raise ValueError("input: given together with stdin")
        stdin = input if type(input) is bytes else as_input(input, text)
    deadline = _core.FOREVER if timeout is None else _core.deadline_after(timeout)
    checked: CheckedThree | None = None
    pipes: Pipes | None = None
    if stdin is not None or stdout is not None or stderr is not None:
        if (
            stdin is None
            and (stdout is None or stdout is PIPE)
            and (stderr is None or stderr is PIPE)
        ):
            checked, pipes = (None, stdout, stderr), Pipes()
        else:
            checked = check_streams((stdin, stdout, stderr))
    plain = (
        wait_delay is None
        and cancel is None
        and grace is None
        and kill is None
        and idle_timeout is None
        and max_output is None
        and overflow == "truncate"
    )
    if plain and (checked is None or not is_supervised(checked)):
        child = _core.new_child()
        streams: Pipes | None = None
        try:
            plan, number, streams = prepare(
                args,
                path,
                env,
                dir,
                checked,
                extra_files,
                fd_map,
                exec_fd,
                attr,
                engine,
                cgroup,
                pipes,
            )
            result = execute(
                child, plan, number, streams, args[0], timeout, deadline, check, attr, text
            )
            if text is not None:
                result.decode(text)
            return result
        except SpawnError as error:
            if error.errno != errno.ETXTBSY:
                raise
        finally:
            if pipes is not None:
                _core.close_pump(pipes.pump)
            elif isinstance(streams, Streams):
                streams.close()
    from .cmd import Cmd

    cmd = Cmd(
        path=path,
        env=env,
        dir=dir,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        extra_files=extra_files,
        fd_map=fd_map,
        exec_fd=exec_fd,
        attr=attr,
        cgroup=cgroup,
        timeout=timeout,
        idle_timeout=idle_timeout,
        cancel=cancel,
        grace=grace,
        kill=kill,
        wait_delay=wait_delay,
        max_output=max_output,
        overflow=overflow,
        encoding=encoding,
        errors=errors,
        engine=engine,
    )
    cmd.args = args  # as it is: what is no list is refused by name
    cmd.run(check=check)
    assert cmd.result is not None
    return cmd.result


def _capture(capture: object) -> Stream:
    if capture == "memory":
        return MEMORY
    if capture == "ordered":
        return ORDERED
    raise ValueError(f'capture: True, False, "memory" or "ordered", not {capture!r}')


def output(
    args: Sequence[Arg], *, input: _core.Buffer | str | None = None, **options: Any
) -> bytes | str:
    """Runs a command and returns what it wrote to its stdout. Go's `Cmd.Output`.

    input: as for `run`. options: those of `Cmd`, but stdout. Its stderr, unless `stderr` says
    otherwise, is kept for `ExitError.stderr` (the first and the last 32 KiB) and else dropped.
    Raises as `run`.

    >>> output(["/bin/echo", "hello"])
    b'hello\\n'
    """
    from .cmd import Cmd

    if input is not None:
        if options.get("stdin") is not None:
            raise ValueError("input: given together with stdin")
        text = check_text(options.get("encoding"), options.get("errors", "strict"))
        options["stdin"] = as_input(input, text)
    cmd = Cmd(**options)
    cmd.args = args
    return cmd.output()
