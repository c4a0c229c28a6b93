"""Container files: exact blocks, and files that lie."""

from __future__ import annotations

import io
import json

import fastavro
import pytest

from worker.avro import encode_value
from worker.avro.container import ContainerReader, ContainerWriter, DatumSplitter
from worker.avro.reader import zigzag
from worker.errors import ConfigError, DecodeError

SCHEMA = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}], "x": "kept"})
SYNC = b"0123456789abcdef"


def raw(count: int, size: int, data: bytes, *, codec: str = "null", sync: bytes = SYNC) -> io.BytesIO:
    """A file of one block with the numbers it is told."""
    head = ContainerWriter(SCHEMA, codec=codec, sync=SYNC).header
    return io.BytesIO(head + zigzag(count) + zigzag(size) + data + sync)


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_blocks_come_back_as_the_library_wrote_them_and_the_other_way(codec: str) -> None:
    """Datums and the schema's text survive exactly, in each codec, and the library reads what is written."""
    rows = [{"a": f"value {i}"} for i in range(500)]
    file = io.BytesIO()
    fastavro.writer(file, json.loads(SCHEMA), rows, codec=codec, sync_interval=500)
    file.seek(0)

    reader = ContainerReader(file)
    splitter = DatumSplitter(reader.schema)
    parts = [splitter.split(block) for block in reader.blocks()]
    writer = ContainerWriter(SCHEMA, codec=codec, sync=SYNC, metadata={"who": b"me"})
    copy = writer.header + b"".join(writer.block(datums) for datums, _ in parts)

    assert len(parts) > 5
    assert [d for datums, _ in parts for d in datums] == [encode_value(SCHEMA, row) for row in rows]
    again = fastavro.reader(io.BytesIO(copy))
    assert (list(again), again.codec, again.metadata["who"]) == (rows, codec, "me")
    assert ContainerReader(io.BytesIO(copy)).schema == SCHEMA


def test_reading_continues_at_any_block() -> None:
    """A block's end is where the next one is read from."""
    writer = ContainerWriter(SCHEMA, codec="null", sync=SYNC)
    file = io.BytesIO(writer.header + writer.block([b"\x02a"]) + writer.block([b"\x02b", b"\x02c"]))
    reader = ContainerReader(file)
    first = next(reader.blocks())

    (second,) = reader.blocks(first.end)

    assert (second.count, second.data, second.end) == (2, b"\x02b\x02c", len(file.getvalue()))


@pytest.mark.parametrize(
    ("file", "word"),
    [
        (raw(1, 2, b"\x02a", sync=b"another marker.."), "sync marker"),
        (raw(1, 3, b"\x02a"), "ends inside the block"),
        (raw(-1, 2, b"\x02a"), "impossible"),
        (raw(1, -2, b"\x02a"), "impossible"),
        (raw(1, 2**40, b"\x02a"), "impossible"),
        (raw(1, 2, b"\x02a", codec="deflate"), "does not unpack"),
        (raw(1, 2, b"\x02a", codec="bzip2"), "does not unpack"),
        (io.BytesIO(raw(1, 2, b"").getvalue()[:-17]), "ends inside the block"),
    ],
)
def test_a_block_that_lies_is_refused(file: io.BytesIO, word: str) -> None:
    """Whatever its numbers say, no more than the file has is read, and the error says where."""
    with pytest.raises(DecodeError, match=word):
        list(ContainerReader(file).blocks())


@pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz", "zstandard", "snappy"])
def test_a_block_that_unpacks_without_end_is_refused(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small block can't fill the memory, whatever packed it."""
    file = io.BytesIO()
    try:
        fastavro.writer(file, "bytes", [bytes(1_000_000)], codec=codec)
    except ValueError as exc:
        pytest.skip(str(exc))
    monkeypatch.setattr("worker.avro.container.MAX_BLOCK_BYTES", 100_000)
    file.seek(0)

    with pytest.raises(DecodeError, match="too large unpacked"):
        list(ContainerReader(file).blocks())


def test_a_block_of_too_many_records_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each becomes an object, and one of a byte or of none is many times smaller than that."""
    monkeypatch.setattr("worker.avro.container.MAX_BLOCK_RECORDS", 100)
    file = io.BytesIO()
    fastavro.writer(file, "boolean", [True] * 101, codec="deflate")
    file.seek(0)
    reader = ContainerReader(file)

    found, rest = DatumSplitter(reader.schema).split(next(iter(reader.blocks())))

    assert found == []
    assert rest is not None
    assert rest[1].code == "too_large"


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"Obj\x01", b"Obj\x01\x02\x16avro.schema\x7f", b"Obj\x01\x00" + SYNC]
)
def test_what_has_no_whole_header_is_refused(content: bytes) -> None:
    """Another format, and a header that ends early or has no schema."""
    with pytest.raises(DecodeError):
        ContainerReader(io.BytesIO(content))


def test_a_codec_that_is_not_there_is_named() -> None:
    """An unknown codec, and one whose package is missing, are the operator's to mend."""
    with pytest.raises(ConfigError, match="'lzma2' is none of"):
        ContainerWriter(SCHEMA, codec="lzma2", sync=SYNC)


def test_what_does_not_decode_takes_the_rest_of_its_block_along() -> None:
    """Datums before the fault are whole; nothing behind it is guessed at, nor lost."""
    (block,) = ContainerReader(raw(3, 6, b"\x02a\x01b\x02c")).blocks()
    (surplus,) = ContainerReader(raw(1, 4, b"\x02a\x02b")).blocks()
    (endless,) = ContainerReader(raw(2**60, 2, b"\x02a")).blocks()
    splitter = DatumSplitter(SCHEMA)

    datums, rest = splitter.split(block)
    more = splitter.split(surplus)[1]
    most = splitter.split(endless)[1]

    assert rest is not None
    assert more is not None
    assert most is not None
    assert (datums, rest[0]) == ([b"\x02a"], b"\x01b\x02c")
    assert (more[0], more[1].code) == (b"\x02b", "trailing_bytes")
    assert most[1].code == "too_large"


def test_an_empty_block_is_not_written() -> None:
    """Some readers take an empty block for the file's end."""
    with pytest.raises(ValueError, match="empty block"):
        ContainerWriter(SCHEMA, codec="null", sync=SYNC).block([])
