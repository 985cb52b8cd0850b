"""Which engine claims what. A test that needs a claim runs on the engines that make it."""

from __future__ import annotations

EVERYTHING = frozenset(
    {"cgroup", "dir", "umask", "group", "rlimits", "mask", "defaults", "ignore", "pdeathsig"}
    | {"namespaces"}
)

# Status and descriptors are claimed by all. What posix_spawn does not claim it must refuse.
CLAIMS: dict[str, frozenset[str]] = {
    "vfork": EVERYTHING,
    "vfork-waiting": EVERYTHING,
    "fork": EVERYTHING,
    "posix_spawn": frozenset({"group", "mask", "defaults"}),
}


# Set where memory is not shared: by a row of `make degrade`, and under valgrind.
memory_is_shared = True


def serving(engine: str) -> str:
    """The engine that a child is made by where this one is asked for."""
    return engine if memory_is_shared or engine == "posix_spawn" else "fork"


def engines_claiming(*needs: str) -> list[str]:
    unknown = set(needs) - EVERYTHING
    if unknown:
        raise LookupError(f"no engine claims anything called {sorted(unknown)}")
    return [engine for engine, claims in CLAIMS.items() if claims.issuperset(needs)]


def ignored_by(engine: str) -> set[int]:
    """Signals an engine ignores in every child: under posix_spawn, the two glibc has for itself."""
    return {32, 33} if engine == "posix_spawn" else set()
