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

import subprocess as _standard
from types import FunctionType as _FunctionType
from typing import TYPE_CHECKING

# Private names too, which programs use all the same: multiprocessing calls
# _args_from_interpreter_flags.
globals().update({name: value for name, value in vars(_standard).items() if name[:2] != "__"})

if TYPE_CHECKING:
    from subprocess import DEVNULL as DEVNULL
    from subprocess import PIPE as PIPE
    from subprocess import STDOUT as STDOUT
    from subprocess import CalledProcessError as CalledProcessError
    from subprocess import CompletedProcess as CompletedProcess
    from subprocess import SubprocessError as SubprocessError
    from subprocess import TimeoutExpired as TimeoutExpired
    from subprocess import call as call
    from subprocess import check_call as check_call
    from subprocess import check_output as check_output
    from subprocess import getoutput as getoutput
    from subprocess import getstatusoutput as getstatusoutput
    from subprocess import list2cmdline as list2cmdline
    from subprocess import run as run
    from typing import AnyStr as _AnyStr

    from .dropin.counts import Stats as Stats
    from .dropin.counts import stats as stats
    from .state import Rusage as _Rusage

    class Popen(_standard.Popen[_AnyStr]):
        """The standard class, with our engine."""

        rusage: "_Rusage | None"
else:
    from .dropin import standard as _before
    from .dropin.methods import METHODS as _METHODS
    from .dropin.short import made_call as _made_call
    from .dropin.short import made_run as _made_run

    Popen = type(
        "Popen",
        (_standard.Popen,),
        {"__module__": __name__, "__doc__": _standard.Popen.__doc__, **_METHODS},
    )

    def _rebound(function):
        """A function of the standard module that finds this module's Popen, run and so on."""
        copy = _FunctionType(
            function.__code__,
            globals(),
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        copy.__kwdefaults__ = function.__kwdefaults__
        copy.__doc__ = function.__doc__
        return copy

    call = _made_call(_rebound(_standard.call), globals(), Popen)
    check_call = _rebound(_standard.check_call)
    check_output = _rebound(_standard.check_output)
    getoutput = _rebound(_standard.getoutput)
    getstatusoutput = _rebound(_standard.getstatusoutput)
    # Not the module's: `install` may have been there first.
    run = _made_run(_rebound(_before.run), globals(), Popen)

    def __getattr__(name):
        """`stats` and `Stats`: who lists the names of the module finds just the standard ones."""
        if name not in ("Stats", "stats"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .dropin import counts

        return getattr(counts, name)


# `from spawnkit.subprocess import *` is to do what it does there.
__all__ = list(_standard.__all__)

del TYPE_CHECKING
