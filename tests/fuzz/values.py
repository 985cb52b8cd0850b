"""Environment, PATH, arguments and plans by chance, each against a model of its own.

A property takes a source of chance. `python -m fuzz.values NAME -max_total_time=60` feeds it from
seeds, hundreds of thousands of times; in test_fuzz.py it is hypothesis that chooses, and makes what
it finds small. A failure from a seed is had again with `-seed=N -runs=1`.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from spawnkit import DotError, Env, SpawnError, SysProcAttr, _core, _ops, environment, explain
from spawnkit import look_path as find
from spawnkit import plan as plans

Name = Any  # str, bytes, PathLike, or what is no name at all


# ---- strings, and what they are in bytes ---------------------------------------------------------

# Few letters, so that names meet: an escaped byte, one that never was a byte, NUL, several bytes.
LETTERS = ("a", "b", "A", "_", "=", "*", "é", "\udcff", "𝄞", ".", "\0", "\ud800")
PLAIN = LETTERS[:3]


class Wrapped:
    """Has a path that may be anything."""

    def __init__(self, path: Name) -> None:
        self.path = path

    def __fspath__(self) -> Name:
        return self.path


def text(chance: Random, letters: tuple[str, ...], longest: int = 3) -> str:
    return "".join([chance.choice(letters) for _ in range(chance.randrange(longest + 1))])


def name(chance: Random, letters: tuple[str, ...] = LETTERS) -> Name:
    """In any of the forms in which it may be given; rarely in one in which it may not."""
    letters = letters if chance.randrange(4) == 0 else PLAIN
    shape = chance.randrange(40)
    value = text(chance, letters)
    if shape < 20:
        return value
    if shape < 30:
        return value.encode("utf-8", "surrogatepass")
    if shape < 38:
        return Wrapped(value if shape < 35 else value.encode("utf-8", "surrogatepass"))
    return chance.choice((None, 7, Wrapped(7), ["a"]))


def encoded(value: Name) -> bytes | type[Exception]:
    """The model of plan.encode: what the kernel gets, or what is raised."""
    if isinstance(value, Wrapped):
        value = value.path
    if isinstance(value, str):
        try:
            value = b"".join([_letter(letter) for letter in value])
        except UnicodeEncodeError:
            return ValueError
    if not isinstance(value, bytes):
        return TypeError
    return ValueError if 0 in value else value


def _letter(letter: str) -> bytes:
    if "\udc80" <= letter <= "\udcff":
        return bytes([ord(letter) - 0xDC00])
    return letter.encode("utf-8")


def outcome(function: Callable[[], Any]) -> Any:
    """What it returns, or the type of what it raises."""
    try:
        return function()
    except (ValueError, TypeError) as error:
        assert str(error), repr(error)
        return type(error)


# ---- arguments -----------------------------------------------------------------------------------


def arguments(chance: Random) -> None:
    """plan.encode_args: each argument's bytes and a NUL; the first wrong one is what is named."""
    given = [name(chance) for _ in range(chance.randrange(5))]
    wanted: Any = b""
    for at, value in enumerate(given):
        data = encoded(value)
        if not isinstance(data, bytes):
            wanted = data, f"args[{at}]"
            break
        wanted += data + b"\0"
    try:
        got: Any = plans.encode_args(given if chance.randrange(2) else tuple(given))
    except (ValueError, TypeError) as error:
        if not given:
            assert type(error) is ValueError
            return
        got = type(error), str(error).partition(":")[0]
    assert got == wanted, (given, got, wanted)


# ---- environment ---------------------------------------------------------------------------------


Strings = list[tuple["bytes | None", bytes]]  # name, the whole string


def _split(string: bytes) -> tuple[bytes | None, bytes]:
    """Of a string of a block. A leading "=" belongs to the name, as Go has it."""
    head, sign, _ = string[1:].partition(b"=")
    if sign:
        return string[:1] + head, string
    return (b"" if string[:1] == b"=" else None), string


def _with(strings: Strings, key: bytes, value: bytes) -> Strings:
    return [pair for pair in strings if pair[0] != key] + [(key, key + b"=" + value)]


def _matches(pattern: str, word: str) -> bool:
    """fnmatch(3), as short as it can be."""
    if not pattern:
        return not word
    if pattern[0] == "*":
        return any(_matches(pattern[1:], word[at:]) for at in range(len(word) + 1))
    if not word:
        return False
    if pattern[0] == "[" and "]" in pattern[2:]:
        end = pattern.index("]", 2)
        inside, negated = pattern[1:end], pattern[1] == "!"
        return ((word[0] in inside[negated:]) != negated) and _matches(pattern[end + 1 :], word[1:])
    return pattern[0] in ("?", word[0]) and _matches(pattern[1:], word[1:])


def _pattern(chance: Random) -> str:
    pieces = ("a", "b", "A", "é", "\udcff", "*", "?", "[ab]", "[!a]", "[", "PWD")
    return "".join([chance.choice(pieces) for _ in range(1 + chance.randrange(3))])


def _inherited(chance: Random) -> list[bytes]:
    """Strings of an environment, as any program may have left them."""
    letters = (b"a", b"b", b"A", b"=", b"\xff", b"\xc3\xa9", b"PWD=")
    return [
        b"".join([chance.choice(letters) for _ in range(chance.randrange(5))])
        for _ in range(chance.randrange(6))
    ]


def _absolute(directory: bytes) -> bytes:
    parts: list[bytes] = []
    for part in os.path.join(os.getcwdb(), directory).split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/" + b"/".join(parts)


def variables(chance: Random) -> None:
    """environment.resolve: from an Env or a mapping to strings, in their order."""
    inherited = _inherited(chance)
    block = b"".join([string + b"\0" for string in inherited]), len(inherited)
    real = _core.environment
    environment._core.environment = lambda: block
    try:
        if chance.randrange(4) == 0:
            _a_mapping(chance)
        else:
            _an_env(chance, inherited, block)
    finally:
        environment._core.environment = real


def _a_mapping(chance: Random) -> None:
    pairs = [(name(chance), name(chance)) for _ in range(chance.randrange(4))]
    pairs = [pair for pair in pairs if not isinstance(pair[0], list)]  # no key of a dict
    mapping = dict(pairs)
    wanted: Any = {}
    for key, value in mapping.items():
        checked = _variable(key, value)
        if isinstance(checked, type):
            wanted = checked
            break
        wanted[checked[0]] = checked[1]
    if isinstance(wanted, dict):
        strings = [key + b"=" + value + b"\0" for key, value in wanted.items()]
        wanted = b"".join(strings), len(strings)
    directory = chance.choice((None, b"/a"))
    got = outcome(lambda: environment.resolve(mapping, directory))
    assert got == wanted, (mapping, got, wanted)


def _variable(key: Name, value: Name) -> Any:
    first = encoded(key)
    if isinstance(first, type):
        return first
    if not first or b"=" in first:
        return ValueError
    second = encoded(value)
    return second if isinstance(second, type) else (first, second)


def _an_env(chance: Random, inherited: list[bytes], block: tuple[bytes, int]) -> None:
    directory = chance.choice((None, None, b"/a/b", b"a//b/./c", b"/../a/..", b"../\xff"))
    strings: Strings = []
    env: Env | None = None
    if chance.randrange(5) == 0 and directory is None:
        assert environment.resolve(None, None) == block
        return
    inherits = chance.randrange(3) > 0
    if inherits:
        for at, string in enumerate(inherited):
            key, _ = pair = _split(string)
            later = [_split(other)[0] for other in inherited[at + 1 :]]
            if string and (key is None or key not in later):
                strings.append(pair)
        if directory is not None:
            strings = _with(strings, b"PWD", _absolute(directory))
    if inherits and chance.randrange(4) == 0:
        if directory is None:
            return
    else:
        env = Env.inherit() if inherits else Env.empty()
        for _ in range(chance.randrange(5)):
            made = _edit(chance, env, strings)
            if made is None:
                return
            env, strings = made
    wanted = b"".join([string + b"\0" for _, string in strings]), len(strings)
    got = environment.resolve(env, directory)
    assert got == wanted, (env, inherited, directory, got, wanted)
    shown = {
        os.fsdecode(key): os.fsdecode(string[len(key) + 1 :])
        for key, string in strings
        if key is not None
    }
    assert environment.as_dict(env, directory) == shown


def _edit(chance: Random, env: Env, strings: Strings) -> tuple[Env, Strings] | None:
    """One edit of an Env and of its model; None: it was refused, as it should be."""
    kind = chance.choice(("set", "set", "unset", "only"))
    if kind == "set":
        key, value = name(chance), name(chance)
        wanted = _variable(key, value)
        if key is None and value is None:
            return env.set(key, value), strings
        got = outcome(lambda: env.set(key, value))
        if isinstance(wanted, type):
            assert got is wanted, (key, value, got, wanted)
            return None
        return got, _with(strings, *wanted)
    given = [_pattern(chance) for _ in range(chance.randrange(3))]
    fits = {
        key: any(_matches(pattern, os.fsdecode(key)) for pattern in given)
        for key, _ in strings
        if key is not None
    }
    shapes = [p if chance.randrange(2) else os.fsencode(p) for p in given]
    if kind == "unset":
        return env.unset(*shapes), [p for p in strings if p[0] is None or not fits[p[0]]]
    return env.only(*shapes), [p for p in strings if p[0] is not None and fits[p[0]]]


# ---- PATH ----------------------------------------------------------------------------------------

KINDS = {  # what a directory has by the name of a program, and what execve would say of it
    "absent": errno.ENOENT,
    "program": 0,
    "link": 0,
    "data": errno.EACCES,
    "directory": errno.EACCES,
    "fifo": errno.EACCES,
    "dangling": errno.ENOENT,
    "loop": errno.ELOOP,
    "below a file": errno.ENOTDIR,
}
NAMES = ("p", "q", "\udcff", "é")


class Tree:
    """Directories d0 … d3 with programs and what looks like them; the working directory is d0."""

    def __init__(self, root: Path, chance: Random) -> None:
        self.root = root
        self.kinds: dict[tuple[str, str], str] = {}
        (root / "target").write_bytes(b"")
        (root / "target").chmod(0o755)
        (root / "file").write_bytes(b"")
        (root / "link-to-d1").symlink_to("d1")
        for number in range(4):
            place = root / f"d{number}"
            place.mkdir()
            for program in NAMES:
                kind = chance.choice([*KINDS][:-1])
                self.kinds[f"d{number}", program] = kind
                self._make(place / program, kind)

    def _make(self, path: Path, kind: str) -> None:
        if kind in ("program", "data"):
            path.write_bytes(b"")
            path.chmod(0o755 if kind == "program" else 0o644)
        elif kind == "directory":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path, 0o755)
        elif kind != "absent":
            targets = {"link": "../target", "dangling": "nowhere", "loop": path.name}
            path.symlink_to(targets[kind])

    def elements(self) -> dict[str, tuple[str, str]]:
        """Elements of PATH: which directory they name, and what goes before a program's name."""
        root = str(self.root)
        found = {"": ("d0", "./"), ".": ("d0", "./"), "../d1": ("d1", "../d1/")}
        for number in range(4):
            found[f"{root}/d{number}"] = (f"d{number}", f"{root}/d{number}/")
        found[f"{root}/d2/"] = ("d2", f"{root}/d2/")
        found[f"{root}/link-to-d1"] = ("d1", f"{root}/link-to-d1/")
        found[f"{root}/nowhere"] = ("", f"{root}/nowhere/")
        found["nowhere"] = ("", "nowhere/")
        found[f"{root}/file"] = ("file", f"{root}/file/")
        return found

    def kind(self, place: str, program: str) -> str:
        if place == "file":
            return "below a file"
        return self.kinds.get((place, program), "absent")


_tree: Tree | None = None
_elements: dict[str, tuple[str, str]] = {}


def programs(chance: Random) -> None:
    """look_path: the first program on a PATH, or why there is none."""
    assert _tree is not None
    parts = [chance.choice([*_elements]) for _ in range(chance.randrange(6))]
    program = chance.choice((*NAMES, "p", "absent", "", ".", "..", "x" * 300))
    if chance.randrange(8) == 0:
        _a_path(chance)
        return
    path = ":".join(parts)
    wanted: Any = None
    worst = None
    if path and program not in ("", ".", ".."):
        for part in path.split(":"):
            place, prefix = _elements[part]
            kind = _tree.kind(place, program)
            number = KINDS[kind]
            if len(program) > 255 and place not in ("", "file"):
                number = errno.ENAMETOOLONG
            if number == 0:
                wanted = (prefix + program, part.startswith("/"))
                break
            if worst is None and number not in (errno.ENOENT, errno.ENOTDIR):
                worst = number
    _check_found(chance, program, path, wanted, worst or errno.ENOENT)


def _check_found(
    chance: Random, program: str, path: str | None, wanted: tuple[str, bool] | None, number: int
) -> None:
    shapes: tuple[Callable[[str], Name], ...] = (str, os.fsencode, Wrapped)
    given = chance.choice(shapes)(program)
    on = None if path is None else chance.choice(shapes)(path)
    ours = os.environ["PATH"]
    if path is not None and chance.randrange(2):
        os.environ["PATH"], on = path, None
    try:
        got = find(given, path=on)
    except DotError as error:
        assert wanted == (error.path, False), (program, path, error.path, wanted)
    except SpawnError as error:
        assert wanted is None, (program, path, error, wanted)
        assert (error.errno, error.stage) == (number, "lookpath"), (program, path, error, number)
    else:
        assert wanted == (got, True), (program, path, got, wanted)
    finally:
        os.environ["PATH"] = ours


def _a_path(chance: Random) -> None:
    """With a slash it is only checked."""
    assert _tree is not None
    part = chance.choice([part for part in _elements if part])
    place, _ = _elements[part]
    program = chance.choice(NAMES)
    full = f"{part}/{program}"
    number = KINDS[_tree.kind(place, program)]
    _check_found(chance, full, None, None if number else (full, True), number)


# ---- plans ---------------------------------------------------------------------------------------


def packing(chance: Random) -> None:
    """plan.pack: read back, the plan is what was asked for; its descriptors come out as wanted."""
    path = chance.choice((b"/bin/a", b"", b"\xff" * 9))
    argv = [text(chance, PLAIN).encode() for _ in range(1 + chance.randrange(4))]
    env = [text(chance, PLAIN).encode() + b"=" for _ in range(chance.randrange(4))]
    directory = chance.choice((None, None, b"/", b"some/where"))
    cgroups = [
        (text(chance, PLAIN).encode(), chance.randrange(2) == 1)
        for _ in range(chance.choice((0, 0, 1, 3)))
    ]
    kept = chance.choice((plans.STANDARD, frozenset[int]()))
    wanted: dict[int, int | None] = {
        chance.randrange(9): chance.choice((None, *range(9))) for _ in range(chance.randrange(7))
    }
    attr = _attributes(chance)
    exec_fd = chance.choice((None, None, *range(9)))
    keep = exec_fd is not None and chance.randrange(2) == 1
    data = plans.pack(
        path,
        b"".join([arg + b"\0" for arg in argv]),
        len(argv),
        (b"".join([string + b"\0" for string in env]), len(env)),
        directory,
        dict(wanted),
        kept,
        attr,
        exec_fd,
        keep,
        cgroups,
    )
    size, strings, target = _check_header(data, len(argv), len(env), exec_fd)
    assert data[strings:] == b"".join([string + b"\0" for string in (path, *argv, *env)])
    assert size == len(data)
    assert explain._path(data, 0) == path
    assert explain._arguments(data) == (argv, env)
    assert explain._directory(data) == (directory or b"")
    operations = explain._operations(data)
    entered = [(explain._text(data, op[4]), op[5]) for op in operations if op[0] == _ops.CGROUP]
    assert entered == cgroups
    _check_order(operations, attr, directory is not None)
    for index, operation in enumerate(operations):
        assert explain.describe(data, operation[0], index)[0]
    if exec_fd is not None:
        assert explain._origin(data, target) == exec_fd
        wanted[target] = exec_fd
    _check_descriptors(operations, wanted, kept, target if exec_fd is not None else None, keep)


def _attributes(chance: Random) -> SysProcAttr | None:
    if chance.randrange(3) == 0:
        return None
    ignored = {chance.randrange(1, 65) for _ in range(chance.randrange(3))}
    session = chance.randrange(2) == 1
    limits = {
        which: chance.choice((0, 5, -1, (3, 9), 2**62))
        for which in chance.sample(["NOFILE", "CORE", "CPU", "STACK"], chance.randrange(4))
    }
    return SysProcAttr(
        setsid=session,
        setpgid=not session and chance.randrange(2) == 1,
        umask=chance.choice((None, 0o22)),
        rlimits=limits,
        sigmask={chance.randrange(1, 65) for _ in range(chance.randrange(3))},
        sigignore=ignored,
        sigdefault={chance.randrange(1, 65) for _ in range(chance.randrange(3))} - ignored,
        pdeathsig=chance.choice((0, 9, 40)),
        namespaces=chance.choice(((), ("pid",))),
    )


def _check_header(data: bytes, argc: int, envc: int, exec_fd: int | None) -> tuple[int, int, int]:
    words = [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, 32, 4)]
    magic, size, _, strings, paths, args, envs, target = words
    assert (magic, paths, args, envs) == (0x31506B73, 1, argc, envc)
    assert (target == 0xFFFFFFFF) == (exec_fd is None)
    return size, strings, target


def _check_order(
    operations: list[tuple[int, ...]], attr: SysProcAttr | None, has_directory: bool
) -> None:
    """Each operation that was asked for once, in the one order there is."""
    names = [_core.stage_name(operation[0]) for operation in operations]
    stages = ["namespaces", "pdeathsig", "cgroup", "umask", "setsid", "setpgid"]
    stages += ["chdir", "descriptors", "close", "signals"]
    places = [stages.index(name) for name in names if name != "rlimit"]
    # Moves and ranges are of the descriptors; NOFILE stands before or after them.
    assert places == sorted(places), names
    if attr and attr.pdeathsig:  # before the limits, too
        first = operations[len(attr.namespaces)]
        assert first[:4] == (_ops.PDEATHSIG, 0, attr.pdeathsig, os.getpid())
    assert names.count("pdeathsig") == (attr is not None and attr.pdeathsig > 0)
    assert names.count("namespaces") == (attr is not None and bool(attr.namespaces))
    assert names.count("chdir") == has_directory
    assert names.count("umask") == (attr is not None and attr.umask is not None)
    assert names.count("setsid") == (attr is not None and attr.setsid)
    assert names.count("setpgid") == (attr is not None and attr.setpgid)
    assert names.count("rlimit") == (len(attr.rlimits) if attr else 0)
    masks = [op for op in operations if op[0] == _ops.SIG_MASK]
    assert operations[-1:] == masks
    mask = attr.sigmask if attr else frozenset[int]()
    assert masks[0][5] == sum(1 << (number - 1) for number in mask)
    default = ignored = 0
    for code, _, _, _, _, bits, _ in operations:
        if code == _ops.SIG_DEFAULT:
            default, ignored = default | bits, ignored & ~bits
        elif code == _ops.SIG_IGNORE:
            default, ignored = default & ~bits, ignored | bits
    to_ignore = attr.sigignore if attr else frozenset[int]()
    to_default = ((attr.sigdefault if attr else frozenset[int]()) | {13, 25}) - to_ignore
    assert ignored == sum(1 << (number - 1) for number in to_ignore)
    assert default == sum(1 << (number - 1) for number in to_default)


def _check_descriptors(
    operations: list[tuple[int, ...]],
    wanted: dict[int, int | None],
    kept: frozenset[int],
    program: int | None,
    keep: bool,
) -> None:
    """Do the moves on a table of twenty open files, then exec."""
    table = {fd: (fd, fd > 2) for fd in range(20)}  # the file, close-on-exec
    parked: dict[int, int] = {}
    for code, _, a, b, _, x, y in operations:
        if code == _ops.PARK:
            assert b not in wanted
            parked[b] = min(set(range(3, 99)) - table.keys())
            table[parked[b]] = (table[a][0], True)
        elif code == _ops.DUP:
            a = parked.get(a, a)
            table[b] = (table[a][0], bool(x))
        elif code == _ops.KEEP:
            table[a] = (table[a][0], False)
        elif code == _ops.CLOSE:
            table.pop(a, None)
        elif code == _ops.CLOSE_RANGE:
            table = {fd: file for fd, file in table.items() if not x <= fd <= y}
    if program is not None:
        source = wanted[program]
        assert table[program] == (source, not keep)
    after = {fd: file for fd, (file, cloexec) in table.items() if not cloexec}
    model: dict[int, int | None] = {fd: fd for fd in kept}
    model.update(wanted)
    if program is not None and not keep:
        del model[program]
    assert after == {fd: file for fd, file in model.items() if file is not None}


# ---- running them --------------------------------------------------------------------------------

PROPERTIES: dict[str, Callable[[Random], None]] = {
    "arguments": arguments,
    "variables": variables,
    "programs": programs,
    "packing": packing,
}


class Place:
    """A working directory of our own with a tree in it, for as long as the `with` lasts."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed

    def __enter__(self) -> Place:
        self.before = os.getcwd()
        self.directory = tempfile.TemporaryDirectory(prefix="fuzz-")
        self.renew(self.seed)
        return self

    def renew(self, seed: int) -> None:
        """Another tree in the place of the last one."""
        global _tree, _elements
        root = Path(self.directory.name, f"tree-{seed}")
        root.mkdir()
        _tree = Tree(root, Random(seed))
        _elements = _tree.elements()
        os.chdir(root / "d0")

    def __exit__(self, *exception: object) -> None:
        os.chdir(self.before)
        self.directory.cleanup()


TREE_FOR = 5000  # seeds: the tree follows from the seed, too


def _seeds(first: int, runs: int, seconds: float) -> Iterator[int]:
    end = time.monotonic() + seconds if seconds else float("inf")
    seed = first
    while (runs < 0 or seed < first + runs) and (seed % 256 or time.monotonic() < end):
        yield seed
        seed += 1


def run(which: str, runs: int = -1, seconds: float = 0.0, first: int = 1) -> int:
    """Runs a property from seeds; how often. What it raises goes through, its seed printed."""
    check, done = PROPERTIES[which], 0
    with Place(first // TREE_FOR) as place:
        for seed in _seeds(first, runs, seconds):
            if seed % TREE_FOR == 0 and seed != first:
                place.renew(seed // TREE_FOR)
            try:
                check(Random(seed))
            except BaseException:
                print(f"{which}: seed {seed}", file=sys.stderr)
                raise
            done += 1
            if done >= 1 << 14 and not done & (done - 1):
                print(f"#{done} ", file=sys.stderr)
    return done


def main() -> None:
    """The command, with libFuzzer's options."""
    which = sys.argv[1]
    given = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[2:])
    began = time.monotonic()
    done = run(
        which,
        int(given.get("runs", -1)),
        float(given.get("max_total_time", 0)),
        int(given.get("seed", 1)),
    )
    print(f"Done {done} runs in {time.monotonic() - began:.0f} second(s)", file=sys.stderr)


if __name__ == "__main__":
    main()
