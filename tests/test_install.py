"""install: what it reaches, what it leaves alone, and that everything is put back."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from support.isolated import Isolate


def _everything_it_reaches() -> dict[str, int]:
    """How many processes of ours each way to start one makes, each of which runs one program."""
    import concurrent.futures
    import os
    import platform
    import subprocess
    from subprocess import Popen, check_output, run

    import spawnkit
    from spawnkit.subprocess import stats

    class Sub(Popen):  # type: ignore[type-arg]
        pass

    def popen() -> None:
        with os.popen("echo x") as file:
            assert file.read() == "x\n"

    def in_threads() -> None:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda text: check_output(["echo", text]), "ab")) == [
                b"a\n",
                b"b\n",
            ]

    def uname() -> None:
        platform.uname.cache_clear() if hasattr(platform.uname, "cache_clear") else None
        platform._uname_cache = None  # type: ignore[attr-defined]
        platform.processor()

    ways = {
        "Popen": lambda: Popen(["true"]).wait(),
        "subclass": lambda: Sub(["true"]).wait(),
        "run": lambda: run(["true"], check=True),
        "run with a subclass's options": lambda: run(["true"], close_fds=False, check=True),
        "call": lambda: subprocess.call(["true"]),
        "getoutput": lambda: subprocess.getoutput("true"),
        "os.popen": popen,
        "threads": in_threads,
        "platform": uname,
    }
    counts = {}
    with spawnkit.install():
        assert isinstance(Sub, type(Popen))
        assert Sub(["true"]).wait() == 0
        for name, way in ways.items():
            before = stats()
            way()
            counts[name] = stats().ours - before.ours
            assert stats().standard == before.standard, name
    before = stats()
    for way in ways.values():
        way()
    counts["after it"] = stats().ours - before.ours
    return counts


def test_it_reaches_what_was_imported_before(isolate: Isolate) -> None:
    counts = isolate(_everything_it_reaches, warm=False, oracle=False)
    # platform starts one, where uname(1) is asked for the processor.
    assert counts.pop("platform") in (0, 1)
    assert counts == {
        "Popen": 1,
        "subclass": 1,
        "run": 1,
        "run with a subclass's options": 1,
        "call": 1,
        "getoutput": 1,
        "os.popen": 1,
        "threads": 2,
        "after it": 0,
    }


def _put_back() -> list[str]:
    import asyncio.unix_events as events
    import os
    import subprocess

    import spawnkit

    owners = [subprocess.Popen, subprocess, os]
    owners += [v for k, v in vars(events).items() if k.endswith("ChildWatcher")]
    before = [dict(vars(owner)) for owner in owners]
    during = []
    first = spawnkit.install(posix_spawn=True)
    with spawnkit.install(system=True):
        during.append(os.system.__class__.__name__)
        with first:  # ends that one, from inside
            during.append(os.posix_spawn.__class__.__name__)
        during.append(os.posix_spawn.__class__.__name__)
        during.append(subprocess.run(["true"]).args[0])
        first.__exit__()  # again: nothing
        assert vars(subprocess.Popen)["_execute_child"] is not before[0]["_execute_child"]
    for owner, was in zip(owners, before, strict=True):
        assert dict(vars(owner)) == was, owner
        assert all(vars(owner)[name] is value for name, value in was.items()), owner
    try:
        spawnkit.uninstall()
    except RuntimeError as error:
        during.append(str(error))
    return during


def test_everything_is_put_back_after_the_last(isolate: Isolate) -> None:
    assert isolate(_put_back) == [
        "function",
        "function",
        "builtin_function_or_method",
        "true",
        "uninstall: nothing is installed",
    ]


def _live_ones(gate: str) -> list[object]:
    import gc
    import os
    import subprocess

    import spawnkit

    def start(code: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sh", "-c", f"read x; exit {code}"], stdin=subprocess.PIPE)

    def end(popen: subprocess.Popen[bytes]) -> int:
        assert popen.poll() is None
        assert popen.stdin is not None
        popen.stdin.close()
        return popen.wait(timeout=60)

    said: list[object] = []
    before = start(3)
    spawnkit.install()
    said.append(end(before))
    during, talking, killed, dropped = start(4), start(0), start(0), start(6)
    os.mkfifo(gate)
    again = subprocess.Popen(["sh", "-c", f"echo half; cat {gate}; cat"], stdin=-1, stdout=-1)
    try:
        again.communicate(b"x" * 200_000, timeout=0.2)
    except subprocess.TimeoutExpired:
        said.append("not over")
    spawnkit.uninstall()
    os.close(os.open(gate, os.O_WRONLY))
    said += [len(again.communicate()[0]) for _ in range(2)]
    said.append(end(during))
    said.append(talking.communicate(b"x\n")[0])
    killed.kill()
    assert killed.stdin is not None
    killed.stdin.close()
    said.append(killed.wait())
    descriptors = len(os.listdir("/proc/self/fd"))
    said.append(end(dropped))
    del dropped
    gc.collect()
    # Its stdin's and its pidfd.
    said.append(descriptors - len(os.listdir("/proc/self/fd")))
    for popen in before, during, talking, killed, again:
        for file in popen.stdin, popen.stdout:
            if file is not None:
                file.close()
    return said


def test_live_ones_go_on(isolate: Isolate, tmp_path: Path) -> None:
    """Started before, waited for within; started within, waited for after it."""
    said = isolate(_live_ones, str(tmp_path / "gate"))
    assert said == [3, "not over", 200_005, 200_005, 4, None, -9, 6, 2]


def _begun_by_the_standard_one() -> list[str]:
    import subprocess

    import spawnkit

    script = "echo one; exec sleep 1000"
    popen = subprocess.Popen(["sh", "-c", script], stdin=-1, stdout=-1, text=True)
    said = []
    with spawnkit.install():
        ours = subprocess.Popen(["sh", "-c", script], stdin=-1, stdout=-1, text=True)
    for each in popen, ours:
        try:
            each.communicate("x" * 100_000, timeout=0.2)
        except subprocess.TimeoutExpired as error:
            said.append(type(error).__name__)
    popen.kill()
    ours.kill()
    with spawnkit.install():
        said += [each.communicate()[0] for each in (popen, ours)]
    return said


def test_a_communication_is_ended_by_who_began_it(isolate: Isolate) -> None:
    assert isolate(_begun_by_the_standard_one) == ["TimeoutExpired"] * 2 + ["one\n"] * 2


def _strangers() -> list[str]:
    import subprocess
    from unittest import mock

    import spawnkit

    said = []

    def tried(function: object) -> None:
        try:
            function()  # type: ignore[operator]
        except RuntimeError as error:
            said.append(str(error))
        else:
            said.append("done")

    standard = subprocess.Popen._wait  # type: ignore[attr-defined]
    with mock.patch.object(subprocess.Popen, "_wait", print):
        tried(spawnkit.install)
        assert subprocess.Popen._wait is print  # type: ignore[attr-defined]
    with mock.patch("subprocess.Popen"):
        tried(spawnkit.install)
    with mock.patch.object(subprocess.Popen, "__init__", subprocess.Popen.__init__):
        tried(spawnkit.install)
        spawnkit.uninstall()
    real = subprocess.Popen.communicate
    for name in "__init__", "communicate":
        wrapper = mock.Mock()
        with mock.patch.object(subprocess.Popen, name, wrapper):
            tried(spawnkit.install)
            assert getattr(subprocess.Popen, name) is wrapper
            spawnkit.uninstall()
    assert subprocess.Popen.communicate is real
    spawnkit.install()
    with mock.patch.object(subprocess.Popen, "_wait", print):
        tried(spawnkit.uninstall)
        assert subprocess.Popen._wait is print  # type: ignore[attr-defined]
    with mock.patch.object(subprocess, "run"):
        tried(spawnkit.uninstall)
    tried(spawnkit.uninstall)
    assert subprocess.Popen._wait is standard  # type: ignore[attr-defined]
    return said


def test_what_others_have_replaced_is_named(isolate: Isolate) -> None:
    late, other, same, init, communicate, over, run, done = isolate(_strangers)
    assert late.startswith("install: subprocess.Popen._wait is <built-in function print>")
    assert other.startswith("install: subprocess.Popen is <MagicMock")
    assert same == init == communicate == "done"
    assert over.startswith("uninstall:")
    assert "subprocess.Popen._wait is <built-in function print>" in over
    assert "subprocess.run is <MagicMock" in run
    assert done == "done"


def _patched_afterwards() -> list[str]:
    import subprocess
    from subprocess import run
    from unittest import mock

    import spawnkit
    from spawnkit.subprocess import stats

    said = []

    class Mine(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: object, **options: object) -> None:
            said.append("mine")
            super().__init__(*args, **options)  # type: ignore[call-overload]

    with spawnkit.install():
        with mock.patch("subprocess.Popen", Mine):
            run(["true"])
        for name in "communicate", "wait", "__init__":
            real = getattr(subprocess.Popen, name)

            def noted(*args: object, real: object = real, name: str = name, **options: object):  # type: ignore[no-untyped-def]
                said.append(name)
                return real(*args, **options)  # type: ignore[operator]

            with mock.patch.object(subprocess.Popen, name, noted):
                run(["true"])
        names = "CompletedProcess", "CalledProcessError", "TimeoutExpired"
        mine = {"__module__": "mine"}
        classes = {name: type(name, (getattr(subprocess, name),), mine) for name in names}
        with mock.patch.multiple(subprocess, **classes):
            said.append(str(type(run(["true"]))))
            for command, options in (["false"], {"check": True}), (["sleep", "9"], {"timeout": 0}):
                try:
                    run(command, **options)
                except subprocess.SubprocessError as error:
                    said.append(str(type(error)))
        kept = subprocess.run
    before = stats().ours
    kept(["true"])
    said.append(str(stats().ours - before))
    return said


def test_what_is_patched_afterwards_is_obeyed(isolate: Isolate) -> None:
    """By `run` too; and a `run` that was kept beyond uninstall is the standard one's equal."""
    said = isolate(_patched_afterwards)
    assert [name for name in said if name != "wait"] == [
        *("mine", "communicate", "__init__"),
        "<class 'mine.CompletedProcess'>",
        "<class 'mine.CalledProcessError'>",
        "<class 'mine.TimeoutExpired'>",
        "0",
    ]
    assert "wait" in said


def _through_a_venv(directory: str) -> list[object]:
    import multiprocessing
    import os
    import pickle
    import subprocess
    import venv
    from concurrent.futures import ProcessPoolExecutor

    import spawnkit
    from spawnkit.subprocess import stats

    with spawnkit.install():
        before = stats().ours
        venv.create(directory, with_pip=False, symlinks=True)
        python = os.path.join(directory, "bin", "python")
        prefix = subprocess.check_output([python, "-c", "import sys; print(sys.prefix)"], text=True)
        said: list[object] = [os.path.samefile(prefix.strip(), directory), stats().ours > before]
        for method in "fork", "spawn":
            context = multiprocessing.get_context(method)
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                said.append(pool.submit(os.path.basename, "/a/b").result())
        done = subprocess.run(["false"], capture_output=True)
        said.append(pickle.loads(pickle.dumps(done)).__dict__ == done.__dict__)
        try:
            subprocess.run(["false"], check=True)
        except subprocess.CalledProcessError as error:
            said.append(str(pickle.loads(pickle.dumps(error))) == str(error))
        said.append(type(done) is subprocess.CompletedProcess)
    return said


def test_venv_multiprocessing_and_pickle(isolate: Isolate, tmp_path: Path) -> None:
    said = isolate(_through_a_venv, str(tmp_path / "venv"), oracle=False)
    assert said == [True, True, "b", "b", True, True, True]


def _installed_in_a_fork() -> list[int]:
    import os
    import subprocess

    import spawnkit
    from spawnkit.subprocess import stats

    spawnkit.install()
    pid = os.fork()
    if not pid:
        before = stats().ours
        code = subprocess.run(["sh", "-c", "exit 7"]).returncode
        spawnkit.uninstall()
        subprocess.run(["true"])
        os._exit(code * (stats().ours - before))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    before = stats().ours
    subprocess.run(["true"])
    spawnkit.uninstall()
    return [code, stats().ours - before]


def test_a_fork_has_it_too(isolate: Isolate) -> None:
    assert isolate(_installed_in_a_fork) == [7, 1]


def _many_threads() -> int:
    import subprocess
    import threading

    import spawnkit

    wrong = []
    over = threading.Event()

    def start() -> None:
        while not over.is_set():
            done = subprocess.run(["sh", "-c", "echo x; exit 3"], stdout=subprocess.PIPE)
            popen = subprocess.Popen(["sh", "-c", "exit 4"])
            if (done.stdout, done.returncode, popen.wait(60)) != (b"x\n", 3, 4):
                wrong.append(done)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        with spawnkit.install(), spawnkit.install():
            subprocess.run(["true"])
    over.set()
    for thread in threads:
        thread.join()
    return len(wrong)


def test_others_start_processes_meanwhile(isolate: Isolate) -> None:
    assert isolate(_many_threads) == 0


# ---- os.system, os.posix_spawn ------------------------------------------------------------------


def without_glibcs_own(said: list[object]) -> list[object]:
    """glibc's posix_spawn leaves its signals 32 and 33 ignored in the child; ours does not."""

    def cleared(match: re.Match[str]) -> str:
        return f"{match[1]}{int(match[2], 16) & ~(3 << 31):016x}"

    return [
        re.sub(r"(SigIgn:\s+)(\w+)", cleared, item) if isinstance(item, str) else item
        for item in said
    ]


def _system(ours: bool) -> list[object]:
    """What one of the two does, from the main thread and from another."""
    import contextlib
    import os
    import signal
    import subprocess
    import threading

    import spawnkit
    from spawnkit.subprocess import stats

    said: list[object] = []
    events = []
    hook = events.append

    def dispositions() -> list[str]:
        with open("/proc/self/status") as file:
            lines = [line for line in file if line.startswith(("SigIgn", "SigBlk", "SigCgt"))]
        return [*lines, str(signal.getsignal(signal.SIGINT))]

    def tried(command: object) -> None:
        try:
            said.append(os.system(command))  # type: ignore[arg-type]
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")

    import sys

    sys.addaudithook(lambda name, args: hook((name, args)) if name == "os.system" else None)
    with spawnkit.install(system=True) if ours else contextlib.nullcontext():
        before = dispositions()
        for command in "exit 3", b"exit 4", "kill -9 $$", "", "no-such-program 2>&-", "\0", 5:
            tried(command)
        # What the shell finds: the two signals as they were with us, SIGPIPE ignored as it is here.
        read, write = os.pipe()
        os.set_inheritable(write, True)
        grep = f"grep -E '^Sig(Ign|Blk|Cgt)' /proc/self/status >&{write}"
        tried(grep)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tried(grep)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(write)
        with open(read) as file:
            said.append(file.read())
        # Ctrl-C and Ctrl-\\ do not reach us while it runs.
        tried("kill -INT $PPID; kill -QUIT $PPID; exit 5")
        thread = threading.Thread(target=tried, args=["kill -INT $PPID; exit 6"])
        thread.start()
        thread.join()
        signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
        tried("kill -ALRM $PPID; exec cat /dev/null")
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        assert dispositions() == before
    hook = said.append
    said += [repr(event) for event in events]
    if ours:
        said.append(stats().ours)
    assert subprocess.run(["true"]).returncode == 0
    return said


def test_os_system_is_system(isolate: Isolate) -> None:
    """Statuses, messages, the audit event, and what becomes of signals meanwhile."""
    *ours, count = isolate(_system, True)
    assert ours == without_glibcs_own(isolate(_system, False))
    assert count == 10


def _fork_meanwhile(gate: str) -> list[object]:
    """Two threads wait for shells; the process forks; the first of the shells ends."""
    import os
    import threading

    import spawnkit

    def ignores_sigint() -> bool:
        with open("/proc/self/status") as file:
            (line,) = [line for line in file if line.startswith("SigIgn")]
        return bool(int(line.split()[1], 16) & 2)

    said: list[object] = [ignores_sigint()]
    read, write = os.pipe()
    os.set_inheritable(write, True)
    with spawnkit.install(system=True):
        threads = []
        for name in gate + "1", gate + "2":
            os.mkfifo(name)
            command = f"echo x >&{write}; cat {name}"
            threads.append(threading.Thread(target=os.system, args=[command]))
            threads[-1].start()
            os.read(read, 2)
        said.append(ignores_sigint())
        pid = os.fork()
        if not pid:
            status = os.system("exit 3")
            os._exit(ignores_sigint() * 100 + os.waitstatus_to_exitcode(status))
        said.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        for number, thread in enumerate(threads, 1):
            os.close(os.open(f"{gate}{number}", os.O_WRONLY))
            thread.join()
            said.append(ignores_sigint())
    os.close(read)
    os.close(write)
    return said


def test_a_fork_while_shells_run_heeds_the_keyboard(isolate: Isolate, tmp_path: Path) -> None:
    """The process itself ignores it until the last shell has ended."""
    assert isolate(_fork_meanwhile, str(tmp_path / "gate")) == [False, True, 3, True, False]


def _fork_in_between() -> int:
    """How many of 300 forks ignore the keyboard, while another thread begins and ends to."""
    import os
    import threading
    import warnings

    from spawnkit import _core

    warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads
    over = False

    def begin_and_end() -> None:
        keyboard = _core.new_keyboard()
        while not over:
            _core.keyboard_ignore(keyboard)
            _core.keyboard_heed(keyboard)

    def ignored() -> int:
        with open("/proc/self/status") as status:
            return next(int(line[8:], 16) & 0b110 for line in status if line.startswith("SigIgn:"))

    thread = threading.Thread(target=begin_and_end)
    thread.start()
    count = 0
    for _ in range(300):
        pid = os.fork()
        if not pid:
            os._exit(ignored())
        count += os.waitpid(pid, 0)[1] != 0
    over = True
    thread.join()
    return count


def test_a_fork_between_ignored_and_counted_heeds_the_keyboard(isolate: Isolate) -> None:
    assert isolate(_fork_in_between) == 0


def _posix_spawn(ours: bool) -> list[object]:
    import contextlib
    import os
    import signal
    import sys

    import spawnkit

    said: list[object] = []
    read, write = os.pipe()
    spare = os.open("/dev/null", os.O_RDONLY)
    env = {"A": "1", "PATH": "/nope"}
    mask = {signal.SIGUSR1}

    def tried(name: str, path: object, argv: object, env: object = env, **options: object) -> None:
        try:
            pid = getattr(os, name)(path, argv, env, **options)
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
        else:
            said.append(os.waitpid(pid, 0)[1])

    report = "env >&9; ls /proc/self/fd >&9; grep -E '^Sig(Ign|Blk)' /proc/self/status >&9; exit 4"
    path = {"PATH": os.environ["PATH"]}
    dup, close, opens = os.POSIX_SPAWN_DUP2, os.POSIX_SPAWN_CLOSE, os.POSIX_SPAWN_OPEN
    out = (dup, write, 9)
    with spawnkit.install(posix_spawn=True) if ours else contextlib.nullcontext():
        sh = ["sh", "-c", report]
        tried("posix_spawn", "/bin/sh", sh, path, file_actions=[out])
        # In order: a swap through a third, and a descriptor that is closed and comes back.
        swap = [out, (dup, 0, 7), (dup, 1, 0), (dup, 7, 1), (close, 7), (close, 2), (dup, 1, 2)]
        tried("posix_spawn", "/bin/sh", sh, path, file_actions=swap, setsigmask=mask)
        tried("posix_spawn", b"/bin/sh", sh, path, file_actions=iter([out]), setsigmask=())
        tried("posix_spawnp", "sh", ("sh", "-c", report), path, file_actions=(out, (close, 555)))
        tried("posix_spawnp", "sh", sh, path, file_actions=[out], setsigdef=[signal.SIGPIPE])
        same = 'test "$(ps -o pgid= -p $$)" -eq $$'
        tried("posix_spawnp", "sh", ["sh", "-c", same], path, setpgroup=0)
        same = 'test "$(ps -o sid= -p $$)" -eq $$'
        tried("posix_spawnp", "sh", ["sh", "-c", same], path, setsid=True, resetids=True)
        # Left to the standard one.
        null = (opens, 9, "/dev/null", os.O_RDWR, 0)
        tried("posix_spawn", "/bin/sh", sh, path, file_actions=[null])
        tried("posix_spawn", "/bin/sh", sh, path, file_actions=iter([out, (opens, 8, *null[2:])]))
        scheduler = (None, os.sched_param(0))
        tried("posix_spawn", "/bin/sh", ["sh", "-c", "exit 9"], scheduler=scheduler)
        # What is wrong.
        tried("posix_spawn", "/no/such", ["x"])
        tried("posix_spawnp", "no-such", ["x"])
        tried("posix_spawn", "/bin/sh", sh, path, file_actions=[(close, 1), (dup, 1, 9)])
        tried("posix_spawn", "/bin/sh", sh, path, file_actions=[(dup, 888, 9)])
        tried("posix_spawn", "/bin/sh", [])
        tried("posix_spawn", "/bin/sh", [""])
        tried("posix_spawn", "/bin/sh", "sh")
        tried("posix_spawn", "/bin/sh", ["sh", 5])
        tried("posix_spawn", "/bin/sh", ["sh", "\0"])
        tried("posix_spawn", "/bin/sh", ["sh"], {"A=": "x"})
        tried("posix_spawn", "/bin/sh", ["sh"], {"": "x"})
        tried("posix_spawn", "/usr/bin/env", ["env", "true"], {"=A": "x", **path})
        tried("posix_spawn", "/bin/sh", ["sh"], 5)
        tried("posix_spawn", "/bin/sh", ["sh"], file_actions=[(77, 1)])
        tried("posix_spawn", "/bin/sh", ["sh"], file_actions=[(close, -1)])
        tried("posix_spawn", "/bin/sh", ["sh"], setsigmask=[0])
        tried("posix_spawn", "/bin/sh", ["sh"], setsigmask=[77777])
        tried("posix_spawn", "/bin/sh", ["sh"], setsigmask=iter([1, 77777]))
        tried("posix_spawn", "/bin/sh", ["sh"], color="red")
        if sys.version_info >= (3, 13):
            tried("posix_spawnp", "sh", ["sh", "-c", "exit 7"], None)
            last = (os.POSIX_SPAWN_CLOSEFROM, 10)
            tried("posix_spawn", "/bin/sh", sh, path, file_actions=[out, last])
            tried("posix_spawn", "/bin/sh", sh, path, file_actions=[last, out])
    os.close(write)
    with open(read) as file:
        said += [line for line in file if "spare" not in line]
    os.close(spare)
    if ours:
        from spawnkit.subprocess import stats

        said.append(stats().standard)
    return said


def _parameters(ours: bool) -> list[object]:
    """What each of many parameters comes to: a status and what the child has, or an exception."""
    import contextlib
    import os
    import resource
    import warnings

    import spawnkit
    from support.proc import PROC

    class Index:
        def __init__(self, value: int) -> None:
            self.value = value

        def __index__(self) -> int:
            return self.value

    class Tuple(tuple):  # type: ignore[type-arg]
        pass

    class Falsy(list):  # type: ignore[type-arg]
        def __bool__(self) -> bool:
            return False

    write = os.memfd_create("report")
    report = (
        f"cd {PROC}; exec 2>&-; ls -l self/fd >&9; grep -E 'Sig(Ign|Blk)' self/status >&9; exit 4"
    )
    env = {"PATH": os.environ["PATH"]}
    dup, close = os.POSIX_SPAWN_DUP2, os.POSIX_SPAWN_CLOSE
    out, limit = (dup, write, 9), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    said: list[object] = []

    def tried(**options: object) -> None:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                pid = os.posix_spawn("/bin/sh", ["sh", "-c", report], env, **options)  # type: ignore[arg-type]
            except Exception as error:
                said.append([type(error).__name__, str(error), getattr(error, "filename", None)])
            else:
                said.append(os.waitpid(pid, 0)[1])
        said.extend(str(warning.message) for warning in warned)

    with spawnkit.install(posix_spawn=True) if ours else contextlib.nullcontext():
        for action in (
            *([close, 7], (), "ab", 5, None, Tuple((close, 7)), (close,), (close, 7, 8), (dup, 1)),
            *((dup, 1, 7, 8), (float(close), 7), (True, 7), (Index(close), 7), (None, 7)),
        ):
            tried(file_actions=[out, action])
        numbers = [7, limit - 1, limit, limit + 1, 2**31 - 1, 2**31, 2**70, -1, True, Index(7)]
        for number in (*numbers, 7.0, "7", None):
            tried(file_actions=[out, (close, number)])
            tried(file_actions=[out, (dup, 1, number)])
            tried(file_actions=[out, (dup, number, 7)])
            if hasattr(os, "POSIX_SPAWN_CLOSEFROM"):
                tried(file_actions=[out, (os.POSIX_SPAWN_CLOSEFROM, number)])
        for actions in None, 0, False, "", "x", (), {out: 1}, {out}, Falsy([out]):
            tried(file_actions=actions)
        sets = None, 0, False, "", "5", 5, (), Falsy([13]), {13: 1}, range(1, 64)
        ones = "5", 5.7, 13.0, True, Index(13), None, 0, 64, 65, -1, 2**70
        for name in "setsigmask", "setsigdef":
            for signals in (*sets, *([one] for one in ones)):
                tried(file_actions=[out], **{name: signals})
        for group in None, -1, True, "0", 0.0, Index(0), 2**31, 2**70:
            tried(file_actions=[out], setpgroup=group)
        for name in "setsid", "resetids":
            for flag in None, 0, 1, 2, True, "", "x", 0.0, 1.0, Index(0), Index(1), 2**70, []:
                tried(file_actions=[out], **{name: flag})
        for scheduler in None, (), 0, False, (None,), [None, os.sched_param(0)]:
            tried(file_actions=[out], scheduler=scheduler)
    os.lseek(write, 0, os.SEEK_SET)
    with open(write) as file:
        # Of a descriptor, its number.
        said += [line.split()[-3] if " -> " in line else line for line in file]
    return said


def test_os_posix_spawn_refuses_what_the_standard_one_does(isolate: Isolate) -> None:
    """In its words, and nothing else."""
    ours, standard = isolate(_parameters, True), isolate(_parameters, False)
    assert without_glibcs_own(ours) == without_glibcs_own(standard)
    refused = [said for said in standard if isinstance(said, list)]
    assert ["TypeError", "Each file_actions element must be a non-empty tuple", None] in refused
    assert standard.count(4 << 8) > 30


def _searched(ours: bool, directory: str) -> list[object]:
    """PATHs of three places, in each of which a program can be, cannot be run, or is not."""
    import contextlib
    import itertools
    import os
    from pathlib import Path

    import spawnkit

    names = ["no #!", "not for running", "a ring of links", "a program", "nothing"]
    no_format, not_for_running, links, program, nothing = (Path(directory, n) for n in names)
    for place in no_format, not_for_running, links, program, nothing:
        place.mkdir()
    (no_format / "tool").write_text("none")
    (no_format / "tool").chmod(0o755)
    (not_for_running / "tool").write_text("#!/bin/sh\n")
    (links / "tool").symlink_to("tool")
    (program / "tool").write_text("#!/bin/sh\nexit 7\n")
    (program / "tool").chmod(0o755)
    no_directory = no_format / "tool"
    places = no_format, not_for_running, links, program, nothing, no_directory
    said: list[object] = []
    before = os.environ["PATH"]
    with spawnkit.install(posix_spawn=True) if ours else contextlib.nullcontext():
        for three in itertools.product(places, repeat=3):
            os.environ["PATH"] = ":".join(map(str, three))
            try:
                said.append(os.waitpid(os.posix_spawnp("tool", ["tool"], {}), 0)[1])
            except OSError as error:
                said.append(error.errno)
    os.environ["PATH"] = before
    return said


def test_os_posix_spawnp_takes_no_other_program(isolate: Isolate, tmp_path: Path) -> None:
    """One that is there and cannot be run ends its search."""
    for name in "ours", "standard":
        (tmp_path / name).mkdir()
    ours = isolate(_searched, True, str(tmp_path / "ours"))
    assert ours == isolate(_searched, False, str(tmp_path / "standard"))
    absent = {errno.ENOENT, errno.ENOTDIR}
    assert set(ours) == {errno.ENOEXEC, errno.ELOOP, errno.EACCES, *absent, 7 << 8}


def test_os_posix_spawn_is_the_standard_one(isolate: Isolate) -> None:
    *ours, left = isolate(_posix_spawn, True)
    assert without_glibcs_own(ours) == without_glibcs_own(isolate(_posix_spawn, False))
    assert left.pop("posix_spawn: file_actions") in (2, 3)  # CLOSEFROM: since Python 3.13
    assert left == {"posix_spawn: scheduler": 1}
