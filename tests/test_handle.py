"""Process.handle: a pidfd that stays what it is, whoever waits meanwhile."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Iterator
from typing import Any

import pytest

import spawnkit
from spawnkit import ProcAttr, Process, ProcessDone
from support.children import Children
from support.isolated import Isolate
from support.proc import PROC


def pid_behind(pidfd: int) -> int:
    """Whose pidfd it is; -1 once the process was reaped."""
    for line in (PROC / f"self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise AssertionError(f"descriptor {pidfd} is no pidfd")


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def blocked(children: Children, engine: str) -> Iterator[Process]:
    read, write = os.pipe()
    process = spawnkit.start_process(
        children("block"), ["block"], ProcAttr(files=[read]), engine=engine
    )
    os.close(read)
    yield process
    os.close(write)


def test_it_is_a_pidfd_of_the_process_and_our_own(blocked: Process) -> None:
    with blocked.handle() as pidfd:
        assert pid_behind(pidfd) == blocked.pid
        assert pidfd != blocked.pidfd
        assert pidfd > 2
        assert not os.get_inheritable(pidfd)
        assert not select.select([pidfd], [], [], 0)[0]
    assert not is_open(pidfd)
    assert blocked.pidfd is not None
    blocked.kill()
    blocked.wait()


def test_a_wait_inside_the_block_does_not_close_it(blocked: Process) -> None:
    with blocked.handle() as pidfd:
        blocked.kill()
        blocked.wait()
        assert blocked.pidfd is None
        assert select.select([pidfd], [], [], 0)[0]
        assert pid_behind(pidfd) == -1
    assert not is_open(pidfd)


def test_an_exception_in_the_block_closes_it(blocked: Process) -> None:
    with pytest.raises(LookupError), blocked.handle() as pidfd:
        raise LookupError
    assert not is_open(pidfd)
    blocked.kill()
    blocked.wait()


def test_after_the_wait_the_process_is_done(engine: str) -> None:
    process = spawnkit.start_process("/bin/true", ["true"], engine=engine)
    handle = process.handle()
    process.wait()
    with pytest.raises(ProcessDone, match=str(process.pid)), handle:
        pass


def test_after_release_the_process_is_done(blocked: Process) -> None:
    blocked.kill()
    with blocked.handle() as pidfd:
        blocked.release()
        assert is_open(pidfd)
    with pytest.raises(ProcessDone, match="released"), blocked.handle():
        pass
    while has_children():
        spawnkit.run(["/bin/true"])  # reaps it, once it is dead


def has_children() -> bool:
    return bool((PROC / f"self/task/{os.getpid()}/children").read_text())


def test_one_object_serves_one_block_at_a_time(blocked: Process) -> None:
    handle = blocked.handle()
    with handle as pidfd:
        with pytest.raises(RuntimeError, match="in use"), handle:
            pass
        assert pid_behind(pidfd) == blocked.pid
    with handle as pidfd:
        assert pid_behind(pidfd) == blocked.pid
    blocked.kill()
    blocked.wait()


def test_a_handle_that_is_dropped_closes_it(blocked: Process) -> None:
    handle: Any = blocked.handle()
    pidfd = handle.__enter__()
    assert is_open(pidfd)
    del handle
    assert not is_open(pidfd)
    blocked.kill()
    blocked.wait()


def test_a_process_that_was_found_has_one_too(blocked: Process) -> None:
    with spawnkit.find_process(blocked.pid).handle() as pidfd:
        assert pid_behind(pidfd) == blocked.pid
    blocked.kill()
    blocked.wait()


def test_where_there_is_no_pidfd_it_says_so(isolate: Isolate) -> None:
    rules = "clone3:ENOSYS,clone[0&0x1000]:EINVAL,pidfd_open:ENOSYS"
    assert isolate(_error_of_a_handle, deny=rules) == ["OSError", errno.ENOSYS, True]


def _error_of_a_handle() -> list[Any]:
    import spawnkit

    process = spawnkit.start_process("/bin/true", ["true"])
    try:
        with process.handle():
            return []
    except OSError as error:
        return [type(error).__name__, error.errno, f"process {process.pid}" in str(error)]
    finally:
        process.wait()


def test_without_a_free_descriptor_it_says_so(isolate: Isolate) -> None:
    assert isolate(_error_at_the_limit) == errno.EMFILE


def _error_at_the_limit() -> int | None:
    import os
    import resource

    import spawnkit

    process = spawnkit.start_process("/bin/true", ["true"])
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0), limit[1]))
    try:
        with process.handle():
            return 0
    except OSError as error:
        return error.errno
    finally:
        os.close(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        process.wait()


def test_in_a_forked_process_it_cannot_be_had(blocked: Process) -> None:
    with blocked.handle() as pidfd:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                with blocked.handle():
                    os.write(write, b"no error")
            except RuntimeError:
                os.write(write, b"RuntimeError")
            finally:
                os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            assert pipe.read() == b"RuntimeError"
        os.waitpid(pid, 0)
        assert pid_behind(pidfd) == blocked.pid
    blocked.kill()
    blocked.wait()


def test_an_interrupt_at_any_instruction_closes_it(isolate: Isolate, children: Children) -> None:
    interrupted, wrong = isolate(_strikes_at_a_handle, children("block"))
    assert interrupted > 20
    assert not wrong


def _strikes_at_a_handle(block: str) -> list[Any]:
    import os

    import spawnkit
    from support.proc import PROC
    from support.strike import strike_everywhere

    read, write = os.pipe()
    process = spawnkit.start_process(block, ["block"], spawnkit.ProcAttr(files=[read]))
    before = os.listdir(f"{PROC}/self/fd")

    def call() -> None:
        with process.handle():
            pass

    outcome = strike_everywhere(call, lambda: set(os.listdir(f"{PROC}/self/fd")) - set(before))
    os.close(read)
    os.close(write)
    process.wait()
    return outcome


def test_the_pidfd_is_not_shown_after_the_wait_while_another_thread_is_at_it(
    children: Children,
) -> None:
    process = spawnkit.start_process(children("exit"), ["exit", "0"])
    number = process.pidfd
    assert number is not None
    # As another thread inside its own wait counts; the last one out closes it.
    process._child.users += 1
    assert process.wait().success
    assert is_open(number)
    assert process.pidfd is None
    process._child.users -= 1
    process.release()
    assert not is_open(number)
