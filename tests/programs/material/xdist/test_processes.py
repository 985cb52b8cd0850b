"""A suite whose tests start processes; some fail, and so they should."""

import asyncio
import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("number", range(24))
def test_a_child_counts(number: int) -> None:
    code = f"print(sum(range({number})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == number * (number - 1) // 2


@pytest.mark.parametrize("status", range(8))
def test_a_status_comes_back(status: int) -> None:
    assert subprocess.call(f"exit {status}", shell=True) == status


@pytest.mark.parametrize("status", [0, 3])
def test_a_status_that_is_wrong_for_one(status: int) -> None:
    subprocess.run(["sh", "-c", f"echo to the log; exit {status}"], check=True)


def test_a_program_that_is_not_there() -> None:
    subprocess.run(["no-such-program-anywhere", "argument"])


def test_a_child_that_is_too_slow() -> None:
    with pytest.raises(subprocess.TimeoutExpired, match=r"timed out after 0\.2 seconds"):
        subprocess.run(["sh", "-c", "echo early; exec sleep 100"], timeout=0.2, capture_output=True)


def test_a_pipe_in_both_directions() -> None:
    text = "a line\n" * 50_000
    done = subprocess.run(["sort"], input=text, stdout=subprocess.PIPE, text=True)
    assert done.stdout == text


def test_what_is_written_past_pytest(capfd: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["sh", "-c", "echo out; echo err >&2"])
    assert capfd.readouterr() == ("out\n", "err\n")


def test_a_child_killed_by_a_signal() -> None:
    child = subprocess.Popen(["sleep", "100"])
    child.terminate()
    assert child.wait() == -15


def test_with_asyncio() -> None:
    async def two() -> list[bytes]:
        async def one(word: str) -> bytes:
            child = await asyncio.create_subprocess_exec("echo", word, stdout=subprocess.PIPE)
            return (await child.communicate())[0]

        return await asyncio.gather(one("a"), one("b"))

    assert asyncio.run(two()) == [b"a\n", b"b\n"]


def test_the_old_ways() -> None:
    assert os.popen("echo popen").read() == "popen\n"
    assert subprocess.getoutput("echo getoutput") == "getoutput"


@pytest.mark.skip(reason="to have one that is skipped")
def test_skipped() -> None:
    raise AssertionError
