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

    # (No exception here: its traceback would hold the frame we are in, where nobody sees it.)
    if sys.version_info >= (3, 13):
        import _interpreters as interpreters
    else:
        import _xxsubinterpreters as interpreters
    look = getattr(ctypes.CDLL(None), "__lsan_do_leak_check", None)
    if look is not None and interpreters.get_current() == interpreters.get_main():
        look()


atexit.register(_look_for_leaks)

for name in "LD_PRELOAD", "PYTHONMALLOC":
    os.environ.pop(name, None)
sys.executable = os.environ.pop("SANITIZE_PYTHON", sys.executable)
