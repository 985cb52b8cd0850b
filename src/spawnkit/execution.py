"""`execute`: start, feed and gather, wait. The short way for a command without any Python between.

What it cannot do (readers and writers, a token, a delay) is supervise.py's.
"""

from __future__ import annotations

import os

from . import _core
from .children import LOCKED, end, run
from .errors import ExitError, TimeoutExpired
from .result import Result
from .state import ProcessState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .attributes import SysProcAttr
    from .plan import Arg
    from .proctable import OtherProcess
    from .result import Text
    from .streams import Pipes

# After Ctrl-C at a terminal the child has had the signal too, and may be tidying up.
INTERRUPT_GRACE = 0.25


def execute(
    child: _core.Child,
    plan: bytes,
    engine: int,
    streams: Pipes | None,
    name: Arg,
    timeout: float | None,
    deadline: int,
    check: bool,
    attr: SysProcAttr | None,
    text: Text | None,
) -> Result:
    """Starts a plan, feeds and gathers, waits: one crossing into C, two on the main thread.

    text: how an exception's outputs are decoded; the result's are the caller's to decode.
    """
    try:
        flags = _core.PIDFD_IF_NEEDED if timeout is None else _core.PIDFD
        pump = None if streams is None else streams.pump
        outcome = run(plan, engine, flags, child, pump, deadline)
        if outcome == _core.LOCKED:
            raise TimeoutExpired(os.fsdecode(name), timeout or 0.0, stage=LOCKED)
        # While AGAIN, the child is at work too: what can be done now costs no time.
        result = Result(ProcessState(child))
        if streams is None:
            if outcome == _core.AGAIN:
                outcome = _core.wait(child, deadline)
        else:
            if outcome == _core.AGAIN:
                outcome = _core.pump(pump, child, deadline, streams.sinks)
        if outcome != _core.OK:
            if outcome == _core.TIMEOUT:
                raise _expired(child, streams, result, name, timeout or 0.0, text)
            _core.raise_for(outcome, child, plan)
        if streams is not None:
            streams.take(result)  # not before the end: it seals files in memory
        if check and child.status != 0:
            if text is not None:
                result.decode_somehow(text)
            raise ExitError(os.fsdecode(name), result.state, result.stdout, result.stderr)
        return result
    except BaseException as error:
        end(child, grace_for(error, attr))
        raise


def grace_for(error: BaseException, attr: SysProcAttr | None) -> float:
    """How long a child may take to end by itself: only after a Ctrl-C that it has had too."""
    own_group = attr is not None and (attr.setsid or attr.setpgid)
    return INTERRUPT_GRACE if isinstance(error, KeyboardInterrupt) and not own_group else 0.0


def _expired(
    child: _core.Child,
    streams: Pipes | None,
    result: Result,
    name: Arg,
    timeout: float,
    text: Text | None,
) -> TimeoutExpired:
    stage = _core.setup_stage(child)
    ended = end(child)
    holders: list[OtherProcess] = []
    if streams is not None:
        pipes = _core.open_pipes(streams.pump)
        if pipes:
            from .proctable import name_holders

            holders = name_holders(pipes)
        _core.drain_pump(streams.pump)
        streams.take(result)
    if text is not None:
        result.decode_somehow(text)
    state = result.state if ended and stage is None and child.status_known else None
    error = TimeoutExpired(os.fsdecode(name), timeout, result.stdout, result.stderr, state, stage)
    error.holders = holders
    return error
