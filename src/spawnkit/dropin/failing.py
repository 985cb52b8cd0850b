"""The exception that `subprocess.Popen` raises where we raise SpawnError."""

from __future__ import annotations

import os
from subprocess import SubprocessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..errors import SpawnError
    from ..plan import Arg, Dir

__all__ = ["as_standard"]


def as_standard(error: SpawnError, executable: Arg, cwd: Dir | None) -> Exception:
    """The exception that the standard module raises for it.

    Its filename: the program as it was asked for, the directory where chdir failed, or none.
    """
    number = error.errno
    if number is None:
        # It died before its program ran: there is no program that it could stand for.
        return SubprocessError(str(error))
    text = os.strerror(number)
    if error.stage in ("lookpath", "exec"):
        return OSError(number, text, executable)
    if error.stage == "chdir":
        return OSError(number, text, cwd)
    return OSError(number, text)
