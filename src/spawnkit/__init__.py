"""Fast, exact, safe process creation for Linux.

>>> import spawnkit
>>> spawnkit.run(["echo", "hello"], capture=True).stdout
b'hello\\n'

`run` runs a command to its end; `Cmd` describes, starts and waits; `start_process` and `Process`
are the layer below, after Go's os package. `python -m spawnkit` is the command line.

Importing this loads nothing but names: each module comes with the first use of what it defines.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._features import features
    from ._run import output, run
    from .attributes import RLIM_INFINITY, ProcAttr, SysProcAttr
    from .cancel import CancelToken
    from .cgroups import Cgroup, CgroupUsage
    from .cmd import Cmd
    from .dropin.installing import Installation, install, uninstall
    from .environment import Env
    from .errors import (
        Cancelled,
        DotError,
        Error,
        ExitError,
        OutputLimitError,
        PipelineError,
        ProcessDone,
        SpawnError,
        StatusLost,
        TimeoutExpired,
        WaitDelayError,
    )
    from .killing import KillReport
    from .lookpath import look_path
    from .outcome import PipelineResult
    from .pipeline import Pipeline
    from .process import INTERRUPT, KILL, Process, find_process, start_process
    from .proctable import OtherProcess
    from .reaping import subreaper
    from .replace import execute
    from .result import Result
    from .shell import shell_command
    from .sinks import each_chunk, each_line, tee
    from .spinning import set_spin
    from .state import ProcessState, Rusage, WaitStatus
    from .streams import DEVNULL, MEMORY, ORDERED, PIPE, STDOUT
    from .writelock import write_lock

_HOME = {
    "run": "_run",
    "output": "_run",
    "Result": "result",
    "Cmd": "cmd",
    "Pipeline": "pipeline",
    "PipelineResult": "outcome",
    "CancelToken": "cancel",
    "KillReport": "killing",
    "OtherProcess": "proctable",
    "subreaper": "reaping",
    "Cgroup": "cgroups",
    "CgroupUsage": "cgroups",
    "Env": "environment",
    "look_path": "lookpath",
    "shell_command": "shell",
    "execute": "replace",
    "write_lock": "writelock",
    "PIPE": "streams",
    "DEVNULL": "streams",
    "STDOUT": "streams",
    "each_line": "sinks",
    "each_chunk": "sinks",
    "tee": "sinks",
    "MEMORY": "streams",
    "ORDERED": "streams",
    "set_spin": "spinning",
    "SysProcAttr": "attributes",
    "ProcAttr": "attributes",
    "RLIM_INFINITY": "attributes",
    "start_process": "process",
    "find_process": "process",
    "Process": "process",
    "INTERRUPT": "process",
    "KILL": "process",
    "ProcessState": "state",
    "WaitStatus": "state",
    "Rusage": "state",
    "Error": "errors",
    "SpawnError": "errors",
    "ExitError": "errors",
    "OutputLimitError": "errors",
    "PipelineError": "errors",
    "TimeoutExpired": "errors",
    "StatusLost": "errors",
    "ProcessDone": "errors",
    "DotError": "errors",
    "Cancelled": "errors",
    "WaitDelayError": "errors",
    "features": "_features",
    "install": "dropin.installing",
    "uninstall": "dropin.installing",
    "Installation": "dropin.installing",
}

__all__ = [
    "DEVNULL",
    "INTERRUPT",
    "KILL",
    "MEMORY",
    "ORDERED",
    "PIPE",
    "RLIM_INFINITY",
    "STDOUT",
    "CancelToken",
    "Cancelled",
    "Cgroup",
    "CgroupUsage",
    "Cmd",
    "DotError",
    "Env",
    "Error",
    "ExitError",
    "Installation",
    "KillReport",
    "OtherProcess",
    "OutputLimitError",
    "Pipeline",
    "PipelineError",
    "PipelineResult",
    "ProcAttr",
    "Process",
    "ProcessDone",
    "ProcessState",
    "Result",
    "Rusage",
    "SpawnError",
    "StatusLost",
    "SysProcAttr",
    "TimeoutExpired",
    "WaitDelayError",
    "WaitStatus",
    "each_chunk",
    "each_line",
    "execute",
    "features",
    "find_process",
    "install",
    "look_path",
    "output",
    "run",
    "set_spin",
    "shell_command",
    "start_process",
    "subreaper",
    "tee",
    "uninstall",
    "write_lock",
]


def __getattr__(name: str) -> object:
    """Loads a public name's module when the name is first used (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return [*globals(), *__all__]
