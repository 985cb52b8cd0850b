"""encoding=: text instead of bytes, the same at every edge between two reads."""

from __future__ import annotations

import gzip
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spawnkit
from spawnkit import Cmd, output, run
from support.children import Children

# One to four bytes a character; what a reader cuts in two is cut in the middle of some.
TEXT = "aä€😀\r\n\x00" * 3
INVALID = [
    b"\xff",
    b"a\xc3",  # cut off at the end
    b"\xe2\x82",
    b"\xc3(\xe2\x82(",
    b"\xed\xa0\x80",  # a surrogate
    b"\xf0\x9f\x98a\xf0\x9f",
    b"\x80\x80\x80\xfe\xff",
]


class Pieces:
    """A reader that returns what it was given, piece by piece, and then the end."""

    def __init__(self, pieces: list[Any], end: Any) -> None:
        self.pieces = [*pieces, end]

    def read(self, size: int = -1) -> Any:
        return self.pieces.pop(0)


class Taken(io.StringIO):
    """A writer that notes each piece."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        assert isinstance(text, str)
        self.pieces.append(text)
        return super().write(text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "utf-8-sig", "shift_jis"])
def test_output_is_text_where_an_encoding_is_given(encoding: str, engine: str) -> None:
    text = "grün" if encoding == "latin-1" else "日本" if encoding == "shift_jis" else TEXT
    data = text.encode(encoding)
    result = run(["/bin/cat"], input=data, capture=True, encoding=encoding, engine=engine)
    assert (result.stdout, result.stderr) == (text, "")
    assert output(["/bin/cat"], input=data, encoding=encoding, engine=engine) == text
    assert output(["/bin/cat"], input=text, encoding=encoding, engine=engine) == text
    cmd = Cmd("/bin/cat", stdin=data, encoding=encoding, engine=engine)
    assert cmd.combined_output() == text


def test_without_an_encoding_text_is_refused() -> None:
    with pytest.raises(TypeError, match="input"):
        run(["/bin/cat"], input="text")
    with pytest.raises(TypeError, match="input"):
        output(["/bin/cat"], input="text")
    assert run(["/bin/cat"], input=b"bytes", capture=True).stdout == b"bytes"


def test_result_of_a_cmd_is_text_too(engine: str, children: Children) -> None:
    cmd = Cmd(
        children("talk"),
        stdin="ä".encode(),
        stdout=spawnkit.PIPE,
        stderr=spawnkit.PIPE,
        encoding="utf-8",
        engine=engine,
    )
    cmd.run()
    assert (cmd.result.stdout, cmd.result.stderr) == ("Oä", "E")


@pytest.mark.parametrize("errors", ["replace", "ignore", "backslashreplace", "surrogateescape"])
@pytest.mark.parametrize("data", [TEXT.encode(), *INVALID], ids=repr)
def test_what_arrives_byte_by_byte_decodes_as_in_one_piece(
    data: bytes, errors: str, children: Children
) -> None:
    """A86: invalid UTF-8 at a chunk edge decodes as in one piece: captured, piped, written."""
    wanted = data.decode("utf-8", errors)
    options: dict[str, Any] = {"encoding": "utf-8", "errors": errors}
    drip = children("drip")
    assert output([drip], input=data, **options) == wanted

    cmd = Cmd(drip, stdin=data, stdout=spawnkit.PIPE, **options)
    cmd.run()
    assert cmd.result.stdout == wanted

    taken = Taken()
    Cmd(drip, stdin=data, stdout=taken, **options).run()
    assert taken.getvalue() == wanted
    assert len(taken.pieces) > 1 or data in INVALID  # which may come to one character, or none

    cmd = Cmd(drip, stdin=data, **options)
    stdout = cmd.stdout_pipe()
    cmd.start()
    assert stdout.read() == wanted
    cmd.wait()


@pytest.mark.parametrize("offset", range(4))
def test_an_edge_between_two_large_reads_is_no_edge(offset: int, engine: str) -> None:
    """A86: the same for pieces as large as they get."""
    text = "x" * offset + "😀" * 100_000
    taken = Taken()
    Cmd("/bin/cat", stdin=text.encode(), stdout=taken, engine=engine).run()
    assert taken.getvalue() == text
    assert output(["/bin/cat"], input=text, encoding="utf-8", engine=engine) == text


@pytest.mark.parametrize("data", INVALID, ids=repr)
def test_invalid_bytes_are_an_error_unless_told_otherwise(data: bytes, engine: str) -> None:
    """errors="strict": the program is over, nothing is left, and the exception is Python's own."""
    with pytest.raises(UnicodeDecodeError):
        run(["/bin/cat"], input=data, capture=True, encoding="utf-8", engine=engine)
    with pytest.raises(UnicodeDecodeError):
        Cmd("/bin/cat", stdin=data, stdout=io.StringIO(), engine=engine).run()


@pytest.mark.parametrize("encoding", [None, "utf-8", "utf-16"])
def test_a_reader_may_return_text(encoding: str | None, engine: str) -> None:
    """Encoded as it goes, in the encoding given, else UTF-8; a mark at the beginning comes once."""
    options: dict[str, Any] = {"encoding": encoding} if encoding else {}
    wanted = TEXT.encode(encoding or "utf-8")
    readers: list[Any] = [Pieces(list(TEXT), ""), io.StringIO(TEXT, newline="")]
    for reader in readers:
        out = io.BytesIO()
        Cmd("/bin/cat", stdin=reader, stdout=out, engine=engine, **options).run()
        assert out.getvalue() == wanted


def test_a_reader_of_bytes_stays_one(engine: str) -> None:
    """encoding says what text means; bytes are bytes."""
    data = "ä".encode("latin-1")
    out = io.BytesIO()
    cmd = Cmd("/bin/cat", stdin=Pieces([data], b""), stdout=out, encoding="utf-16", engine=engine)
    cmd.run()
    assert out.getvalue() == data


def test_text_that_cannot_be_encoded_is_an_error(engine: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        run(["/bin/cat"], input="\ud800", encoding="utf-8", engine=engine)
    with pytest.raises(UnicodeEncodeError):
        Cmd("/bin/cat", stdin=Pieces(["\ud800"], ""), stdout=io.BytesIO(), engine=engine).run()


def test_unknown_encodings_are_refused_before_anything_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with pytest.raises((LookupError, ValueError)):
        run(["/bin/touch", marker], capture=True, encoding="no-such-encoding")
    with pytest.raises((LookupError, ValueError)):
        Cmd("/bin/touch", marker, encoding="no-such-encoding").run()
    assert not marker.exists()


def test_text_pipes(engine: str, children: Children) -> None:
    """Go TestPipes: with an encoding, as text, one line at a time."""
    cmd = Cmd(children("route"), encoding="utf-8", engine=engine)
    stdin, stdout, stderr = cmd.stdin_pipe(), cmd.stdout_pipe(), cmd.stderr_pipe()
    assert isinstance(stdout, io.TextIOWrapper)
    assert isinstance(stderr, io.TextIOWrapper)
    cmd.start()
    for stream, line in [(stdout, "O:ä\n"), (stderr, "E:€\n"), (stdout, "O:😀\n")]:
        stdin.write(line)
        assert stream.readline() == line
    stdin.close()
    assert cmd.wait().success


def test_text_files_with_a_descriptor_are_used_as_they_are(engine: str, tmp_path: Path) -> None:
    """A file opened as text has a descriptor: the program gets that, and no thread is between."""
    (tmp_path / "in").write_text(TEXT, newline="")
    with open(tmp_path / "in") as source, open(tmp_path / "out", "w") as sink:
        Cmd("/bin/cat", stdin=source, stdout=sink, engine=engine).run()
    assert (tmp_path / "out").read_bytes() == TEXT.encode()


def test_a_text_wrapper_around_memory_is_a_text_object(engine: str) -> None:
    memory = io.BytesIO()
    wrapper = io.TextIOWrapper(memory, encoding="utf-8", newline="")
    Cmd("/bin/cat", stdin=TEXT.encode(), stdout=wrapper, engine=engine).run()
    wrapper.flush()
    assert memory.getvalue() == TEXT.encode()


def test_a_zipped_file_is_read_as_what_is_in_it(engine: str, tmp_path: Path) -> None:
    """It has a descriptor, of the compressed file: that is not meant."""
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    with gzip.open(path) as source:
        assert Cmd("/bin/cat", stdin=source, engine=engine).output() == TEXT.encode()
    with gzip.open(path, "rt", encoding="utf-8", newline="") as source:
        assert Cmd("/bin/cat", stdin=source, engine=engine).output() == TEXT.encode()
    with gzip.open(path, "wb") as sink:
        Cmd("/bin/echo", "zipped", stdout=sink, engine=engine).run()
    assert gzip.decompress(path.read_bytes()) == b"zipped\n"


def test_exceptions_carry_text(engine: str, children: Children) -> None:
    script = "echo ä; echo ö >&2; exit 3"
    with pytest.raises(spawnkit.ExitError) as caught:
        run(["/bin/sh", "-c", script], capture=True, encoding="utf-8", engine=engine)
    assert (caught.value.stdout, caught.value.stderr) == ("ä\n", "ö\n")
    assert str(caught.value).endswith(": ö")
    with pytest.raises(spawnkit.ExitError) as caught:
        output(["/bin/sh", "-c", script], encoding="utf-8", engine=engine)
    assert caught.value.stderr == "ö\n"


def test_stderr_that_is_no_text_does_not_hide_the_failure(engine: str) -> None:
    """What output() keeps for the exception was not asked for: it must not raise another."""
    script = r"printf '\377' >&2; exit 3"
    with pytest.raises(spawnkit.ExitError) as caught:
        output(["/bin/sh", "-c", script], encoding="utf-8", engine=engine)
    assert caught.value.state.exit_code == 3


def test_text_agrees_with_subprocess() -> None:
    """The same bytes in, the same text out, line ends aside."""
    script = r"printf 'one\ntwo\303\244\n'"
    theirs = subprocess.run(["/bin/sh", "-c", script], stdout=subprocess.PIPE, encoding="utf-8")
    assert output(["/bin/sh", "-c", script], encoding="utf-8") == theirs.stdout


def lines() -> Iterator[str]:
    yield from ("one\n", "two\n")


def test_an_iterator_is_no_reader() -> None:
    """Only what has read() can be read."""
    with pytest.raises(TypeError, match="stdin"):
        Cmd("/bin/cat", stdin=lines()).run()
