"""shell_command: a command line for /bin/sh, with its arguments kept out of its text."""

from __future__ import annotations

import errno
import os

from .cmd import Cmd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .plan import Arg

__all__ = ["shell_command"]


def shell_command(text: str | bytes, *args: Arg, **options: Any) -> Cmd:
    """A Cmd that has /bin/sh run `text`; `args` are "$1", "$2", … in it, "$@" all of them.

    What comes from elsewhere belongs into `args`: the shell does not read those as syntax.

    >>> shell_command('ls -l -- "$1" | wc -l', "a b; c").args
    ('/bin/sh', '-c', 'ls -l -- "$1" | wc -l', 'sh', 'a b; c')

    options: those of `Cmd`. The status is that of the last command the shell ran; 127: it was not
    found, 126: it could not be executed, 128 + n: it died of signal n.

    Raises PermissionError where our real and effective ids differ: a shell takes PATH, IFS and
    more from an environment that another user wrote. TypeError when `text` is neither str nor
    bytes (a list of arguments is for `Cmd`), ValueError for NUL bytes, when it is started. sh(1p),
    system(3).
    """
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"text: str or bytes wanted, not {text!r}")
    if os.getuid() != os.geteuid() or os.getgid() != os.getegid():
        raise PermissionError(
            errno.EPERM, "shell_command: real and effective ids differ; no shell is started"
        )
    # To the shell such a text would be further options, and "sh" the text. Everywhere else "--"
    # would only be in the way of who reads the command line.
    guard = ("--",) if text[:1] in ("-", "+", b"-", b"+") else ()
    return Cmd("/bin/sh", "-c", *guard, text, "sh", *args, **options)
