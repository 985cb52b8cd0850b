"""SysProcAttr and ProcAttr: what a child is to be, as values. Checked when made, packed once."""

from __future__ import annotations

from types import MappingProxyType

from . import _ops
from .children import KILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .plan import Dir, Environment, File

__all__ = ["RLIMITS", "RLIM_INFINITY", "ProcAttr", "SysProcAttr"]

RLIM_INFINITY = -1

# getrlimit(2); the numbers of x86-64 and aarch64 Linux.
RLIMITS = {
    "CPU": 0,
    "FSIZE": 1,
    "DATA": 2,
    "STACK": 3,
    "CORE": 4,
    "RSS": 5,
    "NPROC": 6,
    "NOFILE": 7,
    "MEMLOCK": 8,
    "AS": 9,
    "LOCKS": 10,
    "SIGPENDING": 11,
    "MSGQUEUE": 12,
    "NICE": 13,
    "RTPRIO": 14,
    "RTTIME": 15,
}

_NAMESPACES = {"pid": 0x20000000}  # CLONE_NEW… of clone(2)


class SysProcAttr:
    """What the child sets up for itself before its program runs. Go's `syscall.SysProcAttr`.

    setsid: make it the leader of a new session, without a controlling terminal (setsid(2)).
    setpgid: put it into a process group of its own, or into `pgid` when that is not 0.
    pgid: the group to join; needs setpgid.
    umask: its file mode creation mask, 0 to 0o777; None: ours.
    rlimits: {name or number: n or (soft, hard)}; a single n sets both; RLIM_INFINITY (-1) is no
        limit. Names as in `RLIMITS` ("NOFILE", "CPU", …). None: ours.
    sigmask: the signals it starts with blocked. Default: none, whatever we have blocked.
    sigdefault: ignored signals to give back their default action; SIGPIPE and SIGXFSZ, which
        Python ignores, always get it back unless they are in `sigignore`. Handlers never survive.
    sigignore: signals it starts with ignored, besides those we ignore. SIGKILL and SIGSTOP may
        stand in any of the three, and stay as they are (sigprocmask(2)).
    die_with_parent: it gets SIGKILL when our process ends, however that comes about: the same as
        pdeathsig=SIGKILL. The end of the thread that spawned it does nothing.
    pdeathsig: the signal it gets then, Go's Pdeathsig; 0: none. Its own children do not get it;
        and it is lost where the program is set-user-ID, set-group-ID or has capabilities, or
        changes its ids (PR_SET_PDEATHSIG of prctl(2)).
    namespaces: those that it gets new ones of; Go's Cloneflags. Only "pid" so far: the program is
        process 1 there, and when it ends, however that comes about, the kernel kills everybody else
        in it first. A signal it has no handler for does nothing to it, but for SIGKILL and SIGSTOP
        from outside. Needs CAP_SYS_ADMIN; /proc still shows our processes. See pid_namespaces(7).

    Immutable, and reusable for any number of commands. Wrong values raise ValueError or TypeError
    here, naming the field. See setsid(2), setpgid(2), umask(2), setrlimit(2), sigprocmask(2).
    """

    __slots__ = (
        "_after",
        "_before",
        "_namespaces",
        "_nofile",
        "namespaces",
        "pdeathsig",
        "pgid",
        "rlimits",
        "setpgid",
        "setsid",
        "sigdefault",
        "sigignore",
        "sigmask",
        "umask",
    )

    setsid: bool
    setpgid: bool
    pgid: int
    umask: int | None
    rlimits: Mapping[int, tuple[int, int]]
    sigmask: frozenset[int]
    sigdefault: frozenset[int]
    sigignore: frozenset[int]
    pdeathsig: int
    namespaces: frozenset[str]
    _namespaces: bytes
    _before: bytes
    _nofile: bytes
    _after: bytes

    def __init__(
        self,
        *,
        setsid: bool = False,
        setpgid: bool = False,
        pgid: int = 0,
        umask: int | None = None,
        rlimits: Mapping[str | int, int | tuple[int, int]] | None = None,
        sigmask: Iterable[int] = (),
        sigdefault: Iterable[int] = (),
        sigignore: Iterable[int] = (),
        die_with_parent: bool = False,
        pdeathsig: int = 0,
        namespaces: Iterable[str] = (),
    ) -> None:
        """See the class."""
        put = object.__setattr__
        put(self, "setsid", _flag("setsid", setsid))
        put(self, "setpgid", _flag("setpgid", setpgid))
        put(self, "pgid", _number("pgid", pgid, 0, 2**31 - 1))
        put(self, "umask", None if umask is None else _number("umask", umask, 0, 0o777))
        put(self, "rlimits", _rlimits(rlimits))
        put(self, "sigmask", _signals("sigmask", sigmask))
        put(self, "sigdefault", _signals("sigdefault", sigdefault))
        put(self, "sigignore", _signals("sigignore", sigignore))
        put(self, "pdeathsig", _pdeathsig(die_with_parent, pdeathsig))
        put(self, "namespaces", _namespaces(namespaces))
        if self.pgid and not self.setpgid:
            raise ValueError(f"pgid: {self.pgid} needs setpgid=True")
        if self.pgid and "pid" in self.namespaces:
            raise ValueError(f"pgid: {self.pgid} is a group outside its new PID namespace")
        if self.setsid and self.setpgid:
            raise ValueError("setpgid: a session leader cannot change its process group (setsid)")
        both = self.sigdefault & self.sigignore
        if both:
            raise ValueError(f"sigignore: signal {min(both)} is in sigdefault too")
        put(self, "_namespaces", self._pack_namespaces())
        put(self, "_before", self._pack_before())
        put(self, "_nofile", self._pack_rlimit(RLIMITS["NOFILE"]))
        put(self, "_after", self._pack_after())

    @property
    def die_with_parent(self) -> bool:
        """Does it get SIGKILL when our process ends?"""
        return self.pdeathsig == KILL

    def _pack_rlimit(self, resource: int) -> bytes:
        if resource not in self.rlimits:
            return b""
        soft, hard = self.rlimits[resource]
        return _ops.op(_ops.RLIMIT, a=resource, x=soft % 2**64, y=hard % 2**64)

    def _pack_namespaces(self) -> bytes:
        if not self.namespaces:
            return b""
        return _ops.op(_ops.NAMESPACES, x=sum(_NAMESPACES[name] for name in self.namespaces))

    def _pack_before(self) -> bytes:
        """The operations that come before chdir and descriptors, in DESIGN's one order."""
        packed = [self._pack_rlimit(r) for r in sorted(self.rlimits) if r != RLIMITS["NOFILE"]]
        if self.umask is not None:
            packed.append(_ops.op(_ops.UMASK, a=self.umask))
        if self.setsid:
            packed.append(_ops.op(_ops.SETSID))
        if self.setpgid:
            packed.append(_ops.op(_ops.SETPGID, a=self.pgid))
        return b"".join(packed)

    def _pack_after(self) -> bytes:
        """The operations that come after the descriptors."""
        return _ops.signals(self.sigdefault, self.sigignore, self.sigmask)

    def _in_group(self, pgid: int) -> SysProcAttr:
        """A copy that joins a process group; 0: one of its own. The rest is not checked again.

        In a new PID namespace the number would be another group's, or nobody's: one of its own.
        """
        copy, put = object.__new__(SysProcAttr), object.__setattr__
        for name in self.__slots__:
            put(copy, name, getattr(self, name))
        put(copy, "setpgid", True)
        put(copy, "pgid", 0 if "pid" in self.namespaces else pgid)
        put(copy, "_before", copy._pack_before())
        return copy

    def __setattr__(self, name: str, value: object) -> None:
        """Refused: a value may be shared by many commands."""
        raise AttributeError(f"SysProcAttr is immutable: make another one to change {name!r}")

    def __delattr__(self, name: str) -> None:
        """Refused likewise."""
        raise AttributeError(f"SysProcAttr is immutable: {name!r} cannot be deleted")

    def replace(self, **changes: object) -> SysProcAttr:
        """A copy with some fields changed; raises as the class does."""
        return _rebuild({**self._fields(), **changes})

    def _fields(self) -> dict[str, object]:
        fields = {name: getattr(self, name) for name in self.__slots__ if name[0] != "_"}
        return {**fields, "rlimits": dict(self.rlimits)}

    def __eq__(self, other: object) -> bool:
        """Equal when all fields are."""
        return (
            self._fields() == other._fields() if isinstance(other, SysProcAttr) else NotImplemented
        )

    def __hash__(self) -> int:
        """By value."""
        packed = self._namespaces, self._before, self._nofile, self._after
        return hash((*packed, self.pdeathsig))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles by its fields."""
        return _rebuild, (self._fields(),)

    def __repr__(self) -> str:
        """Shows the fields that were set."""
        default = _rebuild({})._fields()
        shown = (f"{n}={v!r}" for n, v in self._fields().items() if v != default[n])
        return f"SysProcAttr({', '.join(shown)})"


def _rebuild(fields: dict[str, object]) -> SysProcAttr:
    return SysProcAttr(**fields)  # type: ignore[arg-type]


class ProcAttr:
    """What `start_process` needs besides program and arguments. Go's `os.ProcAttr`.

    dir: the child's working directory; None: ours.
    env: its whole environment as a mapping, or an Env; None: ours. PWD is never touched.
    files: its descriptors: entry i becomes fd i, an entry None is closed; or {child's fd: ours}.
        None: 0, 1 and 2 as they are. Every other descriptor is closed in the child.
    sys: a SysProcAttr; None: nothing special.
    """

    __slots__ = ("dir", "env", "files", "sys")

    def __init__(
        self,
        dir: Dir | None = None,
        env: Environment | None = None,
        files: Sequence[File | None] | Mapping[int, File | None] | None = None,
        sys: SysProcAttr | None = None,
    ) -> None:
        """See the class."""
        self.dir = dir
        self.env = env
        self.files = files
        self.sys = sys

    def __repr__(self) -> str:
        """ProcAttr(dir=…, env=…, files=…, sys=…)."""
        return f"ProcAttr({', '.join(f'{n}={getattr(self, n)!r}' for n in self.__slots__)})"


def _flag(name: str, value: bool) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{name}: True or False wanted, not {value!r}")
    return value


def _number(name: str, value: int, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: an integer wanted, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name}: {value} is not in {low}..{high}")
    return int(value)


def _pdeathsig(die_with_parent: bool, pdeathsig: int) -> int:
    number = _number("pdeathsig", pdeathsig, 0, _ops.SIGNALS)
    if not _flag("die_with_parent", die_with_parent):
        return number
    if number not in (0, KILL):
        raise ValueError(f"pdeathsig: {number}, but die_with_parent is {KILL}, SIGKILL")
    return KILL


def _signals(name: str, numbers: Iterable[int]) -> frozenset[int]:
    if isinstance(numbers, (str, bytes)) or not hasattr(numbers, "__iter__"):
        raise TypeError(f"{name}: a collection of signal numbers wanted, not {numbers!r}")
    return frozenset(_number(name, number, 1, _ops.SIGNALS) for number in numbers)


def _namespaces(names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, (str, bytes)) or not hasattr(names, "__iter__"):
        raise TypeError(f"namespaces: a collection of names wanted, not {names!r}")
    found = []
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"namespaces: a name wanted, not {name!r}")
        if name not in _NAMESPACES:
            known = ", ".join(map(repr, _NAMESPACES))
            raise ValueError(f"namespaces: {name!r} is not one of {known}")
        found.append(name)
    return frozenset(found)


def _rlimits(
    wanted: Mapping[str | int, int | tuple[int, int]] | None,
) -> Mapping[int, tuple[int, int]]:
    limits: dict[int, tuple[int, int]] = {}
    if wanted is not None and not hasattr(wanted, "items"):
        raise TypeError(f"rlimits: a mapping wanted, not {wanted!r}")
    for key, value in (wanted or {}).items():
        item = f"rlimits[{key!r}]"
        if isinstance(key, str):
            resource = RLIMITS.get(key.upper().removeprefix("RLIMIT_"))
            if resource is None:
                raise ValueError(f"{item}: no such limit; there are {', '.join(RLIMITS)}")
        else:
            resource = _number(item, key, 0, max(RLIMITS.values()))
        if resource in limits:
            raise ValueError(f"{item}: that limit is given twice")
        pair = value if isinstance(value, (tuple, list)) else (value, value)
        if len(pair) != 2:
            raise ValueError(f"{item}: n or (soft, hard) wanted, not {value!r}")
        soft, hard = (_number(item, n, RLIM_INFINITY, 2**63 - 1) for n in pair)
        if hard != RLIM_INFINITY and (soft == RLIM_INFINITY or soft > hard):
            raise ValueError(f"{item}: the soft limit {soft} is above the hard limit {hard}")
        limits[resource] = (soft, hard)
    return MappingProxyType(limits)
