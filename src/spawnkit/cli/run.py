"""`spawnkit run -- CMD`: one command with the attributes asked for, and what it used."""

from __future__ import annotations

import argparse
import os
import signal

from ..attributes import RLIMITS, SysProcAttr
from ..cmd import Cmd
from ..ending import KINDS
from ..environment import Env
from ..errors import SpawnError, TimeoutExpired
from ..streams import DEVNULL
from .output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..process import Process
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

_SI_KERNEL = 0x80  # sigaction(2): sent by the kernel, as Ctrl-C is
_AN_HOUR = 3600.0
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
    add("--grace", type=_seconds, metavar="SECONDS", help="at the timeout SIGTERM, then so long")
    add("--kill", choices=KINDS, help="whom that reaches; the default is the process alone")
    add("--dir", metavar="DIR", help="its working directory")
    add("--env", action="append", metavar="NAME=VALUE", help="set a variable; may be repeated")
    add("--clean-env", action="store_true", help="no variables but those of --env")
    add("--null", action="store_true", help="/dev/null as its stdin")
    add("--setsid", action="store_true", help="in a new session")
    add("--setpgid", action="store_true", help="in a process group of its own")
    add(
        "--die-with-parent",
        action="store_true",
        help="kill it when spawnkit itself ends or is killed",
    )
    add("--umask", type=_octal, metavar="OCTAL", help="its umask, 0 to 777")
    add("--rlimit", action="append", metavar="NAME=SOFT[:HARD]", help=", ".join(RLIMITS))
    add("--engine", help="vfork, vfork-waiting, fork or posix_spawn; the default chooses")
    add("--usage", action="store_true", help="afterwards print what it used, on stderr")
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    try:
        state = _supervise(_command(arguments))
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


def _supervise(cmd: Cmd) -> ProcessState:
    """Starts the command, hands signals on to it, and kills it if anything goes wrong.

    Its time is kept by the Cmd itself, in the background.
    """
    cmd.start()
    process = cmd.process
    assert process is not None
    # Taken one by one from here on, with the word on who sent them; nohup's choice is respected.
    watched = {n for n in _PASSED_ON if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, watched | {signal.SIGCHLD})
        try:
            _watch(process, watched)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    except BaseException:
        if process.state is None:
            process.kill()
            process.wait(1.0)
        raise
    return cmd.wait(check=False)


def _watch(process: Process, watched: set[signal.Signals]) -> None:
    passed_on = 0
    while process.poll() is None:
        info = signal.sigtimedwait(watched | {signal.SIGCHLD}, _AN_HOUR)
        if info is None or info.si_signo == signal.SIGCHLD:
            continue
        # The terminal signals its whole foreground group: then the command has had it as well.
        if info.si_code == _SI_KERNEL and os.getpgid(process.pid) == os.getpgrp():
            continue
        passed_on += 1
        process.signal(info.si_signo if passed_on == 1 else signal.SIGKILL)


def _command(arguments: argparse.Namespace) -> Cmd:
    attr = SysProcAttr(
        setsid=arguments.setsid,
        setpgid=arguments.setpgid,
        die_with_parent=arguments.die_with_parent,
        umask=arguments.umask,
        rlimits=dict(_limit(text) for text in arguments.rlimit or ()),
    )
    env = Env.empty() if arguments.clean_env else Env.inherit()
    for text in arguments.env or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--env: NAME=VALUE wanted, not {text!r}")
        env = env.set(name, value)
    return Cmd(
        *arguments.command,
        dir=arguments.dir,
        env=env if arguments.clean_env or arguments.env else None,
        stdin=DEVNULL if arguments.null else None,
        attr=attr,
        timeout=arguments.timeout,
        grace=arguments.grace,
        kill=arguments.kill,
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
