"""A PID namespace of the command's own: the program is process 1 there, and all ends with it."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import PIPE, Cmd, SysProcAttr, _ops, plan, proctable, run
from support.children import Children, Report
from support.engines import serving
from support.isolated import Isolate
from support.leash import HANGS_AFTER, Leash

Reporter = Callable[..., Report]

OWN = SysProcAttr(namespaces=["pid"])
DYING = SysProcAttr(namespaces=["pid"], die_with_parent=True)
SOON = 0.1

ours = pytest.mark.needs("namespaces")  # all engines but posix_spawn
made = pytest.mark.usefixtures("can_be_made")


@pytest.fixture
def can_be_made() -> None:
    try:
        run(["/bin/true"], attr=OWN)
    except spawnkit.SpawnError as error:
        pytest.skip(str(error))


@pytest.fixture
def group() -> Iterator[spawnkit.Cgroup]:
    try:
        group = spawnkit.Cgroup().open()
    except spawnkit.SpawnError as error:
        pytest.skip(str(error))
    with contextlib.closing(group):
        yield group


@pytest.fixture
def leash() -> Iterator[Leash]:
    with Leash() as held:
        yield held


# ---- the value ----------------------------------------------------------------------------------


def test_it_is_a_value() -> None:
    assert OWN.namespaces == {"pid"}
    assert SysProcAttr().namespaces == frozenset()
    assert SysProcAttr(namespaces=iter(["pid", "pid"])) == OWN != SysProcAttr()
    assert hash(SysProcAttr(namespaces={"pid"})) == hash(OWN)
    assert pickle.loads(pickle.dumps(DYING)) == DYING
    assert repr(OWN) == "SysProcAttr(namespaces=frozenset({'pid'}))"
    assert OWN.replace(namespaces=()) == SysProcAttr()


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"namespaces": ["net"]}, ValueError, "namespaces: 'net' is not one of 'pid'"),
        ({"namespaces": "pid"}, TypeError, "namespaces: a collection of names wanted, not 'pid'"),
        ({"namespaces": b"pid"}, TypeError, "namespaces: a collection of names"),
        ({"namespaces": None}, TypeError, "namespaces: a collection of names"),
        ({"namespaces": [0x20000000]}, TypeError, "namespaces: a name wanted"),
        (
            {"namespaces": ["pid"], "setpgid": True, "pgid": 7},
            ValueError,
            "pgid: 7 is a group outside its new PID namespace",
        ),
    ],
)
def test_wrong_values_are_refused_by_name(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        SysProcAttr(**fields)
    assert str(raised.value).startswith(message)


def test_posix_spawn_cannot_do_it() -> None:
    with pytest.raises(ValueError, match="'posix_spawn' cannot do 'namespaces'"):
        run(["/bin/true"], attr=OWN, engine="posix_spawn")


def test_it_comes_before_the_first_step() -> None:
    packed = plan.pack(b"/bin/true", b"true\0", 1, (b"", 0), attr=DYING, cgroups=[(b"/c", True)])
    codes = [code for code, *_ in _ops.OP.iter_unpack(packed[32:128])]
    assert codes == [_ops.NAMESPACES, _ops.PDEATHSIG, _ops.CGROUP]


# ---- the child ----------------------------------------------------------------------------------


@ours
@made
@pytest.mark.parametrize(
    "attr",
    [OWN, DYING, OWN.replace(setsid=True, umask=0o22)],
    ids=["plain", "dying", "with-others"],
)
def test_the_program_is_process_1(engine: str, attr: SysProcAttr, report: Reporter) -> None:
    engines = []
    seen = report(lambda argv: engines.append(run(argv, attr=attr, engine=engine).state.engine))
    assert (seen["pid"], seen["ppid"]) == (1, 0)
    assert seen["pdeathsig"] == (9 if attr.die_with_parent else 0)
    assert engines == [serving(engine)]


@ours
@made
def test_it_is_another_namespace_and_our_processes_number_is_ours(engine: str) -> None:
    cmd = Cmd("readlink", "/proc/self/ns/pid", stdout=PIPE, attr=OWN, engine=engine)
    cmd.start()
    assert cmd.process is not None
    assert proctable.pid_namespace_of(os.getpid()) != ""
    state = cmd.wait()
    assert state.pid == cmd.process.pid > 1
    assert cmd.result is not None
    space = cmd.result.stdout.decode().strip()
    assert space.startswith("pid:[")
    assert space != proctable.pid_namespace_of(os.getpid())


def _runs(attr: dict[str, Any], engine: str) -> list[Any]:
    import spawnkit

    try:
        result = spawnkit.run(
            ["sh", "-c", "echo $$"], capture=True, attr=spawnkit.SysProcAttr(**attr), engine=engine
        )
    except spawnkit.SpawnError as error:
        return [error.errno, error.stage, error.item, error.hint]
    return [result.stdout.decode()]


OLD_KERNELS = ["clone3:ENOSYS", "clone3:ENOSYS,clone[0&0x1000]:EINVAL", "clone3:EPERM"]


@ours
@made
@pytest.mark.parametrize("rules", OLD_KERNELS)
@pytest.mark.parametrize("dies", [False, True], ids=["plain", "dying"])
def test_each_way_to_make_a_process(engine: str, rules: str, dies: bool, isolate: Isolate) -> None:
    attr = {"namespaces": ["pid"], "die_with_parent": dies}
    assert isolate(_runs, attr, engine, deny=rules) == ["1\n"]


@ours
@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("EPERM", "it takes CAP_SYS_ADMIN"),
        ("EINVAL", "this kernel has none"),
        (
            "ENOSPC",
            "/proc/sys/user/max_pid_namespaces is reached, or 32 are in one another",
        ),
        ("EUSERS", "32 are in one another already"),
    ],
)
def test_what_the_kernel_refuses_is_named(
    engine: str, error: str, hint: str, isolate: Isolate
) -> None:
    """Whatever the way."""
    rules = f"clone3:{error},clone[0&0x20000000]:{error}"
    said = isolate(_runs, {"namespaces": ["pid"]}, engine, later=rules)
    assert said == [getattr(errno, error), "namespaces", "a new PID namespace", hint]


@ours
def test_too_many_processes_are_the_clones_affair(engine: str, isolate: Isolate) -> None:
    rules = "clone3:EAGAIN,clone[0&0x20000000]:EAGAIN"
    said = isolate(_runs, {"namespaces": ["pid"]}, engine, later=rules)
    assert said[:2] == [errno.EAGAIN, "clone"]


def _as_nobody(engine: str) -> list[Any]:
    import os

    import spawnkit

    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    before = spawnkit.features()
    says: list[Any] = []
    for attr in spawnkit.SysProcAttr(namespaces=["pid"]), None:
        try:
            says.append(spawnkit.run(["sh", "-c", "exit 0"], attr=attr, engine=engine).state.engine)
        except spawnkit.SpawnError as error:
            says += [isinstance(error, PermissionError), error.errno, error.stage, str(error)]
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        says.append("no child is left")
    return [*says, spawnkit.features() == before]


@ours
def test_who_has_no_right_to_it_is_told_so(engine: str, isolate: Isolate) -> None:
    """And nothing is concluded from that for those who ask for none."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    assert isolate(_as_nobody, engine, oracle=False) == [
        True,
        errno.EPERM,
        "namespaces",
        "a new PID namespace: Operation not permitted (it takes CAP_SYS_ADMIN)",
        serving(engine),
        "no child is left",
        True,
    ]


def _without_the_right(engine: str) -> list[Any]:
    import ctypes
    import struct

    import spawnkit

    with spawnkit.Cgroup() as group:
        libc = ctypes.CDLL(None, use_errno=True)
        header, sets = struct.pack("=Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
        assert libc.capget(header, sets) == 0
        words = list(struct.unpack("=6I", sets.raw))
        words[0] &= ~(1 << 21)  # CAP_SYS_ADMIN, effective
        assert libc.capset(header, struct.pack("=6I", *words)) == 0
        says: list[Any] = []
        for attr in spawnkit.SysProcAttr(namespaces=["pid"]), None:
            try:
                spawnkit.run(["true"], attr=attr, cgroup=group, engine=engine)
            except spawnkit.SpawnError as error:
                says.append(error.stage)
        words[0] |= 1 << 21
        assert libc.capset(header, struct.pack("=6I", *words)) == 0
        return [*says, spawnkit.features()["into_cgroup"]]


@ours
@made
def test_a_refused_namespace_says_nothing_of_cgroups(
    engine: str, isolate: Isolate, group: spawnkit.Cgroup
) -> None:
    """The clone that was to do both has failed for the one."""
    *says, into_cgroup = isolate(_without_the_right, engine)
    assert says == ["namespaces"]
    if group.path is not None and spawnkit.features()["clone3"]:
        assert into_cgroup is True


@ours
@made
def test_in_a_cgroup(engine: str, group: spawnkit.Cgroup) -> None:
    said = spawnkit.output(
        ["sh", "-c", "echo $$; cat /proc/self/cgroup"], cgroup=group, attr=DYING, engine=engine
    )
    assert isinstance(said, bytes)
    first, _, membership = said.decode().partition("\n")
    assert first == "1"
    assert os.path.basename(group.path or group.paths["freezer"]) in membership


# ---- with its parent ----------------------------------------------------------------------------


def is_gone(pid: int) -> bool:
    """Whether a process ends that is not our child. A zombie has ended."""
    end = time.monotonic() + HANGS_AFTER
    while time.monotonic() < end:
        entry = proctable.look(pid)
        if entry is None or entry.is_gone:
            return True
        time.sleep(0.001)
    return False


def _spawns_a_daemon(program: str, fifo: str, engine: str, in_worker: bool) -> None:
    import os

    import spawnkit
    from support.inside import hear, note
    from support.workers import in_a_thread

    leash = os.open(fifo, os.O_WRONLY)
    attr = spawnkit.SysProcAttr(namespaces=["pid"], die_with_parent=True)
    cmd = spawnkit.Cmd(program, "daemon", extra_files=[leash], attr=attr, engine=engine)
    out = cmd.stdout_pipe()
    if in_worker:
        in_a_thread(cmd.start)
    else:
        cmd.start()
    os.close(leash)
    assert cmd.process is not None
    note([out.readline().decode(), cmd.process.pid])
    hear()


@ours
@made
@pytest.mark.parametrize("in_worker", [False, True], ids=["from-the-first", "from-a-worker"])
def test_all_in_it_die_with_our_process(
    engine: str, in_worker: bool, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """Also one that has left its session, and has no parent any more: the kernel's SIGKILL comes
    from outside, so that process 1 gets it, and all others with it."""
    fifo = tmp_path / "leash"
    os.mkfifo(fifo)
    with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as held:
        os.set_blocking(held.fileno(), True)
        arguments = (children("zoo"), str(fifo), engine, in_worker)
        with isolate.start(_spawns_a_daemon, *arguments, oracle=False) as running:
            said, pid = running.note()
            assert said == "begun\n"
            running.process.kill()
            running.process.wait()
            assert held.read() == b""  # nobody has it any more
            assert is_gone(pid)


def _spawns_one(argv: list[str], engine: str, in_worker: bool) -> None:
    import spawnkit
    from support.workers import in_a_thread

    attr = spawnkit.SysProcAttr(namespaces=["pid"], die_with_parent=True)

    def spawn() -> None:
        spawnkit.run(argv, attr=attr, engine=engine)

    if in_worker:
        in_a_thread(spawn)
    else:
        spawn()


@ours
@made
@pytest.mark.parametrize("in_worker", [False, True], ids=["from-the-first", "from-a-worker"])
@pytest.mark.parametrize("call", ["prctl[0&0xffff=1]", "getppid", "execve"])
def test_a_parent_killed_during_the_setup_leaves_nothing(
    engine: str, call: str, in_worker: bool, isolate: Isolate, children: Children, tmp_path: Path
) -> None:
    """At the first of them the child does not get the signal any more; getppid says 0 either way,
    and /proc tells it whose child it is."""
    marker = tmp_path / "ran"
    arguments = ([children("report"), str(marker)], engine, in_worker)
    with isolate.start(_spawns_one, *arguments, later=f"{call}:hold", oracle=False) as running:
        held = running.held_in_child()
        running.process.kill()
        running.process.wait()
        if call.startswith("prctl"):
            held.go()
        assert is_gone(held.pid)
    assert not marker.exists()


@ours
@made
def test_a_proc_that_tells_nothing_of_us(engine: str) -> None:
    """That of the namespace outside, as `unshare --pid` leaves it: what it calls our number is
    another's. Nothing is run on a guess."""
    code = (
        "import sys, spawnkit\n"
        "attr = spawnkit.SysProcAttr(namespaces=['pid'], die_with_parent=True)\n"
        "try:\n"
        "    spawnkit.run(['/bin/echo', 'ran'], attr=attr, engine=sys.argv[1])\n"
        "except spawnkit.SpawnError as error:\n"
        "    print(error.errno, error.stage, error.hint)\n"
    )
    said = spawnkit.output([sys.executable, "-c", code, engine], attr=OWN)
    assert said == (
        b"%d pdeathsig its parent is in another PID namespace, and /proc is not of that one\n"
        % errno.ESRCH
    )


def _fails(engine: str) -> list[Any]:
    import spawnkit

    attr = spawnkit.SysProcAttr(namespaces=["pid"], die_with_parent=True)
    try:
        spawnkit.run(["/bin/true"], attr=attr, engine=engine)
    except spawnkit.SpawnError as error:
        return [error.errno, error.stage, error.hint]
    return ["it has run"]


@ours
@made
def test_a_proc_that_is_not_there(engine: str, isolate: Isolate) -> None:
    """The program does not run."""
    with isolate.start(_fails, engine, later="openat:hold", oracle=False) as running:
        while True:
            held = running.held()
            if running._is_ours(held):
                held.go()
            else:
                held.fail(errno.ENOENT)
                break
        number, stage, hint = running.result()
    assert (number, stage) == (errno.ENOENT, "pdeathsig")
    assert hint.startswith("its parent is in another PID namespace, and only /proc")


def _in_an_unshared_one(engine: str) -> Any:
    import ctypes

    import spawnkit

    assert ctypes.CDLL(None).unshare(0x20000000) == 0
    attr = spawnkit.SysProcAttr(die_with_parent=True)
    return spawnkit.output(["sh", "-c", "echo $$"], attr=attr, engine=engine).decode()  # type: ignore[union-attr]


@ours
@made
def test_where_unshare_has_put_our_children_elsewhere(engine: str, isolate: Isolate) -> None:
    assert isolate(_in_an_unshared_one, engine, oracle=False) == "1\n"


def _dying_from_an_unshared_worker(engine: str, spaces: list[str]) -> list[Any]:
    import ctypes

    import spawnkit
    from support.workers import in_a_thread

    attr = spawnkit.SysProcAttr(die_with_parent=True)

    def unshared() -> list[Any]:
        assert ctypes.CDLL(None).unshare(0x20000000) == 0
        try:
            spawnkit.run(["/bin/true"], attr=attr.replace(namespaces=spaces), engine=engine)
        except spawnkit.SpawnError as error:
            return [error.errno, error.stage, error.item, error.hint]
        return ["it has run"]

    def plain() -> int:
        return spawnkit.run(["/bin/true"], attr=attr, engine=engine).state.exit_code

    return [in_a_thread(unshared), in_a_thread(plain)]


@ours
@made
@pytest.mark.parametrize("spaces", [[], ["pid"]], ids=["plain", "namespaces"])
def test_a_thread_that_cannot_make_the_one_it_needs(
    engine: str, spaces: list[str], isolate: Isolate
) -> None:
    """The kernel itself refuses; another thread still makes it."""
    (number, stage, item, hint), status = isolate(
        _dying_from_an_unshared_worker, engine, spaces, oracle=False
    )
    assert (number, stage, item) == (errno.EINVAL, "thread", "thread for '/bin/true'")
    assert hint.startswith("the calling thread has unshared its PID namespace")
    assert status == 0


@made
def test_process_1_of_an_unshared_one_is_the_first_program() -> None:
    """Nothing that the core tries out before it: the namespace ends with its process 1. The second
    one comes while the first is there.
    """
    script = (
        "import ctypes, spawnkit\n"
        "assert ctypes.CDLL(None).unshare(0x20000000) == 0\n"
        "first = spawnkit.Cmd('sh', '-c', 'echo $$; read x; exit 3')\n"
        "stdin, stdout = first.stdin_pipe(), first.stdout_pipe()\n"
        "first.start()\n"
        "print(int(stdout.readline()), int(spawnkit.output(['sh', '-c', 'echo $$'])) > 1)\n"
        "stdin.close()\n"
        "print(first.wait(check=False).exit_code)\n"
    )
    result = run([sys.executable, "-c", script], capture=True, encoding="utf-8", check=False)
    assert (result.stdout, result.stderr) == ("1 True\n3\n", "")


def _after_process_1(engine: str, spaces: list[str]) -> list[Any]:
    """Says what comes of a second one. The first one's end is the namespace's."""
    import ctypes

    import spawnkit

    assert ctypes.CDLL(None).unshare(0x20000000) == 0
    first = spawnkit.output(["sh", "-c", "echo $$"])
    attr = spawnkit.SysProcAttr(namespaces=spaces)
    try:
        spawnkit.run(["/bin/true"], attr=attr, engine=engine)
    except spawnkit.SpawnError as error:
        return [first == b"1\n", error.errno, error.stage, error.hint]
    return [first == b"1\n", "it has run"]


@made
def test_no_memory_means_that_an_unshared_one_has_ended(engine: str, isolate: Isolate) -> None:
    said = isolate(_after_process_1, engine, [], oracle=False)
    hint = (
        "the calling thread's children are in another PID namespace (unshare(2)), which takes "
        "nobody once its process 1 has ended"
    )
    stage = "posix_spawn" if engine == "posix_spawn" else "clone"
    assert said == [True, errno.ENOMEM, stage, hint]


def _has_no_memory(rules: str, library: str, engine: str) -> list[Any]:
    import ctypes

    import spawnkit
    from support.inside import install
    from support.workers import in_a_thread

    def hint(dies: bool) -> list[Any]:
        attr = spawnkit.SysProcAttr(die_with_parent=dies)
        try:
            spawnkit.run(["/bin/true"], attr=attr, engine=engine)
        except spawnkit.SpawnError as error:
            return [error.errno, error.stage, error.hint != ""]
        return ["it has run"]

    def refused() -> list[Any]:
        install(rules, library)  # on this thread, and on the one that it starts
        return [hint(False), hint(True)]

    def unshared() -> list[Any]:
        assert ctypes.CDLL(None).unshare(0x20000000) == 0
        spawnkit.run(["true"])
        return [hint(False), hint(True)]

    return [in_a_thread(refused), in_a_thread(unshared)]


@ours
@made
def test_no_memory_elsewhere_is_no_memory(
    engine: str, isolate: Isolate, children: Children
) -> None:
    """The thread that makes children which die with us is in our own namespace, whoever asks it."""
    rules = "clone3:ENOSYS,clone[0&0x10000=0]:ENOMEM"  # without CLONE_THREAD
    no_memory, ended = [errno.ENOMEM, "clone", False], [errno.ENOMEM, "clone", True]
    said = isolate(_has_no_memory, rules, children("deny.so"), engine, oracle=False)
    assert said == [[no_memory, no_memory], [ended, no_memory]]


@ours
@made
def test_an_unshared_one_takes_no_other_inside(engine: str, isolate: Isolate) -> None:
    said = isolate(_after_process_1, engine, ["pid"], oracle=False)
    hint = "the calling thread's children are in another one already (unshare(2))"
    assert said == [True, errno.EINVAL, "namespaces", hint]


# ---- kill ---------------------------------------------------------------------------------------


@ours
@made
@pytest.mark.parametrize("kill", ["group", "tree"])
@pytest.mark.parametrize("kind", ["escapes", "forks", "daemon", "ignores"])
def test_nobody_escapes(
    kind: str, kill: str, engine: str, children: Children, leash: Leash
) -> None:
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run(
            [children("zoo"), kind],
            capture=True,
            extra_files=[leash.theirs],
            attr=OWN,
            timeout=0.3,
            kill=kill,
            engine=engine,
        )
    assert leash.all_gone(0)
    assert raised.value.stdout == b"begun\n"
    assert raised.value.state is not None
    assert raised.value.state.signal == signal.SIGKILL
    report = raised.value.kill
    assert report is not None
    assert (report.means, report.survivors, report.complete) == ("namespace", (), True)
    # Those of a chain live so shortly that a look may miss them.
    assert report.killed >= {"daemon": 2}.get(kind, 1)


@ours
@made
def test_also_where_its_parent_may_die(engine: str, children: Children, leash: Leash) -> None:
    attr = DYING.replace(setsid=True)
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run([children("zoo"), "escapes"], stdout=spawnkit.DEVNULL, extra_files=[leash.theirs],
            attr=attr, timeout=0.3, kill="tree", engine=engine)  # fmt: skip
    assert leash.all_gone(0)
    assert raised.value.kill is not None
    assert raised.value.kill.means == "namespace"


@made
def test_those_in_a_namespace_inside_it_count(leash: Leash) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    script = "unshare --pid --fork sh -c 'echo up; sleep 1000; :' & wait"
    token = spawnkit.CancelToken()
    cmd = Cmd("sh", "-c", script, extra_files=[leash.theirs], attr=OWN, kill="tree", cancel=token)
    out = cmd.stdout_pipe()
    cmd.start()
    assert out.readline() == b"up\n"
    assert cmd.process is not None
    while not any(entry.name == b"sleep" for entry in living_below(cmd.process.pid)):
        time.sleep(0.001)
    token.cancel()
    with pytest.raises(spawnkit.Cancelled) as raised:
        cmd.wait()
    out.close()
    assert leash.all_gone(0)
    assert raised.value.kill is not None
    # The shell, unshare, the shell in there, and its sleep.
    assert (raised.value.kill.killed, raised.value.kill.complete) == (4, True)


def living_below(pid: int) -> list[proctable.Entry]:
    table = [entry for n in proctable.newest_first() if (entry := proctable.look(n)) is not None]
    family = {pid}
    while more := {e.pid for e in table if e.parent in family} - family:
        family |= more
    return [entry for entry in table if entry.pid in family]


@made
def test_sigterm_reaches_who_has_a_handler(leash: Leash) -> None:
    """Process 1 gets no other signal from inside or outside but SIGKILL and SIGSTOP."""
    trap = "trap 'exit 7' TERM; sleep 1000 & echo up; while :; do sleep 0.01; done"
    for script, code, killed in (trap, 7, 0), ("echo up; sleep 1000; :", None, 2):
        with pytest.raises(spawnkit.TimeoutExpired) as raised:
            run(["sh", "-c", script], capture=True, extra_files=[leash.theirs], attr=OWN,
                timeout=0.3, grace=HANGS_AFTER if code else 0.2, kill="tree")  # fmt: skip
        state, report = raised.value.state, raised.value.kill
        assert state is not None
        assert report is not None
        assert (state.exit_code if code else state.signal) == (code or signal.SIGKILL)
        assert (report.means, report.killed, report.complete) == ("namespace", killed, True)
    assert leash.all_gone(0)


@made
def test_where_proc_is_not_mounted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, children: Children, leash: Leash
) -> None:
    """The kernel kills all the same; nobody but process 1 is counted."""
    monkeypatch.setattr(proctable, "_PROC", str(tmp_path))
    with pytest.raises(spawnkit.TimeoutExpired) as raised:
        run([children("zoo"), "daemon"], stdout=spawnkit.DEVNULL, extra_files=[leash.theirs],
            attr=OWN, timeout=0.3, kill="tree")  # fmt: skip
    assert leash.all_gone(0)
    report = raised.value.kill
    assert report is not None
    assert (report.means, report.killed, report.survivors) == ("namespace", 1, ())
    assert report.complete


def _holds_one_back() -> list[Any]:
    """Traces one inside: dead, it is there until its tracer has been told."""
    import ctypes
    import os
    import time

    import spawnkit
    from spawnkit import proctable

    libc = ctypes.CDLL(None, use_errno=True)
    token = spawnkit.CancelToken()
    attr = spawnkit.SysProcAttr(namespaces=["pid"])
    cmd = spawnkit.Cmd("sh", "-c", "sleep 1000 & echo up; wait", attr=attr, kill="tree")
    cmd.cancel = token
    out = cmd.stdout_pipe()
    cmd.start()
    assert out.readline() == b"up\n"
    assert cmd.process is not None
    pid = cmd.process.pid
    inside = [n for n in proctable.newest_first() if (e := proctable.look(n)) and e.parent == pid]
    if libc.ptrace(0x4206, inside[0], None, None) != 0:  # PTRACE_SEIZE
        cmd.process.kill()
        cmd.wait(check=False)
        return [os.strerror(ctypes.get_errno())]
    token.cancel()
    says: list[Any] = []
    try:
        cmd.wait()
    except spawnkit.Cancelled as error:
        report = error.kill
        assert report is not None
        says = ["", report.killed, [other.pid == pid for other in report.survivors]]
        says += [report.complete, error.state is None]
    os.waitpid(inside[0], 0x40000000)  # __WALL
    out.close()
    while (entry := proctable.look(pid)) is not None and not entry.is_gone:
        time.sleep(0.001)
    spawnkit.run(["true"])  # which reaps it
    return [*says, proctable.look(pid) is None]


@made
def test_who_does_not_die_is_named(isolate: Isolate) -> None:
    """Process 1 waits, killed, for the others to be gone."""
    problem, *says = isolate(_holds_one_back, oracle=False)
    if problem:
        pytest.skip(f"nobody may be traced here: {problem}")
    assert says == [2, [True], True, True, True]


@ours
@made
def test_a_pipeline_of_them(engine: str, children: Children, leash: Leash) -> None:
    """A group is of one namespace: each has one of its own, and is killed for itself."""
    upper = Cmd("sh", "-c", "echo $$; cat", stdin=b"word\n", attr=OWN, engine=engine)
    lower = Cmd("sh", "-c", "echo $$; cat", attr=OWN, engine=engine)
    assert (upper | lower).output() == b"1\n1\nword\n"
    commands = [
        Cmd(children("zoo"), "daemon", extra_files=[leash.theirs], attr=OWN, engine=engine)
        for _ in range(2)
    ]
    for kill in None, "tree":
        with pytest.raises(spawnkit.TimeoutExpired):
            spawnkit.Pipeline(*[c.clone() for c in commands], timeout=0.3, kill=kill).output()
    assert leash.all_gone()


@made
def test_a_cancelled_command_leaves_nobody(children: Children, leash: Leash) -> None:
    token = spawnkit.CancelToken()
    cmd = Cmd(children("zoo"), "escapes", extra_files=[leash.theirs], attr=OWN, kill="tree")
    cmd.cancel = token
    out = cmd.stdout_pipe()
    cmd.start()
    assert out.readline() == b"begun\n"
    token.cancel()
    with pytest.raises(spawnkit.Cancelled) as raised:
        cmd.wait()
    out.close()
    assert leash.all_gone(0)
    assert raised.value.kill is not None
    assert raised.value.kill.means == "namespace"


def test_nothing_is_marked_where_nobody_has_to_be_found(can_be_made: None) -> None:
    said = spawnkit.output(["sh", "-c", "echo ${SPAWNKIT_RUN-none}"], attr=OWN, kill="tree")
    assert said in (b"none\n", b"%s\n" % os.environ.get("SPAWNKIT_RUN", "none").encode())
