"""SCons with `spawnkit.adapters.scons`: the same builds, codes and messages as without."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from conftest import HOLD, Outcome, Project  # type: ignore[import-not-found]

HEAD = """
import os, counting
adapter = os.environ.get("ADAPTER")
if adapter:
    from spawnkit.adapters import scons
def hook(env):
    if adapter:
        scons.use(env, direct=adapter == "direct")
    return env
"""
# As they are written by a user; `hook` is for tests that try `use`.
TWO_LINES = """
if adapter:
    env = Environment(SPAWN=scons.spawn, PSPAWN=scons.pspawn)
else:
    env = Environment()
"""
ADAPTERS = ["shell", "direct"]


def scons(project: Project, adapter: str, *arguments: str, **extra: str) -> Outcome:
    return project.run("-m", "SCons", "-Q", *arguments, ADAPTER=adapter, **extra)


def both(
    projects: tuple[Project, Project],
    script: str,
    *arguments: str,
    adapter: str = "shell",
    **extra: str,
) -> tuple[Outcome, Outcome]:
    """The outcomes of one script without the adapter and with it, which was really used."""
    found = []
    for project, name in zip(projects, ("", adapter), strict=True):
        project.write("SConstruct", HEAD + script)
        found.append(scons(project, name, *arguments, **extra))
    plain, ours = found
    assert plain.ours == 0
    assert plain.theirs > 0, plain
    # What tools ask about versions does not come through the hook.
    assert ours.ours > 0, ours
    return plain, ours


def same(plain: Outcome, ours: Outcome) -> None:
    assert (ours.code, ours.stdout, ours.stderr) == (plain.code, plain.stdout, plain.stderr)


def sources(project: Project, count: int) -> None:
    for n in range(count):
        project.write(f"f{n}.c", f"int f{n}(void) {{ return {n}; }}\n")
    calls = " + ".join(f"f{n}()" for n in range(count))
    heads = "".join(f"int f{n}(void);\n" for n in range(count))
    project.write("main.c", f"{heads}int main(void) {{ return ({calls}) % 251; }}\n")


PROGRAM = TWO_LINES + 'env.Program("sum", Glob("*.c"))\n'


def test_a_parallel_build_of_c(projects: tuple[Project, Project]) -> None:
    for project in projects:
        sources(project, 20)
    plain, ours = both(projects, PROGRAM, "-j4")
    assert plain.code == ours.code == 0
    assert sorted(ours.stdout.splitlines()) == sorted(plain.stdout.splitlines())
    assert ours.ours == 22  # 21 objects and the program
    assert plain.theirs - ours.theirs == 22
    for project in projects:
        ended = subprocess.run([project.directory / "sum"], check=False)
        assert ended.returncode == sum(range(20))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_only_what_changed_is_built_again(projects: tuple[Project, Project], adapter: str) -> None:
    script = 'env = hook(Environment())\nenv.Program("sum", Glob("*.c"))\n'
    for project in projects:
        sources(project, 5)
    same(*both(projects, script, adapter=adapter))
    for project in projects:
        project.write("f3.c", "int f3(void) { return 30; }\n")
    plain, ours = both(projects, script, adapter=adapter)
    same(plain, ours)
    assert ours.ours == 2
    assert "f3.o" in ours.stdout
    assert "f2.o" not in ours.stdout.replace("f2.o f3.o", "")


def test_what_was_built_without_the_adapter_is_not_built_again(
    projects: tuple[Project, Project],
) -> None:
    project = projects[0]
    sources(project, 3)
    project.write("SConstruct", HEAD + PROGRAM)
    assert scons(project, "").theirs > 0
    again = scons(project, "shell")
    assert again.stdout == "scons: `.' is up to date.\n"
    assert again.ours == 0


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_failing_compile(projects: tuple[Project, Project], adapter: str) -> None:
    for project in projects:
        project.write("bad.c", "int main(void) { return nothing_of_this; }\n")
    script = 'env = hook(Environment())\nenv.Program("bad", "bad.c")\n'
    plain, ours = both(projects, script, adapter=adapter)
    same(plain, ours)
    assert ours.code == 2
    assert "nothing_of_this" in ours.stderr
    assert "scons: *** [bad.o] Error 1" in ours.stderr


SHOW = "import os, sys\nprint(sys.argv, os.environ.get('PWD') == os.getcwd())\n"

COMMANDS = {
    "exit": "exit 3",
    "signal": "kill -SEGV $$$$",
    "signal of a program": f": ; {sys.executable} die.py",
    "not found": "/nope/program a b",
    "not found on PATH": "no-such-program-at-all a b",
    "not executable": "/etc/passwd a",
    "a directory": "/etc a",
    "a script without #!": "./script a b",
    "ignored": "-exit 3",
    "silent": "@exit 3",
    "pipe": "echo a b | tr a-z A-Z; echo c >&2; exit 9",
    "quotes": "printf '%s|' \"a b\" 'c  d' e$$HOME",
    "a builtin": "cd / && pwd",
    "words": f"{sys.executable} show.py a=1 b:2 c,d @e %f",
}


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_commands_end_and_are_told_as_without(
    projects: tuple[Project, Project], command: str, adapter: str
) -> None:
    for project in projects:
        project.write("die.py", "import os\nos.kill(os.getpid(), 9)\n")
        project.write("show.py", SHOW)
        project.write("script", 'echo script "$@"\nexit 5\n').chmod(0o755)
    script = f'hook(DefaultEnvironment())\nAlways = Command("out", [], {command!r})\n'
    script += "AlwaysBuild(Always)\n"
    same(*both(projects, script, adapter=adapter))


def test_without_a_shell_a_signal_is_told_by_its_number(projects: tuple[Project, Project]) -> None:
    """dash waits for its last command, and makes 137 of it; bash does not."""
    project = projects[1]
    project.write("die.py", "import os\nos.kill(os.getpid(), 9)\n")
    project.write(
        "SConstruct",
        HEAD
        + f"""
hook(DefaultEnvironment())
Command("out", [], "{sys.executable} die.py")
""",
    )
    ours = scons(project, "direct")
    assert (ours.code, ours.stderr) == (2, "scons: *** [out] Error -9\n")


@pytest.mark.parametrize("shell", ["no-such-shell", "/nope/sh", "/etc/passwd", "/etc"])
def test_a_missing_shell(projects: tuple[Project, Project], shell: str) -> None:
    script = f'env = hook(Environment(SHELL={shell!r}))\nenv.Command("out", [], "echo a")\n'
    for project in projects:
        project.write("SConstruct", HEAD + script)
    plain, ours = scons(projects[0], ""), scons(projects[1], "shell")
    same(plain, ours)
    assert plain.code == 2
    assert plain.stderr.startswith("scons: ***")
    assert shell in plain.stderr


def test_arguments_that_are_too_long(projects: tuple[Project, Project]) -> None:
    script = 'env = hook(Environment())\nenv.Command("out", [], "echo " + "x" * (1 << 18))\n'
    for project in projects:
        project.write("SConstruct", HEAD + script)
    plain, ours = scons(projects[0], "", "-s"), scons(projects[1], "shell", "-s")
    same(plain, ours)
    assert "Argument list too long" in plain.stderr


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_environment_is_all_of_it(projects: tuple[Project, Project], adapter: str) -> None:
    """Values that are no text, nodes and lists of directories, are made text by SCons."""
    script = (
        'env = hook(Environment(ENV={"PATH": os.environ["PATH"], "LEVEL": 3, '
        '"NODE": File("SConstruct"), "DIRS": ["a", "b"], "WORD": "grüße"}))\n'
        f'env.Command("out", [], "{sys.executable} show.py")\n'
    )
    show = "import os\nleft = 'PWD', 'OLDPWD', '_', 'SHLVL', 'LC_CTYPE'\n"
    show += "print({k: v for k, v in sorted(os.environ.items()) if k not in left})\n"
    for project in projects:
        project.write("show.py", show)
    plain, ours = both(projects, script, adapter=adapter, HERE="not for them")
    same(plain, ours)
    assert "'LEVEL': '3'" in ours.stdout
    assert "'DIRS': 'a:b'" in ours.stdout
    assert "HERE" not in ours.stdout


def test_the_shell_is_found_on_the_path_of_its_environment(
    projects: tuple[Project, Project],
) -> None:
    script = (
        'env = hook(Environment(ENV={"PATH": os.path.abspath("tools") + ":/bin"}))\n'
        'env.Command("out", [], "hello")\n'
    )
    for project in projects:
        project.write("tools/sh", '#!/bin/sh\necho "our own: $*"\n').chmod(0o755)
    plain, ours = both(projects, script)
    same(plain, ours)
    assert "our own: -c hello" in ours.stdout


CONFIGURE = """
env = hook(Environment())
conf = Configure(env)
print("header", conf.CheckCHeader("stdio.h"))
print("no header", conf.CheckCHeader("no_such_header.h"))
print("function", conf.CheckFunc("strlen"))
print("no function", conf.CheckFunc("no_such_function_at_all"))
print("run", conf.TryRun("#include <stdio.h>\\nint main() { puts(\\"ran\\"); return 0; }", ".c"))
env = conf.Finish()
"""


def test_the_checks_of_configure(projects: tuple[Project, Project]) -> None:
    """These go through PSPAWN; what compilers say goes to config.log."""
    plain, ours = both(projects, CONFIGURE)
    same(plain, ours)
    assert "header True" in ours.stdout or "header 1" in ours.stdout
    assert "(1, 'ran\\n')" in ours.stdout
    logs = []
    for project in projects:
        text = (project.directory / "config.log").read_text(encoding="utf-8")
        logs.append(text.replace(str(project.directory.parent), ""))
    assert logs[1] == logs[0]
    assert "no_such_header.h" in logs[1]


def test_ctrl_c_ends_the_commands_of_a_parallel_build(projects: tuple[Project, Project]) -> None:
    outcomes = []
    for project, adapter in zip(projects, ("", "shell"), strict=True):
        lines = "".join(
            f"env.Command('out{n}', [], {HOLD.format(directory='.', n=n)!r})\n" for n in range(8)
        )
        project.write("SConstruct", HEAD + "env = hook(Environment())\n" + lines)
        code, said = project.interrupt(8, "-m", "SCons", "-Q", "-j8", ADAPTER=adapter)
        # Which of the two it is for a command depends on whether SCons or the command was faster.
        said = re.sub(r"Error -2|Build interrupted\.", "ended", said)
        outcomes.append((code, sorted(said.splitlines())))
    assert outcomes[1] == outcomes[0]
    assert outcomes[0][0] == 2
    assert "scons: *** [out7] ended" in outcomes[0][1]
