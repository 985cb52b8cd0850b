"""What is taken away, how a command comes to run without it, and how the tests can tell.

Each condition is proven inside the interpreter that runs the tests, before the first of them.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.proc import PROC, VARIABLE

TESTS = Path(__file__).parent.parent

# Room for the suite itself: descriptors, processes, bytes of address space. Where nothing at all is
# left is the business of test_limits.py and test_degrade.py, step by step.
DESCRIPTORS = 1024
PROCESSES = 32
ADDRESS_SPACE = 768 << 20


NUMBERS = {  # of <asm/unistd.h>: x86-64, aarch64
    "clone": (56, 220),
    "clone3": (435, 435),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "close_range": (436, 436),
}
COLUMN = ("x86_64", "aarch64").index(platform.machine())


class CannotError(Exception):
    """This condition cannot be made here; the text says why."""


@dataclass(frozen=True)
class Place:
    """What a condition may use to make itself."""

    directory: Path
    deny: str


@dataclass(frozen=True)
class Condition:
    """One way in which the world may be poor."""

    name: str
    enter: Callable[[Place], list[str]]  # a command that runs another one under the condition
    proof: Callable[[], str]  # empty: it is in force; else what was found instead
    left_out: Mapping[str, str] = field(default_factory=dict)  # fnmatch of tests: the reason
    tests: Sequence[str] = ()  # empty: the whole suite
    memory_is_shared: bool = True


# ---- system calls -------------------------------------------------------------------------------


def _errno(name: str, *arguments: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    result = libc.syscall(NUMBERS[name][COLUMN], *map(ctypes.c_long, arguments))
    return ctypes.get_errno() if result < 0 else 0


def _answers(**wanted: int) -> Callable[[], str]:
    """Proof that these calls fail so, with arguments of which the kernel would say otherwise."""
    arguments = {
        "clone3": (0, 0),  # EINVAL
        "clone": (0x1000 | 0x40000000, 0),  # a new process with a pidfd
        "pidfd_open": (os.getpid(), 0),  # a pidfd
        "pidfd_send_signal": (-1, 0),  # EBADF
        "close_range": (0xFFFFFFFF, 0xFFFFFFFF, 0),  # 0
    }

    def proof() -> str:
        for name, number in wanted.items():
            found = _errno(name, *arguments[name])
            if found != number:
                return f"{name}: errno {found}, not {number}"
        return ""

    return proof


def _of_libc(name: str, answer: str) -> str:
    """Rules of `deny` that only the C library's own calls of this name come under.

    Their addresses are others in each process, but for the place within the page.
    """
    number = NUMBERS[name][COLUMN]
    if platform.machine() == "x86_64":
        code = b"\xb8" + number.to_bytes(4, "little") + b"\x0f\x05"  # mov $n, %eax; syscall
    else:
        code = (0xD2800008 | number << 5).to_bytes(4, "little") + b"\x01\x00\x00\xd4"
    lines = Path("/proc/self/maps").read_text().splitlines()
    libc = next(line.split()[-1] for line in lines if "/libc.so.6" in line or "/libc-2." in line)
    ends = [found.end() for found in re.finditer(re.escape(code), Path(libc).read_bytes())]
    if not ends:
        raise CannotError(f"no {name} found in {libc}")
    return ",".join(f"{name}[ip&0xfff={end & 0xFFF:#x}]:{answer}" for end in ends)


def _denied(rules: Callable[[], str]) -> Callable[[Place], list[str]]:
    return lambda place: [place.deny, rules(), "--"]


def no_pidfd() -> str:
    """Rules of `deny` for a kernel without any of them."""
    return f"clone3:ENOSYS,clone[0&{0x1000:#x}]:EPERM,pidfd_open:EPERM,pidfd_send_signal:EPERM"


def _no_shared_memory() -> str:
    """Of ours: the C library's posix_spawn knows no other way."""
    with_memory = "clone[0&0x10100=0x100]"  # CLONE_VM without CLONE_THREAD
    return f"clone3:ENOSYS,{_of_libc('clone', 'allow')},{with_memory}:EPERM"


def _engine_is_fork() -> str:
    import spawnkit

    served = spawnkit.run(["/bin/true"], engine="vfork").state.engine
    shared = spawnkit.features()["shared_memory"]
    return "" if (served, shared) == ("fork", False) else f"{served} served, shared: {shared}"


# ---- /proc --------------------------------------------------------------------------------------


def _without_proc(place: Place) -> list[str]:
    elsewhere = place.directory / "procfs"
    elsewhere.mkdir(exist_ok=True)
    hide = "{ umount -l /proc 2>&- || mount -t tmpfs none /proc; }"
    script = f'mount --rbind /proc {elsewhere} && {hide} && exec "$@"'
    flags = "-m" if os.geteuid() == 0 else "-Urm"
    return _tried(["unshare", flags, "sh", "-c", script, "sh", "env", f"{VARIABLE}={elsewhere}"])


def _proc_is_elsewhere() -> str:
    if os.path.exists("/proc/self"):
        return "/proc is mounted"
    return "" if (PROC / "self").exists() else f"nothing in {PROC}"


# ---- rights and limits --------------------------------------------------------------------------


def _tried(command: list[str]) -> list[str]:
    if not shutil.which(command[0]):
        raise CannotError(f"{command[0]} is not installed")
    tried = subprocess.run([*command, "true"], capture_output=True, text=True)
    if tried.returncode:
        raise CannotError(f"{' '.join(command)}: {tried.stderr.strip()}")
    return command


def _reach(place: Place, path: str) -> list[str]:
    """A command that runs another one where anybody can reach a path of ours.

    An interpreter may lie in a home directory that only its owner may enter.
    """
    closed = next((up for up in reversed(Path(path).parents) if not up.stat().st_mode & 1), None)
    if closed is None:
        return []
    kept = place.directory / "reached"
    kept.mkdir(exist_ok=True)
    script = (
        f"mount --bind {path} {kept} && mount -t tmpfs -o mode=755 none {closed} && "
        f'mkdir -p {path} && mount --bind {kept} {path} && exec "$@"'
    )
    return ["unshare", "-m", "sh", "-c", script, "sh"]


def _nobody() -> int:
    """A user whom no system hands out, and whose processes are ours alone: a limit counts them."""
    return 61_000 + os.getpid() % 4_000


def _unprivileged(place: Place) -> list[str]:
    if os.geteuid() != 0:
        return []
    user = _nobody()
    os.chown(place.directory, user, user)
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    rights = ["--inh-caps=-all", "--bounding-set=-all"]
    home = ["env", f"HOME={place.directory}", f"TMPDIR={place.directory}"]
    return _tried([*_reach(place, sys.base_prefix), *become, *rights, *home])


def _has_no_rights() -> str:
    if os.geteuid() == 0:
        return "we are root"
    for line in (PROC / "self/status").read_text().splitlines():
        if line.startswith(("CapPrm", "CapEff", "CapBnd")) and int(line.split()[1], 16):
            if line.startswith("CapBnd"):
                continue  # of a user who never had any: it gives nothing
            return line
    return ""


def _processes_of(user: int) -> int:
    """Threads, as the limit counts them."""
    count = 0
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and process.stat().st_uid == user:
                count += len(list((process / "task").iterdir()))
        except OSError:
            continue  # it has just ended
    return count


def _at_the_limits(place: Place) -> list[str]:
    command = _unprivileged(place)
    processes = PROCESSES + _processes_of(_nobody() if command else os.getuid())
    limits = [f"--nofile={DESCRIPTORS}:", f"--nproc={processes}:"]
    return _tried([*command, "prlimit", *limits])


def _limits_are_reached() -> str:
    """Descriptors and processes, until there are no more."""
    wrong = _has_no_rights()
    descriptors, children = [], []
    try:
        while len(descriptors) <= DESCRIPTORS:
            descriptors.append(os.dup(2))
        wrong = wrong or "there are more descriptors"
    except OSError as error:
        wrong = wrong or "" if error.errno == errno.EMFILE else str(error)
    for fd in descriptors:
        os.close(fd)
    read, write = os.pipe()
    try:
        while len(children) <= PROCESSES:
            pid = os.fork()
            if not pid:
                os.close(write)
                os.read(read, 1)
                os._exit(0)
            children.append(pid)
        wrong = wrong or "there are more processes"
    except OSError as error:
        wrong = wrong or "" if error.errno == errno.EAGAIN else str(error)
    os.close(read)
    os.close(write)
    for pid in children:
        os.waitpid(pid, 0)
    return wrong


def _in_a_tight_address_space(place: Place) -> list[str]:
    return _tried(["prlimit", f"--as={ADDRESS_SPACE}:"])


def _address_space_is_tight() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != ADDRESS_SPACE:
        return f"limit {soft}"
    try:
        mmap.mmap(-1, ADDRESS_SPACE).close()
    except OSError as error:
        return "" if error.errno == errno.ENOMEM else str(error)
    return "there is more memory"


def _under_valgrind(place: Place) -> list[str]:
    return _tried(["valgrind", "-q", "--tool=none", "--child-silent-after-fork=yes"])


# ---- what cannot hold ---------------------------------------------------------------------------

NO_CLONE3 = {
    "test_counts.py::*": "the count is that of clone3, which resets all handlers in one call",
    "test_degrade.py::test_features_say_what_is_refused[[]-found0]": "here something is refused",
}

NO_SHARED_MEMORY = {
    **NO_CLONE3,
    "test_degrade.py::test_where_nothing_is_refused_the_engine_*": "here something is refused",
    "test_degrade.py::test_features_say_what_is_refused*found[14]?": "more is refused here",
    "test_explain.py::test_without_descriptors_*": "without one for its pipe the fork engine fails",
    "test_write_lock.py::test_it_waits_for_a_start_that_is_under_way": "a fork is not held by exec",
    "test_write_lock.py::test_a_handler_runs_*_of_a_wait_to_write": "a fork is not held by exec",
}

NO_CLOSE_RANGE = {
    "test_held.py::test_other_threads_run_while_*-close_range]": "a refused call cannot be held",
    "test_counts.py::test_a_*": "the count is that of close_range, which closes all in one call",
    "test_descriptors.py::test_all_is_closed_without_proc[[]posix_spawn--*": "glibc's closefrom "
    "needs close_range or /proc (the cases with close_range:ENOSYS want its error)",
}

LITTLE_MEMORY = {
    "test_cmd_streams.py::test_many_threads_pump_at_once*": "so many stacks are above the limit",
    "test_soak.py::test_programs_are_written_*": "so many stacks are above the limit",
    "test_pump.py::test_a_full_buffer_does_not_*": "what comes in that time is above the limit",
    "test_fuzz.py::test_moves_of_any_map_*": "AddressSanitizer needs more",
    "test_fuzz.py::test_a_plan_that_is_let_through_*": "AddressSanitizer needs more",
    "test_fuzz.py::test_every_plan_of_the_packer_*": "AddressSanitizer needs more",
    "test_fuzz.py::test_a_planted_defect_is_found*": "AddressSanitizer needs more",
}

FEW_PROCESSES = {
    "test_cmd.py::test_ten_thousand_live_children_*": "ten thousand are more than the limit",
    "test_cmd_streams.py::test_many_threads_pump_at_once*": "so many threads are above the limit",
    "test_rough_company.py::test_a_child_outlives_*": "so many children are above the limit",
    "test_soak.py::test_programs_are_written_*": "so many threads are above the limit",
}

NO_PIDFD = {
    **NO_CLONE3,
    "test_handle.py::test_[!w]*": "there is no pidfd to hand out",
    "test_handle.py::test_without_a_free_descriptor_it_says_so": "there is no pidfd to hand out",
    "test_fork.py::test_giving_up_a_handle_of_the_parent_*": "a handle has no pidfd to close",
    "test_cmd.py::test_ten_thousand_live_children_cost_*": "they cost no descriptor, without pidfd",
    "test_signalling.py::test_a_stranger_with_the_same_pid_is_never_hit*-True]": "without a pidfd "
    "our own next child, given the same pid after a foreign wait, is taken for the first",
    "test_waiting.py::test_interrupted_system_calls_*": "without a pidfd a wait looks after each "
    "interruption, and is over before the thousandth",
    "test_soak.py::test_a_forced_reuse_of_a_pid_*": "without a pidfd a process that was found is "
    "known by its pid alone, and has no handle to hand out",
    "test_degrade.py::test_features_say_what_is_refused*found[127]?": "more is refused here",
    "test_degrade.py::test_doctor_says_what_is_refused": "here it is refused from the start",
}

WHO_IS_THERE = "who belongs to a command, and who holds a pipe, is looked up in /proc"

WHERE_CHILDREN_GO = "that a thread's children are in another PID namespace is looked up in /proc"

WHOSE_CHILD = "whose child it is in a PID namespace is looked up in /proc"

NO_PROC = {
    "test_exec_fd.py::test_a_shell_script_runs*": "a script from a descriptor is /dev/fd/N",
    "test_descriptors.py::test_a_lowered_hard_limit_hides_none_either[[]*-close_range:*": "without "
    "close_range and /proc nothing tells of descriptors above the hard limit",
    "test_descriptors.py::test_all_is_closed_without_close_range[[]posix_spawn*": "glibc's "
    "closefrom needs close_range or /proc (test_all_is_closed_without_proc wants its error)",
    "test_degrade.py::test_what_is_refused_*close_range:ENOSYS-posix_spawn]": "glibc's closefrom "
    "needs close_range or /proc (test_all_is_closed_without_proc wants its error)",
    "test_degrade.py::test_where_memory_is_not_shared_*": "valgrind itself needs /proc",
    "test_faults.py::test_each_*[[]--deny=close_range:ENOSYS]": "without close_range and /proc "
    "each child closes a million numbers, one by one: an hour of them",
    "test_fuzz.py::test_moves_of_any_map_*": "AddressSanitizer itself needs /proc",
    "test_fuzz.py::test_a_plan_that_is_let_through_*": "AddressSanitizer itself needs /proc",
    "test_fuzz.py::test_every_plan_of_the_packer_*": "AddressSanitizer itself needs /proc",
    "test_fuzz.py::test_a_planted_defect_is_found[[]plans]": "AddressSanitizer itself needs /proc",
    "test_comparator.py::test_spawnkit_does_what_it_must[[]C9]": "its child reads /proc",
    "test_ending.py::test_a_descendant_that_holds_the_pipe_*": WHO_IS_THERE,
    "test_ending.py::test_a_kill_reaches_the_others*": WHO_IS_THERE,
    "test_ending.py::test_a_process_that_ends_first_*": WHO_IS_THERE,
    "test_ending.py::test_a_success_leaves_*": WHO_IS_THERE,
    "test_ending.py::test_a_cgroup_of_the_callers_*": WHO_IS_THERE,
    "test_ending.py::test_who_runs_on_*": WHO_IS_THERE,
    "test_ending.py::test_with_no_descriptor_left_*": WHO_IS_THERE,
    "test_ending.py::test_strangers_are_not_hit*": WHO_IS_THERE,
    "test_ending.py::test_a_command_inside_a_command_*": WHO_IS_THERE,
    "test_ending.py::test_who_holds_*": WHO_IS_THERE,
    "test_ending.py::test_the_short_way_names_them_too*": WHO_IS_THERE,
    "test_ending.py::test_ctrl_c_reaches_the_others*": WHO_IS_THERE,
    "test_ending.py::test_a_sweep_that_is_interrupted_*": WHO_IS_THERE,
    "test_ending.py::test_a_look_that_is_interrupted_*": WHO_IS_THERE,
    "test_ending.py::test_a_process_forked_meanwhile_*": WHO_IS_THERE,
    "test_ending.py::test_a_proc_that_is_not_ours_*": WHO_IS_THERE,
    "test_ending.py::test_a_cgroup_that_cannot_be_looked_at_*": WHO_IS_THERE,
    "test_ending.py::test_a_program_of_another_user": WHO_IS_THERE,
    "test_ending.py::test_a_subreapers_tree_*": WHO_IS_THERE,
    "test_ending.py::test_too_much_is_an_error*": WHO_IS_THERE,
    "test_ending.py::test_a_group_of_its_own_only_*": WHO_IS_THERE,
    "test_ending.py::test_a_thousand_at_once_*": WHO_IS_THERE,
    "test_zoo.py::*": WHO_IS_THERE,
    "test_namespaces.py::test_it_is_another_namespace_*": "the link is in /proc",
    "test_namespaces.py::test_in_a_cgroup*": "which cgroups are ours is looked up in /proc",
    "test_namespaces.py::test_nobody_escapes*": WHO_IS_THERE,
    "test_namespaces.py::test_those_in_a_namespace_*": WHO_IS_THERE,
    "test_namespaces.py::test_sigterm_*": WHO_IS_THERE,
    "test_namespaces.py::test_who_does_not_die_*": WHO_IS_THERE,
    "test_namespaces.py::test_*-dying*": WHOSE_CHILD,
    "test_namespaces.py::test_all_in_it_die_*": WHOSE_CHILD,
    "test_namespaces.py::test_a_parent_killed_*": WHOSE_CHILD,
    "test_namespaces.py::test_a_proc_that_tells_*": WHOSE_CHILD,
    "test_namespaces.py::test_where_unshare_*": WHOSE_CHILD,
    "test_namespaces.py::test_no_memory_*": WHERE_CHILDREN_GO,
    "test_namespaces.py::test_an_unshared_one_takes_*": WHERE_CHILDREN_GO,
    "test_namespaces.py::test_also_where_its_parent_*": WHOSE_CHILD,
    "test_pipeline.py::test_all_stages_are_in_one_group_*": "the stages look into /proc themselves",
    "test_capture_ordered.py::test_dev_stdout_*": "/dev/stdout is a link into /proc",
    "test_capture_memory.py::test_what_is_opened_again_*": "/dev/stdout is a link into /proc",
    "test_cgroups.py::*": "which cgroups are ours is looked up in /proc",
}

UNDER_VALGRIND = {
    "*[[]posix_spawn*": "glibc's posix_spawn tells of a failure through shared memory",
    "test_handle.py::test_a_process_that_was_found_*": "valgrind knows no pidfd_open",
    "test_input.py::test_without_an_environment_ours_*": "valgrind has a LD_PRELOAD of its own",
    "test_signalling.py::test_signals_arrive*": "valgrind keeps signal 64 for itself",
    "test_errors_starting.py::test_an_argument_of_128_kib_*": "valgrind's execve ends the child "
    "with 101 at the longest argument",
}

# ---- the rows -----------------------------------------------------------------------------------

ROWS: dict[str, list[Condition]] = {
    "clone3": [
        Condition(
            "absent",
            _denied(lambda: "clone3:ENOSYS"),
            _answers(clone3=errno.ENOSYS),
            NO_CLONE3,
        ),
        # To the C library it is absent: from 2.34 on it starts no thread where clone3 is forbidden.
        Condition(
            "forbidden",
            _denied(lambda: f"{_of_libc('clone3', 'ENOSYS')},clone3:EPERM"),
            _answers(clone3=errno.EPERM),
            NO_CLONE3,
        ),
    ],
    "pidfd": [
        # clone3 has its flags in memory, where a filter cannot look.
        Condition(
            "forbidden",
            _denied(no_pidfd),
            _answers(clone=errno.EPERM, pidfd_open=errno.EPERM, pidfd_send_signal=errno.EPERM),
            NO_PIDFD,
        ),
    ],
    "close_range": [
        Condition(
            "absent",
            _denied(lambda: "close_range:ENOSYS"),
            _answers(close_range=errno.ENOSYS),
            NO_CLOSE_RANGE,
        ),
    ],
    "proc": [Condition("not mounted", _without_proc, _proc_is_elsewhere, NO_PROC)],
    "memory": [
        Condition(
            "refused",
            _denied(_no_shared_memory),
            _engine_is_fork,
            NO_SHARED_MEMORY,
            memory_is_shared=False,
        ),
        Condition(
            "valgrind",
            _under_valgrind,
            _engine_is_fork,
            UNDER_VALGRIND,
            tests=(
                "test_state.py",
                "test_fork.py",
                "test_cmd_output.py",
                "test_cmd_pipes.py",
                "test_handle.py",
                "test_input.py",
                "test_waiting.py",
                "test_signalling.py",
                "test_text.py",
                "test_errors_starting.py",
            ),
            memory_is_shared=False,
        ),
    ],
    "unprivileged": [Condition("no rights", _unprivileged, _has_no_rights)],
    "limits": [Condition("reached", _at_the_limits, _limits_are_reached, FEW_PROCESSES)],
    "address-space": [
        Condition("tight", _in_a_tight_address_space, _address_space_is_tight, LITTLE_MEMORY)
    ],
}
