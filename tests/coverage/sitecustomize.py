"""In every interpreter of `make coverage`: what it has reached also counts where it ends by
os._exit, as tests that fork do.

Named so that Python imports it by itself.
"""

import os
import sys
from typing import NoReturn

_leave = os._exit


def _exit(status: int) -> NoReturn:
    native = sys.modules.get("spawnkit._native")
    if native is not None:
        native.lib.sk_fault_write_coverage()
    _leave(status)


os._exit = _exit
