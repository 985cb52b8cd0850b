"""From a command's description to a plan and open streams: the step that `run` and Cmd share."""

from __future__ import annotations

import sys

from . import streams
from .attributes import SysProcAttr
from .lookpath import find_program
from .plan import STANDARD, check_engine, encode, encode_args, encode_env, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .plan import Arg, Dir, Environment
    from .streams import Stream


def prepare(
    args: Sequence[Arg],
    path: Arg | None,
    env: Environment | None,
    dir: Dir | None,
    three: tuple[Stream, Stream, Stream],
    attr: SysProcAttr | None,
    engine: str | None,
    feed: bool = False,
) -> tuple[bytes, int, streams.Streams | None]:
    """The plan, the engine's number, and the streams, None where all three are inherited.

    All input is checked before PATH is searched, and PATH is searched before anything is opened.
    feed: make a pipe for stdin. Raises ValueError, TypeError and SpawnError.
    """
    argv = encode_args(args)
    if path is not None:
        program = encode(path, "path")
        if not program:
            raise ValueError("path: empty")
    else:
        program = argv[: argv.index(b"\0")]
    directory = None if dir is None else encode_dir(dir)
    variables = encode_env(env)
    plain = three[0] is None and three[1] is None and three[2] is None and not feed
    if not plain:
        three = streams.check(three, feed)
    if attr is not None and not isinstance(attr, SysProcAttr):
        raise TypeError(f"attr: a SysProcAttr wanted, not {attr!r}")
    number = 0 if engine is None else check_engine(engine, directory, attr)
    if path is None and b"/" not in program:
        program = find_program(program)
    sys.audit("spawnkit.spawn", program, args, directory, env)
    opened = None
    wanted = None
    if not plain:
        opened = streams.Streams(three, feed)
        wanted = opened.wanted
    return (
        pack(program, argv, len(args), variables, directory, wanted, STANDARD, attr),
        number,
        opened,
    )


def encode_dir(dir: Dir) -> bytes:
    """A working directory as the kernel gets it."""
    encoded = encode(dir, "dir")
    if not encoded:
        raise ValueError("dir: empty; None is our own directory")
    return encoded
