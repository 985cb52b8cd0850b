"""Finding a program by its name, as a shell would, but never by chance in the current directory."""

from __future__ import annotations

import errno
import os
from stat import S_ISDIR, S_ISREG

from .errors import DotError, SpawnError, spawn_error
from .plan import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .plan import Arg

__all__ = ["look_path"]

_DEFAULT_PATH = b"/bin:/usr/bin"  # execvp(3), where PATH is not set

# "Not here", for one directory among many. Every other failure says more.
_NOT_HERE = (errno.ENOENT, errno.ENOTDIR)


def look_path(name: Arg, *, path: Arg | None = None) -> str:
    """Where the program called `name` is: the first executable file of that name on PATH.

    path: directories separated by ":", to be searched in the place of our PATH. None: PATH as
        `os.environ` has it; where it is not set, /bin and /usr/bin (execvp(3)). An empty one has
        no directories.

    A name with a slash is taken literally, and only checked for being executable. "", "." and ".."
    are never found.

    Executable means: by our effective ids, and not on a file system mounted noexec, as execve(2)
    will see it. Asked by faccessat2(2) (Linux 5.8, glibc 2.33). Older C libraries ask access(2)
    where real and effective ids are equal, which is as good, and read the mode bits where they
    differ: then noexec is not seen. Newer ones on older kernels go by the real ids, and so do we
    where a filter forbids faccessat2.

    Raises DotError when the first match lies in a directory of PATH that is not absolute ("", ".",
    "bin"). Other SpawnErrors, stage "lookpath": where there is no match, the first failure that
    says more than "not here" (EACCES, ELOOP, …), else ENOENT. ValueError and TypeError for what is
    no name. Nothing keeps the file from changing before it is run. Go's `exec.LookPath`.
    """
    encoded = encode(name, "name")
    if b"/" in encoded:
        number = why_not(encoded)
        if number:
            raise _cannot_run(number, encoded)
        return os.fsdecode(encoded)
    return os.fsdecode(_search(encoded, None if path is None else encode(path, "path")))


def find_program(name: bytes) -> bytes:
    """The program that args[0] stands for; raises as `look_path`.

    A name with a slash is not checked: execve tells at no cost, and about the right directory.
    """
    if not name:
        raise ValueError("args[0]: empty program name")
    if b"/" in name:
        return name
    return _search(name, None)


def _search(name: bytes, path: bytes | None) -> bytes:
    if path is None:
        path = os.environb.get(b"PATH", _DEFAULT_PATH)
    worst = None  # the first failure that says more than "not here"
    if path and name not in (b"", b".", b".."):
        for directory in path.split(b":"):
            candidate = os.path.join(directory or b".", name)
            number = why_not(candidate)
            if not number:
                if directory[:1] != b"/":
                    # Also where a later directory has one: which of the two is meant, we cannot
                    # know, and a shell would run this one.
                    raise DotError(os.fsdecode(name), os.fsdecode(candidate))
                return candidate
            if worst is None and number not in _NOT_HERE:
                worst = number, candidate
    if worst is not None:
        raise _cannot_run(*worst)
    shown = os.fsdecode(name)
    raise spawn_error(errno.ENOENT, "lookpath", f"program {shown!r} on PATH", shown)


def why_not(path: bytes) -> int:
    """The errno that execve would give for a path, as far as can be told; 0: it may run."""
    allowed = os.access(path, os.X_OK, effective_ids=True)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.errno or errno.ENOENT
    # A directory, a FIFO, a device are EACCES, as for execve: one `except PermissionError` does for
    # the search and for the start. Go says EISDIR of a directory; the hint tells as much.
    if S_ISREG(mode) and (allowed or _allowed_without_faccessat2(path)):
        return 0
    return errno.EACCES


def _cannot_run(number: int, path: bytes) -> SpawnError:
    shown = os.fsdecode(path)
    hint = why_no_access(path) if number == errno.EACCES else ""
    return spawn_error(number, "lookpath", f"program {shown!r}", shown, hint=hint)


def _allowed_without_faccessat2(path: bytes) -> bool:
    """The answer by the real ids, where the question by the effective ones is not let through.

    Filters that do not know faccessat2 refuse it with EPERM, and the C library takes that for the
    answer. It cannot be refused about "/" for any other reason.
    """
    return not os.access(b"/", os.F_OK, effective_ids=True) and os.access(path, os.X_OK)


def why_no_access(path: bytes) -> str:
    """What is behind an EACCES for a file that is there; "" where that is only its mode."""
    try:
        mode = os.stat(path).st_mode
        if S_ISDIR(mode):
            return "it is a directory"
        if not S_ISREG(mode):
            return "it is no regular file"
        if mode & 0o111 and os.statvfs(path).f_flag & os.ST_NOEXEC:
            return "its file system is mounted noexec"
    except OSError:
        pass
    return ""
