"""output and combined_output: what a command wrote, and what its failure keeps of stderr."""

from __future__ import annotations

import re
from typing import Any

import pytest

import spawnkit
from spawnkit import Cmd, output
from support.children import Children

KEPT = 32 * 1024


def test_output_is_what_it_wrote(engine: str) -> None:
    """Go TestEcho: stdout, whole."""
    assert Cmd("echo", "foo bar", "baz", engine=engine).output() == b"foo bar baz\n"
    assert output(["echo", "foo bar", "baz"], engine=engine) == b"foo bar baz\n"


def test_what_is_fed_comes_out(engine: str, children: Children) -> None:
    """Go TestCatStdin: lines and the rest of one."""
    text = b"Input string\nLine 2"
    assert Cmd(children("echo"), stdin=text, engine=engine).output() == text
    assert output([children("echo")], input=text, engine=engine) == text


def test_the_result_has_it_too(engine: str, children: Children) -> None:
    cmd = Cmd(children("talk"), stdin=b"x", engine=engine)
    assert cmd.output() == b"Ox"
    assert cmd.result.stdout == b"Ox"
    assert cmd.result.state == cmd.process_state
    assert cmd.process_state.success


def test_combined_output_is_both_in_their_order(engine: str) -> None:
    """Go TestCatGoodAndBadFile: the failure is raised, and carries both."""
    cmd = Cmd("cat", "/bogus/file.foo", "/etc/passwd", env={"LC_ALL": "C"}, engine=engine)
    with pytest.raises(spawnkit.ExitError) as caught:
        cmd.combined_output()
    with open("/etc/passwd", "rb") as file:
        content = file.read()
    first, _, rest = caught.value.stdout.partition(b"\n")
    assert b"/bogus/file.foo" in first
    assert rest == content
    assert caught.value.state.exit_code == 1


def test_combined_output_of_a_success(engine: str, children: Children) -> None:
    """A81: child writes 1 MiB to both streams, which are one."""
    size = 1 << 20
    both = Cmd(children("flood"), str(size), engine=engine).combined_output()
    assert both == b"".join(b"o" * 4096 + b"e" * 4096 for _ in range(size // 4096))


def test_output_drains_stderr_as_well(engine: str, children: Children) -> None:
    """A81: child writes 1 MiB to both streams: no deadlock, though only one was asked for."""
    size = 1 << 20
    assert Cmd(children("flood"), str(size), engine=engine).output() == b"o" * size
    assert output([children("flood"), str(size)], engine=engine) == b"o" * size


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"stdout": spawnkit.PIPE}, ["output", "combined_output"]),
        ({"stdout": spawnkit.DEVNULL}, ["output", "combined_output"]),
        ({"stderr": spawnkit.DEVNULL}, ["combined_output"]),
        ({"stderr": spawnkit.STDOUT}, ["combined_output"]),
    ],
    ids=str,
)
def test_a_stream_that_is_set_cannot_be_the_output(
    options: dict[str, Any], names: list[str]
) -> None:
    for name in names:
        with pytest.raises(ValueError, match="|".join(options)):
            getattr(Cmd("/bin/true", **options), name)()


def test_a_stream_that_has_a_pipe_cannot_be_the_output() -> None:
    cmd = Cmd("/bin/true")
    pipe = cmd.stdout_pipe()
    with pytest.raises(ValueError, match="stdout"):
        cmd.output()
    pipe.close()


def test_stderr_of_a_failure_is_kept(engine: str) -> None:
    """Go TestOutputStderrCapture: though nobody asked for it."""
    script = "echo some stderr text >&2; exit 1"
    for call in (
        Cmd("/bin/sh", "-c", script, engine=engine).output,
        lambda: output(["/bin/sh", "-c", script], engine=engine),
    ):
        with pytest.raises(spawnkit.ExitError) as caught:
            call()
        assert caught.value.stderr == b"some stderr text\n"
        assert caught.value.stdout == b""
        assert str(caught.value).endswith(": exit status 1: some stderr text")


def test_stderr_that_was_given_is_not_taken(engine: str, tmp_path: Any) -> None:
    script = "echo out; echo err >&2; exit 1"
    path = tmp_path / "err"
    with pytest.raises(spawnkit.ExitError) as caught:
        Cmd("/bin/sh", "-c", script, stderr=path, engine=engine).output()
    assert path.read_bytes() == b"err\n"
    assert caught.value.stderr is None
    assert caught.value.stdout == b"out\n"
    with pytest.raises(spawnkit.ExitError) as caught:
        output(["/bin/sh", "-c", script], stderr=spawnkit.STDOUT, engine=engine)
    assert caught.value.stdout == b"out\nerr\n"


@pytest.mark.parametrize("extra", [-1, 0, 1, 22, 1_000_000])
def test_of_a_long_stderr_head_and_tail_are_kept(extra: int, engine: str) -> None:
    """Go TestPrefixSuffixSaver: 32 KiB of each; in between it says how much is missing."""
    size = 2 * KEPT + extra
    whole = (b"%07d " * (size // 8 + 1) % tuple(range(size // 8 + 1)))[:size]
    with pytest.raises(spawnkit.ExitError) as caught:
        output(["/bin/sh", "-c", "cat >&2; exit 1"], input=whole, engine=engine)
    kept = caught.value.stderr
    if extra <= 0:
        assert kept == whole
        return
    assert kept.startswith(whole[:KEPT])
    assert kept.endswith(whole[-KEPT:])
    missing = kept[KEPT:-KEPT]
    assert len(missing) < 100
    assert re.findall(rb"\d+", missing) == [b"%d" % extra]


def test_a_timeout_keeps_stderr_too(engine: str) -> None:
    """A84: what output() had so far, of both."""
    script = "echo out; echo err >&2; exec sleep 1000"
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        output(["/bin/sh", "-c", script], timeout=1, engine=engine)
    assert caught.value.stdout == b"out\n"
    assert caught.value.stderr == b"err\n"


def test_output_of_what_cannot_start(engine: str) -> None:
    with pytest.raises(FileNotFoundError):
        output(["/no/such/program"], engine=engine)
    with pytest.raises(FileNotFoundError):
        Cmd("/no/such/program", engine=engine).combined_output()


@pytest.mark.parametrize("name", ["output", "combined_output"])
def test_a_clone_has_an_output_too(name: str, engine: str) -> None:
    """Having been asked for its output is no part of a description."""
    cmd = Cmd("/bin/echo", "x", engine=engine)
    shown = repr(cmd)
    assert getattr(cmd, name)() == b"x\n"
    assert repr(cmd) == shown
    assert getattr(cmd.clone(), name)() == b"x\n"


def test_output_takes_what_run_takes(engine: str, children: Children) -> None:
    """And refuses what makes no sense there."""
    with pytest.raises(ValueError, match="stdout"):
        output(["/bin/true"], stdout=spawnkit.DEVNULL)
    with pytest.raises(TypeError):
        output(["/bin/true"], capture=True)
    assert output(["/bin/pwd"], env={"PWD": "/"}, engine=engine).endswith(b"\n")
