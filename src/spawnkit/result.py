"""Result: how a command ended and what it wrote."""

from __future__ import annotations

from .errors import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from .killing import KillReport
    from .ordered import Record
    from .state import ProcessState

    Text: TypeAlias = tuple[str, str]  # encoding, error handler

__all__ = ["Result"]


class Result:
    """What `run` returns.

    state: a ProcessState.
    stdout, stderr: bytes, or str where an encoding was asked for; None for a stream that was not
        captured. Of MEMORY a read-only memoryview in the place of bytes.
    stdout_dropped, stderr_dropped: how many bytes `max_output` has left out; where there are such,
        a line in their place says so, unless the command was ended for them (overflow="kill").
    truncated: is there anything that was left out?
    ordered: of ORDERED a list of (time, stream, data), one for each write of the program, in their
        order: seconds since the epoch as time.time() has them, taken by the kernel at the write; 1
        for stdout, 2 for stderr; and bytes or str. Else None.
    kill: a KillReport, where the command was killed and no exception says so (overflow="kill").
    broken_pipe: the program closed its stdin, or ended, before it had read all of its input. Not
        an error: a program need not read it.
    """

    __slots__ = (
        "broken_pipe",
        "kill",
        "ordered",
        "state",
        "stderr",
        "stderr_dropped",
        "stdout",
        "stdout_dropped",
    )

    def __init__(
        self,
        state: ProcessState,
        stdout: Any = None,
        stderr: Any = None,
        broken_pipe: bool = False,
    ) -> None:
        """See the class."""
        self.state = state
        self.stdout = stdout
        self.stderr = stderr
        self.broken_pipe = broken_pipe
        self.stdout_dropped = self.stderr_dropped = 0
        self.ordered: list[Record] | None = None
        self.kill: KillReport | None = None

    @property
    def truncated(self) -> bool:
        """Was some of the output left out?"""
        return bool(self.stdout_dropped or self.stderr_dropped)

    def _key(self) -> tuple[object, ...]:
        dropped = self.stdout_dropped, self.stderr_dropped
        return self.state, self.stdout, self.stderr, self.broken_pipe, dropped, self.ordered

    def __eq__(self, other: object) -> bool:
        """Equal when state and outputs are."""
        return self._key() == other._key() if isinstance(other, Result) else NotImplemented

    def __hash__(self) -> int:
        """By value."""
        # Not the records, a list: what is equal to it has the same streams.
        return hash((self.state, plain(self.stdout), plain(self.stderr), self.broken_pipe))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles and copies with bytes in the place of a memoryview, which cannot be sent."""
        outputs = plain(self.stdout), plain(self.stderr)
        values = (self.state, *outputs, self.broken_pipe)
        names = ("stdout_dropped", "stderr_dropped", "ordered", "kill")
        return type(self), values, (None, {name: getattr(self, name) for name in names})

    def __repr__(self) -> str:
        """Result(<ProcessState …>, stdout=…, stderr=…)."""
        more = ", broken_pipe=True" if self.broken_pipe else ""
        more += ", truncated=True" if self.truncated else ""
        if self.ordered is not None:
            more += f", ordered=<{len(self.ordered)} records>"
        outputs = f"stdout={_shown(self.stdout)}, stderr={_shown(self.stderr)}"
        return f"Result({self.state!r}, {outputs}{more})"

    def decode(self, text: Text) -> None:
        """Turns what was captured into str; UnicodeDecodeError as the error handler says.

        What `max_output` has cut, perhaps in the middle of a character, is decoded somehow.
        """
        if isinstance(self.stdout, (bytes, memoryview)):
            self.stdout = str(self.stdout, *(_lenient(text) if self.stdout_dropped else text))
        if isinstance(self.stderr, (bytes, memoryview)):
            self.stderr = str(self.stderr, *(_lenient(text) if self.stderr_dropped else text))
        if self.ordered and isinstance(self.ordered[0][2], bytes):
            from .ordered import decode

            self.ordered = decode(self.ordered, text)

    def decode_somehow(self, text: Text) -> None:
        """The same for an exception: its news must not be lost to a character cut in two."""
        self.decode(_lenient(text))


def _lenient(text: Text) -> Text:
    encoding, errors = text
    return encoding, "backslashreplace" if errors == "strict" else errors


def _shown(output: Any) -> str:
    """Its repr; of a file in memory, which may be as large as it likes, the size."""
    if not isinstance(output, memoryview):
        return repr(output)
    try:
        return f"<memoryview of {len(output)} bytes>"
    except ValueError:  # released by the caller
        return repr(output)


def check_text(encoding: str | None, errors: str) -> Text | None:
    """The pair that `decode` takes; TypeError, LookupError for an encoding nobody knows."""
    if encoding is None:
        return None
    import codecs

    for name, value in (("encoding", encoding), ("errors", errors)):
        if not isinstance(value, str):
            raise TypeError(f"{name}: a name wanted, not {value!r}")
    codecs.lookup(encoding)
    codecs.lookup_error(errors)
    return encoding, errors
