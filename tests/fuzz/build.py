"""The C targets, compiled: with libFuzzer where a clang has it, else with `driver.c`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

FUZZ = Path(__file__).parent
CORE = FUZZ.parent.parent / "csrc"

# plans.c takes in the sources that it fuzzes.
SOURCES = {"planner": ["fdplan.c"], "plans": []}
LONGEST = {"planner": 17, "plans": 4096}
FLAGS = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]
WATCHED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
CLANGS = ("clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14", "clang")


def _compile(command: list[str]) -> str:
    """What the compiler has to say; empty: it is done."""
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stderr or f"it ended with {done.returncode}") if done.returncode else ""


def links(compiler: str, flags: list[str], place: Path) -> bool:
    """Has it what these flags need at run time?"""
    probe = place / "probe.c"
    body = "#include <stddef.h>\nint LLVMFuzzerTestOneInput(const char *, size_t);\n"
    body += "int LLVMFuzzerTestOneInput(const char *d, size_t n) { return d && n > 9; }\n"
    if "fuzzer" not in "".join(flags):
        body += "int main(void) { return 0; }\n"
    probe.write_text(body)
    return not _compile([compiler, *flags, str(probe), "-o", str(place / "probe")])


def find_clang(place: Path) -> str | None:
    """A clang with libFuzzer."""
    for name in CLANGS:
        if shutil.which(name) and links(name, ["-fsanitize=fuzzer"], place):
            return name
    return None


def build(target: str, place: Path, clang: str | None, watched: bool, core: Path = CORE) -> Path:
    """The program. clang: drive it by libFuzzer. watched: by the sanitizers, too."""
    made = place / f"{target}-{'libfuzzer' if clang else 'chance'}{'-watched' * watched}"
    sources = [str(FUZZ / f"{target}.c"), *(str(core / name) for name in SOURCES[target])]
    flags = [*FLAGS, *WATCHED * watched, f"-I{core}"]
    if clang:
        flags.append("-fsanitize=fuzzer")
    else:
        sources.append(str(FUZZ / "driver.c"))
    problem = _compile([clang or "cc", *flags, *sources, "-o", str(made)])
    if problem:
        raise RuntimeError(f"{target} does not compile:\n{problem}")
    return made
