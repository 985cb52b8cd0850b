"""waf with `spawnkit.adapters.waf`: the same builds, codes and messages as without.

The package index has waf's library (waflib) without the `waf` script: a script of the test calls
its entry point, as `waf` does.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import HOLD, Outcome, Project  # type: ignore[import-not-found]

WAF = """
import counting, os, sys
import waflib
from waflib import Context, Scripting
here = os.path.dirname(os.path.abspath(__file__))
tools = os.path.dirname(os.path.dirname(waflib.__file__))
Scripting.waf_entry_point(here, Context.WAFVERSION, tools)
"""
HEAD = """
import os
if os.environ.get("ADAPTER"):
    from spawnkit.adapters import waf
    waf.use()

def options(ctx):
    ctx.load("compiler_c")
"""
C = (
    HEAD
    + """
def configure(ctx):
    ctx.load("compiler_c")
    ctx.check_cc(header_name="stdio.h")
    ctx.check_cc(header_name="no_such_header.h", mandatory=False)
    ctx.check_cc(fragment="#include <stdio.h>\\nint main(void) { puts(\\"ran\\"); return 0; }",
                 execute=True, define_ret=True, msg="Checking by a run")

def build(ctx):
    ctx.program(source=ctx.path.ant_glob("*.c"), target="sum")
"""
)
COMMAND = (
    HEAD
    + """
def configure(ctx):
    pass

def try_it(ctx):
    from waflib import Errors
    kinds = {{"status": ctx.exec_command, "output": ctx.cmd_and_log}}
    for kind, call in kinds.items():
        try:
            print(kind, repr(call({command!r}, **{options!r})))
        except Errors.WafError as error:
            for name in "returncode", "stdout", "stderr":
                print(kind, name, repr(getattr(error, name, None)))
            print(kind, str(error).strip().splitlines()[-1])
"""
)


def waf(project: Project, adapter: str, *arguments: str, **options: str) -> Outcome:
    return project.run("waf.py", *arguments, ADAPTER=adapter, NOCLIMB="1", **options)


def both(
    projects: tuple[Project, Project], script: str, *arguments: str, **extra: str
) -> tuple[Outcome, Outcome]:
    """The outcomes of one script without and with the adapter."""
    found = []
    for project, adapter in zip(projects, ("", "yes"), strict=True):
        project.write("wscript", script)
        project.write("waf.py", WAF)
        found.append(waf(project, adapter, *arguments, **extra))
    plain, ours = found
    assert plain.ours == 0
    # Nothing, not even a worker: also where the search of PATH was all that was done.
    assert ours.theirs == 0, ours
    return plain, ours


def told(outcome: Outcome) -> tuple[int, list[str], list[str]]:
    """What is the same in every run: not its time, nor the order of parallel tasks."""

    def lines(text: str) -> list[str]:
        text = re.sub(r"\(\d+\.\d+s\)|/\S*/(plain|ours_)/", "", text)
        return sorted(re.sub(r"\[\s*\d+/\d+\]", "[n/n]", line) for line in text.splitlines())

    return outcome.code, lines(outcome.stdout), lines(outcome.stderr)


def test_configure_and_a_parallel_build(projects: tuple[Project, Project]) -> None:
    for project in projects:
        for n in range(20):
            project.write(f"f{n}.c", f"int f{n}(void) {{ return {n}; }}\n")
        heads = "".join(f"int f{n}(void);\n" for n in range(20))
        calls = " + ".join(f"f{n}()" for n in range(20))
        project.write("main.c", f"{heads}int main(void) {{ return {calls}; }}\n")
    plain, ours = both(projects, C, "configure", "build", "-j4")
    assert told(ours) == told(plain)
    assert ours.code == 0, ours
    assert ours.ours > 22  # 21 objects, the program, and the checks
    assert "'build' finished successfully" in ours.stdout + ours.stderr
    for project in projects:
        program = project.directory / "build" / "sum"
        assert subprocess.run([program], check=False).returncode == sum(range(20))
        project.write("f3.c", "int f3(void) { return 4; }\n")
    plain, ours = both(projects, C, "build")
    assert told(ours) == told(plain)
    assert ours.ours == 2


def test_a_failing_compile(projects: tuple[Project, Project]) -> None:
    for project in projects:
        project.write("main.c", "int main(void) { return nothing_of_this; }\n")
    plain, ours = both(projects, C, "configure", "build")
    assert told(ours) == told(plain)
    assert ours.code == 1
    assert "nothing_of_this" in ours.stderr + ours.stdout


COMMANDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "exit": ("exit 3", {}),
    "signal": ("kill -SEGV $$", {}),
    "list": (["printf", "%s|", "a b", "grüße"], {}),
    "both outputs": ("echo a; echo b >&2", {}),
    "failing with outputs": ("echo a; echo b >&2; exit 7", {}),
    "stdin is empty": (["cat"], {}),
    "input": (["tr", "a-z", "A-Z"], {"input": b"hello"}),
    "input that is not read": (["true"], {"input": b"x" * (1 << 20)}),
    "large output": ("head -c 1000000 /dev/zero | tr '\\0' x", {}),
    "directory": (["sh", "-c", "pwd"], {"cwd": "/usr"}),
    "environment": (["env"], {"env": {"A": "1", "PATH": "/usr/bin:/bin"}}),
    "a program on another path": (["hello"], {"env": {"PATH": "TOOLS"}}),
    "other arguments": (["echo", "a"], {"close_fds": False, "universal_newlines": True}),
}


@pytest.mark.parametrize(("command", "options"), COMMANDS.values(), ids=COMMANDS)
def test_commands_end_and_are_told_as_without(
    projects: tuple[Project, Project], command: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "hello").write_text("#!/bin/sh\necho hello from there\n")
    (tools / "hello").chmod(0o755)
    if options.get("env") == {"PATH": "TOOLS"}:
        options = {"env": {"PATH": str(tools)}}
    script = COMMAND.format(command=command, options=options)
    found = []
    for project, adapter in zip(projects, ("", "yes"), strict=True):
        project.write("wscript", script)
        project.write("waf.py", WAF)
        found.append(waf(project, adapter, "configure", "try_it", input="for nobody"))
    plain, ours = found
    assert told(ours) == told(plain)
    assert "status" in ours.stdout
    assert "output" in ours.stdout
    # Encodings and kept descriptors are waf's own way.
    assert (ours.ours, ours.theirs) == ((0, 2) if "close_fds" in options else (2, 0))


@pytest.mark.parametrize("command", [["no-such-program"], ["/nope/program"], ["/etc/passwd"]])
def test_what_cannot_run_is_told_as_waf_does_without_workers(
    projects: tuple[Project, Project], command: list[str]
) -> None:
    script = COMMAND.format(command=command, options={})
    plain, ours = both(projects, script, "configure", "try_it", WAF_NO_PREFORK="1")
    assert told(ours) == told(plain)
    assert "Execution failure: [Errno" in ours.stdout
    assert command[0] in ours.stdout


@pytest.mark.parametrize("workers", ["", "1"])
def test_a_timeout_kills_the_group(projects: tuple[Project, Project], workers: str) -> None:
    """A child of the command holds the pipe; waf's own run would wait for it otherwise."""
    command = "echo begun; sleep 1000 & wait"
    script = COMMAND.format(command=command, options={"timeout": 0.5})
    plain, ours = both(projects, script, "configure", "try_it", WAF_NO_PREFORK=workers)
    assert told(ours) == told(plain)
    assert "timed out after 0.5 seconds" in ours.stdout
    assert ours.ours == 2


def test_ctrl_c_ends_the_commands_of_a_parallel_build(projects: tuple[Project, Project]) -> None:
    outcomes = []
    for project, adapter in zip(projects, ("", "yes"), strict=True):
        rules = "".join(
            f"    ctx(rule={HOLD.format(directory=project.directory, n=n)!r}, target='t{n}')\n"
            for n in range(4)
        )
        passing = "def configure(ctx):\n    pass\n\ndef build(ctx):\n"
        project.write("wscript", HEAD + passing + rules)
        project.write("waf.py", WAF)
        assert waf(project, adapter, "configure").code == 0
        code, said = project.interrupt(4, "waf.py", "build", "-j4", ADAPTER=adapter)
        outcomes.append((code, "Interrupted" in said))
    assert outcomes[1] == outcomes[0] == (68, True)
