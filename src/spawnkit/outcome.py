"""PipelineResult: how a pipeline ended, and which of its stages decides about that."""

from __future__ import annotations

from .errors import PipelineError
from .result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .result import Text
    from .state import ProcessState

__all__ = ["PipelineResult"]

_SIGPIPE = 13


class PipelineResult:
    """What `Pipeline.run` and `Pipeline.wait` return.

    results: a Result for each stage, with what was captured from that one.
    index: the stage that decides, from 0: with `pipefail` the last of those that failed, else the
        last of all.
    stderr: where all stages share one, by `stderr=PIPE` of the pipeline: what they wrote to it, in
        the order of writing; else None.
    """

    __slots__ = ("_shared", "index", "results")

    def __init__(self, results: tuple[Result, ...], index: int, stderr: Any = None) -> None:
        """See the class."""
        self.results = results
        self.index = index
        self._shared = Result(self.state, None, stderr)

    @property
    def states(self) -> tuple[ProcessState, ...]:
        """The ProcessState of each stage."""
        return tuple(result.state for result in self.results)

    @property
    def state(self) -> ProcessState:
        """That of the stage that decides."""
        return self.results[self.index].state

    @property
    def success(self) -> bool:
        """Has no stage failed? Without `pipefail`: has the last one not?"""
        return self.state.success

    @property
    def stdout(self) -> Any:
        """What was captured from the last stage: bytes, or str with its encoding; else None."""
        return self.results[-1].stdout

    @property
    def stderr(self) -> Any:
        """See the class: bytes, or str where the last stage has an encoding; else None."""
        return self._shared.stderr

    @stderr.setter
    def stderr(self, stderr: Any) -> None:
        self._shared.stderr = stderr

    @property
    def broken_pipe(self) -> bool:
        """The first stage did not read all of its input; see `Result.broken_pipe`."""
        return self.results[0].broken_pipe

    def decode(self, texts: Sequence[Text | None], somehow: bool) -> None:
        """As Result's, each stage by its own encoding."""
        for result, text in zip((*self.results, self._shared), (*texts, texts[-1]), strict=True):
            if text is not None:
                (result.decode_somehow if somehow else result.decode)(text)

    def error(self, names: Sequence[str]) -> PipelineError:
        """For one that is no success."""
        stderr = self.results[self.index].stderr
        stderr = self.stderr if stderr is None else stderr
        return PipelineError(names[self.index], self.index, self.states, self.stdout, stderr)

    def _key(self) -> tuple[object, ...]:
        return self.results, self.index, self.stderr

    def __eq__(self, other: object) -> bool:
        """Equal when all that is in them is."""
        return self._key() == other._key() if isinstance(other, PipelineResult) else NotImplemented

    def __hash__(self) -> int:
        """By value."""
        return hash(self._key())

    def __repr__(self) -> str:
        """PipelineResult(<ProcessState …>, …, stdout=…, stderr=…)."""
        states = ", ".join(map(repr, self.states))
        return f"PipelineResult({states}, stdout={self.stdout!r}, stderr={self.stderr!r})"


def deciding(states: Sequence[ProcessState | None], pipefail: bool) -> int:
    """Which stage decides how the pipeline ended. None: one that could not be killed."""
    last = len(states) - 1
    for index in range(last, -1, -1) if pipefail else ():
        state = states[index]
        # A broken pipe is no failure of who writes: the reader had enough.
        enough = index != last and state is not None and state.signal == _SIGPIPE
        if state is None or not (state.success or enough):
            return index
    return last
