"""What the drop-in does otherwise than the standard module, and what it does besides.

The list of differences is docs/subprocess.md; each of its lines has a test here.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import subprocess as standard
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import _core, subprocess
from spawnkit.dropin import planning
from support.children import Children, ends
from support.isolated import Isolate

pytestmark = pytest.mark.filterwarnings("error")


# ---- who starts what ----------------------------------------------------------------------------


def counted(call: Any) -> tuple[int, dict[str, int]]:
    before = subprocess.stats()
    call()
    after = subprocess.stats()
    more = {
        reason: count - before.standard.get(reason, 0)
        for reason, count in after.standard.items()
        if count != before.standard.get(reason, 0)
    }
    return after.ours - before.ours, more


def test_what_we_start_is_counted() -> None:
    assert counted(lambda: subprocess.run(["true"])) == (1, {})
    assert counted(lambda: subprocess.run(["true"], bufsize=0)) == (1, {})
    assert counted(lambda: subprocess.check_output(["echo"])) == (1, {})
    assert counted(lambda: subprocess.getoutput("echo")) == (1, {})
    assert counted(lambda: subprocess.Popen(["true"], close_fds=False).wait()) == (1, {})


@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("preexec_fn", {"preexec_fn": os.getpid}),
        ("user", {"user": os.getuid()}),
        ("group", {"group": os.getgid()}),
        ("extra_groups", {"extra_groups": os.getgroups()}),
        ("preexec_fn", {"preexec_fn": os.getpid, "group": os.getgid()}),
    ],
)
def test_what_we_cannot_do_is_left_to_the_standard_module(
    reason: str, options: dict[str, Any]
) -> None:
    """Waiting and signalling are ours all the same, with rusage."""
    if os.getuid():
        options = {name: value for name, value in options.items() if name == "preexec_fn"}
        reason = "preexec_fn"
    with subprocess.Popen(["cat"], stdin=-1, stdout=-1, stderr=-1, **options) as process:
        assert process.communicate(b"x", timeout=60) == (b"x", b"")
    assert process.returncode == 0
    assert process.rusage is not None
    assert counted(lambda: subprocess.call(["true"], **options)) == (0, {reason: 1})


@pytest.mark.parametrize("name", ["user", "group"])
def test_the_id_that_means_no_change_is_refused(name: str) -> None:
    """C1: the standard module runs the program with our own ids, as root perhaps."""
    with pytest.raises(ValueError, match=f"{name}: 4294967295 is no id"):
        subprocess.run(["true"], **{name: 2**32 - 1})
    with pytest.raises(ValueError, match="extra_groups: 4294967295 is no id"):
        subprocess.run(["true"], extra_groups=[0, 2**32 - 1])


def test_the_switch_for_vfork_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """`subprocess._USE_VFORK = False`: a documented way to go without."""
    monkeypatch.setattr(standard, "_USE_VFORK", False, raising=False)
    assert planning.engine() == _core.ENGINES["fork"]
    assert subprocess.check_output(["echo", "x"]) == b"x\n"


# ---- waiting ------------------------------------------------------------------------------------


def test_rusage_is_there_once_it_was_waited_for() -> None:
    process = subprocess.Popen(["true"])
    assert process.rusage is None
    assert process.wait() == 0
    assert isinstance(process.rusage, spawnkit.Rusage)
    assert process.rusage.maxrss > 0


def test_a_subclass_may_have_a_rusage_of_its_own() -> None:
    class Mine(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.rusage = None

    process = Mine(["true"])
    assert process.wait() == 0
    assert process.rusage is None


def test_waiting_with_a_timeout_does_not_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seconds: float) -> None:
        raise AssertionError(f"sleep({seconds})")

    with subprocess.Popen(["cat"], stdin=-1) as process:
        monkeypatch.setattr(time, "sleep", refuse)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.stdin.close()
        assert process.wait(60) == 0


def test_several_threads_may_wait() -> None:
    with subprocess.Popen(["cat"], stdin=-1) as process:
        codes: list[int] = []
        threads = [threading.Thread(target=lambda: codes.append(process.wait())) for _ in range(5)]
        for thread in threads:
            thread.start()
        process.stdin.close()
        for thread in threads:
            thread.join()
    assert codes == [0] * 5


def test_a_status_that_went_to_somebody_else_is_never_taken_for_success() -> None:
    """C4: the standard module says 0. Linux 6.15 and later still know it."""
    process = subprocess.Popen(["sh", "-c", "exit 3"])
    os.waitpid(process.pid, 0)
    if spawnkit.features()["pidfd_info"] == 1:
        assert process.wait() == 3
    else:
        with pytest.raises(spawnkit.StatusLost):
            process.wait()
        assert process.returncode is None
        process.kill()  # and nothing is signalled
        process.returncode = 255  # for the destructor


def _ignores_sigchld() -> list[object]:
    import signal

    import spawnkit
    from spawnkit import subprocess

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    outcomes: list[object] = []
    for call in (
        lambda: subprocess.run(["false"]).returncode,
        lambda: subprocess.call(["false"]),
        lambda: subprocess.Popen(["false"]).wait(60),
    ):
        try:
            outcomes.append(call())
        except spawnkit.StatusLost:
            outcomes.append("lost")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return outcomes


def test_a_failure_under_an_ignored_sigchld_is_no_success(isolate: Isolate) -> None:
    """C3: the standard module says 0."""
    assert set(isolate(_ignores_sigchld)) <= {1, "lost"}


def _forks(cat: str) -> list[object]:
    import os

    from spawnkit import subprocess

    process = subprocess.Popen([cat], stdin=-1)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = b""
        for call in process.poll, process.wait:
            try:
                said += b"%d " % call()
            except ChildProcessError as error:
                said += b"%d " % -error.errno
        process.kill()
        os.write(write, said)
        os._exit(0)
    os.waitpid(pid, 0)
    alive = process.poll()
    process.stdin.close()
    said = os.read(read, 100).decode()
    os.close(read)
    os.close(write)
    return [said, alive, process.wait()]


def test_a_forked_process_is_told_that_it_is_not_its_child(isolate: Isolate) -> None:
    """The standard module says 0 there too, while the child runs."""
    assert isolate(_forks, "cat") == [f"-{errno.ECHILD} -{errno.ECHILD} ", None, 0]


def _communicates_in_a_fork(directory: str) -> list[object]:
    import importlib
    import json
    import os
    import subprocess

    def said_by(process: subprocess.Popen[str], *arguments: object) -> list[object]:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            said: list[object] = []
            for _ in range(2):
                try:
                    said.append(process.communicate(*arguments))  # type: ignore[arg-type]
                except BaseException as error:
                    said.append(type(error).__name__)
                arguments = None, *arguments[1:]
            said.append(process.returncode)
            try:
                said.append(process.wait())
            except ChildProcessError:
                said.append("ChildProcessError")
            with os.fdopen(write, "w") as pipe:
                json.dump(said, pipe)
            os._exit(0)
        os.close(write)
        for file in process.stdin, process.stdout, process.stderr:
            if file is not None:
                file.close()
        with os.fdopen(read) as pipe:
            outcome: list[object] = json.load(pipe)
        os.waitpid(pid, 0)
        process.kill()
        process.wait()
        return outcome

    talk = ["sh", "-c", "echo a; echo b >&2; cat"]
    outcomes: list[object] = []
    for name in "subprocess", "spawnkit.subprocess":
        popen = importlib.import_module(name).Popen
        text = {"text": True, "cwd": directory}
        quiet = {**text, "stdin": -3, "stderr": -3}
        three = {**text, "stdin": -1, "stdout": -1, "stderr": -1}
        two = {**text, "stdin": -1, "stdout": -1, "stderr": -3}
        seen: list[object] = [
            said_by(popen(["printf", "a"], **text, stdout=-1, stdin=-3), None, 60),
            said_by(popen(talk, **three), "x" * 300_000),
            said_by(popen(["sleep", "60"], **quiet, stdout=-1), None, 0.05)[:1],
        ]
        outcomes.append(seen)
        # A second `communicate` without a timeout on one pipe, which is closed: ValueError.
        seen.append(said_by(popen(["printf", "a"], **quiet, stdout=-1)))
        begun = popen(["sh", "-c", "echo a; read x <go; cat"], **two)
        heard = None
        while not heard:
            try:
                begun.communicate("c\n" if heard is None else None, timeout=0.05)
            except subprocess.TimeoutExpired as error:
                heard = error.stdout or b""
        # The forked process is the last that has the child's stdin.
        pid = os.fork()
        if pid == 0:
            with open(os.path.join(directory, "go"), "w") as gate:
                gate.write("\n")
            os._exit(0)
        seen.append(said_by(begun)[0])
        os.waitpid(pid, 0)
    return outcomes


def test_what_a_forked_process_communicates_is_not_lost(isolate: Isolate, tmp_path: Path) -> None:
    """The standard module's output, without its status 0: that nobody can know there."""
    os.mkfifo(tmp_path / "go")
    theirs, ours = isolate(_communicates_in_a_fork, str(tmp_path))
    x = "x" * 300_000
    assert ours == [
        [["a", None], ["a", None], None, "ChildProcessError"],
        [["a\n" + x, "b\n"], ["a\n" + x, "b\n"], None, "ChildProcessError"],
        ["TimeoutExpired"],
        [["a", None], "ValueError", None, "ChildProcessError"],
        ["a\nc\n", None],
    ]
    assert theirs == [
        [outcome[0], outcome[1], 0, 0] if len(outcome) == 4 else outcome for outcome in ours
    ]


def _forks_beside_a_thread(directory: str) -> list[int]:
    import os
    import signal
    import threading

    from spawnkit import subprocess

    heard: list[int] = []
    command = ["sh", "-c", "read x <go; echo a"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, cwd=directory) as process:
        thread = threading.Thread(target=lambda: heard.append(len(process.communicate()[0])))
        thread.start()
        while not getattr(vars(process).get("_spawnkit_talk"), "depth", 0):
            pass
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            os._exit(100 + len(process.communicate()[0]))
        with open(os.path.join(directory, "go"), "w") as gate:
            gate.write("\n")
        heard.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        thread.join()
    return heard


def test_a_fork_beside_a_thread_that_communicates_does_not_hang(
    isolate: Isolate, tmp_path: Path
) -> None:
    """The thread is not in the forked process, but its lock is. The output goes to one of both."""
    os.mkfifo(tmp_path / "go")
    assert sum(isolate(_forks_beside_a_thread, str(tmp_path))) == 100 + len("a\n")


def test_no_stranger_gets_a_signal() -> None:
    process = subprocess.Popen(["true"])
    assert ends(process.pid, 60)
    os.waitpid(process.pid, 0)  # from now on the number may be another process's
    process.send_signal(signal.SIGKILL)
    process.kill()
    if process.returncode is None:
        process.returncode = 255  # for the destructor


def test_a_signal_that_is_none_is_refused() -> None:
    with subprocess.Popen(["cat"], stdin=-1) as process:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            process.send_signal(4711)
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(TypeError):
            process.send_signal("KILL")
        process.stdin.close()


def test_a_dropped_popen_gives_its_pidfd_back() -> None:
    """The oracle looks for it."""
    process = subprocess.Popen(["true"])
    assert ends(process.pid, 60)
    process.returncode = 0  # somebody pretends: nobody will wait through it
    del process
    gc.collect()
    os.waitpid(-1, 0)


# ---- starting -----------------------------------------------------------------------------------


def test_the_reason_is_told_with_the_standard_exception(tmp_path: Path) -> None:
    script = tmp_path / "x"
    script.write_text("#!/nonexistent/perl\n")
    script.chmod(0o755)
    with pytest.raises(FileNotFoundError) as caught:
        subprocess.run([script])
    assert caught.value.filename == script
    assert isinstance(caught.value.__cause__, spawnkit.SpawnError)
    assert "/nonexistent/perl" in str(caught.value.__cause__)


def test_no_arguments_at_all() -> None:
    """C10: an IndexError still, which says what it is about."""
    with pytest.raises(IndexError, match="args: empty"):
        subprocess.run([])


def test_a_start_waits_for_the_write_lock_and_refuses_its_own() -> None:
    with spawnkit.write_lock(), pytest.raises(RuntimeError, match="write_lock"):
        subprocess.run(["true"])
    with spawnkit.write_lock(), pytest.raises(RuntimeError, match="write_lock"):
        subprocess.Popen(["true"])
    assert subprocess.call(["true"]) == 0


def test_a_program_open_for_writing_is_tried_again(children: Children, tmp_path: Path) -> None:
    program = tmp_path / "true"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    with program.open("r+b") as writer:
        closer = threading.Timer(0.05, writer.close)
        closer.start()
        assert subprocess.run([program], capture_output=True).returncode == 0
        closer.join()


def test_nothing_is_left_of_a_failed_start() -> None:
    """Nor of the file objects: the oracle counts descriptors."""
    for options in ({}, {"bufsize": 0}, {"stdin": -3}, {"text": True}):
        streams = {"stdin": -1, "stdout": -1, "stderr": -1, **options}
        with pytest.raises(FileNotFoundError):
            subprocess.Popen(["/nonexistent/x"], **streams)
    with pytest.raises(FileNotFoundError):
        subprocess.run(["/nonexistent/x"], capture_output=True, input=b"x")


# ---- run ----------------------------------------------------------------------------------------


def test_run_calls_the_popen_that_a_program_has_put_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(subprocess.Popen[bytes]):
        pass

    made = []

    def make(*args: Any, **options: Any) -> Mine:
        made.append(args)
        return Mine(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", make)
    assert subprocess.run(["true"]).returncode == 0
    assert subprocess.call(["true"]) == 0
    assert len(made) == 2


def test_run_makes_the_results_and_errors_that_a_program_has_put_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The names of the module whose `run` it is; TimeoutExpired comes from the methods of Popen."""

    class Done(standard.CompletedProcess[bytes]):
        pass

    class Failed(standard.CalledProcessError):
        pass

    class Late(standard.TimeoutExpired):
        pass

    monkeypatch.setattr(subprocess, "CalledProcessError", Failed)
    with pytest.raises(Failed) as failed:
        subprocess.run(["sh", "-c", "echo x; exit 3"], stdout=-1, check=True)
    assert (failed.value.returncode, failed.value.stdout) == (3, b"x\n")
    monkeypatch.setattr(standard, "TimeoutExpired", Late)
    for options in {}, {"stdout": -1}:
        with pytest.raises(Late):
            subprocess.run(["sleep", "60"], timeout=0.01, **options)
    assert type(subprocess.run(["true"])) is standard.CompletedProcess
    monkeypatch.setattr(subprocess, "CompletedProcess", Done)
    assert type(subprocess.run(["true"])) is Done
    assert subprocess.call(["false"]) == 1


@pytest.mark.parametrize("name", ["wait", "poll", "__enter__", "__exit__", "_execute_child"])
def test_methods_replaced_by_others_are_called(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracers and mocks wrap them."""
    called = []
    before = getattr(subprocess.Popen, name)

    def wrapper(*args: Any, **options: Any) -> Any:
        called.append(name)
        return before(*args, **options)

    monkeypatch.setattr(subprocess.Popen, name, wrapper)
    assert subprocess.run(["true"]).returncode == 0
    assert name in called
    called.clear()
    assert subprocess.call(["true"]) == 0
    assert (name in called) is (name != "poll")


def test_input_that_was_not_read_before_a_timeout_is_sent_after_it(tmp_path: Path) -> None:
    """The standard module drops it up to Python 3.13, and waits for ever."""
    os.mkfifo(tmp_path / "go")
    with subprocess.Popen(
        ["sh", "-c", "echo a; read x <go; wc -c"], stdin=-1, stdout=-1, cwd=tmp_path
    ) as process:
        said, input = None, b"x" * 1_000_000
        while not said:
            with pytest.raises(subprocess.TimeoutExpired) as caught:
                process.communicate(input, timeout=0.05)
            said, input = caught.value.stdout, None
        (tmp_path / "go").write_text("\n")
        assert process.communicate(timeout=60) == (b"a\n1000000\n", None)


def test_the_pipe_of_the_input_does_not_block_meanwhile() -> None:
    """For whoever has a duplicate; after a timeout it blocks again."""
    heard: list[bool] = []
    with subprocess.Popen(["sleep", "60"], stdin=-1, stdout=-1) as process:
        other = os.dup(process.stdin.fileno())
        before = signal.signal(signal.SIGALRM, lambda *_: heard.append(os.get_blocking(other)))
        try:
            input: bytes | None = b"x" * 1_000_000
            for _ in range(50):  # an alarm may come before or after it
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(subprocess.TimeoutExpired):
                    process.communicate(input, timeout=0.2)
                input = None
                assert os.get_blocking(other)
                if False in heard:
                    break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            os.close(other)
        process.kill()
    assert False in heard


def test_a_grandchild_with_the_pipe_does_not_hold_up_a_timeout() -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        subprocess.run(["sh", "-c", "echo $$; sleep 60 & echo $!; wait"], timeout=0.5, stdout=-1)
    os.kill(int(caught.value.stdout.split()[1]), signal.SIGKILL)


def test_threads_that_communicate_at_once_take_turns(tmp_path: Path) -> None:
    """Two in the pump at once would write into the same buffers."""
    os.mkfifo(tmp_path / "go")
    program = "read x <go; head -c 3000000 /dev/zero; echo x >&2"
    for _ in range(10):
        sizes: list[list[int]] = []
        with subprocess.Popen(["sh", "-c", program], stdout=-1, stderr=-1, cwd=tmp_path) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.communicate(timeout=0)

            def talk(process: Any = process, sizes: list[list[int]] = sizes) -> None:
                sizes.append([len(said) for said in process.communicate()])

            threads = [threading.Thread(target=talk) for _ in range(4)]
            for thread in threads:
                thread.start()
            (tmp_path / "go").write_text("\n")
            for thread in threads:
                thread.join()
        assert sizes == [[3_000_000, 2]] * 4


def test_a_thread_that_communicates_just_after_another_has_the_same() -> None:
    """Between the end of its pumping and its return there is nothing that can be waited for."""
    later: list[tuple[str, str]] = []

    class Slow(subprocess.Popen[str]):
        def _translate_newlines(self, *args: Any) -> str:
            if not later:
                later.append(("", ""))
                thread = threading.Thread(target=lambda: later.append(self.communicate()))
                thread.start()
                thread.join()
            text: str = super()._translate_newlines(*args)  # type: ignore[misc]
            return text

    with Slow(["sh", "-c", "echo a; echo b >&2"], stdout=-1, stderr=-1, text=True) as process:
        assert process.communicate() == ("a\n", "b\n")
    assert later[1:] == [("a\n", "b\n")]


def test_a_popen_dropped_after_a_timeout_is_gone_at_once() -> None:
    """It is in no cycle that only the garbage collector finds."""
    gc.collect()
    gc.disable()
    try:
        process = subprocess.Popen(["sleep", "60"], stdin=-1, stdout=-1, stderr=-1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(b"x", timeout=0.01)
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        reference = weakref.ref(process)
        del process
        assert reference() is None
    finally:
        gc.enable()


def test_own_files_in_the_place_of_pipes_go_the_standard_way() -> None:
    class Wrapped:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    with subprocess.Popen(["cat"], stdin=-1, stdout=-1) as process:
        process.stdout = Wrapped(process.stdout)
        assert process.communicate(b"x", timeout=60) == (b"x", None)


def _interrupts(argv: list[str]) -> list[object]:
    import os
    import signal
    import threading
    import time

    from spawnkit import subprocess

    outcomes: list[object] = []
    for options in ({}, {"capture_output": True}, {"timeout": 60}, {"bufsize": 0, "stdout": -1}):
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        before = time.monotonic()
        try:
            subprocess.run(argv, **options)
        except KeyboardInterrupt:
            outcomes.append(time.monotonic() - before < 30)
        try:
            os.waitpid(-1, os.WNOHANG)
            outcomes.append("a child is left")
        except ChildProcessError:
            outcomes.append("reaped")
    return outcomes


def test_ctrl_c_ends_a_run(isolate: Isolate) -> None:
    assert isolate(_interrupts, ["sleep", "60"]) == [True, "reaped"] * 4
