"""`run` and `call` without a Popen: most calls need no file objects, and no second look."""

from __future__ import annotations

import codecs
import errno
import functools
import locale
import os
import subprocess
import sys
from subprocess import PIPE, CompletedProcess

from .. import _core
from ..children import LOCKED, end
from ..children import run as run_child
from ..errors import SpawnError
from . import counts, planning, standard
from .methods import METHODS
from .starting import as_standard
from .streams import Streams, are_known
from .waiting import deadline_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Run: TypeAlias = Callable[..., CompletedProcess[Any]]

__all__ = ["made_call", "made_run"]

_QUICK = frozenset(
    (
        "stdin",
        "stdout",
        "stderr",
        "cwd",
        "env",
        "shell",
        "executable",
        "start_new_session",
        "text",
        "universal_newlines",
        "encoding",
        "errors",
    )
)
_TEXT = frozenset(("text", "universal_newlines", "encoding", "errors"))


def made_run(general: Run, names: dict[str, Any], popen: type) -> Run:
    """A `run` that takes the short way where that makes no difference, and else calls `general`.

    names: of the module it is made for. A program may have put a class of its own in the place of
    `popen` there, or of what is returned and raised, and it is that which `run` has to call then.
    """

    @functools.wraps(general)
    def run(
        *popenargs: Any,
        input: Any = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **kwargs: Any,
    ) -> CompletedProcess[Any]:
        if (
            len(popenargs) == 1
            and names["Popen"] is popen
            and names["CompletedProcess"] is CompletedProcess
            and _is_ours(popen)
        ):
            try:
                result = _run(popenargs[0], input, capture_output, timeout, kwargs)
            except _BusyError:
                result = None
            if result is not None:
                if check and result.returncode:
                    raise names["CalledProcessError"](
                        result.returncode, result.args, output=result.stdout, stderr=result.stderr
                    )
                return result
        return general(
            *popenargs,
            input=input,
            capture_output=capture_output,
            timeout=timeout,
            check=check,
            **kwargs,
        )

    return run


def made_call(
    general: Callable[..., int], names: dict[str, Any], popen: type
) -> Callable[..., int]:
    """`call` likewise. What it does with a pipe nobody reads is not for the short way."""

    @functools.wraps(general)
    def call(*popenargs: Any, timeout: float | None = None, **kwargs: Any) -> int:
        if (
            len(popenargs) == 1
            and names["Popen"] is popen
            and _is_ours(popen)
            and PIPE not in kwargs.values()
        ):
            try:
                result = _run(popenargs[0], None, False, timeout, kwargs)
            except _BusyError:
                result = None
            if result is not None:
                return result.returncode
        return general(*popenargs, timeout=timeout, **kwargs)

    return call


# What the long way calls, and what those call. Somebody may have wrapped one before we were loaded.
_NAMES = (
    "__init__",
    "__enter__",
    "__exit__",
    "_communicate",
    "_execute_child",
    "_get_handles",
    "_internal_poll",
    "_wait",
    "communicate",
    "kill",
    "poll",
    "send_signal",
    "wait",
)
_METHODS = {**standard.METHODS, **METHODS}
(
    _init,
    _enter,
    _exit,
    _private_communicate,
    _execute_child,
    _get_handles,
    _internal_poll,
    _private_wait,
    _communicate,
    _kill,
    _poll,
    _send_signal,
    _wait,
) = (_METHODS[name] for name in _NAMES)
_UNTOUCHED = all(
    getattr(standard.METHODS[name], "__globals__", None) is vars(subprocess) for name in _NAMES
)


def _is_ours(popen: Any) -> bool:
    """Has nobody put a method of theirs in the place of one that `run` is to call?

    Nor `uninstall` the standard ones: a program may have kept our `run` beyond that. One by one: a
    loop over the names would take six times as long, in each run.
    """
    return (
        _UNTOUCHED
        and popen.__init__ is _init
        and popen.__enter__ is _enter
        and popen.__exit__ is _exit
        and popen._communicate is _private_communicate
        and popen._execute_child is _execute_child
        and popen._get_handles is _get_handles
        and popen._internal_poll is _internal_poll
        and popen._wait is _private_wait
        and popen.communicate is _communicate
        and popen.kill is _kill
        and popen.poll is _poll
        and popen.send_signal is _send_signal
        and popen.wait is _wait
    )


def _run(
    args: Any,
    input: Any,
    capture_output: bool,
    timeout: float | None,
    options: dict[str, Any],
) -> CompletedProcess[Any] | None:
    """None: this one has to go the long way, and nothing has happened yet."""
    get = options.get
    if not options and input is None and not capture_output:
        return _through(args, None, timeout, None, get)
    text = None
    stdin = stdout = stderr = None
    if options:
        if not _QUICK.issuperset(options):
            return None
        stdin, stdout, stderr = get("stdin"), get("stdout"), get("stderr")
        if not _TEXT.isdisjoint(options):
            text = _text(get("text"), get("universal_newlines"), get("encoding"), get("errors"))
            if text is _UNCLEAR:
                return None
    if capture_output:
        if stdout is not None or stderr is not None:
            return None  # an error, with the standard's words
        stdout = stderr = PIPE
    if input is not None:
        if stdin is not None:
            return None
        if text:
            if type(input) is not str:
                return None
            input = input.encode(*text)
        elif type(input) is not bytes:
            return None
        stdin = PIPE
    elif stdin is PIPE:
        return None
    if not are_known(stdin, stdout, stderr):
        return None
    if stdin is None and stdout is None and stderr is None:
        return _through(args, None, timeout, text, get)
    streams = _Gathering(input, stdin, stdout, stderr)
    try:
        return _through(args, streams, timeout, text, get)
    finally:
        _core.close_pump(streams.pump)


class _BusyError(Exception):
    """The program is open for writing: the long way tries again."""


def _through(
    args: Any,
    streams: _Gathering | None,
    timeout: float | None,
    text: tuple[str, str] | None,
    get: Callable[..., Any],
) -> CompletedProcess[Any]:
    if subprocess._active:  # type: ignore[attr-defined]
        subprocess._cleanup()  # type: ignore[attr-defined]
    deadline = deadline_of(timeout)
    cwd, env = get("cwd"), get("env")
    argv, executable = planning.command(args, get("executable"), get("shell", False))
    sys.audit("subprocess.Popen", executable, argv, cwd, env)
    pump, ends = None, planning.INHERITED
    if streams is not None:
        ends = streams.open()
        if streams.pump.opened:  # there may be nothing but descriptors that are not ours
            pump = streams.pump
    session = get("start_new_session", False)
    plan = planning.pack(argv, executable, cwd, env, ends, session)
    sys.audit("spawnkit.spawn", executable, argv, cwd, env)
    child = _core.new_child()
    flags = _core.PIDFD_IF_NEEDED if timeout is None else _core.PIDFD
    try:
        outcome = run_child(plan, planning.engine(), flags, child, pump, deadline)
        # While AGAIN, the child is at work too: what is done now costs no time.
        counts.note()
        result: CompletedProcess[Any] = CompletedProcess(args, 0)
        if outcome == _core.AGAIN:
            if pump is None or streams is None:
                outcome = _core.wait(child, deadline)
            else:
                outcome = _core.pump(pump, child, deadline, streams.sinks)
        if outcome != _core.OK:
            if outcome in (_core.TIMEOUT, LOCKED):
                raise _expired(args, timeout, child, streams)
            _core.raise_for(outcome, child, plan)
    except SpawnError as error:
        end(child)
        if error.errno == errno.ETXTBSY:
            raise _BusyError from None
        raise as_standard(error, executable, cwd) from error
    except BaseException as error:
        grace = standard.INTERRUPT_GRACE if isinstance(error, KeyboardInterrupt) else 0.0
        end(child, grace)
        raise
    if child.status:
        result.returncode = os.waitstatus_to_exitcode(child.status)
    if streams is not None:
        result.stdout, result.stderr = streams.gathered(1, text), streams.gathered(2, text)
    return result


def _expired(
    args: Any, timeout: float | None, child: _core.Child, streams: _Gathering | None
) -> subprocess.TimeoutExpired:
    end(child)
    # By its name, as the methods of Popen do: a program may have put another there.
    if streams is None or not streams.pump.opened:
        return subprocess.TimeoutExpired(args, timeout)  # type: ignore[arg-type]
    _core.drain_pump(streams.pump)
    output, stderr = (streams.gathered(stream, None) or None for stream in (1, 2))
    return subprocess.TimeoutExpired(args, timeout, output=output, stderr=stderr)  # type: ignore[arg-type]


class _Gathering(Streams):
    """What is captured and fed."""

    __slots__ = ("_view", "sinks")

    def __init__(self, input: bytes | None, *three: Any) -> None:
        super().__init__(*three)
        self.sinks: dict[int, io.BytesIO] = {}
        self._view = None if input is None else _core.feed_pump(self.pump, input)

    def gathered(self, stream: int, text: tuple[str, str] | None) -> Any:
        """What came on stdout (1) or stderr (2); None where it is not captured."""
        if not self.is_pipe(stream):
            return None
        data = _core.gathered(self.pump, stream, self.sinks)
        if text is None:
            return data
        return data.decode(*text).replace("\r\n", "\n").replace("\r", "\n")


_UNCLEAR = ("", "")
_STATELESS = frozenset(("utf-8", "ascii", "iso8859-1"))


def _text(
    text: Any, universal_newlines: Any, encoding: str | None, errors: str | None
) -> tuple[str, str] | None:
    """Encoding and error handler; None: bytes; _UNCLEAR: that is for the standard module to say."""
    if not (text or universal_newlines or encoding or errors):
        return None
    if text is not None and universal_newlines is not None:
        return _UNCLEAR
    if encoding is None:
        if sys.flags.warn_default_encoding:
            return _UNCLEAR
        # With the UTF-8 mode this is UTF-8 too.
        encoding = locale.getpreferredencoding(False)
    try:
        name = codecs.lookup(encoding).name
        if errors is None:
            errors = "strict"
        else:
            codecs.lookup_error(errors)
    except (LookupError, TypeError, ValueError):
        return _UNCLEAR  # where it is refused before the program has run, too
    # Of a single pipe the standard `communicate` makes text with an incremental codec, of two with
    # one call. For others than these it is not the same: UTF-16 wants a mark, or writes none.
    return (encoding, errors) if name in _STATELESS else _UNCLEAR
