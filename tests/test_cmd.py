"""Cmd: one command, used once. Its guards, its fields, how it is shown, what its child gets."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import Cmd, Env
from support.children import Children, Report, parse_report
from support.isolated import Isolate

Reporter = Callable[..., Report]

USED = "already started; a Cmd is used once"
MISSING = "makemeasandwich"


# ---- used once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["start", "run", "output", "combined_output"])
@pytest.mark.parametrize("first", ["start", "run", "output", "combined_output"])
def test_a_cmd_is_used_once(first: str, again: str, engine: str) -> None:
    """A22: a Cmd is clearly used up, whichever way it was started."""
    cmd = Cmd("/bin/true", engine=engine)
    getattr(cmd, first)()
    with pytest.raises(RuntimeError, match=USED):
        getattr(cmd, again)()
    assert cmd.wait().success


@pytest.mark.parametrize("again", ["start", "run", "output"])
def test_a_start_that_failed_uses_it_up_too(again: str, engine: str) -> None:
    """A22: Go TestStart_twice: the second start says so, however the first one came out."""
    cmd = Cmd("/bin/nonesuch", engine=engine)
    with pytest.raises(FileNotFoundError):
        cmd.start()
    with pytest.raises(RuntimeError, match=USED):
        getattr(cmd, again)()
    assert cmd.process is None
    assert cmd.process_state is None
    with pytest.raises(RuntimeError, match="start"):
        cmd.wait()


def test_a_clone_can_be_started_after_a_failure(tmp_path: Path, engine: str) -> None:
    """A22: what is to be tried again is cloned."""
    program = tmp_path / "program"
    cmd = Cmd(program, engine=engine)
    with pytest.raises(FileNotFoundError):
        cmd.run()
    program.symlink_to("/bin/true")
    assert cmd.clone().run().success


def test_wait_needs_a_start() -> None:
    cmd = Cmd("/bin/true")
    with pytest.raises(RuntimeError, match="Cmd: not started"):
        cmd.wait()
    assert cmd.run().success


@pytest.mark.parametrize("begin", ["start", "run"])
def test_wait_again_gives_the_same_state(begin: str, engine: str, children: Children) -> None:
    """Differs from Go, where a second Wait is an error."""
    cmd = Cmd(children("exit"), "3", engine=engine)
    if begin == "start":
        cmd.start()
    else:
        cmd.run(check=False)
    for _ in range(2):
        with pytest.raises(spawnkit.ExitError):
            cmd.wait()
    assert cmd.wait(check=False) is cmd.process_state
    assert cmd.process_state.exit_code == 3


def test_without_arguments_there_is_no_command() -> None:
    """Go TestNoPath: an error, not a crash."""
    with pytest.raises(ValueError, match="args: empty"):
        Cmd().start()


def test_an_empty_cmd_can_be_shown() -> None:
    """Go TestNoStringPanic: as text it is something, too."""
    assert isinstance(str(Cmd()), str)
    assert repr(Cmd()) == "Cmd()"


@pytest.mark.parametrize(
    ("code", "text"), [(0, "exit status 0"), (42, "exit status 42"), (255, "exit status 255")]
)
def test_how_it_ended_is_in_the_state(
    code: int, text: str, engine: str, children: Children
) -> None:
    """Go TestExitCode: 0, 42, 255; and none before it ran. Go TestExitStatus: the text."""
    cmd = Cmd(children("exit"), str(code), engine=engine)
    assert cmd.process_state is None
    state = cmd.run(check=False)
    assert state == cmd.process_state == cmd.result.state
    assert (state.exit_code, str(state)) == (code, text)


# ---- fields -------------------------------------------------------------------------------------


def test_fields_count_at_the_start(engine: str, children: Children, tmp_path: Path) -> None:
    """All are attributes and may be changed until then."""
    out = tmp_path / "report"
    cmd = Cmd("/no/such/program")
    cmd.args = ("zero", str(out), "two")
    cmd.path = children("report")
    cmd.env = {"A": "1"}
    cmd.dir = tmp_path
    cmd.stdin = spawnkit.DEVNULL
    cmd.attr = spawnkit.SysProcAttr(setsid=True)
    cmd.engine = engine
    if engine == "posix_spawn":
        cmd.dir, cmd.attr = None, None
    cmd.run()
    seen = parse_report(out)
    assert seen.argv == [b"zero", os.fsencode(out), b"two"]
    assert [pair for pair in seen.env if not pair.startswith(b"PWD=")] == [b"A=1"]
    if engine != "posix_spawn":
        assert seen.cwd == os.fsencode(tmp_path)
        assert seen["sid"] == seen["pid"]


def test_path_is_where_the_program_was_found() -> None:
    cmd = Cmd("true")
    assert cmd.path == shutil.which("true")
    assert cmd.err is None
    assert Cmd("/bin/true").path == "/bin/true"
    assert Cmd("true", path="/bin/false").path == "/bin/false"


def test_a_search_that_failed_is_told_by_err_and_raised_at_the_start() -> None:
    """Go TestNoExistExecutable: there is an error, and it is known before the start."""
    cmd = Cmd(MISSING)
    assert isinstance(cmd.err, spawnkit.SpawnError)
    assert isinstance(cmd.err, FileNotFoundError)
    with pytest.raises(FileNotFoundError) as caught:
        cmd.start()
    assert caught.value is cmd.err


def test_a_program_of_the_current_directory_is_run_only_if_allowed(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Go TestLookPath: cmd.err is DotError; without it the program found is run."""
    (tmp_path / "planted").symlink_to("/bin/true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ".")
    cmd = Cmd("planted", engine=engine)
    with pytest.raises(spawnkit.DotError):
        cmd.start()
    cmd = Cmd("planted", engine=engine)
    assert isinstance(cmd.err, spawnkit.DotError)
    assert cmd.err.path == cmd.path == "./planted"
    cmd.err = None
    assert cmd.run().success


def test_a_program_by_its_absolute_path(tmp_path: Path, engine: str, children: Children) -> None:
    """Go TestAbsPathExec: path is what was given; a changed path is what runs; no PATH search."""
    exit = children("exit")
    cmd = Cmd(exit, "3", engine=engine)
    assert cmd.path == exit
    assert cmd.run(check=False).exit_code == 3

    cmd = Cmd("/bin/false", "4", engine=engine)
    cmd.path = exit
    assert cmd.run(check=False).exit_code == 4

    (tmp_path / "true").symlink_to("/bin/true")
    with pytest.raises(FileNotFoundError):  # relative to where the child is
        Cmd("true", path="true", dir="/", engine=None).run()


@pytest.mark.needs("dir")
def test_a_relative_program_is_relative_to_dir(engine: str, children: Children) -> None:
    """Go TestCommandRelativeName: a path with a slash, from the directory above."""
    program = Path(children("exit"))
    relative = Path(program.parent.name, program.name)
    cmd = Cmd("exit", "5", path=relative, dir=program.parent.parent, engine=engine)
    assert cmd.run(check=False).exit_code == 5


def test_a_program_may_be_a_descriptor(children: Children, tmp_path: Path) -> None:
    """fexecve: args[0] is only the name; binaries do not see the descriptor."""
    out = tmp_path / "report"
    with open(children("report"), "rb") as file:
        assert Cmd("any name", str(out), exec_fd=file).run().success
        seen = parse_report(out)
        assert seen.argv[0] == b"any name"
        assert set(seen.fds) <= {0, 1, 2}
        assert Cmd("any name", str(out), exec_fd=file.fileno()).run().success
        with pytest.raises(ValueError, match="exec_fd"):
            Cmd("any name", path="/bin/true", exec_fd=file).run()


def test_the_parent_of_the_program_is_us(engine: str, report: Reporter) -> None:
    """Go TestGetppid: no process in between."""
    assert report(lambda argv: Cmd(*argv, engine=engine).run())["ppid"] == os.getpid()


# ---- as text ------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "b"]])
def test_as_text_it_is_the_program_found_and_its_arguments(arguments: list[str]) -> None:
    """Go TestString: the whole path of the program."""
    echo = shutil.which("echo")
    assert str(Cmd("echo", *arguments)) == " ".join([str(echo), *arguments])


def test_as_text_it_can_be_given_to_a_shell() -> None:
    words = ["a b", "", "it's", "$HOME", "*", "\\", '"', "ä", "-x"]
    text = str(Cmd("printf", "%s\\n", *words))
    assert shlex.split(text)[1:] == ["%s\\n", *words]
    done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == words
    assert shlex.split(str(Cmd(b"printf", b"\xff", Path("/a b"))))[1:] == ["\udcff", "/a b"]


def test_as_text_it_is_the_name_where_nothing_was_found() -> None:
    """Go TestStringPathNotResolved: the name as it was asked for."""
    assert str(Cmd(MISSING, "-lettuce")) == f"{MISSING} -lettuce"


def test_it_can_be_shown_while_it_is_started() -> None:
    """Go TestPathRace: str() in other threads, all along."""
    for _ in range(20):
        cmd = Cmd("true")
        texts: set[str] = set()
        showing = threading.Event()
        over = threading.Event()

        def show(cmd: Cmd, texts: set[str], showing: Any, over: Any) -> None:
            while not over.is_set():
                texts.add(str(cmd))
                showing.set()

        thread = threading.Thread(target=show, args=(cmd, texts, showing, over))
        thread.start()
        showing.wait(60)
        cmd.combined_output()
        over.set()
        thread.join(60)
        assert texts == {str(shutil.which("true"))}


@pytest.mark.parametrize(
    ("cmd", "text"),
    [
        (Cmd("ls", "-l"), "Cmd('ls', '-l')"),
        (Cmd("ls", "-l", dir="/x"), "Cmd('ls', '-l', dir='/x')"),
        (Cmd(b"ls", timeout=1.5), "Cmd(b'ls', timeout=1.5)"),
        (
            Cmd("ls", stdout=spawnkit.PIPE, stderr=spawnkit.STDOUT),
            "Cmd('ls', stdout=spawnkit.PIPE, stderr=spawnkit.STDOUT)",
        ),
    ],
)
def test_repr_shows_what_was_given(cmd: Cmd, text: str) -> None:
    assert repr(cmd) == text


# ---- clone --------------------------------------------------------------------------------------


def test_a_clone_is_the_same_description_unused(
    engine: str, children: Children, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    cmd = Cmd(children("exit"), "7", env={"A": "1"}, stdout=out, timeout=600, engine=engine)
    with pytest.raises(spawnkit.ExitError):
        cmd.run()
    copy = cmd.clone()
    assert repr(copy) == repr(cmd)
    assert (copy.process, copy.process_state, copy.result) == (None, None, None)
    assert copy.run(check=False).exit_code == 7
    assert copy.process_state != cmd.process_state
    copy.args = ("changed",)
    assert cmd.args[1] == "7"


def test_a_clone_does_not_share_its_pipes(engine: str, children: Children) -> None:
    """Pipes are of one start: the clone makes its own."""
    cmd = Cmd(children("echo"), engine=engine)
    ours = cmd.stdin_pipe(), cmd.stdout_pipe()
    copy = cmd.clone()
    stdin, stdout = copy.stdin_pipe(), copy.stdout_pipe()
    for one in cmd, copy:
        one.start()
    for number, pipe in enumerate((ours[0], stdin)):
        pipe.write(str(number).encode())
        pipe.close()
    assert [pipe.read() for pipe in (ours[1], stdout)] == [b"0", b"1"]
    for one in cmd, copy:
        one.wait()


# ---- the environment ----------------------------------------------------------------------------


def variables(seen: Report) -> dict[str, str]:
    pairs = (os.fsdecode(pair).partition("=") for pair in seen.env)
    return {key: value for key, _, value in pairs}


@pytest.mark.parametrize("inherit", [None, "inherit"])
@pytest.mark.parametrize("where", [None, ".", "..", "cwd", "cwd/.."])
@pytest.mark.parametrize("had_one", [True, False])
@pytest.mark.needs("dir")
def test_pwd_follows_dir(
    where: str | None,
    inherit: str | None,
    had_one: bool,
    engine: str,
    report: Reporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Go TestImplicitPWD: with dir, PWD is that directory, absolute; without it, it is left."""
    cwd = os.getcwd()
    dir = where.replace("cwd", cwd) if where else None
    if had_one:
        monkeypatch.setenv("PWD", cwd)
    else:
        monkeypatch.delenv("PWD", raising=False)
    wanted: str | None = os.path.dirname(cwd) if where and ".." in where else cwd
    if dir is None and not had_one:
        wanted = None
    env = Env.inherit() if inherit else None
    cmds: list[Cmd] = []

    def spawn(argv: list[str]) -> None:
        cmds.append(Cmd(*argv, dir=dir, env=env, engine=engine))
        cmds[0].run()

    seen = report(spawn)
    assert cmds[0].environ().get("PWD") == variables(seen).get("PWD") == wanted
    assert sum(pair.startswith(b"PWD=") for pair in seen.env) == (wanted is not None)
    assert seen.cwd == os.fsencode(wanted or cwd)


@pytest.mark.parametrize("dir", [None, "link", "cwd"])
@pytest.mark.parametrize("pwd", ["link", "cwd"])
@pytest.mark.needs("dir")
def test_a_pwd_that_was_given_is_left_alone(
    dir: str | None, pwd: str, engine: str, report: Reporter, tmp_path: Path
) -> None:
    """Go TestExplicitPWD: an edit comes after; a mapping is the whole environment, verbatim."""
    (tmp_path / "link").symlink_to(os.getcwd())
    names = {"link": str(tmp_path / "link"), "cwd": os.getcwd(), None: None}
    for env in Env.inherit().set("PWD", names[pwd]), {"PWD": names[pwd]}:
        cmd = Cmd("any", dir=names[dir], env=env, engine=engine)

        def spawn(argv: list[str], cmd: Cmd = cmd) -> None:
            cmd.args = tuple(argv)
            cmd.run()

        seen = report(spawn)
        assert variables(seen)["PWD"] == names[pwd]
        assert cmd.environ()["PWD"] == names[pwd]
        assert (len(seen.env) == 1) == isinstance(env, dict)


def test_a_mapping_gets_no_pwd(report: Reporter, tmp_path: Path) -> None:
    """Go TestExplicitPWD: also where it names none."""
    seen = report(lambda argv: Cmd(*argv, dir=tmp_path, env={"A": "1"}).run())
    assert seen.env == [b"A=1"]
    assert Cmd("x", dir=tmp_path, env={"A": "1"}).environ() == {"A": "1"}


def test_environ_is_what_the_child_sees(
    engine: str, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Go TestDedupEnvEcho: one entry per key, the last one; environ() and the child agree."""
    monkeypatch.setenv("SPAWNKIT_A", "ours")
    monkeypatch.setenv("SPAWNKIT_B", "ours")
    edits: list[Any] = [
        None,
        {},
        {"A": "1", b"B": b"\xff"},
        {"FOO": "bad", b"FOO": "good"},
        Env.inherit(),
        Env.empty().set(A="1"),
        Env.inherit().set("FOO", "bad").set("FOO", "good").set(SPAWNKIT_A="x").unset("SPAWNKIT_B"),
        Env.inherit().only("SPAWNKIT_*", "PATH"),
    ]
    for env in edits:
        cmd = Cmd("any", env=env, engine=engine)

        def spawn(argv: list[str], cmd: Cmd = cmd) -> None:
            cmd.args = tuple(argv)
            cmd.run()

        seen = report(spawn)
        assert cmd.environ() == variables(seen)
        assert len(variables(seen)) == len(seen.env)
        if "FOO" in cmd.environ():
            assert cmd.environ()["FOO"] == "good"


def test_the_child_never_changes_our_environment(engine: str) -> None:
    before = dict(os.environ)
    Cmd(
        "/bin/sh", "-c", "export A=1; unset PATH", env=Env.inherit().set(B="2"), engine=engine
    ).run()
    assert dict(os.environ) == before


@pytest.mark.parametrize("env", [{"FOO": "foo\0BAR=bar"}, {"FOO\0": "x"}])
def test_a_nul_byte_in_the_environment_is_refused(env: dict[str, str]) -> None:
    """Go TestEnvNULCharacter: it would end the entry early."""
    with pytest.raises(ValueError, match="NUL"):
        Cmd("/bin/true", env=env).run()
    with pytest.raises(ValueError, match="NUL"):
        Env.inherit().set(env)


# ---- many ---------------------------------------------------------------------------------------


def test_commands_of_many_threads_do_not_hold_each_other_up(
    engine: str, children: Children
) -> None:
    """Go TestConcurrentExec: some hang until they are cancelled, the others end meanwhile."""
    count = 2 * (os.cpu_count() or 1)
    ready = threading.Barrier(2 * count)
    wrong: list[BaseException] = []
    cancels: list[Any] = []
    gate = threading.Semaphore(0)

    def hang() -> None:
        try:
            cmd = Cmd(children("route"), engine=engine)
            stdin = cmd.stdin_pipe()
            ready.wait(60)
            cmd.start()
            cancels.append(stdin.close)
            gate.release()
            cmd.wait()
        except BaseException as error:
            wrong.append(error)

    def exit() -> None:
        try:
            ready.wait(60)
            Cmd(children("exit"), "0", engine=engine).run()
        except BaseException as error:
            wrong.append(error)

    hanging = [threading.Thread(target=hang) for _ in range(count)]
    exiting = [threading.Thread(target=exit) for _ in range(count)]
    for thread in hanging + exiting:
        thread.start()
    for thread in exiting:
        thread.join(60)
        assert not thread.is_alive()
    for _ in hanging:
        assert gate.acquire(timeout=60)
    for cancel in cancels:
        cancel()
    for thread in hanging:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong


def _many_live(program: str, count: int) -> list[int]:
    """Start so many, all alive at once; what each costs us: bytes, descriptors, mappings."""
    import os
    import resource

    import spawnkit
    from support.proc import PROC

    def cost() -> tuple[int, int, int]:
        with open(f"{PROC}/self/statm") as file:
            pages = int(file.read().split()[1])
        with open(f"{PROC}/self/maps") as file:
            mappings = len(file.readlines())
        return pages * 4096, len(os.listdir(f"{PROC}/self/fd")), mappings

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(count, hard - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    read, write = os.pipe()
    cmds = [spawnkit.Cmd(program, stdin=read) for _ in range(count)]
    before = cost()
    for cmd in cmds:
        cmd.start()
    after = cost()
    os.close(write)
    ended = sum(cmd.wait().success for cmd in cmds)
    os.close(read)
    del cmds, cmd
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return [count, ended, *(after[n] - before[n] for n in range(3))]


def test_ten_thousand_live_children_cost_a_descriptor_each(
    isolate: Isolate, children: Children
) -> None:
    """A70: 10^4 live children: one descriptor each, the pidfd, less than 4 KiB, and no mapping."""
    count, ended, memory, descriptors, mappings = isolate(_many_live, children("block"), 10_000)
    assert count >= 1000
    assert ended == count
    assert descriptors == count
    assert memory < 4096 * count
    assert mappings < 100


# ---- handles of Go's os package, through what a Cmd started -------------------------------------


def _hears_of_its_first_child(program: str) -> list[int]:
    import signal

    import spawnkit

    heard = []
    signal.signal(signal.SIGCHLD, lambda number, _: heard.append(number))
    cmd = spawnkit.Cmd(program, "0")
    cmd.run()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return heard


def test_the_first_child_is_heard_of_once(isolate: Isolate, children: Children) -> None:
    """Go TestSIGCHLD: no probe of ours may show as a child of the user's."""
    heard = isolate(_hears_of_its_first_child, children("exit"), warm=False, oracle=False)
    assert heard == [signal.SIGCHLD]


def test_a_process_can_signal_itself_through_a_handle() -> None:
    """Go TestProcessLiteral: the handle of a pid that was only named."""
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        process = spawnkit.find_process(os.getpid())
        process.signal(signal.SIGUSR1)
        process.release()
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("pid", [-1, 0, -2, -(2**31)])
def test_a_pid_that_is_none_never_reaches_kill(pid: int) -> None:
    """Go TestProcessBadPID: -1 would be everybody, 0 our own group."""
    with pytest.raises(ValueError, match="pid"):
        spawnkit.find_process(pid)


def test_a_pid_that_nobody_has() -> None:
    """Go TestProcessAlreadyDone: found, but there is nobody to wait for or to signal."""
    process = spawnkit.find_process(2**31 - 1)
    with pytest.raises((ChildProcessError, spawnkit.ProcessDone)):
        process.wait()
    with pytest.raises(spawnkit.ProcessDone):
        process.kill()
    process.release()


def test_interpreters_run_as_commands(engine: str) -> None:
    """A larger program, found by its absolute path, with its own environment."""
    code = "import sys; print(sys.argv[1:])"
    cmd = Cmd(sys.executable, "-c", code, "a", "b c", engine=engine)
    assert cmd.output() == b"['a', 'b c']\n"
