"""The list of tests that replace CPython's private functions: private.ini.

    [test.test_subprocess.POSIXProcessTestCase.test_name]
    versions = 3.10 3.11
    replaces = subprocess._fork_exec
    reason = why the test cannot tell how spawnkit behaves

What such a test puts in place of a private function is never called by spawnkit; nothing else may
be excepted. The list is short, and an entry that nothing needs is a failure.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

from conformance.interpreters import VERSIONS

LIST = Path(__file__).parent / "private.ini"
AT_MOST = 25
KEYS = {"versions", "replaces", "reason"}


class ListError(Exception):
    """The list is not what it has to be; the text says where."""


@dataclass(frozen=True)
class Entry:
    """One test that may end otherwise than with the standard module."""

    test: str
    versions: tuple[str, ...]
    replaces: str
    reason: str


def read(path: Path = LIST) -> list[Entry]:
    """The entries of the file."""
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except configparser.Error as error:
        raise ListError(f"{path.name}: {error}") from error
    entries = []
    for test in parser.sections():
        section = parser[test]
        wrong = KEYS ^ set(section)
        if wrong:
            raise ListError(f"{path.name}: {test}: missing or unknown: {', '.join(sorted(wrong))}")
        versions = tuple(section["versions"].split())
        unknown = set(versions) - set(VERSIONS)
        if unknown or not versions:
            raise ListError(f"{path.name}: {test}: versions: {section['versions']!r}")
        for key in "replaces", "reason":
            if not section[key].strip():
                raise ListError(f"{path.name}: {test}: {key} is empty")
        reason = " ".join(section["reason"].split())
        entries.append(Entry(test, versions, section["replaces"], reason))
    if len(entries) > AT_MOST:
        raise ListError(f"{path.name}: {len(entries)} entries; at most {AT_MOST} may be excepted")
    return entries
