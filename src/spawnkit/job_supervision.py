"""JobSupervision: what a Supervision does with one process, for all of a pipeline."""

from __future__ import annotations

from . import _core
from .copying import Copier
from .supervise import Supervision

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ending import Ending
    from .killing import Scope
    from .pipeline import Pipeline
    from .stages import JobStreams, Stage


class JobSupervision(Supervision):
    """The process has ended when all have; a signal goes to all; every stream is served.

    job: as the Job has it; to be set before `begin`.
    """

    job: _core.Job

    def __init__(
        self,
        pipeline: Pipeline,
        streams: JobStreams,
        stages: list[Stage],
        ending: Ending,
        scope: Scope,
    ) -> None:
        """See Supervision."""
        super().__init__(pipeline, streams, None, ending, scope)
        self._pumps = [stage.streams.pump for stage in stages]
        self._sinks = [stage.streams.sinks for stage in stages]
        self.copiers = [
            Copier(held, obj, stage.text, self.ring_at_last)
            for stage in stages
            for held, obj in stage.streams.copied
        ]

    def _serve(self, until: int) -> int:
        return _core.serve_job(self.job, until, self._sinks)

    @property
    def may_share(self) -> bool:
        """A loop of its own knows all its processes."""
        return False
