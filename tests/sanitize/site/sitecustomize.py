"""In every interpreter under a tool: this process is watched, the programs it starts are not.

They would inherit the runtime, whose memory, descriptors and variables some tests would count; and
their own leaks are not ours. Interpreters are started by the wrapper, which puts it all back.
"""

import os
import sys

for name in "LD_PRELOAD", "PYTHONMALLOC":
    os.environ.pop(name, None)
sys.executable = os.environ.pop("SANITIZE_PYTHON", sys.executable)
