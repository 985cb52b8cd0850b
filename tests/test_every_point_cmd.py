"""Ctrl-C at each instruction of our Python code, for the calls of a Cmd and for its streams.

As test_every_point.py does it for run and start_process. What an interrupt may leave is written
down here: nothing, for a call that ends the command; for `start` at its very end and for `wait`,
the command itself, which goes on and can be ended through its handle.
"""

from __future__ import annotations

from typing import Any

import pytest

from support.children import Children
from support.isolated import Isolate

# Calls after which nothing may be left, however they came out.
WHOLE = [
    "run with reader and writer",
    "run with bytes and PIPE",
    "run with paths",
    "run with timeout and token",
    "run with extra files",
    "output",
    "combined_output",
    "output function",
    "run function with writer",
    "run function with callables",
    "text",
    "memory",
    "ordered",
    "pipeline",
    "pipeline with reader and writer",
    "pipeline output",
]
# Calls that may leave a command that is running, with its handle in cmd.process.
STARTING = ["start", "start with PIPE", "start with pumps", "start with pipes", "start with stages"]
WAITING = ["wait", "wait with PIPE", "wait with pumps", "wait with pipes", "wait with stages"]


def _interrupts_cmd_at_each_instruction(
    program: str, talk: str, directory: str, how: str, endless: bool
) -> list[Any]:
    """One call per instruction; how many were interrupted, and what was found wrong."""
    import contextlib
    import gc
    import io
    import os
    import signal
    import sys
    import time

    import spawnkit
    from support.proc import PROC

    home = os.path.dirname(spawnkit.__file__)
    attr = spawnkit.SysProcAttr(setsid=True)
    read, write = os.pipe()
    source = os.path.join(directory, "in")
    target = os.path.join(directory, "out")
    with open(source, "wb") as file:
        file.write(b"in")
    counted = 0
    strike_at = 0
    place = ""  # where the interrupt struck
    hung: list[str] = []
    cmds: list[Any] = []
    pipes: list[Any] = []

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal counted, place
        if not frame.f_code.co_filename.startswith(home):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            counted += 1
            if counted == strike_at:
                place = f"{frame.f_code.co_name}, line {frame.f_lineno}"
                signal.raise_signal(signal.SIGINT)
        return trace

    class RescueError(Exception):
        pass

    def rescue(*_: object) -> None:
        nonlocal strike_at
        strike_at = 0  # not also in the cleaning up that follows
        raise RescueError

    class Reader:
        def __init__(self) -> None:
            self.left = 3

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            return b"x" * 10 if self.left > 0 else b""

    class Writer:
        def write(self, data: Any) -> int:
            return len(data)

    # An endless program holds its streams until our end of the pipe is closed, and its input is
    # read by nobody; the other ends when its input does.
    argv = [program, str(read)] if endless else [talk]
    extra: dict[str, Any] = {"fd_map": {read: read}} if endless else {}
    PIPE = spawnkit.PIPE  # noqa: N806

    def cmd(**options: Any) -> Any:
        made = spawnkit.Cmd(*argv, attr=attr, **{**extra, **options})
        cmds.append(made)
        return made

    def stages(first: dict[str, Any], last: dict[str, Any], **options: Any) -> Any:
        # The endless one in the middle: it reads nothing, and nobody waits for it.
        ends = [spawnkit.Cmd(talk, **first), spawnkit.Cmd(talk, **last)]
        made = spawnkit.Pipeline(ends[0], spawnkit.Cmd(*argv, **extra), ends[1], **options)
        cmds.append(made)
        return made

    def processes(made: Any) -> list[Any]:
        if isinstance(made, spawnkit.Pipeline):
            return list(made.processes)
        return [] if made.process is None else [made.process]

    def pumps() -> dict[str, Any]:
        writer = Writer()
        return {"stdin": Reader(), "stdout": writer, "stderr": writer}

    def gathers() -> dict[str, Any]:
        return {"stdin": b"in", "stdout": PIPE, "stderr": PIPE}

    def piped(made: Any) -> Any:
        pipes.extend([made.stdin_pipe(), made.stdout_pipe()])
        return made

    def prepared() -> Any:
        """What is done without being watched: a command as the call under test finds it."""
        kind = how.partition(" with ")[2]
        if kind == "PIPE":
            return cmd(**gathers())
        if kind == "pumps":
            return cmd(**pumps())
        if kind == "pipes":
            return piped(cmd(stderr=spawnkit.DEVNULL))
        if kind == "stages":
            return stages({"stdin": b"in"}, {"stdout": PIPE}, stderr=PIPE)
        if how in ("start", "wait"):
            null = {"stdin": spawnkit.DEVNULL, "stdout": spawnkit.DEVNULL}
            return cmd(**null, stderr=spawnkit.DEVNULL)
        return None

    def call(ready: Any) -> None:
        if how.startswith("start"):
            ready.start()
        elif how.startswith("wait"):
            ready.wait()
        elif how == "run with reader and writer":
            cmd(**pumps()).run()
        elif how == "run with bytes and PIPE":
            cmd(**gathers()).run()
        elif how == "run with paths":
            cmd(stdin=source, stdout=target, stderr=target).run()
        elif how == "run with timeout and token":
            cmd(**gathers(), timeout=1000, cancel=spawnkit.CancelToken(), wait_delay=1000).run()
        elif how == "run with extra files":
            cmd(**gathers(), extra_files=[None] * (read - 3)).run()
        elif how == "output":
            cmd(stdin=b"in").output()
        elif how == "combined_output":
            cmd(stdin=Reader()).combined_output()
        elif how == "output function":
            spawnkit.output(argv, input=b"in", attr=attr, **extra)
        elif how == "run function with writer":
            spawnkit.run(argv, **pumps(), attr=attr, **extra)
        elif how == "run function with callables":
            stdout = spawnkit.tee(PIPE, target, len)
            spawnkit.run(argv, stdin=iter([b"in"]), stdout=stdout, stderr=len, attr=attr)
        elif how in ("memory", "ordered"):
            kind = {"memory": spawnkit.MEMORY, "ordered": spawnkit.ORDERED}[how]
            cmd(stdin=b"in", stdout=kind, stderr=kind).run()
        elif how == "pipeline":
            null = {"stdin": spawnkit.DEVNULL}, {"stdout": spawnkit.DEVNULL}
            stages(*null, stderr=spawnkit.DEVNULL).run()
        elif how == "pipeline with reader and writer":
            writer = Writer()
            stages({"stdin": Reader(), "stderr": PIPE}, {"stdout": writer}, stderr=writer).run()
        elif how == "pipeline output":
            stages({"stdin": b"in"}, {}, timeout=1000, cancel=spawnkit.CancelToken()).output()
        elif how == "text":
            cmd(stdin=io.StringIO("in"), stdout=io.StringIO(), stderr=PIPE, encoding="utf-8").run()

    def children() -> list[str]:
        with open(f"{PROC}/self/task/{os.getpid()}/children") as file:
            return file.read().split()

    def finish() -> None:
        """What the caller does with a command that an interrupt of start or wait left."""
        if not how.startswith(("start", "wait")):
            return
        for pipe in pipes:
            with contextlib.suppress(OSError, ValueError):
                pipe.close()
        for made in cmds:
            running = [process for process in processes(made) if process.state is None]
            for process in running:
                with contextlib.suppress(spawnkit.ProcessDone):
                    process.kill()
            if running:
                with contextlib.suppress(spawnkit.Error):
                    made.wait(check=False)

    def strike(at: int) -> str:
        """What comes of a call that is interrupted at this instruction."""
        nonlocal counted, strike_at
        counted, strike_at = 0, 0
        ready = prepared()
        if how.startswith("wait"):
            ready.start()
            if how == "wait with pipes":
                pipes[-2].close()
        signal.setitimer(signal.ITIMER_REAL, 2.0)
        sys._getframe().f_trace_opcodes = True  # 3.12 looks at it only in settrace
        strike_at = at
        sys.settrace(trace)
        try:
            call(ready)
            return "ended"
        except KeyboardInterrupt:
            return "interrupted"
        except RescueError:
            return "rescued"
        except BaseException as error:
            return repr(error)
        finally:
            sys.settrace(None)
            signal.setitimer(signal.ITIMER_REAL, 5.0)
            try:
                finish()
            except RescueError:
                hung.append(f"hangs after {at}: {place}")
            signal.setitimer(signal.ITIMER_REAL, 0)
            cmds.clear()
            pipes.clear()

    def descriptors() -> list[str]:
        return sorted(os.listdir(f"{PROC}/self/fd"))

    def leftovers() -> list[list[str]]:
        """Children, descriptors and threads, after those that are on their way out have gone."""
        end = time.monotonic() + 5
        while True:
            threads = os.listdir(f"{PROC}/self/task")[1:]
            left = [children(), sorted(set(descriptors()) - set(before)), threads]
            if not any(left) or time.monotonic() > end:
                return left
            gc.collect()  # the frames of a traced call hold on to what they had
            os.sched_yield()

    signal.signal(signal.SIGALRM, rescue)
    spawnkit.set_spin(
        0
    )  # a wait that was awake comes round once more, or not: each call is the same
    first = strike(0) if not endless else None  # everything is imported and warmed up
    before = descriptors()
    interrupted, last = 0, "none"
    wrong: list[Any] = []
    for at in range(1, 100_000):
        begin = time.monotonic()
        last = strike(at)
        took = time.monotonic() - begin
        left = leftovers()
        if any(left):
            wrong.append([at, place, *left])
            for pid in children():
                os.kill(int(pid), signal.SIGKILL)
                os.waitid(os.P_PID, int(pid), os.WEXITED | os.WNOWAIT)
            spawnkit.run(["/bin/true"])
            before = descriptors()
        # Past its last instruction, or in the loop that waits: that one comes round for ever.
        if last != "interrupted" or took > (0.5 if endless else 1.9) or len(wrong + hung) > 3:
            break
        interrupted += 1
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.close(read)
    os.close(write)
    return [first, interrupted, last, wrong + hung]


@pytest.mark.parametrize("how", WHOLE)
def test_an_interrupt_at_any_instruction_of_a_whole_call_leaves_nothing(
    how: str, isolate: Isolate, children: Children, tmp_path: Any
) -> None:
    """A88: KeyboardInterrupt at any point: child reaped, pipes closed, threads ended."""
    first, interrupted, last, wrong = isolate(
        _interrupts_cmd_at_each_instruction,
        children("block"),
        children("talk"),
        str(tmp_path),
        how,
        False,
    )
    assert not wrong
    assert (first, last) == ("ended", "ended")
    assert interrupted > 100


@pytest.mark.parametrize("how", STARTING + WAITING)
def test_an_interrupt_at_any_instruction_leaves_at_most_the_command(
    how: str, isolate: Isolate, children: Children, tmp_path: Any
) -> None:
    """A88: interrupted in start or wait: reaped, or left in cmd.process, as documented."""
    first, interrupted, last, wrong = isolate(
        _interrupts_cmd_at_each_instruction,
        children("block"),
        children("talk"),
        str(tmp_path),
        how,
        False,
    )
    assert not wrong
    assert (first, last) == ("ended", "ended")
    assert interrupted > 20


@pytest.mark.parametrize(
    "how",
    ["run with reader and writer", "run with bytes and PIPE", "output", "pipeline output"],
)
def test_an_interrupt_at_any_instruction_ends_an_endless_command(
    how: str, isolate: Isolate, children: Children, tmp_path: Any
) -> None:
    """A88: a program in its own session that would go on for ever: up to where the call sleeps."""
    _, interrupted, last, wrong = isolate(
        _interrupts_cmd_at_each_instruction,
        children("block"),
        children("talk"),
        str(tmp_path),
        how,
        True,
    )
    assert not wrong
    assert last in ("interrupted", "rescued")
    assert interrupted > 100


def _interrupts_cmd_at_every_point(program: str, engine: str, how: str, rounds: int) -> list[str]:
    """One endless command per round, interrupted a little later each time; what came of them."""
    import gc
    import os
    import signal

    import spawnkit

    class Interrupted(KeyboardInterrupt):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    class Endless:
        def read(self, size: int = -1) -> bytes:
            return b"x" * size

        def write(self, data: bytes) -> int:
            return len(data)

    signal.signal(signal.SIGALRM, interrupt)
    read, write = os.pipe()
    options = {
        "pumps": {"stdin": Endless(), "stdout": Endless(), "stderr": Endless()},
        "PIPE": {"stdin": b"x" * 200_000, "stdout": spawnkit.PIPE, "stderr": spawnkit.PIPE},
        "started": {"stdin": b"x" * 200_000, "stdout": spawnkit.PIPE, "timeout": 1000},
        "output": {"stdin": b"x" * 200_000},
    }[how]
    attr = spawnkit.SysProcAttr(setpgid=True)
    outcomes = set()
    # An interrupt inside a destructor is lost, as everywhere in Python, and so is one inside the
    # import machinery: commands are kept, and what is imported when first used is imported before.
    kept = []
    gc.disable()
    for warm in "run", "start":
        cmd = spawnkit.Cmd("/bin/true", **options)
        getattr(cmd, warm)()
        cmd.wait()
    for number in range(rounds):
        cmd = spawnkit.Cmd(program, "3", extra_files=[read], attr=attr, engine=engine, **options)
        kept.append(cmd)
        try:
            signal.setitimer(signal.ITIMER_REAL, 2e-6 + number * 3e-3 / rounds)
            try:
                if how == "started":
                    cmd.start()
                    cmd.wait()
                elif how == "output":
                    cmd.output()
                else:
                    cmd.run()
                outcomes.add("ended by itself")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            outcomes.add("interrupted")
        if how == "started" and cmd.process is not None:
            cmd.process.kill()
            cmd.wait(check=False)
    os.close(read)
    os.close(write)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return sorted(outcomes)


@pytest.mark.parametrize("how", ["pumps", "PIPE", "started", "output"])
def test_an_interrupt_between_any_two_instructions_ends_a_command(
    how: str, engine: str, isolate: Isolate, children: Children
) -> None:
    """A88: a signal at each point, also inside C, of an endless command in its own group."""
    rounds = 100 if engine == "fork" else 500  # a fork of an interpreter is slow
    assert isolate(_interrupts_cmd_at_every_point, children("block"), engine, how, rounds) == [
        "interrupted"
    ]
