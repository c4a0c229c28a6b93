"""
PostgreSQL's raw files as somebody who took them reads them, without the server.

Sources: PostgreSQL's documentation, "Database page layout" and "TOAST", and its `xlog_internal.h`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.unit.authority.erasure.thief import VERSION, Copy

_PAGE = 8192
_SHORT_HEADER, _LONG_HEADER, _IS_LONG = 24, 40, 2
_CHUNK_BYTES = 1996
_SHORT_BYTES = 126


def tables(data: Path) -> list[bytes]:
    """Every file of a server's data directory but the log: rows that live or are dead, and what pages still hold."""
    files = [path for path in sorted(data.rglob("*")) if path.is_file() and "pg_wal" not in path.parts]
    found = []
    for path in files:
        # A server that runs replaces some that hold no rows.
        with suppress(FileNotFoundError):
            found.append(path.read_bytes())
    return found


def log(data: Path) -> list[bytes]:
    """The write-ahead log as one stream: a record goes on behind the next page's header."""
    segments = [path.read_bytes() for path in sorted((data / "pg_wal").iterdir()) if path.is_file()]
    pages = [segment[at : at + _PAGE] for segment in segments for at in range(0, len(segment), _PAGE)]
    return [b"".join(_without_header(page) for page in pages if any(page))]


def copy_of(files: list[bytes]) -> Copy:
    """Put wide values together, which lie in chunks, and say what stands before a value of a size."""
    data = b"".join(files)
    return Copy(data + b"".join(_long(len(value)) + value for value in set(_wide(data))), _lengths)


def _without_header(page: bytes) -> bytes:
    (info,) = struct.unpack_from("<H", page, 2)
    return page[_LONG_HEADER if info & _IS_LONG else _SHORT_HEADER :]


def _lengths(size: int) -> list[bytes]:
    return [_long(size), *([bytes([size + 1 << 1 | 1])] if size <= _SHORT_BYTES else [])]


def _long(size: int) -> bytes:
    return struct.pack("<I", size + 4 << 2)


def _wide(data: bytes) -> Iterator[bytes]:
    begin = bytes(4) + _long(_CHUNK_BYTES) + VERSION
    at = data.find(begin)
    while at >= 0:
        yield from _continued(data, data[at - 4 : at], 0, b"")
        at = data.find(begin, at + 1)


def _continued(data: bytes, value: bytes, number: int, so_far: bytes) -> Iterator[bytes]:
    for chunk in set(_chunks(data, value + struct.pack("<I", number))):
        yield so_far + chunk
        if len(chunk) == _CHUNK_BYTES:
            yield from _continued(data, value, number + 1, so_far + chunk)


def _chunks(data: bytes, begin: bytes) -> Iterator[bytes]:
    at = data.find(begin)
    while at >= 0:
        start = at + len(begin) + 4
        size = int.from_bytes(data[start - 4 : start], "little") / 4 - 4
        if size in range(1, _CHUNK_BYTES + 1):
            yield data[start : start + int(size)]
        at = data.find(begin, at + 1)
