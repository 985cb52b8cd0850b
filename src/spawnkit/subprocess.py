"""A drop-in for the standard module `subprocess`: the same names, the engine of spawnkit.

>>> from spawnkit import subprocess
>>> subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout
'hello\\n'

Everything that the running interpreter's `subprocess` defines is here. Exceptions, constants and
CompletedProcess are the standard ones; `Popen` is a subclass of `subprocess.Popen`, and the
functions use it. Parameters, defaults and messages are those of the running interpreter. What is
new: `Popen.rusage` (a `spawnkit.Rusage` after the wait) and `stats`.

What our engines cannot do is left to the standard implementation, and counted by `stats`:
preexec_fn, user, group, extra_groups. docs/subprocess.md says what differs, and why.

To give a whole program this engine without an edit: `spawnkit.install` and `spawnkit py`.
"""

from __future__ import annotations

import subprocess as _standard
from types import FunctionType as _FunctionType
from typing import TYPE_CHECKING

from .dropin.counts import Stats, stats
from .dropin.methods import METHODS as _METHODS
from .dropin.short import made_run as _made_run

if TYPE_CHECKING:
    from subprocess import *  # noqa: F403

# Private names too, which programs use all the same: subprocess.list2cmdline has no underscore
# but is not in __all__ either, _args_from_interpreter_flags is what multiprocessing calls.
globals().update(
    {name: value for name, value in vars(_standard).items() if name[:2] != "__"}
)


class Popen(_standard.Popen):  # type: ignore[type-arg]
    __doc__ = _standard.Popen.__doc__

    locals().update(_METHODS)


def _rebound(function: object) -> _FunctionType:
    """A function of the standard module that finds this module's Popen, run and so on."""
    assert isinstance(function, _FunctionType)
    copy = _FunctionType(
        function.__code__,
        globals(),
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__doc__, copy.__dict__ = function.__doc__, dict(function.__dict__)
    return copy


call = _rebound(_standard.call)
check_call = _rebound(_standard.check_call)
check_output = _rebound(_standard.check_output)
getoutput = _rebound(_standard.getoutput)
getstatusoutput = _rebound(_standard.getstatusoutput)
run = _made_run(_rebound(_standard.run), globals(), Popen)

__all__ = [*_standard.__all__, "Stats", "stats"]
