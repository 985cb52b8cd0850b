"""In every interpreter under a tool: this process is watched, the programs it starts are not.

They would inherit the runtime, whose memory, descriptors and variables some tests would count; and
their own leaks are not ours. Interpreters are started by the wrapper, which puts it all back.
"""

import atexit
import os
import sys


def _look_for_leaks() -> None:
    """While all is there: taking itself apart, an interpreter leaves pieces of cffi's lying."""
    import ctypes  # not before the end: some tests look at what is imported

    look = getattr(ctypes.CDLL(None), "__lsan_do_leak_check", None)
    if look is not None:
        look()


# Not at the end of a subinterpreter, which imports this again.
if os.environ.get("SANITIZE_LOOKS_IN") != str(os.getpid()):
    os.environ["SANITIZE_LOOKS_IN"] = str(os.getpid())
    atexit.register(_look_for_leaks)

for name in "LD_PRELOAD", "PYTHONMALLOC":
    os.environ.pop(name, None)
sys.executable = os.environ.pop("SANITIZE_PYTHON", sys.executable)
