"""What a program's file needs in order to run: a script its interpreter, a binary its loader.

execve(2) gives one errno for all of them; the file tells which it was. This reads what may have
changed since, or be made to mislead: at most a few KiB of regular files, never anything that could
block.
"""

from __future__ import annotations

import errno
import os
from stat import S_ISREG
from struct import Struct

from .lookpath import why_no_access, why_not

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    # "interpreter" or "loader", its path, and the path of the file that names it
    Link: TypeAlias = tuple[str, bytes, bytes]

_BEGINNING = 256  # BINPRM_BUF_SIZE: the kernel looks no further for a #! line
_MOST = 4096  # PATH_MAX; and more program headers than any linker writes
_NESTED = 5  # scripts whose interpreter is a script, and so on (fs/exec.c, exec_binprm)

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PT_INTERP = 3

# elf(5), by class, little-endian. Of the file header: offset of the program headers (e_phoff), size
# of one, number. Of a program header: type, offset, size in the file.
_EHDR = {1: Struct("<28xI10xHH"), 2: Struct("<32xQ14xHH")}
_PHDR = {1: Struct("<II8xI12x"), 2: Struct("<I4xQ16xQ16x")}


def look_into(program: bytes, directory: bytes, number: int) -> tuple[str, bytes, str]:
    """What made execve fail with this errno: the missing part in words, its path, a hint.

    directory: what relative paths are relative to; b"" is our own. The part is "" where it is the
    program itself, or where nothing is known.
    """

    def placed(path: bytes) -> bytes:
        return os.path.join(directory, path)

    chain = _chain(program, placed) if not why_not(placed(program)) else []
    if number == errno.ENOEXEC:
        # The last one is what the kernel could not make anything of.
        scripts = [link for link in chain if link[0] == "interpreter"]
        if not scripts:
            return "", program, _why_no_format(placed(program))
        return _words(scripts[-1]), scripts[-1][1], _why_no_format(placed(scripts[-1][1]))
    for link in chain:
        kind, part, _ = link
        if why_not(placed(part)) == number:
            hint = why_no_access(placed(part)) if number == errno.EACCES else ""
            if kind == "interpreter" and part.endswith(b"\r"):
                hint = "the line ends in CR LF"
            return _words(link), part, hint
    if number == errno.EACCES:
        return "", program, why_no_access(placed(program))
    if number == errno.ELOOP and len(chain) > _NESTED:
        hint = f"more than {_NESTED} scripts, each the interpreter of the one before"
        return "", program, hint
    return "", program, ""


def _why_no_format(path: bytes) -> str:
    """What is behind an ENOEXEC."""
    head = _head(path)
    if head is None:
        return ""
    if not head:
        return "the file is empty"
    if head.startswith(b"\x7fELF"):
        return "an ELF file for another machine, or damaged"
    if head.startswith(_BYTE_ORDER_MARK + b"#!"):
        return "a byte order mark stands before the #!"
    if head.startswith(b"#!"):
        return "its #! line names no interpreter, or is too long"
    return "no #! line, and no shell is tried"


def _words(link: Link) -> str:
    kind, part, owner = link
    return f"{kind} {os.fsdecode(part)!r} of {os.fsdecode(owner)!r}"


def _chain(program: bytes, placed: Callable[[bytes], bytes]) -> list[Link]:
    """What the kernel goes on to from a program: interpreters, then perhaps a loader."""
    chain: list[Link] = []
    owner = program
    while len(chain) <= _NESTED:
        needed = _needed(placed(owner))
        if needed is None:
            break
        kind, part = needed
        chain.append((kind, part, owner))
        if kind == "loader":
            break
        owner = part
    return chain


def _open(path: bytes) -> int:
    """A descriptor of a regular file; -1 for anything else, which even an open could disturb."""
    try:
        if not S_ISREG(os.stat(path).st_mode):
            return -1
        # Should it have become a FIFO since, O_NONBLOCK keeps the open from waiting for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return -1
    if S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return -1


def _head(path: bytes) -> bytes | None:
    fd = _open(path)
    if fd < 0:
        return None
    try:
        return os.pread(fd, _BEGINNING, 0)
    except OSError:
        return None
    finally:
        os.close(fd)


def _needed(path: bytes) -> tuple[str, bytes] | None:
    fd = _open(path)
    if fd < 0:
        return None
    try:
        head = os.pread(fd, _BEGINNING, 0)
        if head.startswith(b"#!"):
            name = _interpreter(head)
            return ("interpreter", name) if name else None
        if head.startswith(b"\x7fELF"):
            name = _loader(fd, head)
            return ("loader", name) if name else None
        return None
    except OSError:
        return None
    finally:
        os.close(fd)


def _interpreter(head: bytes) -> bytes:
    """The first word of the #! line as the kernel reads it; b"" where there is none.

    Only spaces and tabs separate words: a "\\r" before the end of the line belongs to one.
    """
    line, newline, _ = head[2:].partition(b"\n")
    line = line.partition(b"\0")[0].replace(b"\t", b" ").strip(b" ")
    name, space, _ = line.partition(b" ")
    if len(head) == _BEGINNING and not newline and not space:
        return b""  # cut off: ENOEXEC
    return name


def _loader(fd: int, head: bytes) -> bytes:
    """The path in an ELF file's PT_INTERP; b"" where there is none, or it is none of ours."""
    ehdr, phdr = _EHDR.get(head[4]), _PHDR.get(head[4])
    if ehdr is None or phdr is None or head[5] != 1 or len(head) < ehdr.size:
        return b""
    offset, size, count = ehdr.unpack_from(head)
    if size != phdr.size or count * size > _MOST or offset >= 1 << 62:
        return b""
    table = os.pread(fd, count * size, offset)
    for kind, where, length in phdr.iter_unpack(table[: len(table) // size * size]):
        if kind == _PT_INTERP:
            if not 2 <= length <= _MOST or where >= 1 << 62:
                return b""
            return os.pread(fd, length, where).partition(b"\0")[0]
    return b""
