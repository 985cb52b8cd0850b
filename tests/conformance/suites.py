"""Which of CPython's test modules are run, which part, and how spawnkit takes subprocess's place.

The tests themselves come from the interpreter that is judged; nothing of them is kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PLAIN = "plain"  # the standard module
DROPIN = "dropin"  # `import subprocess` gives spawnkit.subprocess
INSTALLED = "installed"  # the standard module after spawnkit.install()


@dataclass(frozen=True)
class Suite:
    """One test module, or the part of it that the patterns name."""

    module: str
    modes: Sequence[str]
    part: Sequence[str] = ("*",)  # fnmatch of "Class.test"


# test_os and test_posix also look at files, times, terminals and random numbers. Taken are whole
# classes whose subject is a process: starting it (exec, spawn, fork), waiting for it, what it
# inherits (descriptors, environment, ids, priority, affinity, namespaces), and those classes whose
# tests start an interpreter to look at something in it. Of mixed classes, the tests named after
# a call that makes, replaces, awaits or describes a process. A pattern may match nothing: the
# classes differ from version to version.
OS = (
    "EnvironTests.*",  # what a child sees of os.environ; os.popen
    "ExecTests.*",
    "FDInheritanceTests.*",
    "ForkTests.*",
    "PidTests.*",
    "SpawnTests.*",
    "PosixUidGidTests.*",  # set in a child by subprocess
    "ProgramPriorityTests.*",
    "PseudoterminalTests.*",
    "TermsizeTests.*",  # asks stty, by subprocess
    "URandomTests.*subprocess*",
    "URandomFDTests.*",  # in children with their descriptors closed
    "CPUCountTests.*",
    "*popen*",
    "*pidfd*",
    "*waitstatus*",
)
POSIX = (
    "TestPosixSpawn.*",
    "TestPosixSpawnP.*",
    "PosixGroupsTester.*",
    "NamespacesTests.*",
    "PosixTester.test_fexecve",
    "PosixTester.test_register_at_fork",
    "PosixTester.test_wait*",
    "PosixTester.test_pidfd*",
    "PosixTester.test_sched*",
    "PosixTester.test_get_and_set_scheduler*",
    "PosixTester.test_getgroups",  # asks id, by os.popen
    "PosixTester.test_*pgid*",
    "PosixTester.test_*sid*",
    "PosixTester.test_setre*id",
)

SUITES = (
    Suite("test.test_subprocess", (DROPIN, INSTALLED)),
    Suite("test.test_asyncio.test_subprocess", (INSTALLED,)),
    Suite("test.test_popen", (INSTALLED,)),
    Suite("test.test_os", (INSTALLED,), OS),
    Suite("test.test_posix", (INSTALLED,), POSIX),
)
