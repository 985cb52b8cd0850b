"""Output that goes to Python code: a call per line or chunk, a tee to several. Iterators fed."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import DEVNULL, PIPE, STDOUT, Cmd, each_chunk, each_line, run, sinks, tee, threads
from support.children import Children, ends
from support.isolated import Isolate
from support.proc import PROC

MIB = 1 << 20
HANGS_AFTER = 60.0
SH = "/bin/sh"


class Surprise(Exception):  # noqa: N818 - it is one
    """No exception of ours."""


class Bad:
    """Takes so many calls, or writes, then raises."""

    def __init__(self, error: BaseException, good: int = 0) -> None:
        self.error = error
        self.good = good
        self.taken: list[Any] = []
        self.after = 0

    def __call__(self, data: Any) -> None:
        if len(self.taken) == self.good:
            self.after += 1
            raise self.error
        self.taken.append(data)


class BadWriter(Bad):
    def write(self, data: Any) -> None:
        self(data)


def sink_of(target: Any, text: tuple[str, str] | None = None) -> sinks.Sink:
    """Its sink, for what needs no process."""

    def failed(error: BaseException) -> None:
        raise error

    return sinks.sink_for(target, text, failed, lambda: False)


def given(target: Any, parts: list[bytes], text: tuple[str, str] | None = None) -> None:
    sink = sink_of(target, text)
    for part in parts:
        if part:
            sink.write(part)
    sink.end()
    sink.close()


def cut(data: bytes, times: int) -> Iterator[list[bytes]]:
    """The data in so many pieces, cut at every position."""
    for places in itertools.combinations_with_replacement(range(len(data) + 1), times):
        edges = [0, *places, len(data)]
        yield [data[a:b] for a, b in itertools.pairwise(edges)]


# ---- lines --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"one\ntwo\n", [b"one\n", b"two\n"]),
        (b"one\r\ntwo", [b"one\r\n", b"two"]),
        (b"\n\n\r\n\n", [b"\n", b"\n", b"\r\n", b"\n"]),
        (b"a\rb\x0b\x0c\x1c\n", [b"a\rb\x0b\x0c\x1c\n"]),
        (b"no end", [b"no end"]),
        (b"", []),
    ],
)
def test_a_line_is_the_same_wherever_it_is_cut(data: bytes, lines: list[bytes]) -> None:
    for parts in cut(data, 3):
        taken: list[Any] = []
        given(taken.append, parts)
        assert taken == lines
        taken.clear()
        given(taken.append, parts, ("ascii", "strict"))
        assert taken == [line.decode() for line in lines]


def test_lines_of_text_end_with_newlines_only() -> None:
    """Not where str.splitlines sees an end."""
    text = "a\u2028b\x85c\r\nd\n"
    for parts in cut(text.encode(), 2):
        taken: list[str] = []
        given(taken.append, parts, ("utf-8", "strict"))
        assert taken == ["a\u2028b\x85c\r\n", "d\n"]


@pytest.mark.parametrize("errors", ["replace", "ignore", "backslashreplace", "surrogateescape"])
@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("utf-8", "ä\n€😀\nz".encode()),
        ("utf-8", b"\xc3(\n\xe2\x82\n\xed\xa0\x80\xff"),
        ("utf-8", b"a\n\xf0\x9f\x98"),
        ("utf-8-sig", "ä\n\ufeff€".encode("utf-8-sig")),
        ("utf-16", "\u0a0aä\n😀\n".encode("utf-16")),
        ("utf-16", "ä\n😀".encode("utf-16")[:-1]),
        ("utf-16-be", "\u0a0aä\n😀".encode("utf-16-be")[:-2]),
        ("utf-32", "a\n😀".encode("utf-32")),
        ("shift_jis", "日本\n語".encode("shift_jis")[:-1]),
        ("iso2022_jp", "日\n語".encode("iso2022_jp")),
        ("utf-7", "日\n語".encode("utf-7")),
    ],
)
def test_text_decodes_as_in_one_piece(encoding: str, data: bytes, errors: str) -> None:
    """A86: a character cut by the edge of a chunk, or by the end, with each error handler."""
    text = (encoding, errors)
    try:
        whole = data.decode(*text)
    except UnicodeDecodeError:  # surrogateescape can escape single bytes only
        with pytest.raises(UnicodeDecodeError):
            given(print, [data[:1], data[1:]], text)
        return
    wanted = whole.splitlines(keepends=True)  # none of them has another kind of end
    for parts in cut(data, 2):
        lines: list[str] = []
        given(each_line(lines.append), parts, text)
        assert lines == wanted
        chunks: list[str] = []
        given(each_chunk(chunks.append), parts, text)
        assert "".join(chunks) == whole
        assert "" not in chunks
        written = io.StringIO(newline="")
        given(written, parts, text)
        assert written.getvalue() == whole


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"one\ntwo\n\xff", ["one\n", "two\n"]),
        (b"one\nt\xffo\nthree\n", ["one\n"]),
        ("ä\n".encode() + b"\xe2\x82(\n", ["ä\n"]),
        (b"one\ntwo\xc3", ["one\n"]),
    ],
)
def test_lines_before_one_that_does_not_decode_are_seen(data: bytes, lines: list[str]) -> None:
    """A86: the same ones wherever the chunks end."""
    for parts in cut(data, 2):
        taken: list[str] = []
        with pytest.raises(UnicodeDecodeError):
            given(taken.append, parts, ("utf-8", "strict"))
        assert taken == lines


def test_a_line_is_called_once_for(engine: str, children: Children) -> None:
    """From a program that writes byte by byte; with and without an encoding."""
    data = "eins\r\nzwöi\n\ndrei".encode()
    taken: list[Any] = []
    result = run([children("drip")], input=data, stdout=taken.append, engine=engine)
    assert taken == [b"eins\r\n", "zwöi\n".encode(), b"\n", b"drei"]
    assert result.stdout is None
    taken.clear()
    options = {"encoding": "utf-8", "engine": engine}
    cmd = Cmd(children("drip"), stdin=data, stdout=each_line(taken.append), **options)
    cmd.start()
    assert cmd.wait().success
    assert taken == ["eins\r\n", "zwöi\n", "\n", "drei"]
    taken.clear()
    run(["/bin/true"], stdout=taken.append, stderr=each_chunk(taken.append), engine=engine)
    assert taken == []


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_a_line_of_64_mib_comes_in_one_piece(encoding: str | None, children: Children) -> None:
    """Were it looked at from its beginning with each chunk, it would take minutes."""
    size = 64 * MIB
    taken: list[tuple[int, Any]] = []
    run(
        [children("echo")],
        input=b"x" * size + b"\nlast",
        stdout=lambda line: taken.append((len(line), line[-4:])),
        encoding=encoding,
        timeout=HANGS_AFTER,
    )
    ends = [(size + 1, b"xxx\n"), (4, b"last")]
    assert taken == [(n, end if encoding is None else end.decode()) for n, end in ends]


def test_a_long_line_of_short_pieces_is_not_copied_with_each() -> None:
    """A million pieces, each of which would cost a copy of what came before."""
    for text in None, ("utf-8", "strict"):
        taken: list[Any] = []
        begin = time.monotonic()
        given(taken.append, [b"x"] * MIB, text)
        assert time.monotonic() - begin < HANGS_AFTER
        assert [len(line) for line in taken] == [MIB]


def test_a_chunk_comes_as_soon_as_it_is_written(engine: str, children: Children) -> None:
    """It is answered before the program writes the next: it waits for that."""
    read, write = os.pipe()
    seen: list[bytes] = []

    def answer(chunk: bytes) -> None:
        seen.append(chunk)
        os.write(write, b"go\n")

    try:
        script = "printf one; read a; echo two; read a; printf three; read a"
        run(
            [SH, "-c", script],
            stdin=read,
            stdout=each_chunk(answer),
            timeout=HANGS_AFTER,
            engine=engine,
        )
    finally:
        os.close(read)
        os.close(write)
    assert seen == [b"one", b"two\n", b"three"]


def test_chunks_are_all_of_it(engine: str, children: Children) -> None:
    data = os.urandom(MIB)
    taken: list[bytes] = []
    run([children("echo")], input=data, stdout=each_chunk(taken.append), engine=engine)
    assert b"".join(taken) == data
    assert all(0 < len(chunk) <= 256 << 10 for chunk in taken)


def test_both_streams_at_once(engine: str, children: Children) -> None:
    """A81: 1 MiB to both streams, each with its callable."""
    sizes = [0, 0]

    def take(index: int) -> Callable[[bytes], None]:
        def call(data: bytes) -> None:
            sizes[index] += len(data)

        return call

    options = {"timeout": HANGS_AFTER, "engine": engine}
    run([children("flood"), str(MIB)], stdout=take(0), stderr=each_chunk(take(1)), **options)
    assert sizes == [MIB, MIB]


@pytest.mark.parametrize("how", ["function", "method", "tee", "each"])
def test_the_same_callable_for_both_is_one_stream(how: str, engine: str) -> None:
    """In the program's order, and never in two threads at once."""
    lines: list[bytes] = []
    busy = threading.Lock()

    def call(line: bytes) -> None:
        assert busy.acquire(blocking=False)
        lines.append(line)
        time.sleep(0)
        busy.release()

    shared: Any = {"function": call, "tee": tee(call), "each": each_line(call)}.get(how)
    streams = [shared, shared] if how != "method" else [lines.append, lines.append]
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo $i; echo $i >&2; done"
    run([SH, "-c", script], stdout=streams[0], stderr=streams[1], engine=engine)
    assert lines == [b"%d\n" % number for number in range(1, 10) for _ in range(2)]


# ---- errors of callables ------------------------------------------------------------------------


ENDLESS = "for i in 1 2 3 4 5; do echo $i; done; exec sleep 1000"


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("kind", [each_line, each_chunk, tee])
@pytest.mark.parametrize("error", [Surprise("no more"), KeyboardInterrupt(), SystemExit(3)])
def test_what_a_callable_raises_ends_the_command(
    error: BaseException, kind: Any, started: bool, engine: str
) -> None:
    """A87: the same object; the program is killed, not left to a pipe it may never write to."""
    bad = Bad(error, 0 if kind is each_chunk else 2)
    cmd = Cmd(SH, "-c", ENDLESS, stdout=kind(bad), timeout=1000, engine=engine)
    if started:
        cmd.start()
    with pytest.raises(type(error)) as caught:
        (cmd.wait if started else cmd.run)()
    assert caught.value is error
    assert cmd.process_state.signal == signal.SIGKILL
    assert bad.taken == ([] if kind is each_chunk else [b"1\n", b"2\n"])
    assert bad.after == 1


def test_a_started_command_is_ended_while_nobody_waits(engine: str) -> None:
    """A87: the callable's thread has nobody to tell but a thread of ours."""
    cmd = Cmd(SH, "-c", ENDLESS, stdout=Bad(Surprise(), 3), engine=engine)
    cmd.start()
    assert ends(cmd.process.pid, HANGS_AFTER)
    with pytest.raises(Surprise):
        cmd.wait()
    assert cmd.wait(check=False).signal == signal.SIGKILL


def test_the_status_does_not_hide_a_callables_error(engine: str) -> None:
    """A87: whether the program was over before is a question of moments."""
    for script in "echo x; exit 3", "echo x", "printf x; exit 3":
        error = Surprise()
        cmd = Cmd(SH, "-c", script, stdout=Bad(error), stderr=PIPE, engine=engine)
        with pytest.raises(Surprise) as caught:
            cmd.run()
        assert caught.value is error
        assert cmd.process_state is not None


def test_a_command_is_ended_by_its_own_action(engine: str) -> None:
    """A87: asked as at its timeout; what it then writes does not kill it."""
    script = "trap 'echo bye; echo done >&2; exit 7' TERM; echo ready; while :; do sleep 0.01; done"
    error = Surprise()
    cmd = Cmd(
        SH,
        "-c",
        script,
        stdout=Bad(error),
        stderr=PIPE,
        timeout=1000,
        cancel=lambda cmd: cmd.process.terminate(),
        wait_delay=HANGS_AFTER,
        engine=engine,
    )
    with pytest.raises(Surprise) as caught:
        cmd.run()
    assert caught.value is error
    assert cmd.process_state.exit_code == 7
    assert cmd.result.stderr == b"done\n"


def test_the_other_stream_keeps_what_it_had(engine: str) -> None:
    """A87: in cmd.result, as after a timeout."""
    script = f"echo err >&2; {ENDLESS}"
    cmd = Cmd(SH, "-c", script, stdout=Bad(Surprise(), 4), stderr=PIPE, engine=engine)
    with pytest.raises(Surprise):
        cmd.run()
    assert cmd.result.stderr == b"err\n"


def test_output_that_does_not_decode_ends_the_command(engine: str) -> None:
    """A87: the callable would get no more; the error is the codec's."""
    lines: list[str] = []
    cmd = Cmd(
        SH,
        "-c",
        r"printf 'one\n\377\n'; exec sleep 1000",
        stdout=lines.append,
        encoding="utf-8",
        engine=engine,
    )
    with pytest.raises(UnicodeDecodeError):
        cmd.run()
    assert lines == ["one\n"]
    assert cmd.process_state.signal == signal.SIGKILL


def test_output_that_breaks_off_does_not_hide_the_status(engine: str) -> None:
    """A86: half a character at the end is the program's death, not the callable's error."""
    lines: list[str] = []
    script = r"printf 'one\ntwo\303'; kill -9 $$"
    options = {"stdout": lines.append, "encoding": "utf-8", "engine": engine}
    with pytest.raises(spawnkit.ExitError) as caught:
        run([SH, "-c", script], **options)
    assert caught.value.state.signal == signal.SIGKILL
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    assert lines == ["one\n"]
    with pytest.raises(UnicodeDecodeError):
        run([SH, "-c", r"printf 'one\ntwo\303'"], **options)
    run([SH, "-c", r"printf 'one\ntwo\303'"], errors="replace", **options)
    assert lines == ["one\n", "one\n", "one\n", "two\ufffd"]


def test_a_callable_that_blocks_does_not_outlast_a_timeout(engine: str) -> None:
    """A82: as a writer that blocks; and it is not called again after the call has ended."""
    release = threading.Event()
    left = threading.Event()
    calls: list[bytes] = []

    def block(line: bytes) -> None:
        calls.append(line)
        assert release.wait(HANGS_AFTER)

    class Leaving:
        def write(self, data: bytes) -> int:
            left.set()  # the chunk is handed on to the next target: the first has returned
            return len(data)

    stdout = tee(block, Leaving())
    cmd = Cmd(SH, "-c", "echo 1; echo 2; echo 3", stdout=stdout, timeout=0.5, engine=engine)
    begin = time.monotonic()
    try:
        with pytest.raises(spawnkit.TimeoutExpired):
            cmd.run()
        assert time.monotonic() - begin < HANGS_AFTER / 2
    finally:
        release.set()
    assert left.wait(HANGS_AFTER)
    assert calls == [b"1\n"]


def test_a_callable_may_run_commands(engine: str) -> None:
    """Also the mask is the caller's there: what it starts can be interrupted."""
    taken: list[bytes] = []

    def call(line: bytes) -> None:
        mask = ["/bin/grep", "SigBlk", f"{PROC}/self/status"]
        taken.append(run(mask, stdout=PIPE, engine=engine).stdout)
        run(["/bin/echo", line], stdout=taken.append, engine=engine)

    run([SH, "-c", "echo a; echo b"], stdout=call, engine=engine)
    none = b"SigBlk:\t0000000000000000\n"
    assert taken == [none, b"a\n", b"\n", none, b"b\n", b"\n"]


def test_an_interrupt_in_the_callers_thread_stops_the_calls(isolate: Isolate) -> None:
    """A88: Ctrl-C while a callable is being called; none is called after run has ended."""
    assert isolate(_interrupted_between_calls) == ["interrupted", True]


def _interrupted_between_calls() -> list[Any]:
    import os
    import signal
    import threading
    import time

    import spawnkit
    from support.proc import PROC

    inside, go_on = threading.Event(), threading.Event()
    calls = []

    def call(line: bytes) -> None:
        calls.append(line)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            inside.set()
            go_on.wait(60)

    outcome = "ended"
    try:
        spawnkit.run(["yes"], stdout=call)
    except KeyboardInterrupt:
        outcome = "interrupted"
    go_on.set()
    end = time.monotonic() + 60
    while len(os.listdir(f"{PROC}/self/task")) > 1 and time.monotonic() < end:
        time.sleep(0.001)
    return [outcome, inside.is_set() and len(calls) == 3]


# ---- tee ----------------------------------------------------------------------------------------


def _what_our_own_streams_get(options: str) -> list[str]:
    """Of a run with these streams, in a process whose 1 and 2 are files; their lines sorted."""
    import os
    import tempfile

    import spawnkit
    from spawnkit import PIPE, STDOUT, each_line, tee  # noqa: F401 - for the options

    lines: list[bytes] = []  # noqa: F841 - for the options
    files = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]  # noqa: SIM115
    before = [os.dup(1), os.dup(2)]
    os.dup2(files[0].fileno(), 1)
    os.dup2(files[1].fileno(), 2)
    try:
        script = "echo out; echo err >&2"
        result = spawnkit.run(["/bin/sh", "-c", script], **eval(options))
    finally:
        os.dup2(before[0], 1)
        os.dup2(before[1], 2)
    got = [
        "".join(sorted(os.pread(file.fileno(), 9, 0).decode().splitlines(True))) for file in files
    ]
    for file in files:
        file.close()
    for fd in before:
        os.close(fd)
    return [*got, repr(result.stdout), repr(result.stderr)]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("{'stdout': tee(None, PIPE)}", ["out\n", "err\n", "b'out\\n'", "None"]),
        ("{'stderr': tee(None, PIPE)}", ["out\n", "err\n", "None", "b'err\\n'"]),
        (
            "{'stdout': tee(None, PIPE), 'stderr': tee(PIPE, None), 'encoding': 'utf-8'}",
            ["out\n", "err\n", "'out\\n'", "'err\\n'"],
        ),
        ("{'stdout': tee(2, PIPE)}", ["", "err\nout\n", "b'out\\n'", "None"]),
        (
            "{'stdout': tee(None, tee(PIPE, PIPE)), 'stderr': STDOUT}",
            ["err\nout\n", "", "b'out\\nerr\\n'", "None"],
        ),
        ("{'stdout': PIPE, 'stderr': tee(None, lines.append)}", ["", "err\n", "b'out\\n'", "None"]),
    ],
)
def test_output_is_shown_and_kept(options: str, wanted: list[str], isolate: Isolate) -> None:
    assert isolate(_what_our_own_streams_get, options) == wanted


def test_a_tee_to_everything(engine: str, tmp_path: Path, children: Children) -> None:
    """Every kind of target, in one; long, and whole in each."""
    data = b"".join(b"%d\n" % number for number in range(100_000))
    lines: list[bytes] = []
    plain: list[bytes] = []
    chunks: list[bytes] = []
    memory, text = io.BytesIO(), io.StringIO()
    paths = [tmp_path / name for name in ("path", "binary", "text", "gz", "number", "raw")]
    with (
        paths[1].open("wb") as binary,
        paths[2].open("w") as textual,
        gzip.open(paths[3], "wb") as packed,
        paths[4].open("wb") as number,
        paths[5].open("wb", buffering=0) as raw,
    ):
        stdout = tee(
            PIPE,
            str(paths[0]),
            binary,
            textual,
            packed,
            number.fileno(),
            raw,
            memory,
            text,
            each_line(lines.append),
            plain.append,
            tee(each_chunk(chunks.append), DEVNULL),
        )
        result = run([children("echo")], input=data, stdout=stdout, engine=engine)
    assert result.stdout == data
    assert gzip.decompress(paths[3].read_bytes()) == data
    del paths[3]
    assert [path.read_bytes() == data for path in paths] == [True] * 5
    assert memory.getvalue() == text.getvalue().encode() == b"".join(chunks) == data
    assert lines == plain == data.splitlines(keepends=True)


def test_a_file_in_a_tee_is_live_and_in_order(
    engine: str, tmp_path: Path, children: Children
) -> None:
    """What the caller wrote before comes before, and each chunk is in the file when it has come."""
    path = tmp_path / "log"
    seen: list[bytes] = []
    with path.open("w") as log:
        log.write("begin\n")
        stdout = tee(log, lambda line: seen.append(path.read_bytes()))
        run([children("drip")], input=b"a\nb\n", stdout=stdout, engine=engine)
        log.write("end\n")
    assert [line[: line.rindex(b"\n") + 1] for line in seen] == [b"begin\na\n", b"begin\na\nb\n"]
    assert path.read_bytes() == b"begin\na\nb\nend\n"


def test_one_path_in_two_tees_is_appended_to(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old")
    script = "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done"
    result = run([SH, "-c", script], stdout=tee(path, PIPE), stderr=tee(path, PIPE), engine=engine)
    lines = path.read_bytes().splitlines(keepends=True)
    assert b"".join(line for line in lines if line.startswith(b"out")) == result.stdout
    assert b"".join(line for line in lines if line.startswith(b"err")) == result.stderr
    assert len(lines) == 10


def test_a_tee_waits_for_a_descriptor_in_non_blocking_mode(engine: str, children: Children) -> None:
    """As a terminal is that another program has made so."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    got = bytearray()

    def take() -> None:
        while part := os.read(read, 4096):
            got.extend(part)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        data = os.urandom(MIB)
        run([children("echo")], input=data, stdout=tee(write), timeout=HANGS_AFTER, engine=engine)
    finally:
        os.close(write)
        taker.join(HANGS_AFTER)
        os.close(read)
    assert got == data


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_a_tee_to_another_commands_stdin(encoding: str | None, engine: str) -> None:
    second = Cmd("/bin/cat", stdout=PIPE, encoding=encoding, engine=engine)
    stdin = second.stdin_pipe()
    second.start()
    data = os.urandom(MIB).hex().encode()
    first = run(["/bin/cat"], input=data, stdout=tee(stdin, PIPE), engine=engine)
    stdin.close()
    second.wait()
    assert first.stdout == data
    assert second.result.stdout == (data if encoding is None else data.decode())


@pytest.mark.parametrize("order", [0, 1])
def test_a_broken_target_leaves_the_others(order: int, engine: str, tmp_path: Path) -> None:
    """A87: a terminal that is gone must not cost the log; its error is told in the end."""
    read, write = os.pipe()
    os.close(read)
    path = tmp_path / "log"
    targets: list[Any] = [write, PIPE, path]
    if order:
        targets.reverse()
    script = "echo one; sleep 0.01; echo two; sleep 0.01; echo three"
    try:
        cmd = Cmd(SH, "-c", script, stdout=tee(*targets), engine=engine)
        with pytest.raises(BrokenPipeError):
            cmd.run()
        assert cmd.process_state.success
        assert cmd.result.stdout == path.read_bytes() == b"one\ntwo\nthree\n"
        cmd = Cmd(SH, "-c", f"{script}; exit 3", stdout=tee(*targets), engine=engine)
        with pytest.raises(spawnkit.ExitError) as caught:
            cmd.run()
        assert isinstance(caught.value.__cause__, BrokenPipeError)
        assert caught.value.stdout == b"one\ntwo\nthree\n"
    finally:
        os.close(write)


def test_of_two_broken_targets_the_first_error_is_told(engine: str) -> None:
    """A87: and the third goes on; without one the program has lost its reader."""
    first, second = Surprise("first"), Surprise("second")
    slow, fast = BadWriter(second, 1), BadWriter(first, 0)
    script = "echo one; sleep 0.1; echo two; sleep 0.1; echo three"
    kept = io.BytesIO()
    with pytest.raises(Surprise) as caught:
        run([SH, "-c", script], stdout=tee(slow, fast, kept), engine=engine)
    assert caught.value is first
    assert kept.getvalue() == b"one\ntwo\nthree\n"
    with pytest.raises(spawnkit.ExitError) as failed:
        run(["yes"], stdout=tee(BadWriter(first), BadWriter(second)), engine=engine)
    assert failed.value.state.signal == signal.SIGPIPE
    assert failed.value.__cause__ is first


def test_a_callable_that_fails_in_a_tee_ends_the_command(engine: str, tmp_path: Path) -> None:
    """A87: though others would go on; they have all that came, and its error counts first."""
    error = Surprise()
    bad = Bad(error, 2)
    path = tmp_path / "log"
    stdout = tee(BadWriter(Surprise("writer")), bad, PIPE, path, Bad(Surprise("late"), 3))
    cmd = Cmd(SH, "-c", ENDLESS, stdout=stdout, engine=engine)
    with pytest.raises(Surprise) as caught:
        cmd.run()
    assert caught.value is error
    assert cmd.process_state.signal == signal.SIGKILL
    assert cmd.result.stdout == path.read_bytes()
    assert cmd.result.stdout.startswith(b"1\n2\n3\n")


def test_the_exception_of_a_timeout_has_what_a_tee_kept(engine: str, children: Children) -> None:
    """A84: as with PIPE."""
    read, write = os.pipe()
    try:
        cmd = Cmd(
            children("block"),
            str(read),
            "so far",
            fd_map={read: read},
            stdout=tee(PIPE, io.BytesIO()),
            timeout=0.5,
            engine=engine,
        )
        with pytest.raises(spawnkit.TimeoutExpired) as caught:
            cmd.run()
    finally:
        os.close(read)
        os.close(write)
    assert caught.value.stdout == b"so far"


def test_a_tee_is_a_description(engine: str) -> None:
    """It may be used again, at once, and by a clone."""
    both = tee(PIPE, DEVNULL)
    cmds = [Cmd("/bin/echo", str(number), stdout=both, engine=engine) for number in range(3)]
    cmds += [cmd.clone() for cmd in cmds]
    for cmd in cmds:
        cmd.start()
    for number, cmd in enumerate(cmds):
        cmd.wait()
        assert cmd.result.stdout == b"%d\n" % (number % 3)


def test_they_show_what_they_are() -> None:
    assert repr(tee(None, "log", tee(PIPE))) == "spawnkit.tee(None, 'log', spawnkit.PIPE)"
    assert repr(each_line(print)) == f"spawnkit.each_line({print!r})"
    assert repr(each_chunk(len)) == f"spawnkit.each_chunk({len!r})"


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"stdout": str}, TypeError, "stdout"),
        ({"stdin": print}, TypeError, "stdin"),
        ({"stdin": tee(PIPE)}, TypeError, "stdin"),
        ({"stdin": each_line(print)}, TypeError, "stdin"),
        ({"stdin": [b"x"]}, TypeError, "stdin"),
        ({"stdout": iter([b"x"])}, TypeError, "stdout"),
        ({"stdout": [print]}, TypeError, "stdout"),
        ({"stderr": tee(object())}, TypeError, "stderr: <object.* in a tee"),
        ({"stdout": tee(b"path")}, TypeError, "stdout: b'path' in a tee"),
        ({"stdout": tee("")}, ValueError, "stdout: '' in a tee"),
        ({"stdout": tee(-1)}, ValueError, "stdout: -1 in a tee"),
        ({"stdout": tee(True)}, TypeError, "stdout: True in a tee"),
        ({"stderr": tee(STDOUT)}, ValueError, "stderr: spawnkit.STDOUT in a tee"),
        ({"stdout": tee(int)}, TypeError, "stdout: <class 'int'> in a tee"),
    ],
)
def test_nonsense_is_refused_by_name(
    options: dict[str, Any], error: type[Exception], named: str
) -> None:
    for how in "run", "start":
        with pytest.raises(error, match=named):
            getattr(Cmd("/bin/true", **options), how)()
    with pytest.raises(error, match=named):
        run(["/bin/true"], **options)


def test_nonsense_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="tee"):
        tee()
    with pytest.raises(TypeError, match="each_line: cannot call 3"):
        each_line(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="each_chunk"):
        each_chunk(None)  # type: ignore[arg-type]


def test_targets_that_cannot_be_opened_fail_the_start(engine: str, tmp_path: Path) -> None:
    """Before any process is made; and what was opened by then is closed again."""
    marker = tmp_path / "ran"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    closed = (tmp_path / "closed").open("wb")
    closed.close()
    good = tmp_path / "good"
    for bad, error in (
        (tmp_path / "no" / "file", FileNotFoundError),
        (tmp_path, IsADirectoryError),
        (fifo, spawnkit.SpawnError),
        (write, spawnkit.SpawnError),
        (closed, ValueError),
    ):
        with pytest.raises(error):
            run(["/bin/touch", str(marker)], stdout=tee(good, PIPE, bad), engine=engine)
    assert not marker.exists()


def test_a_start_that_fails_leaves_nothing_open(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where the program is missing nor where no thread can be had to serve the tee."""
    stdout = tee(tmp_path / "log", PIPE, len)
    for how in "run", "start":
        with pytest.raises(FileNotFoundError):
            getattr(Cmd("/no/such/program", stdout=stdout, engine=engine), how)()

    def fails(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "start_new_thread", fails)
    for how in "run", "start":
        with pytest.raises(RuntimeError, match="thread"):
            getattr(Cmd("/bin/true", stdout=stdout, engine=engine), how)()


def test_an_encoding_that_cannot_be_cut_is_refused(engine: str) -> None:
    """A codec need not have an incremental decoder; before any process is made."""

    def find(name: str) -> codecs.CodecInfo | None:
        plain = codecs.lookup("latin-1")
        return codecs.CodecInfo(plain.encode, plain.decode) if name == "whole_only" else None

    codecs.register(find)
    try:
        result = run(["/bin/echo"], stdout=PIPE, encoding="whole_only", engine=engine)
        assert result.stdout == "\n"
        with pytest.raises(LookupError, match="whole_only"):
            run(["/bin/echo"], stdout=print, encoding="whole_only", engine=engine)
    finally:
        codecs.unregister(find)


def test_a_file_that_is_closed_meanwhile_is_an_error(tmp_path: Path) -> None:
    """Its number may be another file's by then."""
    log = (tmp_path / "log").open("wb")
    seen: list[bytes] = []
    read, write = os.pipe()

    def call(line: bytes) -> None:
        seen.append(line)
        log.close()
        os.write(write, b"go\n")

    try:
        with pytest.raises(ValueError, match="closed"):
            run([SH, "-c", "echo 1; read a; echo 2"], stdin=read, stdout=tee(log, call))
    finally:
        os.close(read)
        os.close(write)
    assert seen == [b"1\n", b"2\n"]


# ---- iterators ----------------------------------------------------------------------------------


def test_items_are_fed(engine: str, children: Children) -> None:
    """Whatever bytes they are, empty ones too, which are not the end."""
    items = [b"a", b"", bytearray(b"b"), memoryview(b"c"), b"x" * MIB]
    result = run([children("echo")], stdin=iter(items), stdout=PIPE, engine=engine)
    assert result.stdout == b"abc" + b"x" * MIB
    assert result.broken_pipe is False
    assert run(["/bin/cat"], stdin=iter([]), stdout=PIPE, engine=engine).stdout == b""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_text_items_are_encoded_as_one(encoding: str, children: Children) -> None:
    """One byte order mark for all of it."""
    stdin = (character for character in "äb€")
    result = run([children("echo")], stdin=stdin, stdout=PIPE, encoding=encoding)
    assert result.stdout == "äb€"


def test_an_item_is_fed_before_the_next_is_asked_for(engine: str) -> None:
    """A conversation: each item waits for the answer to the one before."""
    answers: list[bytes] = []
    answered = threading.Semaphore(0)

    def take(line: bytes) -> None:
        answers.append(line)
        answered.release()

    def ask() -> Iterator[bytes]:
        yield b"1\n"
        for _ in range(3):
            assert answered.acquire(timeout=HANGS_AFTER)
            yield b"%d\n" % (int(answers[-1]) * 2)

    script = "while read n; do echo $n; done"
    run([SH, "-c", script], stdin=ask(), stdout=take, timeout=HANGS_AFTER, engine=engine)
    assert answers == [b"1\n", b"2\n", b"4\n", b"8\n"]


def test_an_endless_iterator_ends_with_the_program(engine: str) -> None:
    """A80: a program need not read its input."""
    head = ["/usr/bin/head", "-c", "5"]
    result = run(head, stdin=itertools.repeat(b"x"), stdout=PIPE, engine=engine)
    assert result.stdout == b"xxxxx"
    assert result.broken_pipe is True


def test_an_iterator_that_raises_ends_the_input(engine: str, children: Children) -> None:
    """A87: as a reader that raises."""
    error = Surprise("item")

    def items() -> Iterator[bytes]:
        yield b"begun"
        raise error

    cmd = Cmd(children("echo"), stdin=items(), stdout=PIPE, engine=engine)
    with pytest.raises(Surprise) as caught:
        cmd.run()
    assert caught.value is error
    assert cmd.process_state.success
    assert cmd.result.stdout == b"begun"


@pytest.mark.parametrize("item", ["text", 3, None, [b"x"]])
def test_an_item_that_is_no_bytes_is_an_error(item: Any, engine: str) -> None:
    with pytest.raises(TypeError, match="stdin: bytes wanted"):
        run(["/bin/cat"], stdin=iter([b"x", item]), stdout=DEVNULL, engine=engine)


def test_an_iterator_that_blocks_is_not_waited_for(engine: str) -> None:
    release = threading.Event()

    def items() -> Iterator[bytes]:
        yield b"x"
        assert release.wait(HANGS_AFTER)

    try:
        assert run(["/bin/true"], stdin=items(), timeout=HANGS_AFTER, engine=engine).broken_pipe
    finally:
        release.set()


def test_a_reader_that_can_be_iterated_is_read(engine: str, children: Children) -> None:
    """Files are iterators of lines, too."""
    stdin = io.BytesIO(b"a\nb")
    assert run([children("echo")], stdin=stdin, stdout=PIPE, engine=engine).stdout == b"a\nb"


def test_without_python_code_nothing_of_this_is_loaded(isolate: Isolate) -> None:
    assert isolate(_loaded) == [False, False, True]


def _loaded() -> list[bool]:
    import sys

    import spawnkit

    loaded = ["spawnkit.sinks" in sys.modules]
    spawnkit.run(["/bin/cat"], input=b"x", capture=True, timeout=1000)
    loaded.append("spawnkit.sinks" in sys.modules)
    spawnkit.run(["/bin/true"], stdout=print)
    loaded.append("spawnkit.sinks" in sys.modules)
    return loaded


def test_standard_output_of_ours_is_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where it is an object without a descriptor."""
    print("before")
    run(["/bin/echo", "ä"], stdout=tee(sys.stdout, PIPE))
    print("after")
    assert capsys.readouterr().out == "before\nä\nafter\n"


@pytest.mark.parametrize("target", [spawnkit.MEMORY, spawnkit.ORDERED], ids=repr)
def test_what_nobody_reads_is_refused_in_a_tee(target: object) -> None:
    stdout: Any = spawnkit.tee(spawnkit.PIPE, target)
    with pytest.raises(ValueError, match=r"stdout: spawnkit\.\w+ in a tee: nobody reads that"):
        spawnkit.run(["/nonexistent/never-looked-for"], stdout=stdout)
