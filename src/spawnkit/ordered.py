"""Records: what a program wrote to stdout and stderr, write by write.

C gathers them in one buffer (csrc/ordered.c); here they are taken apart, once the streams are over.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from .result import Text

    Record: TypeAlias = tuple[float, int, bytes | str]

_HEADER = struct.Struct("=qII")  # sk_record


def parse(data: bytes) -> list[Record]:
    """(time, stream, bytes) of each write."""
    records: list[Record] = []
    at = 0
    while at < len(data):
        nanoseconds, stream, size = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        records.append((nanoseconds / 1e9, stream, data[at : at + size]))
        at += size
    return records


def joined(records: list[Record], stream: int) -> bytes:
    """All that was written to one stream."""
    return b"".join(data for _, number, data in records if number == stream)  # type: ignore[misc]


def decode(records: list[Record], text: Text) -> list[Record]:
    """The same with str. What two writes share of a character is in the record of the second.

    Raises as bytes.decode of the whole.
    """
    import codecs

    encoding, errors = text
    make = codecs.getincrementaldecoder(encoding)
    decoders = {1: make(errors), 2: make(errors)}
    last: dict[int, int] = {}
    decoded: list[Record] = []
    for time, stream, data in records:
        last[stream] = len(decoded)
        decoded.append((time, stream, decoders[stream].decode(data)))  # type: ignore[arg-type]
    for stream, index in last.items():
        # Half a character at a stream's end: an error, or what the error handler makes of it.
        rest = decoders[stream].decode(b"", True)
        time, _, data = decoded[index]
        decoded[index] = time, stream, data + rest  # type: ignore[operator]
    return decoded
