"""The oracle: everything a spawn may disturb in its own process, as one flat table of facts.

Two tables are compared line by line, so whatever differs already has a name to be reported by.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import platform
import re
import resource
import signal
import sys
import threading
import time
import traceback

from support.proc import PROC

Facts = dict[str, str]

WALL = 0x40000000  # __WALL: also children that would not send SIGCHLD
SYS_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}[platform.machine()]
SYS_PRCTL = {"x86_64": 157, "aarch64": 167}[platform.machine()]
PR_GET_DUMPABLE = 3
GUARD_SIZE = 1 << 16
SA_NOCLD = 3  # SA_NOCLDSTOP and SA_NOCLDWAIT
HANDLERS = {0: "default", 1: "ignored"}

# A leak is still there when this has passed; what only needs a moment to end is gone long before.
SETTLE_SECONDS = 5.0

STATUS_LINES = {
    "SigBlk": "signal mask",
    "SigIgn": "ignored signals",
    "SigCgt": "caught signals",
    "Uid": "user ids",
    "Gid": "group ids",
    "Groups": "groups",
    "Umask": "umask",
    "CapInh": "inheritable capabilities",
    "CapPrm": "permitted capabilities",
    "CapEff": "effective capabilities",
    "CapBnd": "capability bounding set",
    "CapAmb": "ambient capabilities",
    "NoNewPrivs": "no_new_privs",
    "Seccomp_filters": "seccomp filters",
}

_syscall = ctypes.CDLL(None, use_errno=True).syscall


def _give_back(number: int) -> None:
    """Undo what glibc's posix_spawn leaves ignored in its children, and so GNU make in each recipe:
    a signal of glibc's own, which no function of the C library lets one change."""
    size = ctypes.c_size_t(8)
    found, default = (ctypes.c_uint64 * 4)(), (ctypes.c_uint64 * 4)()
    assert _syscall(SYS_RT_SIGACTION, number, None, found, size) == 0
    if found[0] == signal.SIG_IGN:
        assert _syscall(SYS_RT_SIGACTION, number, default, None, size) == 0


def prepare() -> None:
    """Bring the process into the state that tests may count on. Before the first snapshot."""
    # A job in the background of a shell ignores SIGINT and SIGQUIT, and its children inherit that.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for internal in 32, 33:
        _give_back(internal)
    # With the first thread the C library installs a handler of its own, for good (signal 33).
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()


def _read(path: str) -> str:
    # Unbuffered and raw: thousands of snapshots are taken in one run.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 1 << 18):
            parts.append(part)
        return b"".join(parts).decode(errors="replace")
    finally:
        os.close(fd)


def _descriptors() -> Facts:
    facts: Facts = {}
    for name in os.listdir(f"{PROC}/self/fd"):
        try:
            target = os.readlink(f"{PROC}/self/fd/{name}")
            flags = fcntl.fcntl(int(name), fcntl.F_GETFD)
            status = fcntl.fcntl(int(name), fcntl.F_GETFL)
        except OSError:
            continue  # the descriptor listdir itself was reading
        words = [target, "close-on-exec" if flags & fcntl.FD_CLOEXEC else "inheritable"]
        words += ["append"] * bool(status & os.O_APPEND)
        words += ["non-blocking"] * bool(status & os.O_NONBLOCK)
        facts[f"descriptor {name}"] = " ".join(words)
    return facts


def _threads() -> Facts:
    return {f"thread {tid}": "alive" for tid in os.listdir(f"{PROC}/self/task")}


def _status() -> Facts:
    facts: Facts = {}
    for line in _read(f"{PROC}/thread-self/status").splitlines():
        key, _, value = line.partition(":")
        if key in STATUS_LINES:
            facts[STATUS_LINES[key]] = value.strip()
    return facts


def _dispositions() -> Facts:
    """All 64, from the kernel: handler, flags and mask; then who Python thinks the handler is."""
    facts: Facts = {}
    action = (ctypes.c_ulong * 8)()
    for number in range(1, 65):
        ctypes.memset(action, 0, ctypes.sizeof(action))
        _syscall(SYS_RT_SIGACTION, number, None, action, ctypes.c_size_t(8))
        handler, flags = action[0], action[1]
        # Without a handler, only what happens to an ended child depends on the flags.
        rest = flags & SA_NOCLD if handler <= signal.SIG_IGN else tuple(action[1:4])
        facts[f"disposition of signal {number}"] = f"{HANDLERS.get(handler, hex(handler))} {rest}"
    for known in signal.valid_signals():
        facts[f"Python handler of signal {int(known)}"] = repr(signal.getsignal(known))
    facts["wake-up descriptor"] = str(_wakeup_fd())
    facts["interval timer"] = str(signal.getitimer(signal.ITIMER_REAL)[1])
    return facts


def _wakeup_fd() -> int:
    # There is no call that only asks.
    fd = signal.set_wakeup_fd(-1)
    if fd != -1:
        signal.set_wakeup_fd(fd)
    return fd


def _limits() -> Facts:
    facts = {
        f"limit {name[7:]}": str(resource.getrlimit(getattr(resource, name)))
        for name in dir(resource)
        if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
    }
    facts["nice value"] = str(os.getpriority(os.PRIO_PROCESS, 0))
    facts["process group and session"] = f"{os.getpgid(0)} {os.getsid(0)}"
    facts["working directory"] = os.readlink(f"{PROC}/self/cwd")
    facts["affinity"] = str(sorted(os.sched_getaffinity(0)))
    facts["dumpable flag"] = str(_syscall(SYS_PRCTL, PR_GET_DUMPABLE, 0, 0, 0, 0))
    facts["oom_score_adj"] = _read(f"{PROC}/self/oom_score_adj").strip()
    for name, value in os.environ.items():
        if name != "PYTEST_CURRENT_TEST":
            facts[f"environment variable {name}"] = value
    return facts


def _cgroups() -> Facts:
    """Where we are, and the cgroups of ours in there, if the package has any idea of them."""
    if not os.path.exists("/proc/self/cgroup"):
        return {}  # the package has no way to any, then
    facts = {"cgroups": _read(f"{PROC}/self/cgroup")}
    tree = sys.modules.get("spawnkit.cgroup_tree")
    if tree:
        unified, old = tree.own_cgroups()
        for directory in {unified, *old.values()} - {None}:
            for name in os.listdir(directory):
                if name.startswith(f"spawnkit-{os.getpid()}-"):
                    facts[f"cgroup {directory}/{name}"] = "still there"
    return facts


_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ 0 *$", re.MULTILINE)


def guarded_stacks(maps: str) -> int:
    """Count the memory blocks of children: anonymous, with a PROT_NONE guard of 64 KiB below.

    The size of the guard tells them from the stacks of threads (one page), which the C library
    keeps for the next thread. What lies above is no help: the kernel joins neighbours.
    """
    count = 0
    guard_end = -1
    for match in _MAPPING.finditer(maps):
        start, end = int(match[1], 16), int(match[2], 16)
        count += match[3].startswith("rw") and start == guard_end
        is_guard = match[3].startswith("---") and end - start == GUARD_SIZE
        guard_end = end if is_guard else -1
    return count


def _children() -> Facts:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | WALL)
    except ChildProcessError:
        return {}
    facts = {f"child {pid}": "still there" for pid in child_pids()}
    if ended:
        facts[f"child {ended.si_pid}"] = "not waited for (a zombie)"
    return facts or {"child": "still there"}


def child_pids() -> list[int]:
    """Our children, ended or not."""
    pids: list[int] = []
    for tid in os.listdir(f"{PROC}/self/task"):
        try:
            pids += map(int, _read(f"{PROC}/self/task/{tid}/children").split())
        except OSError:
            continue  # the thread has just ended, or the kernel keeps no such list
    return pids


def _trim() -> None:
    """Have the package unmap the child stacks it keeps for the next spawn, if it is loaded."""
    core = sys.modules.get("spawnkit._core")
    if core:
        core.trim()


def snapshot() -> Facts:
    """Every fact about this process that a spawn must leave alone."""
    _trim()
    return {
        "child stacks": str(guarded_stacks(_read(f"{PROC}/self/maps"))),
        **_descriptors(),
        **_threads(),
        **_status(),
        **_dispositions(),
        **_limits(),
        **_cgroups(),
        **_children(),
    }


def differences(before: Facts, after: Facts) -> list[str]:
    """One line per fact that is not what it was, named so that the cause can be found."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None:
            lines.append(f"{name} is left: {new}")
        elif new is None:
            if not name.startswith("thread"):  # one that was on its way out when we first looked
                lines.append(f"{name} is gone: {old}")
        elif old != new:
            lines.append(f"{name} changed: {old} -> {new}")
    return lines


def leaks_since(before: Facts, settle: float = SETTLE_SECONDS) -> list[str]:
    """What was left behind since `before`, after everything that is about to end has ended.

    A joined Python thread may still be inside its exit, and objects in a cycle close what they
    hold when the collector comes by; neither is a leak.
    """
    lines = differences(before, snapshot())
    if not lines:
        return []
    gc.collect()
    end = time.monotonic() + settle
    while True:
        lines = differences(before, snapshot())
        ending = any(line.startswith("thread") for line in lines)
        if ending and time.monotonic() >= end:
            return [*lines, _where_threads_are()]
        if not ending:
            return lines
        os.sched_yield()


def _where_threads_are() -> str:
    """What Python's threads are at, those that were there before too."""
    stacks = ["".join(traceback.format_stack(frame)) for frame in sys._current_frames().values()]
    return "all threads of Python:\n" + "\n".join(stacks)


def reap_leftovers() -> None:
    """Kill and reap what a failed test left, so that the next test starts clean."""
    for pid in child_pids():
        os.kill(pid, signal.SIGKILL)
    try:
        while True:
            os.waitid(os.P_ALL, 0, os.WEXITED | WALL)
    except ChildProcessError:
        pass
