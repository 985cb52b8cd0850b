"""The command line: exit codes, messages, and the command's own options left alone."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.children import Children

SPAWNKIT = [sys.executable, "-m", "spawnkit"]


def spawnkit(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*SPAWNKIT, *arguments], capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_the_exit_code_is_the_commands(script: str, code: int) -> None:
    assert spawnkit("run", "--", "/bin/sh", "-c", script).returncode == code


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--", "no-such-program"], 127, "no-such-program"),
        (["--", "/no/such/program"], 127, "/no/such/program"),
        (["--", "/tmp"], 126, "/tmp"),
        (["--dir", "/no/such", "--", "true"], 125, "chdir '/no/such'"),
        (["--rlimit", "NOFILES=1", "--", "true"], 125, "NOFILES"),
        (["--rlimit", "CPU", "--", "true"], 125, "CPU"),
        (["--env", "X", "--", "true"], 125, "--env"),
        (["--umask", "9", "--", "true"], 125, "--umask"),
        (["--timeout", "nan", "--", "true"], 125, "--timeout"),
        (["--engine", "none", "--", "true"], 125, "engine"),
        (["--setsid", "--setpgid", "--", "true"], 125, "setsid"),
        (["--time", "1", "--", "true"], 125, "--time"),
        (["ls", "-l"], 125, "after --"),
        ([], 125, "COMMAND"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], code: int, message: str) -> None:
    done = spawnkit("run", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_options_are_its_own() -> None:
    done = spawnkit("run", "--", "/bin/echo", "--timeout", "--", "--help")
    assert done.stdout == "--timeout -- --help\n"


def test_attributes_reach_the_command(children: Children, tmp_path: Path) -> None:
    done = spawnkit(
        "run", "--setsid", "--umask", "27", "--rlimit", "NOFILE=64:128", "--dir", str(tmp_path),
        "--clean-env", "--env", "A=b", "--null", "--",
        "/bin/sh", "-c", "umask; ulimit -Sn; ulimit -Hn; /bin/pwd; /usr/bin/env; cat",
    )  # fmt: skip
    words = done.stdout.split()
    assert words[:4] == ["0027", "64", "128", str(tmp_path.resolve())]
    assert "A=b" in words
    assert not [word for word in words if word.startswith("HOME=")]


def test_die_with_parent() -> None:
    """The command ends with spawnkit, in whatever way that ends."""
    hold = "import os, signal; print(flush=True); signal.sigwait([signal.SIGTERM])"
    command = [*SPAWNKIT, "run", "--die-with-parent", "--", sys.executable, "-c", hold]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stdout.readline() == b"\n"
        running.kill()
        # The command has the other end: it is closed when the command has ended.
        assert select.select([running.stdout], [], [], 30)[0]
        assert running.stdout.read() == b""


def test_a_timeout_kills_and_says_124() -> None:
    done = spawnkit("run", "--timeout", "0.2", "--", "/bin/sleep", "1000")
    assert done.returncode == 124
    assert "not over after 0.2 s" in done.stderr


def test_a_grace_lets_it_tidy_up() -> None:
    script = "trap 'echo tidied up; exit 0' TERM; while :; do sleep 0.01; done"
    done = spawnkit("run", "--timeout", "0.5", "--grace", "60", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (124, "tidied up\n")
    assert done.stderr == "spawnkit: sh: not over after 0.5 s\n"


def test_a_kill_reaches_the_tree() -> None:
    # Their stdout is ours: it would not end before they do.
    script = "setsid sleep 1000 & sleep 1000 & echo begun; wait"
    done = spawnkit("run", "--timeout", "0.5", "--kill", "tree", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (124, "begun\n")


def test_usage_goes_to_stderr() -> None:
    done = spawnkit("run", "--usage", "--", "/bin/echo", "data")
    assert done.stdout == "data\n"
    assert "peak memory" in done.stderr


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_costs_no_exit_code(closed: int) -> None:
    script = f'exec {closed}>&-; exec "$@"'
    command = [*SPAWNKIT, "run", "--usage", "--", "/bin/sh", "-c", "exit 3"]
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_full_stderr_costs_no_exit_code() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*SPAWNKIT, "run", "--usage", "--", "/bin/sh", "-c", "exit 3"], stderr=full, check=False
        )
    assert done.returncode == 3


def test_output_that_is_lost_is_said() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*SPAWNKIT, "doctor"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 125
    assert "Traceback" not in done.stderr


def test_doctor_tries_every_engine() -> None:
    report = json.loads(spawnkit("doctor", "--json").stdout)
    assert set(report["engines"]) == {"vfork", "vfork-waiting", "fork", "posix_spawn"}
    assert not [trial for trial in report["engines"].values() if "error" in trial]
    text = spawnkit("doctor").stdout
    assert "signal_guard" in text
    assert "chosen by itself" in text


def _counting_child() -> str:
    """A program that says how it was signalled and ends when its stdin does."""
    return (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, lambda *_: print('INT', flush=True))\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('TERM', flush=True))\n"
        "print('ready', flush=True)\n"
        "while sys.stdin.readline(): pass\n"
    )


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "INT"), (signal.SIGTERM, "TERM")])
def test_a_signal_is_handed_on_and_the_second_kills(number: int, word: str) -> None:
    command = [*SPAWNKIT, "run", "--setpgid", "--", sys.executable, "-c", _counting_child()]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=0
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"{word}\n"
        process.send_signal(number)
        assert process.wait(60) == 128 + signal.SIGKILL


class Terminal:
    """spawnkit and the counting child, in the foreground of a terminal of their own."""

    def __init__(self) -> None:
        self.said = b""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            child = [sys.executable, "-c", _counting_child()]
            os.execv(SPAWNKIT[0], [*SPAWNKIT, "run", "--", *child])
        self.hear(b"ready")

    def hear(self, word: bytes) -> None:
        while word not in self.said:
            self.said += os.read(self.master, 1000)

    def end(self) -> int:
        """Ends the child by end of file; the exit code of spawnkit."""
        os.write(self.master, b"\x04")
        try:
            while chunk := os.read(self.master, 1000):
                self.said += chunk
        except OSError:  # EIO: the terminal has no more users
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.master)
        return os.WEXITSTATUS(status)


def test_a_signal_from_a_process_is_handed_on_at_a_terminal_too() -> None:
    terminal = Terminal()
    os.kill(terminal.pid, signal.SIGINT)
    terminal.hear(b"INT")
    assert terminal.end() == 0


def test_ctrl_c_at_a_terminal_reaches_the_command_once() -> None:
    """The terminal signals the whole foreground group: it must not be handed on as well."""
    terminal = Terminal()
    os.write(terminal.master, b"\x03")
    terminal.hear(b"INT")
    assert terminal.end() == 0
    assert terminal.said.count(b"INT") == 1
