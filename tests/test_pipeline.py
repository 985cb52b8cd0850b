"""Pipelines: what connects the stages, what they are told, how they end."""

from __future__ import annotations

import io
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import DEVNULL, PIPE, STDOUT, Cmd, Pipeline, PipelineError
from support.children import Children, parse_report
from support.isolated import Isolate
from support.proc import PROC

MISSING = "/no/such/program"
F_GETPIPE_SZ = 1032


def children_of_ours() -> list[str]:
    return (PROC / f"self/task/{os.getpid()}/children").read_text().split()


def sh(script: str, **options: Any) -> Cmd:
    return Cmd("/bin/sh", "-c", script, **options)


# ---- what it is for ------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [1, 2, 3, 10])
def test_what_the_first_is_fed_the_last_one_gives(
    engine: str, stages: int, children: Children
) -> None:
    echo = children("echo")
    cmds = [Cmd(echo, engine=engine) for _ in range(stages)]
    cmds[0].stdin = b"through all"
    pipeline = Pipeline(*cmds)
    assert pipeline.output() == b"through all"
    assert len(pipeline.states) == len(pipeline.processes) == stages
    assert all(state and state.success and state.engine for state in pipeline.states)
    assert pipeline.result is not None
    assert pipeline.result.success


def test_more_than_a_mebibyte_goes_through_in_both_directions(children: Children) -> None:
    data = os.urandom(1 << 16) * 40
    echo = children("echo")
    assert (Cmd(echo, stdin=data) | Cmd(echo) | Cmd(echo)).output() == data


def test_readers_and_writers_are_at_the_two_ends(children: Children) -> None:
    echo = children("echo")
    target = io.BytesIO()
    result = (Cmd(echo, stdin=io.BytesIO(b"x" * 300_000)) | Cmd(echo, stdout=target)).run()
    assert target.getvalue() == b"x" * 300_000
    assert result.stdout is None
    text = io.StringIO()
    pipeline = Cmd(echo, stdin=io.StringIO("grün")) | Cmd(echo, stdout=text)
    pipeline.run()
    assert text.getvalue() == "grün"


def test_paths_are_at_the_two_ends(children: Children, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"from a file")
    (Cmd(children("echo"), stdin=source) | Cmd(children("echo"), stdout=target)).run()
    assert target.read_bytes() == b"from a file"


def test_pipes_of_the_callers_are_at_the_two_ends(children: Children) -> None:
    first, last = Cmd(children("echo")), Cmd(children("echo"))
    into, out = first.stdin_pipe(), last.stdout_pipe()
    pipeline = first | Cmd(children("drip")) | last
    pipeline.start()
    into.write(b"one")  # type: ignore[arg-type]
    assert out.read(3) == b"one"
    into.close()
    assert out.read() == b""
    assert pipeline.wait().success


def test_it_is_started_and_waited_for_in_two_steps(engine: str, children: Children) -> None:
    echo = children("echo")
    pipeline = Cmd(echo, stdin=b"ab", engine=engine) | Cmd(echo, stdout=PIPE, engine=engine)
    assert pipeline.processes == pipeline.states == ()
    with pytest.raises(RuntimeError, match="not started"):
        pipeline.wait()
    pipeline.start()
    first, last = pipeline.processes
    assert first.pid != last.pid
    result = pipeline.wait()
    assert result.stdout == b"ab"
    assert result is pipeline.wait() is pipeline.result
    assert result.states == pipeline.states
    with pytest.raises(RuntimeError, match="used once"):
        pipeline.run()
    fresh = pipeline.clone()
    assert fresh.run().stdout == b"ab"


def test_its_cmds_know_how_they_ended(children: Children) -> None:
    first, last = Cmd(children("echo"), stdin=b"ab"), Cmd(children("echo"), stdout=PIPE)
    result = (first | last).run()
    assert (first.process_state, last.process_state) == result.states
    assert last.result is not None
    assert last.result.stdout == b"ab"
    assert first.wait().success
    for cmd in first, last:
        with pytest.raises(RuntimeError, match="used once"):
            cmd.run()


def test_a_stage_is_not_waited_for_alone(children: Children) -> None:
    first = Cmd(children("echo"))
    into = first.stdin_pipe()
    pipeline = first | Cmd(children("echo"), stdout=DEVNULL)
    pipeline.start()
    with pytest.raises(RuntimeError, match="a stage of a pipeline"):
        first.wait()
    into.close()
    pipeline.wait()


def test_each_stage_has_its_own_rusage_and_wall_time(children: Children) -> None:
    block = Cmd(children("block"))
    into = block.stdin_pipe()
    pipeline = Cmd("/bin/true") | Cmd(children("exit"), "3") | sh("exec cat", stdout=DEVNULL)
    pipeline = Pipeline(block, *pipeline.cmds, pipefail=False)
    pipeline.start()
    # The others end while the first goes on, and are reaped as they do.
    last = pipeline.processes[-1]
    deadline = time.monotonic() + 60
    with pytest.raises(spawnkit.TimeoutExpired):
        pipeline.wait(timeout=0.2)
    while last.state is None and time.monotonic() < deadline:
        last.wait()
    time.sleep(0.3)  # what the first one's wall time is longer by
    into.close()
    result = pipeline.wait()
    assert [state.exit_code for state in result.states] == [0, 0, 3, 0]
    usages = [state.sys_usage() for state in result.states]
    assert all(usage is not None and usage.maxrss > 0 for usage in usages)
    assert result.states[0].wall_time > result.states[3].wall_time + 0.2


# ---- one group, and nobody's descriptors ---------------------------------------------------------


def test_all_stages_are_in_one_group_of_their_own(engine: str, children: Children) -> None:
    report = children("report")
    reads, writes = zip(*(os.pipe() for _ in range(3)), strict=True)
    cmds = [
        Cmd(report, f"/dev/fd/{3}", extra_files=[write], engine=engine, stdin=None)
        for write in writes
    ]
    cmds[0].stdin = DEVNULL
    pipeline = Pipeline(*cmds)
    pipeline.run()
    for write in writes:
        os.close(write)
    reports = []
    for read in reads:
        with open(read, "rb") as file:
            reports.append(parse_report(file.read()))
    leader = pipeline.processes[0].pid
    assert [found["pid"] for found in reports] == [process.pid for process in pipeline.processes]
    assert {found["pgid"] for found in reports} == {leader}
    assert leader != os.getpgid(0)
    assert {found["sid"] for found in reports} == {os.getsid(0)}


@pytest.mark.parametrize("stderr", [None, PIPE])
def test_no_stage_holds_another_ones_ends(
    engine: str, stderr: Any, children: Children, tmp_path: Path
) -> None:
    """A95: no stage holds another stage's pipe ends: 0, 1, 2, and two pipes of two ends each."""
    paths = [tmp_path / f"report-{number}" for number in range(3)]
    cmds = [Cmd(children("report"), str(path), engine=engine) for path in paths]
    cmds[0].stdin = cmds[2].stdout = DEVNULL
    before = set(os.listdir(f"{PROC}/self/fd"))
    pipeline = Pipeline(*cmds, stderr=stderr)
    pipeline.start()
    ours = set(os.listdir(f"{PROC}/self/fd")) - before
    pipeline.wait()
    first, middle, last = map(parse_report, paths)
    for found in first, middle, last:
        assert sorted(found.fds) == [0, 1, 2]
    assert first.fds[1].file == middle.fds[0].file
    assert middle.fds[1].file == last.fds[0].file
    assert len({first.fds[1].file, middle.fds[1].file, first.fds[0].file}) == 3
    assert stat.S_ISFIFO(first.fds[1].mode)
    # Blocking, each end a description of its own: read only and write only.
    flags = os.O_ACCMODE | os.O_NONBLOCK
    assert [found.fds[0].status & flags for found in (middle, last)] == [os.O_RDONLY] * 2
    assert [found.fds[1].status & flags for found in (first, middle)] == [os.O_WRONLY] * 2
    # And we hold none: pidfds, and what the merged stderr needs.
    assert len(ours) <= (3 if stderr is None else 6)


def test_a_stage_that_closes_its_stdin_ends_the_one_before(children: Children) -> None:
    pipeline = Cmd("yes") | sh("exec <&-; exit 0", stdout=DEVNULL)
    result = pipeline.run()
    assert result.success
    assert result.states[0].signal == signal.SIGPIPE


def test_an_endless_writer_ends_with_its_reader(engine: str) -> None:
    """A93: `yes | head -1` ends at once (SIGPIPE default), and is a success."""
    pipeline = Cmd("yes", engine=engine) | Cmd("head", "-1", stdout=PIPE, engine=engine)
    result = pipeline.run()
    assert result.stdout == b"y\n"
    assert result.success
    assert result.states[0].signal == signal.SIGPIPE
    assert (Cmd("yes") | Cmd("cat") | Cmd("head", "-1")).output() == b"y\n"


def test_the_first_program_may_leave_input_unread(children: Children) -> None:
    result = (Cmd("/bin/true", stdin=b"x" * 300_000) | Cmd(children("echo"))).run()
    assert result.broken_pipe
    assert result.results[0].broken_pipe


# ---- pipefail ------------------------------------------------------------------------------------

PLACES = [
    # exit codes by stage, which stage decides with pipefail, and without
    ((0, 0, 0), None, None),
    ((1, 0, 0), 0, None),
    ((0, 2, 0), 1, None),
    ((0, 0, 3), 2, 2),
    ((1, 2, 0), 1, None),
    ((1, 2, 3), 2, 2),
    ((1, 0, 3), 2, 2),
    (("TERM", 0, 0), 0, None),
    (("PIPE", 0, 0), None, None),
    ((0, "PIPE", 0), None, None),
    ((0, 0, "PIPE"), 2, 2),
    ((1, "PIPE", 0), 0, None),
]


@pytest.mark.parametrize("pipefail", [True, False])
@pytest.mark.parametrize(("codes", "with_it", "without"), PLACES)
def test_which_stage_decides(
    codes: tuple[Any, ...], with_it: int | None, without: int | None, pipefail: bool
) -> None:
    """A94: pipefail for each place: the last that failed, but for those a broken pipe ended."""
    scripts = [f"kill -{code} $$" if isinstance(code, str) else f"exit {code}" for code in codes]
    cmds = [sh(f"cat >/dev/null; {script}") for script in scripts]
    cmds[0].stdin = DEVNULL
    wanted = with_it if pipefail else without
    pipeline = Pipeline(*cmds, pipefail=pipefail)
    result = pipeline.run(check=False)
    assert result.success == (wanted is None)
    assert result.index == (2 if wanted is None else wanted)
    assert result.state is result.states[result.index]
    if wanted is None:
        assert pipeline.wait() is result
        return
    with pytest.raises(PipelineError) as caught:
        pipeline.wait()
    error = caught.value
    assert (error.index, error.states, error.state) == (wanted, result.states, result.state)
    assert str(error).startswith(f"stage {wanted + 1} of 3: /bin/sh: ")


def test_the_error_has_what_was_captured(children: Children) -> None:
    with pytest.raises(PipelineError, match=r"stage 1 of 2: .*: exit status 4: why") as caught:
        (sh("echo out; echo why >&2; exit 4") | Cmd(children("echo"))).output()
    assert caught.value.stdout == b"out\n"
    assert caught.value.stderr == b"why\n"
    own = sh("echo own >&2; exit 4", stderr=PIPE) | sh("echo other >&2; cat", stderr=DEVNULL)
    with pytest.raises(PipelineError) as caught:
        own.run()
    assert caught.value.stderr == b"own\n"
    assert isinstance(caught.value, spawnkit.ExitError)


# ---- stderr --------------------------------------------------------------------------------------


def talkers() -> list[Cmd]:
    """Each says its name on stderr after it has handed on a line: they speak in turn."""
    return [sh("echo a >&2; echo line"), *[sh(f"read x; echo {n} >&2; echo $x") for n in "bc"]]


def test_all_stages_share_one_stderr_in_the_order_of_writing() -> None:
    pipeline = Pipeline(*talkers(), stderr=PIPE)
    pipeline.cmds[-1].stdout = PIPE
    result = pipeline.run()
    assert result.stderr == b"a\nb\nc\n"
    assert result.stdout == b"line\n"
    assert [each.stderr for each in result.results] == [None] * 3


def test_a_stage_keeps_a_stderr_of_its_own() -> None:
    cmds = talkers()
    cmds[1].stderr = cmds[2].stderr = PIPE
    result = Pipeline(*cmds, stderr=PIPE).run()
    assert result.stderr == b"a\n"
    assert [each.stderr for each in result.results] == [None, b"b\n", b"c\n"]


def test_much_stderr_of_several_stages_is_read_while_they_run(children: Children) -> None:
    flood = children("flood")
    last = sh(f"cat; exec {flood} 300000", stderr=PIPE, stdout=PIPE)
    cmds = [Cmd(flood, "300000", stderr=PIPE), last]
    result = Pipeline(*cmds).run()
    assert [len(each.stderr) for each in result.results] == [300_000] * 2
    assert len(result.stdout) == 600_000


def test_one_stderr_for_all_may_be_whatever_a_cmd_takes(tmp_path: Path) -> None:
    target = tmp_path / "err"
    Pipeline(*talkers(), stderr=target).run()
    assert target.read_bytes() == b"a\nb\nc\n"
    writer = io.StringIO()
    Pipeline(*talkers(), stderr=writer).run()
    assert writer.getvalue() == "a\nb\nc\n"
    with open(tmp_path / "file", "w+b") as file:
        Pipeline(*talkers(), stderr=file).run()
        file.seek(0)
        assert file.read() == b"a\nb\nc\n"
    assert Pipeline(*talkers(), stderr=DEVNULL).run().stderr is None
    last = Pipeline(sh("echo one; echo two >&2"), sh("sort; echo three >&2"), stderr=STDOUT)
    assert last.output() == b"one\ntwo\nthree\n"


def test_stderr_goes_into_the_pipe() -> None:
    assert (sh("echo lost >&2", stderr=STDOUT) | Cmd("cat")).output() == b"lost\n"


def test_text_is_each_stages_own(children: Children) -> None:
    first = sh("printf '\\344' >&2; printf '\\303\\244'", stderr=PIPE, encoding="latin-1")
    result = (first | Cmd(children("echo"), stdout=PIPE, encoding="utf-8")).run()
    assert result.results[0].stderr == "ä"
    assert result.stdout == "ä"
    merged = Pipeline(sh("echo é >&2"), Cmd("cat", encoding="utf-8"), stderr=PIPE)
    assert merged.run().stderr == "é\n"


# ---- what cannot be started ----------------------------------------------------------------------


def broken_script(directory: Path) -> str:
    """Found on the way to exec only: its interpreter is missing."""
    path = directory / "broken"
    path.write_text(f"#!{MISSING}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_stage_that_cannot_start_ends_the_others(
    engine: str, place: int, children: Children, tmp_path: Path
) -> None:
    """A91, A92: the first, a middle or the last fails: the others are reaped, one error."""
    block = children("block")
    read, write = os.pipe()
    # The others wait for the end of a pipe that we hold: they have to be killed.
    cmds = [Cmd(block, "3", extra_files=[read], stdout=None, engine=engine) for _ in range(4)]
    cmds[place].args = [broken_script(tmp_path)]
    pipeline = Pipeline(*cmds)
    before = children_of_ours()
    with pytest.raises(spawnkit.SpawnError, match=rf"stage {place + 1} of 4: .*broken") as caught:
        pipeline.run()
    os.close(read)
    os.close(write)
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.stage in ("exec", "posix_spawn")
    assert children_of_ours() == before
    assert pipeline.processes == ()
    with pytest.raises(RuntimeError, match="its start failed"):
        pipeline.wait()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_programs_are_looked_for_before_anything_is_opened(place: int, tmp_path: Path) -> None:
    """A91, A92: nothing is started and no file emptied when one name is not on PATH."""
    target, ran = tmp_path / "out", tmp_path / "ran"
    target.write_text("precious")
    cmds = [Cmd("touch", ran), Cmd("touch", ran), Cmd("touch", ran, stdout=target)]
    cmds[place].args = ["no-such-program"]
    with pytest.raises(FileNotFoundError, match=f"stage {place + 1} of 3: program 'no-such"):
        Pipeline(*cmds, stderr=tmp_path / "err").run()
    assert target.read_text() == "precious"
    assert os.listdir(tmp_path) == ["out"]


def test_a_program_that_stays_busy_is_an_error(
    engine: str, children: Children, tmp_path: Path
) -> None:
    program = tmp_path / "busy"
    program.write_bytes(Path(children("echo")).read_bytes())
    program.chmod(0o755)
    for place in range(3):
        cmds = [Cmd(children("echo"), engine=engine) for _ in range(3)]
        cmds[place].args = [program]
        cmds[0].stdin = b"in"
        with open(program, "ab"), pytest.raises(OSError, match=r"stage \d of 3: .*busy"):
            Pipeline(*cmds).run()
        cmds = [cmd.clone() for cmd in cmds]
        assert Pipeline(*cmds).output() == b"in"


def _is_busy_for_a_moment(program: str, echo: str, place: int, engine: str) -> Any:
    """The program is open for writing when it is first tried, and not when it is tried again."""
    import os
    import time

    import spawnkit
    from spawnkit import children

    file = [os.open(program, os.O_WRONLY)]
    sleep = time.sleep

    def close_and_sleep(seconds: float) -> None:
        if file:
            os.close(file.pop())
        sleep(seconds)

    children.time.sleep = close_and_sleep  # type: ignore[attr-defined]
    cmds = [spawnkit.Cmd(echo, engine=engine) for _ in range(3)]
    cmds[place].args = [program]
    cmds[0].stdin = b"in"
    cmds[2].stdout = spawnkit.PIPE
    pipeline = spawnkit.Pipeline(*cmds, stderr=spawnkit.PIPE)
    result = pipeline.run()
    children.time.sleep = sleep  # type: ignore[attr-defined]
    return [result.stdout.decode(), file]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_program_that_was_busy_is_started_again(
    engine: str, place: int, children: Children, tmp_path: Path, isolate: Isolate
) -> None:
    program = tmp_path / "busy"
    program.write_bytes(Path(children("echo")).read_bytes())
    program.chmod(0o755)
    assert isolate(_is_busy_for_a_moment, str(program), children("echo"), place, engine) == [
        "in",
        [],
    ]


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (list, ValueError, "without stages"),
        (lambda: [Cmd("true"), "true"], TypeError, "stage 2 of 2: a Cmd wanted"),
        (lambda: [Cmd("true", stdout=PIPE), Cmd("true")], ValueError, "stage 1 of 2: stdout: set"),
        (lambda: [Cmd("true"), Cmd("true", stdin=b"")], ValueError, "stage 2 of 2: stdin: set"),
        (lambda: [Cmd("true", timeout=1), Cmd("true")], ValueError, "stage 1 of 2: timeout: for"),
        (lambda: [Cmd("a"), Cmd("b", wait_delay=0)], ValueError, "stage 2 of 2: wait_delay: for"),
        (
            lambda: [Cmd("a"), Cmd("b", cancel=spawnkit.CancelToken())],
            ValueError,
            "stage 2 of 2: cancel: for",
        ),
        (
            lambda: [Cmd("a"), Cmd("b", attr=spawnkit.SysProcAttr(setsid=True))],
            ValueError,
            "stage 2 of 2: attr: setsid",
        ),
        (
            lambda: [Cmd("a", attr=spawnkit.SysProcAttr(setpgid=True)), Cmd("b")],
            ValueError,
            "stage 1 of 2: attr: setpgid",
        ),
        (
            lambda: [Cmd("true"), Cmd("true", attr=1)],
            TypeError,
            "stage 2 of 2: attr: a SysProcAttr",
        ),
        (lambda: [Cmd("true"), Cmd("a\0b")], ValueError, "stage 2 of 2: args"),
        (lambda: [Cmd("true"), Cmd()], ValueError, "stage 2 of 2: args"),
        (lambda: [Cmd("true"), Cmd("true", encoding="?")], LookupError, "stage 2 of 2: "),
        (lambda: [Cmd("true"), Cmd("true", env={"=": ""})], ValueError, "stage 2 of 2: env"),
        (lambda: [Cmd("a", fd_map={1: 5}), Cmd("b")], ValueError, "stage 1 of 2: fd_map: 1 is"),
        (lambda: [Cmd("a", extra_files=["x"]), Cmd("b")], TypeError, "stage 1 of 2: extra_files"),
    ],
)
def test_bad_input_names_the_stage(make: Any, error: type[Exception], message: str) -> None:
    pipeline = Pipeline(*make())
    with pytest.raises(error, match=message):
        pipeline.run()
    assert pipeline.result is None


def test_a_number_that_is_not_open_does_not_come_to_mean_a_pipe_of_ours() -> None:
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    for options in ({"fd_map": {5: free}}, {"stdout": free}, {"stderr": free}):
        pipeline = Cmd("/bin/true") | Cmd("/bin/true", **options)  # type: ignore[arg-type]
        with pytest.raises(spawnkit.SpawnError, match=rf"stage 2 of 2: fd {free} → .: .*not open"):
            pipeline.run()


def test_options_of_the_whole_are_checked() -> None:
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"pipefail": 1}, TypeError),
        ({"timeout": "1"}, TypeError),
        ({"wait_delay": float("nan")}, ValueError),
        ({"cancel": 1}, TypeError),
        ({"stderr": b"path"}, TypeError),
    ]
    for options, error in wrong:
        with pytest.raises(error, match=next(iter(options))):
            Pipeline(Cmd("/bin/true"), Cmd("/bin/true"), **options).run()


def test_a_cmd_is_in_one_pipeline_once() -> None:
    cmd = Cmd("/bin/true")
    with pytest.raises(ValueError, match="stage 3 of 3: the same Cmd as stage 1"):
        (cmd | Cmd("/bin/true") | cmd).run()
    (cmd | Cmd("/bin/true")).run()
    with pytest.raises(RuntimeError, match="stage 1 of 1: already started"):
        Pipeline(cmd).run()


def test_an_end_that_is_set_cannot_be_captured() -> None:
    pipeline = Cmd("/bin/true") | Cmd("/bin/true", stdout=DEVNULL)
    with pytest.raises(ValueError, match="stage 2 of 2: stdout: already set"):
        pipeline.output()


def test_pipelines_are_put_together() -> None:
    a, b, c, d = (Cmd(name) for name in "abcd")
    assert (a | b | c).cmds == (a | (b | c)).cmds == (a, b, c)
    both = Pipeline(a, b, timeout=1) | Pipeline(c, d, pipefail=False)
    assert both.cmds == (a, b, c, d)
    assert (both.timeout, both.pipefail, both.stderr) == (1, False, None)
    with pytest.raises(ValueError, match="timeout: set in both"):
        both | Pipeline(a, timeout=1)
    with pytest.raises(TypeError, match="unsupported operand"):
        a | "sort"  # type: ignore[operator]
    with pytest.raises(TypeError, match="unsupported operand"):
        both | 1  # type: ignore[operator]


def test_it_shows_what_it_is() -> None:
    pipeline = Pipeline(Cmd("echo", "a b"), Cmd("/bin/cat"), timeout=2)
    assert repr(pipeline) == "Pipeline(Cmd('echo', 'a b'), Cmd('/bin/cat'), timeout=2)"
    assert str(pipeline).endswith("echo 'a b' | /bin/cat")
    assert pipeline.name == "echo | /bin/cat"
    result = (Cmd("/bin/true") | Cmd("echo", stdout=PIPE)).run()
    assert repr(result).startswith("PipelineResult(<ProcessState pid ")
    assert result == result
    assert len({result, result}) == 1
    assert result != (Cmd("/bin/true") | Cmd("echo")).run(check=False)


# ---- its end -------------------------------------------------------------------------------------

STUBBORN = "trap '' TERM INT HUP; echo %s; while :; do sleep 1000; done"


@pytest.mark.parametrize("started", [False, True])
def test_a_timeout_kills_the_whole_group(started: bool, tmp_path: Path) -> None:
    """Stages that ignore SIGTERM, and the programs that they wait for; with what was captured."""
    read, write = os.pipe()
    alive = {"extra_files": [write]}
    cmds = [sh(STUBBORN % name, **alive) for name in ("a", "b")]
    cmds[1].stdout = PIPE
    pipeline = Pipeline(*cmds, timeout=0.5, stderr=PIPE)
    if started:
        pipeline.start()
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        (pipeline.wait if started else pipeline.run)()
    assert caught.value.stdout == b"b\n"
    assert caught.value.stderr == b""
    assert [state.signal for state in caught.value.states if state] == [signal.SIGKILL] * 2
    assert caught.value.states == pipeline.states
    assert caught.value.name == "/bin/sh | /bin/sh"
    os.close(write)
    assert os.read(read, 1) == b"", "a sleep of theirs is still there"
    os.close(read)


def test_a_wait_with_a_timeout_leaves_it_alone(children: Children) -> None:
    first = Cmd(children("echo"))
    into = first.stdin_pipe()
    pipeline = first | Cmd(children("echo"), stdout=PIPE)
    pipeline.start()
    with pytest.raises(spawnkit.TimeoutExpired):
        pipeline.wait(timeout=0)
    into.write(b"x")  # type: ignore[arg-type]
    into.close()
    assert pipeline.wait().stdout == b"x"


def test_a_token_ends_it(children: Children) -> None:
    token = spawnkit.CancelToken()
    first = Cmd(children("block"))
    into = first.stdin_pipe()
    pipeline = Pipeline(first, Cmd(children("echo"), stdout=PIPE), cancel=token)
    pipeline.start()
    token.cancel()
    with pytest.raises(spawnkit.Cancelled) as caught:
        pipeline.wait()
    into.close()
    assert [state.signal for state in caught.value.states if state] == [signal.SIGKILL] * 2
    with pytest.raises(spawnkit.Cancelled):
        Pipeline(Cmd("/bin/true"), Cmd("/bin/true"), cancel=token).run()


def test_an_action_is_called_with_the_pipeline() -> None:
    seen = []

    def action(pipeline: Pipeline) -> None:
        seen.append(pipeline)
        for process in pipeline.processes:
            process.terminate()

    pipeline = Pipeline(
        Cmd("sleep", "1000"), Cmd("sleep", "1000"), timeout=0.1, cancel=action, wait_delay=60
    )
    with pytest.raises(spawnkit.TimeoutExpired) as caught:
        pipeline.run()
    assert seen == [pipeline]
    assert [state.signal for state in caught.value.states if state] == [signal.SIGTERM] * 2
    seen.clear()


def test_a_descendant_that_holds_the_output_is_cut_off() -> None:
    read, write = os.pipe()
    # In a session of its own, so that nothing of ours ends it but the pipe.
    holder = "setsid sh -c 'read x <&3' & echo done"
    pipeline = Pipeline(
        Cmd("/bin/true"), sh(holder, stdout=PIPE, extra_files=[read]), wait_delay=0.1
    )
    with pytest.raises(spawnkit.WaitDelayError) as caught:
        pipeline.run()
    os.close(read)
    os.close(write)
    assert caught.value.stdout == b"done\n"
    assert [state.success for state in caught.value.states if state] == [True, True]


class NoRoom:
    def write(self, data: bytes) -> int:
        raise OSError("no room")


def test_the_error_of_a_writer_is_raised(children: Children) -> None:
    with pytest.raises(OSError, match="no room"):
        (sh("echo out") | Cmd(children("echo"), stdout=NoRoom())).run()


def test_one_that_is_dropped_warns_and_is_reaped(children: Children) -> None:
    first = Cmd(children("block"))
    into = first.stdin_pipe()
    pipeline = first | Cmd(children("echo"), stdout=DEVNULL)
    pipeline.start()
    pids = [str(process.pid) for process in pipeline.processes]
    with pytest.warns(ResourceWarning) as caught:
        del pipeline, first
    assert len([one for one in caught if "was dropped" in str(one.message)]) == 2
    into.close()
    deadline = time.monotonic() + 60
    while set(pids) & set(children_of_ours()) and time.monotonic() < deadline:
        spawnkit.run(["/bin/true"])
    assert not set(pids) & set(children_of_ours())


def test_a_process_of_it_may_be_waited_for_and_released(children: Children) -> None:
    pipeline = Cmd("/bin/true") | Cmd(children("exit"), "3")
    pipeline.start()
    assert pipeline.processes[1].wait().exit_code == 3
    with pytest.raises(PipelineError, match="exit status 3"):
        pipeline.wait()
    pipeline = Cmd("/bin/true") | Cmd("/bin/true")
    pipeline.start()
    pipeline.processes[0].release()
    with pytest.raises(spawnkit.ProcessDone):
        pipeline.wait()


def _under_ignored_sigchld(program: str, engine: str, rounds: int) -> Any:
    import signal

    import spawnkit

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    outcomes = set()
    for _ in range(rounds):
        cmds = [spawnkit.Cmd(program, code, engine=engine) for code in "003"]
        try:
            result = spawnkit.Pipeline(*cmds).run(check=False)
            outcomes.add(str([state.exit_code for state in result.states]))
        except spawnkit.StatusLost:
            outcomes.add("lost")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return sorted(outcomes)


def test_with_sigchld_ignored_a_status_is_right_or_lost(
    engine: str, isolate: Isolate, children: Children
) -> None:
    """The kernel reaps the leader as it ends, maybe before the others could join its group."""
    outcomes = isolate(_under_ignored_sigchld, children("exit"), engine, 20)
    assert set(outcomes) <= {"[0, 0, 3]", "lost"}


def _joins_nobody(program: str, engine: str) -> Any:
    """The leader ends and is reaped by the kernel before the second stage is made."""
    import os
    import signal
    import time

    import spawnkit
    from spawnkit import stages

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    spawn = stages.spawn
    made = []

    def spawn_late(*arguments: object) -> bool:
        while made and os.path.exists(f"/proc/{made[-1].pid}"):
            time.sleep(0.001)
        made.append(arguments[3])
        return spawn(*arguments)  # type: ignore[arg-type]

    stages.spawn = spawn_late  # type: ignore[attr-defined, assignment]
    pipeline = spawnkit.Pipeline(*(spawnkit.Cmd(program, "0", engine=engine) for _ in range(3)))
    try:
        pipeline.run()
    except spawnkit.StatusLost:
        return [True, "lost"]
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return [all(state.success for state in pipeline.states if state), len(pipeline.states)]


def test_stages_whose_group_is_gone_make_another(
    engine: str, isolate: Isolate, children: Children
) -> None:
    assert isolate(_joins_nobody, children("exit"), engine)[0] is True


def _without_pidfds(program: str) -> Any:
    import spawnkit

    cmds = [spawnkit.Cmd(program) for _ in range(3)]
    cmds[0].stdin = b"in"
    cmds[2].stdout = spawnkit.PIPE
    out = spawnkit.Pipeline(*cmds).run().stdout.decode()
    plain = spawnkit.Pipeline(*(spawnkit.Cmd("/bin/true") for _ in range(3))).run().success
    try:
        spawnkit.Pipeline(*(spawnkit.Cmd("sleep", "1000") for _ in range(3)), timeout=0.1).run()
    except spawnkit.TimeoutExpired as error:
        return [out, plain, [state.signal for state in error.states if state]]
    return None


def test_without_pidfds_ends_are_asked_for(isolate: Isolate, children: Children) -> None:
    deny = "clone3:ENOSYS,clone[0&0x1000]:EINVAL,pidfd_open:ENOSYS"
    outcome = isolate(_without_pidfds, children("echo"), deny=deny)
    assert outcome == ["in", True, [9, 9, 9]]


def _after_a_fork(program: str) -> Any:
    import os

    import spawnkit

    first = spawnkit.Cmd(program)
    into = first.stdin_pipe()
    pipeline = first | spawnkit.Cmd(program, stdout=spawnkit.DEVNULL)
    pipeline.start()
    pid = os.fork()
    if pid == 0:
        try:
            pipeline.wait()
        except RuntimeError:
            os._exit(7)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    into.close()
    return [code, pipeline.wait().success]


def test_it_belongs_to_the_process_that_started_it(isolate: Isolate, children: Children) -> None:
    assert isolate(_after_a_fork, children("echo")) == [7, True]


def test_the_pipes_between_stages_are_wide() -> None:
    """Or as the user's share of all pipes allows."""
    script = f"import fcntl; print(fcntl.fcntl(0, {F_GETPIPE_SZ}))"
    size = int((Cmd("/bin/true") | Cmd(sys.executable, "-c", script)).output())
    assert size in (128 << 10, 64 << 10, 8 << 10, 4 << 10)


def _with_few_descriptors(program: str) -> Any:
    import resource

    import spawnkit

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (115, hard))
    cmds = [spawnkit.Cmd(program) for _ in range(30)]
    cmds[0].stdin = b"in"
    out = spawnkit.Pipeline(*cmds).output()
    cmds = [cmd.clone() for cmd in cmds]
    cmds[-1].stdout = spawnkit.DEVNULL
    plain = spawnkit.Pipeline(*cmds).run().success
    many = spawnkit.Pipeline(*(spawnkit.Cmd(program) for _ in range(100)))
    try:
        many.run()
    except OSError as error:
        said = str(error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return [out.decode(), plain, said]


def test_there_may_be_more_streams_and_processes_than_descriptors(
    isolate: Isolate, children: Children
) -> None:
    """As many are polled as are open: ppoll(2) takes no more than RLIMIT_NOFILE."""
    out, plain, said = isolate(_with_few_descriptors, children("echo"))
    assert (out, plain) == ("in", True)
    assert said == "pipe: Too many open files"
