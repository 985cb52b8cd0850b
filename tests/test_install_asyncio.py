"""asyncio's subprocesses after install: started by us, waited for by us, on the loop alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.isolated import Isolate

# Where asyncio has watchers that a program can choose.
CHOOSABLE = sys.version_info < (3, 14)

CLONE_PIDFD = "clone[0&0x1000]"


def _facts(late: bool) -> dict[str, object]:
    """One process: its code, its output, who started it, and the threads meanwhile."""
    import sys
    import threading

    import spawnkit
    from spawnkit.subprocess import stats

    if not late:
        import asyncio.unix_events
    spawnkit.install()
    loaded = "asyncio" in sys.modules
    import asyncio

    async def main() -> dict[str, object]:
        before = stats().ours
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", "read x; echo $x; exit 7", stdin=-1, stdout=-1
        )
        popen = process._transport.get_extra_info("subprocess")  # type: ignore[attr-defined]
        threads = threading.active_count()
        out, _ = await process.communicate(b"hello\n")
        shell = await asyncio.create_subprocess_shell("kill -9 $$")
        return {
            "loaded": loaded,
            "out": out.decode(),
            "code": process.returncode,
            "shell": await shell.wait(),
            "threads": threads,
            "ours": stats().ours - before,
            "rusage": popen.rusage.minflt > 0,
        }

    facts = asyncio.run(main())
    spawnkit.uninstall()
    return facts


@pytest.mark.parametrize("late", [False, True], ids=["loaded", "not-loaded"])
def test_a_process_is_ours_from_start_to_end(isolate: Isolate, late: bool) -> None:
    assert isolate(_facts, late) == {
        "loaded": not late,
        "out": "hello\n",
        "code": 7,
        "shell": -9,
        "threads": 1,
        "ours": 2,
        "rusage": True,
    }


# Seizes a process, and takes its end only when it is told to.
TRACER = """
import ctypes, os, sys
pid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(0x4206, pid, None, None) != 0:  # PTRACE_SEIZE
    sys.exit(os.strerror(ctypes.get_errno()))
print("seized", flush=True)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print("dead", flush=True)
sys.stdin.readline()
"""


def _traced(tracer: str) -> list[object]:
    import asyncio
    import sys

    import spawnkit

    async def main() -> list[object]:
        process = await asyncio.create_subprocess_exec("sh", "-c", "read x; exit 3", stdin=-1)
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", tracer, str(process.pid), stdin=-1, stdout=-1, stderr=-1
        )
        assert process.stdin is not None
        assert other.stdout is not None
        assert other.stderr is not None
        if await other.stdout.readline() != b"seized\n":
            process.kill()
            await process.wait()
            return [(await other.stderr.read()).decode()]
        process.stdin.close()
        said: list[object] = ["", (await other.stdout.readline()).decode()]
        for _ in range(3):  # the loop sees what its pidfd says
            await asyncio.sleep(0)
        said.append(process.returncode)
        await other.communicate(b"\n")
        return [*said, await process.wait()]

    with spawnkit.install():
        return asyncio.run(main())


def test_the_code_of_a_traced_process_comes_when_its_tracer_lets_it_go(isolate: Isolate) -> None:
    """For its pidfd it is over before that; for us, who may not wait for it yet, not."""
    problem, *said = isolate(_traced, TRACER, oracle=False)
    if problem:
        pytest.skip(f"nobody may be traced here: {problem}")
    assert said == ["dead\n", None, 3]


def _rough_company() -> list[object]:
    import asyncio
    import contextlib
    import gc
    import logging
    import os
    import signal
    import subprocess
    import threading
    from typing import Any

    import spawnkit

    said: list[object] = []
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign,assignment]
    logging.getLogger("asyncio").addHandler(handler)
    logging.getLogger("asyncio").propagate = False

    async def closed_before_its_end() -> None:
        # `close` polls: the status is taken before the watcher asks for it.
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        transport = process._transport  # type: ignore[attr-defined]
        os.kill(process.pid, signal.SIGTERM)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        transport.close()
        said.append(await process.wait())

    async def cancelled() -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.create_subprocess_exec("sleep", "1000"), timeout=0)
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        task = asyncio.ensure_future(process.wait())
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        said.append(process.returncode)
        process.terminate()
        said.append(await process.wait())

    async def waited_for_by_a_thread() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)
        popen = process._transport.get_extra_info("subprocess")  # type: ignore[attr-defined]
        thread = threading.Thread(target=popen.wait)
        thread.start()
        assert process.stdin is not None
        process.stdin.close()
        said.append(await process.wait())
        thread.join()

    async def reaped_by_a_stranger() -> None:
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        os.kill(process.pid, signal.SIGTERM)
        os.waitpid(process.pid, 0)
        said.append(await process.wait())

    async def many() -> None:
        processes = await asyncio.gather(
            *[asyncio.create_subprocess_exec("sh", "-c", f"exit {n}") for n in range(50)]
        )
        codes = await asyncio.gather(*[process.wait() for process in processes])
        said.append(codes == list(range(50)))

    async def left_running() -> Any:
        return await asyncio.create_subprocess_exec("sleep", "1000")

    spawnkit.install()
    for debug in False, True:
        for main in closed_before_its_end, cancelled, waited_for_by_a_thread, many:
            asyncio.run(main(), debug=debug)
    assert not [record for record in records if record.levelno > logging.WARNING]
    records.clear()
    asyncio.run(reaped_by_a_stranger())
    said.append([record.getMessage().split(" ", 4)[-1] for record in records])
    # A loop that is closed while a process runs, in another thread than the first.
    left: list[Any] = []

    def in_a_loop() -> None:
        loop = asyncio.new_event_loop()
        left.append(loop.run_until_complete(left_running())._transport)
        loop.close()

    thread = threading.Thread(target=in_a_loop)
    thread.start()
    thread.join()
    popen = left[0].get_extra_info("subprocess")
    popen.kill()
    said.append(popen.wait())
    left.pop().close()
    gc.collect()
    spawnkit.uninstall()
    return said


def test_every_status_is_right(isolate: Isolate) -> None:
    """Closed, cancelled, waited for by a thread, reaped by a stranger, left running; debug mode."""
    *said, strange, warned, left = isolate(_rough_company)
    assert said == [-15, None, -15, 0, True] * 2
    # The kernel may give the status back (Linux 6.15); else asyncio's number for "nobody knows".
    assert (strange, len(warned)) in ((-15, 0), (255, 1))
    assert left == -9


def _chosen(name: str) -> list[object]:
    import asyncio
    import warnings

    import spawnkit
    from spawnkit.subprocess import stats

    warnings.simplefilter("ignore", DeprecationWarning)
    spawnkit.install()
    handled = []

    class Own(asyncio.ThreadedChildWatcher):  # type: ignore[name-defined,misc]
        def add_child_handler(self, pid: int, callback: object, *args: object) -> None:
            handled.append("own")
            super().add_child_handler(pid, callback, *args)

    watcher = Own() if name == "own" else getattr(asyncio, name)()

    async def main() -> int:
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.get_event_loop_policy().set_child_watcher(watcher)
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        if name != "own":
            handled.append(process.pid in watcher._callbacks)
        process.terminate()
        return await process.wait()

    code = asyncio.run(main())
    inactive = ""
    if name == "SafeChildWatcher":
        watcher.attach_loop(None)

        async def again() -> None:
            await asyncio.create_subprocess_exec("true")

        before = stats().ours
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(again())
        except RuntimeError as error:
            inactive = str(error)[:40]
        loop.close()
        assert stats().ours == before
    watcher.close()
    asyncio.get_event_loop_policy().set_child_watcher(None)
    spawnkit.uninstall()
    return [code, *handled, inactive]


@pytest.mark.skipif(not CHOOSABLE, reason="this Python's asyncio has no watchers to choose from")
@pytest.mark.parametrize("name", ["SafeChildWatcher", "FastChildWatcher", "own"])
def test_a_watcher_that_was_chosen_stays(isolate: Isolate, name: str) -> None:
    inactive = "asyncio.get_child_watcher() is not activ" if name == "SafeChildWatcher" else ""
    said = isolate(_chosen, name, oracle=False)
    assert said == [-15, "own" if name == "own" else True, inactive]


def _without_pidfds() -> list[object]:
    import asyncio

    import spawnkit

    async def main() -> int:
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 4")
        return await process.wait()

    with spawnkit.install():
        return [asyncio.run(main()) for _ in range(2)]


def test_without_pidfds_the_standard_watcher_waits(isolate: Isolate) -> None:
    rules = f"clone3:ENOSYS,{CLONE_PIDFD}:EINVAL,pidfd_open:ENOSYS"
    assert isolate(_without_pidfds, deny=rules, oracle=False) == [4, 4]


def test_asyncios_own_tests() -> None:
    """CPython's tests of asyncio's subprocesses, with install in force."""
    pytest.importorskip("test.test_asyncio.test_subprocess", reason="CPython's tests are not here")
    code = (
        "import spawnkit, unittest; spawnkit.install(); "
        "unittest.main('test.test_asyncio.test_subprocess', argv=['x'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stderr.splitlines()[-1]
