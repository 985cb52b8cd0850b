"""From a command's description to a plan and open streams: the step that `run` and Cmd share."""

from __future__ import annotations

import sys

# explain is for `_core.failure`, and loaded beforehand: a start may fail because no file can be
# opened, and then no module's either.
from . import explain, streams  # noqa: F401
from .attributes import SysProcAttr
from .environment import marked, resolve
from .lookpath import find_program
from .plan import STANDARD, check_engine, descriptor, encode, encode_args, is_script, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from .cgroups import Cgroup
    from .plan import Arg, Dir, Environment, File

    Prepared: TypeAlias = tuple[bytes, int, streams.Pipes | None]
    # Program, argv, argc, environment, directory, more descriptors, exec_fd, cgroups, engine.
    Found: TypeAlias = tuple[
        bytes,
        bytes,
        int,
        tuple[bytes, int],
        bytes | None,
        dict[int, int | None] | None,
        int | None,
        Sequence[tuple[bytes, bool]],
        int,
    ]


def prepare(
    args: Sequence[Arg],
    path: Arg | None,
    env: Environment | None,
    dir: Dir | None,
    checked: streams.CheckedThree | None,
    extra_files: Sequence[File | None],
    fd_map: Mapping[int, File | None] | None,
    exec_fd: File | None,
    attr: SysProcAttr | None,
    engine: str | None,
    cgroup: Cgroup | None = None,
    opened: streams.Pipes | None = None,
    mark: bytes | None = None,
) -> Prepared:
    """The plan, the engine's number, and the streams, None where there is nothing to open.

    checked: the three streams as `check_streams` returns them; None: all inherited.
    All input is checked before PATH is searched, and PATH is searched before anything is opened.
    opened: streams some of which are open already. mark: put into the environment.
    Raises ValueError, TypeError and SpawnError.
    """
    found = find(
        args,
        path,
        env,
        dir,
        checked,
        extra_files,
        fd_map,
        exec_fd,
        attr,
        engine,
        cgroup,
        opened,
        mark,
    )
    wanted = None
    if checked is not None:
        if opened is None:
            opened = streams.Streams()
        opened.open(checked)
        wanted = opened.wanted
    return to_plan(found, wanted, attr), found[-1], opened


def find(
    args: Sequence[Arg],
    path: Arg | None,
    env: Environment | None,
    dir: Dir | None,
    checked: streams.CheckedThree | None,
    extra_files: Sequence[File | None],
    fd_map: Mapping[int, File | None] | None,
    exec_fd: File | None,
    attr: SysProcAttr | None,
    engine: str | None,
    cgroup: Cgroup | None,
    opened: streams.Pipes | None,
    mark: bytes | None,
) -> Found:
    """The first half of `prepare`: everything is checked, PATH is searched, nothing is opened."""
    argv, program, exec_number = what_to_run(args, path, exec_fd)
    directory = None if dir is None else encode_dir(dir)
    more = None
    if extra_files or fd_map is not None:
        more = streams.more_descriptors(extra_files, fd_map, checked or (None, None, None))
    if attr is not None and not isinstance(attr, SysProcAttr):
        raise TypeError(f"attr: a SysProcAttr wanted, not {attr!r}")
    if cgroup is not None:
        from .cgroups import check

        check(cgroup)
    number = 0
    if engine is not None:
        number = check_engine(engine, directory, attr, exec_number, cgroup is not None)
    # Last of the checks: the PWD that comes with a directory may need getcwd(2).
    variables = resolve(env, directory)
    if mark is not None:
        variables = marked(variables, mark)
    if path is None and exec_fd is None and b"/" not in program:
        program = find_program(program)
    sys.audit("spawnkit.spawn", program, args, directory, env)
    cgroups = () if cgroup is None else cgroup._places()
    if more or exec_number is not None:
        # Before anything is opened: a number that is not open must not come to mean one of ours.
        for target, source in (more or {}).items():
            if source is not None:
                streams.check_open(source, target, opened)
        if exec_number is not None:
            streams.check_open(exec_number, "exec", opened)
    return program, argv, len(args), variables, directory, more, exec_number, cgroups, number


def to_plan(found: Found, wanted: dict[int, int | None] | None, attr: SysProcAttr | None) -> bytes:
    """The second half: the plan, once the streams are open. wanted: the descriptors of those."""
    program, argv, argc, variables, directory, more, exec_number, cgroups, _ = found
    if more:
        wanted = {**wanted, **more} if wanted else more
    if exec_number is None and not cgroups:
        return pack(program, argv, argc, variables, directory, wanted, STANDARD, attr)
    return pack(
        program,
        argv,
        argc,
        variables,
        directory,
        wanted,
        STANDARD,
        attr,
        exec_number,
        exec_number is not None and is_script(exec_number),
        cgroups,
    )


def what_to_run(
    args: Sequence[Arg], path: Arg | None, exec_fd: File | None
) -> tuple[bytes, bytes, int | None]:
    """argv, the program's name or path, and the descriptor that is the program; checked."""
    argv = encode_args(args)
    if exec_fd is not None:
        if path is not None:
            raise ValueError("exec_fd: given together with path")
        return argv, argv[: argv.index(b"\0")], descriptor(exec_fd, "exec_fd")
    if path is None:
        return argv, argv[: argv.index(b"\0")], None
    program = encode(path, "path")
    if not program:
        raise ValueError("path: empty")
    return argv, program, None


def encode_dir(dir: Dir) -> bytes:
    """A working directory as the kernel gets it."""
    encoded = encode(dir, "dir")
    if not encoded:
        raise ValueError("dir: empty; None is our own directory")
    return encoded
