"""`spawnkit run -- CMD`: one command with the attributes asked for, and what it used."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from ..attributes import RLIMITS, SysProcAttr
from ..cmd import Cmd
from ..errors import SpawnError, TimeoutExpired
from ..streams import DEVNULL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from types import FrameType

    from ..state import ProcessState

_EPILOG = """\
exit code: the command's own; 128 + n if signal n ended it; 124 after --timeout;
126 found but not executable; 127 not found; 125 for spawnkit's own failures.

SIGINT, SIGTERM, SIGHUP and SIGQUIT are handed on to the command; a second one kills it.

examples:
  spawnkit run --usage -- cc -c a.c
  spawnkit run --timeout 10 --dir build --env LANG=C -- ./test-all
  spawnkit run --setsid --rlimit NOFILE=256 --rlimit CPU=5:10 -- ./untrusted
"""

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def add(commands: _SubParsersAction[argparse.ArgumentParser], name: str) -> argparse.ArgumentParser:
    """The parser of `run`."""
    parser = commands.add_parser(
        name,
        help="run one command",
        usage="spawnkit run [OPTION ...] -- COMMAND [ARG ...]",
        description="Runs one command and exits as it did.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("command", nargs="+", metavar="COMMAND", help="the program and its arguments, after --")
    add("--timeout", type=float, metavar="SECONDS", help="kill it after so long")
    add("--dir", metavar="DIR", help="its working directory")
    add("--env", action="append", metavar="NAME=VALUE", help="set a variable; may be repeated")
    add("--clean-env", action="store_true", help="no variables but those of --env")
    add("--null", action="store_true", help="/dev/null as its stdin")
    add("--setsid", action="store_true", help="in a new session")
    add("--setpgid", action="store_true", help="in a process group of its own")
    add("--umask", type=lambda text: int(text, 8), metavar="OCTAL", help="its umask")
    add("--rlimit", action="append", metavar="NAME=SOFT[:HARD]", help=", ".join(RLIMITS))
    add("--engine", help="vfork, vfork-waiting, fork or posix_spawn; the default chooses")
    add("--usage", action="store_true", help="afterwards print what it used, on stderr")
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    try:
        cmd = _command(arguments)
        with _Passing(cmd):
            cmd.start()
            state = _wait(cmd, arguments.timeout)
    except (ValueError, TypeError) as error:
        return _complain(error, 125)
    except SpawnError as error:
        if error.stage not in ("lookpath", "exec", "posix_spawn"):
            return _complain(error, 125)
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        return _complain(error, 127 if missing else 126)
    except TimeoutExpired as error:
        return _complain(error, 124)
    if arguments.usage:
        _print_usage(state)
    return state.exit_code if state.exited else 128 + (state.signal or 0)


def _wait(cmd: Cmd, timeout: float | None) -> ProcessState:
    assert cmd.process is not None
    try:
        return cmd.wait(timeout, check=False)
    except TimeoutExpired:
        cmd.process.kill()
        cmd.process.wait(1.0)
        raise


class _Passing:
    """Hands signals on to the command; the second one kills it."""

    def __init__(self, cmd: Cmd) -> None:
        self._cmd = cmd
        self._count = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in _PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
                self._before[number] = signal.signal(number, self._pass)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _pass(self, number: int, _: FrameType | None) -> None:
        self._count += 1
        if self._cmd.process is None:  # not started yet: nothing to hand it to
            raise SystemExit(128 + number)
        if self._cmd.process.state is None:
            self._cmd.process.signal(number if self._count == 1 else signal.SIGKILL)


def _command(arguments: argparse.Namespace) -> Cmd:
    attr = SysProcAttr(
        setsid=arguments.setsid,
        setpgid=arguments.setpgid,
        umask=arguments.umask,
        rlimits=dict(_limit(text) for text in arguments.rlimit or ()),
    )
    env = None
    if arguments.clean_env or arguments.env:
        env = {} if arguments.clean_env else dict(os.environb)
        for text in arguments.env or ():
            name, equals, value = os.fsencode(text).partition(b"=")
            if not equals:
                raise ValueError(f"--env: NAME=VALUE wanted, not {text!r}")
            env[name] = value
    return Cmd(
        *arguments.command,
        dir=arguments.dir,
        env=env,
        stdin=DEVNULL if arguments.null else None,
        attr=attr,
        engine=arguments.engine,
    )


def _limit(text: str) -> tuple[str | int, tuple[int, int]]:
    name, _, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    try:
        numbers = tuple(-1 if n == "unlimited" else int(n) for n in (soft, hard if colon else soft))
    except ValueError:
        raise ValueError(f"--rlimit: NAME=SOFT[:HARD] wanted, not {text!r}") from None
    return name, (numbers[0], numbers[1])


def _print_usage(state: ProcessState) -> None:
    usage = state.sys_usage()
    lines = [f"{'status':12} {state}", f"{'engine':12} {state.engine}"]
    lines.append(f"{'wall':12} {state.wall_time:.6f} s")
    if usage is not None:
        exact = "" if state.max_rss_exact else " at most (spawnkit's own peak is included)"
        lines.append(f"{'user':12} {usage.utime:.6f} s")
        lines.append(f"{'system':12} {usage.stime:.6f} s")
        lines.append(f"{'peak memory':12} {usage.maxrss // 1024} KiB{exact}")
        lines.append(f"{'page faults':12} {usage.minflt} minor, {usage.majflt} major")
        lines.append(f"{'switches':12} {usage.nvcsw} voluntary, {usage.nivcsw} involuntary")
    print("\n".join(lines), file=sys.stderr)


def _complain(error: BaseException, code: int) -> int:
    print(f"spawnkit: {error}", file=sys.stderr)
    return code
