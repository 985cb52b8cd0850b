"""Which function of ours stands for which method of subprocess.Popen."""

from __future__ import annotations

from .opening import init
from .starting import execute_child
from .talking import communicate, private_communicate
from .waiting import Usage, internal_poll, send_signal, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

METHODS: dict[str, Any] = {
    "__init__": init,
    "_execute_child": execute_child,
    "_internal_poll": internal_poll,
    "_wait": wait,
    "_communicate": private_communicate,
    "communicate": communicate,
    "send_signal": send_signal,
    "rusage": Usage(),
    # The handle of the process; None: the standard implementation has it, or there is none yet.
    "_spawnkit": None,
}
