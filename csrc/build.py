"""Builds `spawnkit._native`, the cffi module around the C core.

`setup.py` names this file; `SPAWNKIT_CFLAGS` adds compiler flags (development adds -Werror).
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent

# Paths relative to the project: setuptools puts objects beside them and refuses absolute ones.
SOURCES = sorted(f"csrc/{path.name}" for path in HERE.glob("*.c"))

FLAGS = ["-std=gnu11", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"]

HARDENED = [
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=2",
    "-fstack-clash-protection",
    "-fstack-protector-strong",  # child.c opts out function by function, and says why
    "-Wformat",
    "-Werror=format-security",
]

LINK = ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-pthread"]


# A build for tests, in which system calls can be made to fail: csrc/fault.h.
FAULTS = os.environ.get("SPAWNKIT_FAULTS") == "1"


def declarations(header: str) -> str:
    """The part of a header between its two marks: one text for C and for cffi."""
    text = (HERE / header).read_text(encoding="utf-8")
    begin, end = "/* cffi: begin */", "/* cffi: end */"
    return text[text.index(begin) + len(begin) : text.index(end)]


if platform.system() != "Linux":
    raise SystemExit("spawnkit's C core knows Linux only so far; see docs/architecture.md")

ffi = FFI()
ffi.cdef(declarations("spawnkit.h") + "\nextern char **environ;\nchar *strsignal(int signal);\n")
if FAULTS:
    ffi.cdef(declarations("fault.h"))
ffi.set_source(
    "spawnkit._native",
    '#include "spawnkit.h"\n#include "fault.h"\n#include <string.h>\n#include <unistd.h>\n'
    "extern char **environ;\n",
    sources=SOURCES,
    depends=sorted(f"csrc/{path.name}" for path in HERE.glob("*.h")),
    include_dirs=["csrc"],
    extra_compile_args=[
        *FLAGS,
        *HARDENED,
        *["-DSPAWNKIT_FAULTS"] * FAULTS,
        *os.environ.get("SPAWNKIT_CFLAGS", "").split(),
    ],
    extra_link_args=LINK,
    py_limited_api=True,
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
