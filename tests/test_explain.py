"""What is behind an errno: the missing part of a program, the limit that was exceeded."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from support.isolated import Isolate

PAGE = os.sysconf("SC_PAGESIZE")
ONE_STRING = 32 * PAGE - 1


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write an executable file, and return its path relative to the current directory."""
    monkeypatch.chdir(tmp_path)

    def file(name: str, content: str | bytes, mode: int = 0o755) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.fsencode(content))
        path.chmod(mode)
        return f"./{name}"

    return file


def fails(*args: Any, **options: Any) -> spawnkit.SpawnError:
    with pytest.raises(spawnkit.SpawnError) as caught:
        spawnkit.run(args, **options)
    return caught.value


def elf(loader: bytes, bits: int = 64) -> bytes:
    """As much of an ELF file as names a loader."""
    path = loader + b"\0"
    if bits == 64:
        ident = b"\x7fELF\2\1\1" + bytes(9)
        headers = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        other = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 0, 0, 4096)
        interp = struct.pack("<IIQQQQQQ", 3, 4, 176, 176, 176, len(path), len(path), 1)
    else:
        ident = b"\x7fELF\1\1\1" + bytes(9)
        headers = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        other = struct.pack("<IIIIIIII", 1, 0, 0, 0, 0, 0, 5, 4096)
        interp = struct.pack("<IIIIIIII", 3, 116, 116, 116, len(path), len(path), 4, 1)
    return ident + headers + other + interp + path


# ---- programs -----------------------------------------------------------------------------------


def test_a_missing_interpreter_is_named(engine: str, write: Callable[..., str]) -> None:
    """A6: bad interpreter -> ENOENT naming interpreter and script."""
    script = write("script", "#!/no/such/perl5 -w\n")
    error = fails(script, engine=engine)
    assert isinstance(error, FileNotFoundError)
    assert error.stage in ("exec", "posix_spawn")
    assert error.item == "interpreter '/no/such/perl5' of './script'"
    assert error.filename == "/no/such/perl5"
    assert str(error) == f"{error.item}: No such file or directory"


@pytest.mark.parametrize(
    ("content", "number", "item", "hint"),
    [
        ("#! \t/no/x\t-a b", errno.ENOENT, "interpreter '/no/x' of './x'", ""),
        ("#!no/x", errno.ENOENT, "interpreter 'no/x' of './x'", ""),
        (
            "#!/bin/sh\r\necho\r\n",
            errno.ENOENT,
            "interpreter '/bin/sh\\r' of './x'",
            "the line ends in CR LF",
        ),
        ("#!/etc/passwd\n", errno.EACCES, "interpreter '/etc/passwd' of './x'", ""),
        ("#!/usr\n", errno.EACCES, "interpreter '/usr' of './x'", "it is a directory"),
        ("#!/etc/passwd/sh\n", errno.ENOTDIR, "interpreter '/etc/passwd/sh' of './x'", ""),
        (
            "#!./x\n",
            errno.ELOOP,
            "exec './x'",
            "more than 5 scripts, each the interpreter of the one before",
        ),
    ],
)
def test_what_is_wrong_with_an_interpreter(
    content: str, number: int, item: str, hint: str, write: Callable[..., str]
) -> None:
    """A6: whatever is wrong with it; a "\\r" before the end of the line shows."""
    error = fails(write("x", content))
    assert (error.errno, error.item, error.hint) == (number, item, hint)
    assert str(error) == f"{item}: {os.strerror(number)}" + (f" ({hint})" if hint else "")


@pytest.mark.parametrize("depth", range(1, 7))
def test_scripts_are_followed_as_far_as_the_kernel_does(
    depth: int, write: Callable[..., str]
) -> None:
    """A6: a script of a script, up to five."""
    for first, item, number in [
        ("/no/such", "interpreter '/no/such' of './1'", errno.ENOENT),
        ("/bin/true", None, None),
    ]:
        write("1", f"#!{first}\n")
        for n in range(2, depth + 1):
            write(str(n), f"#!./{n - 1}\n")
        if depth == 6:
            assert fails("./6").errno == (number or errno.ELOOP)
        elif item is None:
            assert spawnkit.run([f"./{depth}"]).state.success
        else:
            assert fails(f"./{depth}").item == item


@pytest.mark.parametrize("bits", [64, 32])
def test_a_missing_loader_is_named(bits: int, write: Callable[..., str]) -> None:
    """A6: the same for a binary of another C library, here and behind a script."""
    write("x", elf(b"/lib/no-musl.so.1", bits))
    write("script", "#!./x\n")
    error = fails("./x")
    if bits == 32 and error.errno == errno.ENOEXEC:
        pytest.skip("this kernel runs no 32-bit programs")
    assert error.errno == errno.ENOENT
    assert error.item == "loader '/lib/no-musl.so.1' of './x'"
    assert error.filename == "/lib/no-musl.so.1"
    assert fails("./script").item == error.item


@pytest.mark.needs("dir")
def test_relative_paths_are_relative_to_the_childs_directory(
    engine: str, write: Callable[..., str], tmp_path: Path
) -> None:
    """A6: program and interpreter are looked for where the child looked for them."""
    write("sub/x", "#!./y\n")
    write("y", "#!/bin/true\n")
    write("x", "#!/bin/true\n")
    for dir in "sub", tmp_path / "sub":
        error = fails("./x", dir=dir, engine=engine)
        assert (error.item, error.filename) == ("interpreter './y' of './x'", "./y")
    assert fails("sub/x", dir="sub", engine=engine).item == "exec 'sub/x'"


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("echo hello\n", "no #! line, and no shell is tried"),
        (b"\1\2\3", "no #! line, and no shell is tried"),
        ("", "the file is empty"),
        ("#!\n", "its #! line names no interpreter, or is too long"),
        ("#!/" + "x" * 300, "its #! line names no interpreter, or is too long"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "a byte order mark stands before the #!"),
        (b"\x7fELF\2\1\1" + bytes(57), "an ELF file for another machine, or damaged"),
    ],
)
def test_what_cannot_be_run_is_given_to_no_shell(
    content: str | bytes, hint: str, write: Callable[..., str]
) -> None:
    """A5: no shebang -> ENOEXEC, never /bin/sh."""
    error = fails(write("x", content))
    assert error.errno == errno.ENOEXEC
    assert (error.item, error.hint) == ("exec './x'", hint)


def test_no_shell_for_an_interpreter_either(engine: str, write: Callable[..., str]) -> None:
    """A5: and the file that is at fault is named."""
    write("x", "echo ran >ran\n")
    error = fails(write("y", "#!./x\n"), engine=engine)
    assert error.errno == errno.ENOEXEC
    assert error.item == "interpreter './x' of './y'"
    assert error.hint == "no #! line, and no shell is tried"
    assert not Path("ran").exists()


def test_each_cause_has_its_errno(engine: str, write: Callable[..., str]) -> None:
    """A7: ELOOP, ENAMETOOLONG and ENOTDIR, and the program named."""
    os.symlink("loop", "loop")
    write("file", "")
    for name, number in [
        ("./loop", errno.ELOOP),
        ("./" + "x" * 256, errno.ENAMETOOLONG),
        ("./" + "x/" * 2100, errno.ENAMETOOLONG),
        ("./file/x", errno.ENOTDIR),
    ]:
        error = fails(name, engine=engine)
        assert (error.errno, error.filename, error.hint) == (number, name, "")


def test_nothing_is_said_about_a_program_that_is_not_there(write: Callable[..., str]) -> None:
    error = fails("./none")
    assert (error.item, error.filename, error.hint) == ("exec './none'", "./none", "")
    error = fails(write("locked", "#!/no/such\n", 0o644))
    assert (error.errno, error.item, error.hint) == (errno.EACCES, "exec './locked'", "")
    os.mkfifo("fifo", 0o755)
    error = fails("./fifo")
    hint = "it is no regular file"
    assert (error.errno, error.item, error.hint) == (errno.EACCES, "exec './fifo'", hint)


@pytest.mark.parametrize(
    "content",
    [
        elf(b"/lib/x" * 1000),
        elf(b""),
        elf(b"/x")[:100],
        elf(b"/x")[:40],
        b"\x7fELF",
        b"\x7fELF\2\1",
        b"\x7fELF\2\1" + b"\xff" * 300,
        b"\x7fELF\1\1" + b"\xff" * 300,
        b"\x7fELF\7\7" + b"\xff" * 300,
        elf(b"/x")[:54] + b"\x38\0\xff\xff" + elf(b"/x")[58:],
        elf(b"/x")[:32] + b"\xff" * 8 + elf(b"/x")[40:],
        b"#",
        b"#! \t \n",
        b"#!\0",
        b"#!/x\0y",
        b"#!" + b"x" * 254,
        b"#! " + b"x" * 252 + b" ",
    ],
    ids=range(17),
)
def test_damaged_files_are_an_error_like_any_other(
    content: bytes, write: Callable[..., str]
) -> None:
    """Whatever is in the file: the kernel's errno, and no exception of ours in its place."""
    error = fails(write("x", content))
    assert error.errno in (errno.ENOEXEC, errno.ENOENT, errno.EINVAL, errno.EIO, errno.EACCES)
    assert fails(write("y", "#!./x\n")).errno == error.errno


def test_what_could_block_is_not_opened(write: Callable[..., str], tmp_path: Path) -> None:
    """FIFOs, devices, sockets and directories as interpreters, in the time of a stat."""
    os.mkfifo("fifo", 0o755)
    for name in "./fifo", "/dev/null", "/dev/tty", "/proc", str(tmp_path):
        error = fails(write("x", f"#!{name}\n"))
        assert error.errno == errno.EACCES
        assert error.item == f"interpreter {name!r} of './x'"


def test_without_descriptors_the_error_is_the_plain_one(isolate: Isolate, tmp_path: Path) -> None:
    """What cannot be opened is not explained."""
    script = tmp_path / "script"
    script.write_text("#!/no/such\n")
    script.chmod(0o755)
    plain, full = isolate(_error_without_descriptors, str(script))
    assert plain == "interpreter '/no/such' of " + repr(str(script))
    assert full == f"exec {str(script)!r}"


def _error_without_descriptors(script: str) -> list[str]:
    import contextlib
    import os

    import spawnkit

    def item() -> str:
        try:
            spawnkit.run([script])
        except spawnkit.SpawnError as error:
            return error.item
        return ""

    said = [item()]
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    said.append(item())
    for fd in taken:
        os.close(fd)
    return said


# ---- E2BIG --------------------------------------------------------------------------------------


def test_an_argument_that_is_too_long_is_named(engine: str) -> None:
    """A9: with the limit and by how much; 1 for the first that does not fit."""
    for size in ONE_STRING + 1, 200_000:
        error = fails("/bin/true", "x", "y" * size, engine=engine)
        assert error.errno == errno.E2BIG
        assert error.hint == (
            f"args[2] has {size} bytes, {size - ONE_STRING} over the limit of {ONE_STRING} for one "
            "string"
        )
        assert str(error).endswith(f": Argument list too long ({error.hint})")


def test_a_variable_that_is_too_long_is_named_without_its_value() -> None:
    """A9: "NAME=value" counts as a whole."""
    fits = ONE_STRING - len("NAME=")
    assert spawnkit.run(["/bin/true"], env={"NAME": "x" * fits}).state.success
    error = fails("/bin/true", env={"A": "1", "NAME": "x" * (fits + 1)})
    assert error.hint == (
        f"env 'NAME' has {ONE_STRING + 1} bytes, 1 over the limit of {ONE_STRING} for one string"
    )


def largest_that_runs(run: Callable[[int], object], low: int, high: int) -> int:
    """By halving: the largest size that the kernel takes."""
    while high - low > 1:
        middle = (low + high) // 2
        try:
            run(middle)
            low = middle
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            high = middle
    return low


MIB = 1 << 20
QUARTER = "a quarter of RLIMIT_STACK"
LEAST = "the least the kernel grants, whatever RLIMIT_STACK is"
MOST = "the kernel's, whatever RLIMIT_STACK is"


@pytest.mark.parametrize(
    ("stack", "limit", "why"),
    [
        (None, None, None),
        (-1, 6 * MIB, MOST),
        (100 * MIB, 6 * MIB, MOST),
        (24 * MIB, 6 * MIB, QUARTER),
        (8 * MIB + 3, 2 * MIB, QUARTER),
        (600_001, 150_000, QUARTER),
        (512 << 10, 128 << 10, QUARTER),
        (256 << 10, 128 << 10, LEAST),
        (100_000, None, "all of RLIMIT_STACK"),
    ],
)
def test_the_excess_is_exact(stack: int | None, limit: int | None, why: str | None) -> None:
    """A10: the largest command line that runs, found by trying, has an excess of 0."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if stack is not None and hard != resource.RLIM_INFINITY:
        pytest.skip("the hard limit on the stack cannot be raised")
    attr = None
    if stack is not None:
        attr = spawnkit.SysProcAttr(rlimits={"STACK": (stack, spawnkit.RLIM_INFINITY)})

    def run(size: int) -> None:
        full, rest = divmod(size, 100_000)
        arguments = ["/bin/true", *["x" * 99_999] * full, "y" * rest]
        # In a limit as small as the arguments the program dies; that it began is what counts.
        spawnkit.run(arguments, attr=attr, env={"A": "1", "B": ""}, check=False)

    fits = largest_that_runs(run, 0, 7 * MIB)
    for over in 1, 2, 50_001:
        with pytest.raises(OSError, match="Argument list too long") as caught:
            run(fits + over)
        assert isinstance(caught.value, spawnkit.SpawnError)
        hint = caught.value.hint
        takes, excess, most = (int(word) for word in hint.split() if word.isdigit())
        assert takes - excess == most
        # A string more is a pointer and a NUL more: 50,001 may or may not begin another.
        assert excess - over in ((0,) if over < 3 else (0, 8)), hint
        if limit is not None:
            assert most == limit
        if why is not None:
            assert hint.endswith(f"({why})")


def test_the_limit_of_the_parent_counts_where_the_child_has_none(isolate: Isolate) -> None:
    """A10: RLIMIT_STACK is inherited."""
    assert isolate(_hint_under_a_small_stack, "x" * 100_000, oracle=False) == (
        "arguments and environment take 200055 bytes, 50055 over the limit of 150000 (a quarter of "
        "RLIMIT_STACK)"
    )


def _hint_under_a_small_stack(argument: str) -> str:
    import resource

    import spawnkit

    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (600_000, hard))
    try:
        # 10 + 1 for the path, the same for the name, 2 * 100,001 and "A=1", 4 pointers, less 9.
        spawnkit.run(["/bin/true", argument, argument[3:]], env={"A": "1"})
    except spawnkit.SpawnError as error:
        return error.hint
    return ""


# ---- errors as values ---------------------------------------------------------------------------


def test_the_other_hints() -> None:
    from spawnkit import _ops, explain, plan

    packed = plan.pack(b"/bin/x", b"x\0", 1, (b"", 0), None, {7: 9})
    stage = next(n for n in range(100) if _core_name(n) == "descriptors")
    ops = explain._operations(packed)
    index = next(i for i, op in enumerate(ops) if op[0] == _ops.DUP)
    assert explain.explain(packed, stage, index, errno.EBADF) == (
        "fd 9 → 7",
        None,
        "not open, or a target above RLIMIT_NOFILE",
    )
    assert explain.explain(packed, stage, index, errno.EMFILE)[2] == ""
    execute = next(n for n in range(100, 200) if _core_name(n) == "exec")
    assert "RLIMIT_NPROC" in explain.explain(packed, execute, 0, errno.EAGAIN)[2]
    for number in range(1, 134):
        assert explain.explain(packed, execute, 0, number)[:2] == ("exec '/bin/x'", "/bin/x")
    assert explain.explain(packed, execute, 0, None) == ("exec '/bin/x'", "/bin/x", "")


def _core_name(stage: int) -> str:
    from spawnkit import _core

    return _core.stage_name(stage)


def test_errors_are_copied_and_pickled_whole(write: Callable[..., str]) -> None:
    state = spawnkit.run(["/bin/true"]).state
    errors: list[spawnkit.Error] = [
        fails(write("x", "#!/bin/sh\r\n")),
        spawnkit.ExitError("make", state, "out", "err"),
        spawnkit.WaitDelayError("make", 0.5, state, b"out", None),
        spawnkit.Cancelled("make", None, b"out", b"err"),
        spawnkit.Cancelled("make"),
        spawnkit.DotError("ls", "./ls"),
    ]
    for error in errors:
        for other in copy.copy(error), pickle.loads(pickle.dumps(error)):
            assert type(other) is type(error)
            assert (str(other), repr(other)) == (str(error), repr(error))
            assert vars(other) == vars(error)


def test_what_the_new_errors_say() -> None:
    state = spawnkit.run(["/bin/false"], check=False).state
    assert str(spawnkit.WaitDelayError("make", 0.5, state)) == (
        "make: its streams were still open 0.5 s after its end"
    )
    assert str(spawnkit.Cancelled("make", state)) == "make: cancelled"
    for last in b"one\ntwo\xff\n \n", "one\ntwo\ufffd\n \n":
        assert str(spawnkit.ExitError("make", state, None, last)) == (
            "make: exit status 1: two\ufffd"
        )
    for nothing in b"", "", None, b" \n", "\n":
        assert str(spawnkit.ExitError("make", state, None, nothing)) == "make: exit status 1"
