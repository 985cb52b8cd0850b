"""Ending: when a command is brought to its end and how, from the options of a Cmd; checked."""

from __future__ import annotations

import os

from . import _core, killing
from .attributes import SysProcAttr
from .cancel import CancelToken
from .errors import Cancelled
from .streams import ORDERED, PIPE, Copied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .cmd import Cmd
    from .pipeline import Pipeline
    from .streams import CheckedThree

KINDS = ("process", "group", "tree", "cgroup")
OVERFLOWS = ("truncate", "kill", "error")

_NONE = (None, None, None)
_own_group = SysProcAttr(setpgid=True)


class Ending:
    """The options that say when a command is over, in the units of the core.

    timeout: as given, for messages. deadline, idle, grace: see `Cmd`. kill: one of KINDS.
    limit: bytes of one stream, 0: any number; overflow: what happens beyond.
    cgroup: the command's, or one made for it where `kill` needs that.
    attr: the command's, or one with a group of its own where `kill` needs that.
    """

    __slots__ = (
        "_in_group",
        "_is_sealed",
        "_leads",
        "_makes_cgroup",
        "action",
        "attr",
        "cgroup",
        "deadline",
        "grace",
        "idle_timeout",
        "kill",
        "limit",
        "mark",
        "overflow",
        "timeout",
        "token",
        "wait_delay",
    )

    def __init__(
        self, cmd: Cmd | Pipeline, timeout: float | None, checked: CheckedThree | None
    ) -> None:
        """Raises ValueError and TypeError, naming the option, and Cancelled."""
        self.timeout = timeout
        self.deadline = _core.deadline_after(timeout)
        self.wait_delay = cmd.wait_delay
        _core.deadline_after(cmd.wait_delay, "wait_delay")
        self.grace = cmd.grace
        _core.deadline_after(cmd.grace, "grace")
        self.token: CancelToken | None = None
        self.action: Callable[[Any], object] | None = None
        self._check_cancel(cmd)
        self.idle_timeout = cmd.idle_timeout
        self.limit = 0
        self.overflow = _one_of("overflow", cmd.overflow, OVERFLOWS)
        streams = _NONE if checked is None else checked
        self._check_idle(streams)
        self._check_limit(cmd.max_output, streams)
        self.kill = "process" if cmd.kill is None else _one_of("kill", cmd.kill, KINDS)
        self._in_group = cmd.kill is None and cmd.has_group
        self.attr = _own_group if cmd.has_group else cmd.attr
        self.mark: bytes | None = None
        self.cgroup = cmd.cgroup
        self._leads = self._makes_cgroup = self._is_sealed = False
        if self.kill == "cgroup":
            self._check_cgroup()
        elif self.kill != "process":
            self._check_group()
            if not self._is_sealed:
                self.mark = os.urandom(8).hex().encode()

    def _check_cancel(self, cmd: Cmd | Pipeline) -> None:
        if cmd.cancel is None:
            return
        if isinstance(cmd.cancel, CancelToken):
            if cmd.cancel.cancelled:
                raise Cancelled(cmd.name)
            self.token, self.action = cmd.cancel, cmd.cancel.action
            return
        if not callable(cmd.cancel):
            raise TypeError(f"cancel: a CancelToken or something to call, not {cmd.cancel!r}")
        if self.timeout is None and cmd.idle_timeout is None:
            raise ValueError("cancel: what is to be done at the timeout, but there is none")
        self.action = cmd.cancel

    def _check_idle(self, streams: CheckedThree) -> None:
        if self.idle_timeout is None:
            return
        due = _core.deadline_after(self.idle_timeout, "idle_timeout")
        if due == _core.NOW:
            raise ValueError(f"idle_timeout: {self.idle_timeout!r} is not above 0")
        if not any(stream in (PIPE, ORDERED) or type(stream) is Copied for stream in streams[1:]):
            raise ValueError("idle_timeout: no output comes through us; capture stdout or stderr")
        if due == _core.FOREVER:
            self.idle_timeout = None

    def _check_limit(self, limit: int | None, streams: CheckedThree) -> None:
        if limit is None:
            if self.overflow != "truncate":
                raise ValueError(f"overflow: {self.overflow!r}, but there is no max_output")
            return
        if not isinstance(limit, int) or isinstance(limit, bool):
            raise TypeError(f"max_output: bytes or None wanted, not {limit!r}")
        if not 0 < limit < 2**60:
            raise ValueError(f"max_output: {limit} is not in 1..2**60-1")
        if PIPE not in streams[1:]:
            raise ValueError("max_output: neither stdout nor stderr is PIPE")
        self.limit = limit

    def _check_cgroup(self) -> None:
        from . import cgroups

        if self.cgroup is None:
            self.cgroup, self._makes_cgroup = cgroups.Cgroup(), True
        else:
            cgroups.check(self.cgroup)

    def _check_group(self) -> None:
        attr = self.attr
        if attr is None:
            self.attr, self._leads = _own_group, True
        elif not isinstance(attr, SysProcAttr):
            return  # refused by name later
        elif attr.pgid:
            if self.kill == "group":
                raise ValueError("kill: 'group' is for a group of its own, and attr has a pgid")
        else:
            self._leads = True
            self._is_sealed = "pid" in attr.namespaces
            if not (attr.setsid or attr.setpgid):
                self.attr = attr.replace(setpgid=True)

    @property
    def is_plain(self) -> bool:
        """Is there nothing but a timeout?"""
        return (
            self.wait_delay is None
            and self.grace is None
            and self.idle_timeout is None
            and self.token is None
            and self.action is None
            and self.kill == "process"
            and not self.limit
        )

    @property
    def is_watched(self) -> bool:
        """Can anything end it before its time?"""
        return (
            self.deadline != _core.FOREVER
            or self.token is not None
            or self.idle_timeout is not None
            or (self.limit > 0 and self.overflow != "truncate")
        )

    def scope(self, children: list[_core.Child]) -> killing.Scope:
        """Whom the kill reaches. children: its processes; a pipeline's come as they start."""
        if self.kill == "cgroup":
            assert self.cgroup is not None
            return killing.Caged(children, self.cgroup, self._makes_cgroup)
        if self._in_group:
            return killing.Gang(children)
        if self._is_sealed:
            from .sealed import Sealed

            return Sealed(*children)
        if self.mark is None:
            return killing.Scope(children)
        return killing.Wide(self.kill, children, self.mark, self._leads)


def _one_of(item: str, value: object, names: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{item}: one of {', '.join(map(repr, names))} wanted, not {value!r}")
    if value not in names:
        raise ValueError(f"{item}: {value!r} is not one of {', '.join(map(repr, names))}")
    return value
