"""CancelToken: one word that ends any number of commands. Go's cancellable `context`."""

from __future__ import annotations

from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .cmd import Cmd

__all__ = ["CancelToken"]


class CancelToken:
    """Ends the commands it was given to (`cancel=token`), from any thread or signal handler.

    >>> token = CancelToken()
    >>> token.cancel()
    >>> token.cancelled
    True

    action: what is done to each, called once with its Cmd, in a thread of its own; None:
        SIGKILL. What still runs `wait_delay` seconds later is killed; with a
        `wait_delay` of None an action of one's own is waited for as long as it takes. ProcessDone
        raised in it means that the program had ended; any other exception is raised by the wait.

    The wait then raises Cancelled, whatever the status. A command that was over before is not
    cancelled. A token that was cancelled stays so: a start with it raises Cancelled, and nothing is
    started. Go's `context.WithCancel` and `Cmd.Cancel`.
    """

    __slots__ = ("__weakref__", "_bells", "_cancelled", "_lock", "action")

    def __init__(self, action: Callable[[Cmd], object] | None = None) -> None:
        """See the class. Raises TypeError for an action that cannot be called."""
        if action is not None and not callable(action):
            raise TypeError(f"action: something to call wanted, not {action!r}")
        self.action = action
        self._cancelled = False
        self._bells: set[Callable[[], None]] = set()
        self._lock = RLock()  # re-entrant: a signal handler may interrupt its own thread in here

    @property
    def cancelled(self) -> bool:
        """Has `cancel` been called?"""
        return self._cancelled

    def cancel(self) -> None:
        """Cancels the commands that have this token. Returns at once; again it does nothing."""
        with self._lock:
            self._cancelled = True
            bells = list(self._bells)
        for ring in bells:
            ring()

    def attach(self, ring: Callable[[], None]) -> None:
        """From now on `cancel` calls `ring`; the caller looks at `cancelled` afterwards."""
        with self._lock:
            self._bells.add(ring)

    def detach(self, ring: Callable[[], None]) -> None:
        """The other way round; harmless when repeated."""
        with self._lock:
            self._bells.discard(ring)

    def __repr__(self) -> str:
        """<CancelToken: cancelled>."""
        return f"<CancelToken: {'cancelled' if self._cancelled else 'not cancelled'}>"
