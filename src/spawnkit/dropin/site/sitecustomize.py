"""The way of `spawnkit py` into an interpreter: site.py imports this, since it is on PYTHONPATH.

It runs in whatever Python the program starts, so it has to be understood by old ones too, to leave
no trace, and to be silent where there is no spawnkit. The `sitecustomize` that would have been
there without us comes after us.
"""

import os
import sys

_STATE = "SPAWNKIT_PY"


def _step_aside(here):
    sys.path[:] = [path for path in sys.path if path != here]
    sys.path_importer_cache.pop(here, None)


def _hide(here, is_empty):
    """The environment as the program would have it: its children are none of our business."""
    del os.environ[_STATE]
    first, _, rest = os.environ.get("PYTHONPATH", "").partition(os.pathsep)
    if first == here:
        if rest or is_empty:
            os.environ["PYTHONPATH"] = rest
        else:
            del os.environ["PYTHONPATH"]


def _begin(here):
    pid, children, is_empty, prefix, report = os.environ[_STATE].split("\n", 4)
    if not children:
        _hide(here, is_empty)
    wanted = int(pid) == os.getpid()
    parent = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    # The very installation that was called may have been found through the current directory. To
    # another one its modules mean nothing.
    lend = prefix == sys.prefix and parent not in sys.path
    if lend:
        sys.path.append(parent)
    try:
        from spawnkit.dropin import startup

        startup.begin(report, wanted)
    except Exception as error:
        if wanted:
            sys.stderr.write("spawnkit: py: " + str(error) + "\n")
            sys.stderr.flush()
            os._exit(125)
    finally:
        if lend:
            sys.path.remove(parent)


_here = os.path.dirname(os.path.abspath(__file__))
_step_aside(_here)
if _STATE in os.environ:
    _begin(_here)
del sys.modules["sitecustomize"]
# Where there is none, this is the ImportError that site.py expects, and is silent about.
import sitecustomize  # noqa: E402, F401
