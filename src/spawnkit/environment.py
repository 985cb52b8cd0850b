"""Env, edits to an environment as a value; and from any `env=` to the strings that execve takes.

Variables are looked at when the command starts, not when it is described: our own environment may
change in between.
"""

from __future__ import annotations

import errno
import os

from . import _core
from .errors import spawn_error
from .plan import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from .plan import Arg, Environment

    # ("set", name, value), ("unset", pattern, …), ("only", pattern, …)
    Edit: TypeAlias = tuple[str | bytes, ...]

    # Strings as execve takes them, by name; one that has no name ("=" is missing), by a number.
    Variables: TypeAlias = dict[bytes | int, bytes]

__all__ = ["Env"]

# By this variable the processes of a command are known whose `kill` reaches further than itself.
# Of commands inside commands it has all marks, with slashes between them.
MARK = b"SPAWNKIT_RUN"


class Env:
    """An environment by its differences: ours, or an empty one, and what is to be changed.

    >>> Env.inherit().unset("LC_*").set(LANG="C")
    Env.inherit().unset('LC_*').set('LANG', ...)

    `Env.inherit()` is our environment at the moment the command starts, with PWD set to the
    command's `dir` where it has one; `Env.empty()` has no variables. Edits apply in the order in
    which they were written. Where our own environment has a name twice, the last one counts, as in
    Go; a string without "=" is handed on as it is, unless `only` was used.

    Immutable: every edit returns another Env. Names and values are checked when they are given:
    ValueError and TypeError name the one that is wrong. In the place of an Env, None means ours
    without edits, and a mapping is the whole environment, untouched. `Cmd.environ` shows what comes
    out. environ(7); Go's `Cmd.Env` with `Cmd.Environ` (os/exec/exec.go), Rust's
    `Command::env`, `env_remove`, `env_clear`.
    """

    __slots__ = ("_edits", "_inherits")

    _inherits: bool
    _edits: tuple[Edit, ...]

    def __init__(self) -> None:
        """Refused: it could be taken for either of the two."""
        raise TypeError("Env: made by Env.inherit() or Env.empty()")

    @classmethod
    def inherit(cls) -> Env:
        """Our own environment as it is when the command starts."""
        return _make(True, ())

    @classmethod
    def empty(cls) -> Env:
        """No variables at all."""
        return _make(False, ())

    def set(
        self,
        name: Arg | Mapping[str, str] | Mapping[bytes, bytes] | Mapping[Arg, Arg] | None = None,
        value: Arg | None = None,
        /,
        **variables: Arg,
    ) -> Env:
        """With variables added or changed: `set("A", "1")`, `set(A="1", B="2")`, `set({...})`.

        Raises ValueError for an empty name, one with "=", and NUL bytes, TypeError for what is
        neither str, bytes nor PathLike (a number, None).
        """
        pairs: list[tuple[object, object]] = []
        if name is not None and hasattr(name, "items"):
            if value is not None:
                raise TypeError("set: a mapping has its values in it; another one was given")
            pairs += name.items()
        elif name is not None or value is not None:
            pairs.append((name, value))
        pairs += variables.items()
        edits = [("set", *encode_variable(key, value)) for key, value in pairs]
        return _make(self._inherits, (*self._edits, *edits))

    def unset(self, *patterns: str | bytes) -> Env:
        """Without the variables that match any of the patterns; those need not exist.

        Patterns are fnmatch(3)'s, case-sensitive: "LC_*", "?", "[A-Z]*". Raises ValueError for one
        that no name can match ("", "A=1"), TypeError for what is neither str nor bytes.
        """
        return _make(self._inherits, (*self._edits, ("unset", *_patterns("unset", patterns))))

    def only(self, *patterns: str | bytes) -> Env:
        """Without all variables but those that match one of the patterns; without any, no variable.

        Applies to what is there so far: a later `set` adds to it. Patterns as for `unset`.
        """
        return _make(self._inherits, (*self._edits, ("only", *_patterns("only", patterns))))

    def __setattr__(self, name: str, value: object) -> None:
        """Refused: a value may be shared by many commands."""
        raise AttributeError(f"Env is immutable: {name!r} cannot be changed")

    def __delattr__(self, name: str) -> None:
        """Refused likewise."""
        raise AttributeError(f"Env is immutable: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        """Equal when written as the same edits of the same beginning."""
        if not isinstance(other, Env):
            return NotImplemented
        return (self._inherits, self._edits) == (other._inherits, other._edits)

    def __hash__(self) -> int:
        """By value."""
        return hash((self._inherits, self._edits))

    def __reduce__(self) -> tuple[Callable[..., Env], tuple[object, ...]]:
        """Pickles by its edits. The values are in it: keep it as you would keep them."""
        return _make, (self._inherits, self._edits)

    def __repr__(self) -> str:
        """Env.inherit().set('A', ...): without the values, which may be secret."""
        shown = [f"Env.{'inherit' if self._inherits else 'empty'}()"]
        for kind, *operands in self._edits:
            if kind == "set":
                shown.append(f"set({os.fsdecode(operands[0])!r}, ...)")
            else:
                shown.append(f"{kind!s}({', '.join(map(repr, operands))})")
        return ".".join(shown)


def _make(inherits: bool, edits: tuple[Edit, ...]) -> Env:
    if any(edit[0] != "set" for edit in edits):
        # Needed at the start, when there may be no descriptor left to load it with.
        import fnmatch  # noqa: F401
    made = Env.__new__(Env)
    object.__setattr__(made, "_inherits", inherits)
    object.__setattr__(made, "_edits", edits)
    return made


def _patterns(kind: str, patterns: tuple[str | bytes, ...]) -> list[str]:
    """Patterns as str: matched by bytes, "?" would stand for a piece of a letter."""
    checked = []
    for number, pattern in enumerate(patterns):
        item = f"{kind}: pattern {number}"
        if not isinstance(pattern, (str, bytes)):
            raise TypeError(f"{item}: str or bytes wanted, not {pattern!r}")
        encoded = encode(pattern, item)
        if not encoded:
            raise ValueError(f"{item}: empty")
        if b"=" in encoded:
            raise ValueError(f"{item}: '=' in {pattern!r}")
        checked.append(os.fsdecode(encoded))
    return checked


# ---- from env= to strings -----------------------------------------------------------------------

# Of the last command with a directory: the block it began with, its PWD, and the result.
_last: tuple[bytes, bytes, tuple[bytes, int]] | None = None


def resolve(env: Environment | None, dir: bytes | None) -> tuple[bytes, int]:
    """An environment as NUL-terminated strings and their number.

    env: None: ours; a mapping: just that; an Env.
    dir: the directory the program will start in, for PWD; None where that is ours, or where PWD is
        not to be touched. Only our own environment gets a PWD: who writes down a whole one means it
        (Go's rule, os/exec/exec.go, environ).

    Raises ValueError and TypeError; SpawnError (stage "chdir") where `dir` is relative and our own
    directory cannot be told.
    """
    global _last
    if env is None:
        if dir is None:
            return _core.environment()
        block, count = _core.environment()
        directory = _absolute(dir)
        last = _last
        # `is`: our block is made anew only when the environment has changed.
        if last is not None and last[0] is block and last[1] == directory:
            return last[2]
        variables = _parse(block, count)
        _put(variables, b"PWD", directory)
        joined = _join(variables)
        _last = block, directory, joined
        return joined
    if isinstance(env, Env):
        variables = {}
        if env._inherits:
            variables = _parse(*_core.environment())
            if dir is not None:
                _put(variables, b"PWD", _absolute(dir))
        for edit in env._edits:
            variables = _edited(variables, edit)
        return _join(variables)
    return encode_env(env)


def marked(variables: tuple[bytes, int], mark: bytes) -> tuple[bytes, int]:
    """The same strings with a mark in the variable MARK; those that are in it already stay."""
    strings = _parse(*variables)
    inherited = strings.get(MARK, b"").partition(b"=")[2]
    _put(strings, MARK, inherited + b"/" + mark if inherited else mark)
    return _join(strings)


def as_dict(env: Environment | None, dir: bytes | None) -> dict[str, str]:
    """What `resolve` gives, by name; strings without "=" are left out."""
    variables = _parse(*resolve(env, dir))
    return {
        os.fsdecode(name): os.fsdecode(string[len(name) + 1 :])
        for name, string in variables.items()
        if isinstance(name, bytes)
    }


def encode_env(
    env: Mapping[str, str] | Mapping[bytes, bytes] | Mapping[Arg, Arg],
) -> tuple[bytes, int]:
    """A mapping as NUL-terminated strings and their number.

    Of keys that are equal once encoded the last wins.
    """
    if isinstance(env, (str, bytes)) or not hasattr(env, "items"):
        raise TypeError(f"env: a mapping wanted, not {type(env).__name__}")
    pairs = dict([encode_variable(key, value) for key, value in env.items()])
    return b"".join([b"%b=%b\0" % pair for pair in pairs.items()]), len(pairs)


def encode_variable(key: object, value: object) -> tuple[bytes, bytes]:
    """A name and a value, checked."""
    name = encode(key, f"env key {key!r}")
    if not name:
        raise ValueError("env: empty key")
    if b"=" in name:
        raise ValueError(f"env: '=' in key {key!r}")
    return name, encode(value, f"env[{key!r}]")


def _parse(block: bytes, count: int) -> Variables:
    """The strings of a block by their names, the last one of each, in the order they come in.

    A leading "=" belongs to the name. A string without a name is kept, an empty one is not. All
    three are what Go does (os/exec/exec.go, dedupEnv).
    """
    variables: Variables = {}
    for number, string in enumerate(block.split(b"\0", count)[:count]):
        end = string.find(b"=", 1)
        if end > 0:
            _put(variables, string[:end], string[end + 1 :])
        elif string[:1] == b"=":
            _put(variables, b"", string[1:])
        elif string:
            variables[number] = string
    return variables


def _put(variables: Variables, name: bytes, value: bytes) -> None:
    variables.pop(name, None)  # its place is that of the last one
    variables[name] = b"%b=%b" % (name, value)


def _edited(variables: Variables, edit: Edit) -> Variables:
    kind, *operands = edit
    if kind == "set":
        name, value = operands
        assert isinstance(name, bytes)
        assert isinstance(value, bytes)
        _put(variables, name, value)
        return variables
    matches = _matcher(operands)
    if kind == "unset":
        return {k: v for k, v in variables.items() if isinstance(k, int) or not matches(k)}
    return {k: v for k, v in variables.items() if not isinstance(k, int) and matches(k)}


def _matcher(patterns: list[str | bytes]) -> Callable[[bytes], bool]:
    plain = {os.fsencode(p) for p in patterns if not any(c in "*?[" for c in os.fsdecode(p))}
    rest = [os.fsdecode(p) for p in patterns if os.fsencode(p) not in plain]
    if not rest:
        return plain.__contains__
    from fnmatch import fnmatchcase

    def matches(name: bytes) -> bool:
        text = os.fsdecode(name)
        return name in plain or any(fnmatchcase(text, pattern) for pattern in rest)

    return matches


def _join(variables: Variables) -> tuple[bytes, int]:
    return b"".join([string + b"\0" for string in variables.values()]), len(variables)


def _absolute(dir: bytes) -> bytes:
    """A directory as an absolute path without "." and "..".

    By its text, as Go does it: after a symbolic link, ".." may mean another directory.
    """
    try:
        return os.path.abspath(dir)
    except OSError as error:  # our own directory was removed, or lies beyond PATH_MAX
        number = error.errno or errno.ENOENT
        item = f"our own directory, for {os.fsdecode(dir)!r}"
        raise spawn_error(number, "chdir", item) from None
