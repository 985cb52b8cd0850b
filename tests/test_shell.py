"""shell_command: the text is the shell's, the arguments are not."""

from __future__ import annotations

import os
from typing import Any

import pytest

import spawnkit
from support.isolated import Isolate


def output(cmd: spawnkit.Cmd) -> bytes | None:
    return spawnkit.run(list(cmd.args), capture=True).stdout


def test_arguments_are_no_syntax() -> None:
    hostile = ["$(id)", "`id`", "a  b", "'", '"', "\\", "*", "; id", "\n", "-x", "--", "\udcff"]
    cmd = spawnkit.shell_command('printf "%s\\0" "$@"', *hostile)
    assert output(cmd) == b"".join(os.fsencode(word) + b"\0" for word in hostile)


def test_the_text_is_for_the_shell_and_its_name_is_sh() -> None:
    assert spawnkit.shell_command("exit 3").args == ("/bin/sh", "-c", "exit 3", "sh")
    assert output(spawnkit.shell_command("printf '%s %s' $0 $#; echo $1 | cat", "a")) == b"sh 1a\n"
    assert output(spawnkit.shell_command(b"echo \xff")) == b"\xff\n"


@pytest.mark.parametrize("text", ["-x", "+x", "--", b"-c", ""])
def test_a_text_that_looks_like_an_option_is_none(text: str | bytes) -> None:
    """The shell would take the next word, "sh", as what to run."""
    state = spawnkit.shell_command(text, stderr=spawnkit.DEVNULL).run(check=False)
    assert state.exit_code == (127 if text else 0)  # no such command, or nothing to do


def test_options_are_those_of_cmd() -> None:
    cmd = spawnkit.shell_command("exit $CODE", env={"CODE": "7"}, stdin=spawnkit.DEVNULL)
    assert isinstance(cmd, spawnkit.Cmd)
    with pytest.raises(spawnkit.ExitError) as caught:
        cmd.run()
    assert caught.value.state.exit_code == 7
    with pytest.raises(TypeError, match="spoon"):
        spawnkit.shell_command("true", spoon=1)


@pytest.mark.parametrize("text", [["ls", "-l"], None, 3])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(TypeError, match="text: str or bytes"):
        spawnkit.shell_command(text)


def test_a_nul_byte_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"args\[2\]: NUL"):
        spawnkit.shell_command("true\0").run()


@pytest.mark.parametrize("change", ["setegid", "seteuid"])
def test_no_shell_where_real_and_effective_ids_differ(change: str, isolate: Isolate) -> None:
    if os.geteuid():
        pytest.skip("only root can change its ids")
    said = isolate(_shell_after, change, oracle=False)
    assert said == "[Errno 1] shell_command: real and effective ids differ; no shell is started"


def _shell_after(change: str) -> str:
    import os

    import spawnkit

    spawnkit.shell_command("true")
    getattr(os, change)(65534)
    try:
        spawnkit.shell_command("true")
    except PermissionError as error:
        return str(error)
    return "made"
