"""`spawnkit run -- CMD`: one command with the attributes asked for, and what it used."""

from __future__ import annotations

import argparse
import os
import signal

from ..attributes import RLIMITS, SysProcAttr
from ..cmd import Cmd
from ..errors import ProcessDone, SpawnError, TimeoutExpired
from ..streams import DEVNULL
from .output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from types import FrameType

    from ..state import ProcessState

_EPILOG = """\
exit code: the command's own; 128 + n if signal n ended it; 124 after --timeout;
126 found but not executable; 127 not found; 125 for spawnkit's own failures.

SIGINT, SIGTERM, SIGHUP and SIGQUIT are handed on to the command, unless the terminal has sent
them to it as well; a second one kills it.

examples:
  spawnkit run --usage -- cc -c a.c
  spawnkit run --timeout 10 --dir build --env LANG=C -- ./test-all
  spawnkit run --setsid --rlimit NOFILE=256 --rlimit CPU=5:10 -- ./untrusted
"""

_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
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
    add("--timeout", type=_seconds, metavar="SECONDS", help="kill it after so long")
    add("--dir", metavar="DIR", help="its working directory")
    add("--env", action="append", metavar="NAME=VALUE", help="set a variable; may be repeated")
    add("--clean-env", action="store_true", help="no variables but those of --env")
    add("--null", action="store_true", help="/dev/null as its stdin")
    add("--setsid", action="store_true", help="in a new session")
    add("--setpgid", action="store_true", help="in a process group of its own")
    add("--umask", type=_octal, metavar="OCTAL", help="its umask, 0 to 777")
    add("--rlimit", action="append", metavar="NAME=SOFT[:HARD]", help=", ".join(RLIMITS))
    add("--engine", help="vfork, vfork-waiting, fork or posix_spawn; the default chooses")
    add("--usage", action="store_true", help="afterwards print what it used, on stderr")
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    try:
        cmd = _command(arguments)
        with _Passing(cmd):
            state = _supervise(cmd, arguments.timeout)
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
        say(_usage(state))
    return state.exit_code if state.exited else 128 + (state.signal or 0)


def _supervise(cmd: Cmd, timeout: float | None) -> ProcessState:
    cmd.start()
    process = cmd.process
    assert process is not None
    try:
        return process.wait(timeout)
    except BaseException:
        if process.state is None:
            process.kill()
            process.wait(1.0)
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
        process = self._cmd.process
        if process is None:  # not started yet: nothing to hand it to
            raise SystemExit(128 + number)
        if self._count == 1 and number in _FROM_TERMINAL and self._terminal_tells_it():
            return
        try:
            process.signal(number if self._count == 1 else signal.SIGKILL)
        except ProcessDone:
            pass  # it has just ended

    def _terminal_tells_it(self) -> bool:
        """Has the command had this Ctrl-C already, being in the terminal's foreground group too?"""
        attr = self._cmd.attr
        if attr is not None and (attr.setsid or attr.setpgid):
            return False
        try:
            terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        except OSError:
            return False
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        except OSError:
            return False
        finally:
            os.close(terminal)


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


def _seconds(text: str) -> float:
    value = float(text)
    if not value >= 0:  # not a number, too
        raise ValueError
    return value


_seconds.__name__ = "number of seconds"  # what argparse calls it


def _octal(text: str) -> int:
    value = int(text, 8)
    if not 0 <= value <= 0o777:
        raise ValueError
    return value


_octal.__name__ = "octal mask"


def _usage(state: ProcessState) -> str:
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
    return "\n".join(lines)


def _complain(error: BaseException, code: int) -> int:
    say(f"spawnkit: {error}")
    return code
