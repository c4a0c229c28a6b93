"""
Avro object container files as blocks of bare datums: read with every length checked, written block by block.

::

    file  := "Obj" 01 | map<bytes> (avro.schema, avro.codec, ...) | sync 16 | block*
    block := count (long) | size (long) | size bytes, compressed | sync 16
"""

from __future__ import annotations

import json
import sys
import zlib
from bz2 import BZ2Decompressor
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from lzma import LZMADecompressor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import fastavro
from fastavro.write import Writer

from worker.avro.reader import MAX_WIDTHLESS_ITEMS, State, read_long, zigzag
from worker.avro.readers import Readers
from worker.avro.schema import parse
from worker.errors import ConfigError, DecodeError

MAX_BLOCK_BYTES = 2**28
"""Bound of one block, compressed and not."""
MAX_BLOCK_RECORDS = 2**22
"""Bound of one block's records, each of which becomes an object."""

_MAX_HEADER_BYTES = 2**24
_MAX_LONGS = 20
_SYNC = 16
_HEADER = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": _SYNC}},
        ],
    }
)
_MAGIC = b"Obj\x01"
_CODECS = ("null", "deflate", "snappy", "zstandard", "bzip2", "xz")


@dataclass(frozen=True, slots=True)
class Block:
    """
    One block, decompressed.

    Args:
        start, end: where it stands in the file, in bytes; `end` is where the next one starts.
        count: number of datums it says it has.
        data: the datums, one after the other.
    """

    start: int
    end: int
    count: int
    data: bytes = field(repr=False)


class ContainerReader:
    """
    A container file's header, and its blocks from any block's start.

    Args:
        file: seekable, at its start; stays the caller's.

    Raises:
        DecodeError: it is no container file (`bad_magic`), or its header lies.
        ConfigError: its codec needs a package that is not installed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = BytesIO(file.read(_MAX_HEADER_BYTES))
        if head.getvalue()[:4] != _MAGIC:
            raise DecodeError("not an Avro object container file", code="bad_magic")
        try:
            header: Any = fastavro.schemaless_reader(head, _HEADER, None)
            self.schema: str = header["meta"]["avro.schema"].decode()
            self.codec: str = header["meta"].get("avro.codec", b"null").decode()
            json.loads(self.schema)
        except (EOFError, IndexError, KeyError, ValueError, MemoryError, OverflowError):
            # `from None`: the cause's text may hold the file's bytes.
            raise DecodeError("the container file's header ends early or lies") from None
        self.metadata: Mapping[str, bytes] = header["meta"]
        self.sync: bytes = header["sync"]
        self.first_block = head.tell()
        _check_codec(self.codec)

    def blocks(self, start: int | None = None) -> Iterator[Block]:
        """
        Yield the blocks from `start` on, the first one's if not given.

        Raises:
            DecodeError: the file ends inside a block, or a length, a sync marker or the compression is not right.
        """
        at = self.first_block if start is None else start
        while True:
            self._file.seek(at)
            head = self._file.read(_MAX_LONGS)
            if not head:
                return
            block = self._block(at, head)
            yield block
            at = block.end

    def _block(self, at: int, head: bytes) -> Block:
        try:
            count, position = read_long(head, 0)
            size, position = read_long(head, position)
        except IndexError:
            raise DecodeError(f"the file ends inside the block at byte {at}") from None
        if count < 0 or not 0 <= size <= MAX_BLOCK_BYTES:
            raise DecodeError(f"the block at byte {at} has an impossible count or size", code="too_large")
        self._file.seek(at + position)
        data = self._file.read(size + _SYNC)
        if len(data) != size + _SYNC:
            raise DecodeError(f"the file ends inside the block at byte {at}")
        if data[size:] != self.sync:
            raise DecodeError(f"the block at byte {at} does not end in the file's sync marker")
        return Block(at, at + position + size + _SYNC, count, _decompressed(self.codec, data[:size], at))


@contextmanager
def open_container(path: Path) -> Iterator[tuple[BinaryIO, ContainerReader]]:
    """Open a container file for the length of a block; raises `ConfigError` where there is none."""
    try:
        file = path.open("rb")
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    with file:
        try:
            reader = ContainerReader(file)
        except DecodeError as exc:
            raise ConfigError(f"{path}: {exc}") from exc
        yield file, reader


class ContainerWriter:
    """
    Makes a container file's bytes; where they go is the caller's.

    Args:
        schema: JSON text, written as it is.
        codec: of the blocks.
        sync: 16 bytes; the same for a file that is continued.
        metadata: written into the header besides.
    """

    def __init__(self, schema: str, *, codec: str, sync: bytes, metadata: Mapping[str, bytes] | None = None) -> None:
        _check_codec(codec)
        head = BytesIO()
        meta = {**(metadata or {}), "avro.schema": schema.encode(), "avro.codec": codec.encode()}
        fastavro.schemaless_writer(head, _HEADER, {"magic": _MAGIC, "meta": meta, "sync": sync})
        self.header = head.getvalue()
        self._out = BytesIO()
        # The library compresses and frames; the header above is written by hand to keep the schema's text.
        self._writer: Any = Writer(self._out, "bytes", codec=codec, sync_marker=sync)
        self._writer.flush()

    def block(self, data: Sequence[bytes]) -> bytes:
        """Return one block of these datums; readers of Avro stop at an empty one, so there must be some."""
        if not data:
            raise ValueError("an empty block ends a file for some readers")
        self._out.seek(0)
        self._out.truncate()
        self._writer.write_block(SimpleNamespace(num_records=len(data), bytes_=BytesIO(b"".join(data))))
        return self._out.getvalue()


class DatumSplitter:
    """Finds where each datum of a block ends."""

    def __init__(self, schema: str) -> None:
        self._read = Readers().of(parse(schema))

    def split(self, block: Block) -> tuple[list[bytes], tuple[bytes, DecodeError] | None]:
        """
        Return the block's datums, and what can't be told apart.

        The second is None, or the block's bytes from the first datum that does not decode, or behind the last one.
        """
        data, at = block.data, 0
        found: list[bytes] = []
        if block.count > len(data) + MAX_WIDTHLESS_ITEMS:
            return found, (data, DecodeError("the block says that it has more records than bytes", code="too_large"))
        if block.count > MAX_BLOCK_RECORDS:
            return found, (data, DecodeError(f"the block has more than {MAX_BLOCK_RECORDS} records", code="too_large"))
        state = State([], [], [], [])
        try:
            for _ in range(block.count):
                state.depth = state.widthless = 0
                end = self._read(data, at, state)
                found.append(data[at:end])
                at = end
        except DecodeError as exc:
            return found, (data[at:], exc)
        except IndexError:
            return found, (data[at:], DecodeError("the block ends inside a record"))
        if at != len(data):
            return found, (data[at:], DecodeError("bytes follow the block's last record", code="trailing_bytes"))
        return found, None


def _check_codec(codec: str) -> None:
    if codec not in _CODECS:
        raise ConfigError(f"codec {codec!r} is none of {', '.join(_CODECS)}")
    try:
        Writer(BytesIO(), "bytes", codec=codec).write_block(SimpleNamespace(num_records=1, bytes_=BytesIO(b"\0")))
    except ValueError as exc:
        # The library's text names the package.
        raise ConfigError(f"codec {codec!r}: {exc}") from exc


def _decompressed(codec: str, data: bytes, at: int) -> bytes:
    try:
        whole = _unpacked(codec, data)
    except DecodeError:
        raise
    except Exception as exc:
        # Each codec's library has errors of its own.
        raise DecodeError(f"the block at byte {at} does not unpack: {type(exc).__name__}") from None
    if whole is None:
        raise DecodeError(f"the block at byte {at} is torn, or too large unpacked", code="too_large")
    return whole


def _unpacked(codec: str, data: bytes) -> bytes | None:
    """Return a block unpacked; None where it does not end within the bound, beyond which nothing is unpacked."""
    if codec == "null":
        return data
    if codec == "snappy":
        return _unsnapped(data)
    unpacking: Any = _decompressor(codec)
    out: bytes = unpacking.decompress(data, MAX_BLOCK_BYTES)
    return out if unpacking.eof else None


def _decompressor(codec: str) -> Any:
    if codec == "zstandard":
        # Where the library that compresses looks for it, and asks for it by name.
        return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd").ZstdDecompressor()
    return {"deflate": lambda: zlib.decompressobj(-15), "bzip2": BZ2Decompressor, "xz": LZMADecompressor}[codec]()


def _unsnapped(data: bytes) -> bytes | None:
    size = 0
    for i, byte in enumerate(data[:5]):
        # What it unpacks to is said in front, and the library takes its word for it.
        size |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            break
    if size > MAX_BLOCK_BYTES:
        return None
    sync = bytes(_SYNC)
    head = ContainerWriter('"bytes"', codec="snappy", sync=sync).header
    blocks: list[Any] = list(fastavro.block_reader(BytesIO(head + b"\x02" + zigzag(len(data)) + data + sync)))
    return bytes(blocks[0].bytes_.getvalue())
