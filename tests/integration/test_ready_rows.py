"""Rows that are put together in native memory are those that the readable twin writes, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.contract.batches import of_native
from tests.integration.test_sink_postgres import Sinks, sinks
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import CompiledSchema, DeclarationOptions, compile_schema, encode_value, frame
from worker.encryption import BatchEncryptor
from worker.errors import SinkRejected
from worker.model import Output, Part, SourceRecord, TopicPartition
from worker.model.rows import RowSource
from worker.native import IS_LOADED
from worker.native.batch import NativeOutput
from worker.position import Position
from worker.sink.base import OffsetRange

__all__ = ["sinks"]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not IS_LOADED, reason="the extension module is not built"),
]

_PREFIX = frame(9)
_MODES: dict[str, dict[str, Any]] = {"append": {}, "upsert": {"mode": "upsert", "key": ["id"]}}
_TYPES: dict[str, Any] = {
    "id": "long",
    "small": "int",
    "flag": "boolean",
    "ratio": "double",
    "thin": "float",
    "name": ["null", "string"],
    "code": [{"type": "fixed", "name": "Code", "size": 3}, "null"],
    "raw": "bytes",
    "kind": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]},
    "number": {"type": "string", "logicalType": "uuid"},
    "day": {"type": "int", "logicalType": "date"},
    "at": {"type": "long", "logicalType": "timestamp-micros"},
    "local": {"type": "long", "logicalType": "local-timestamp-millis"},
    "moment": ["null", {"type": "long", "logicalType": "timestamp-millis"}],
    "time": {"type": "int", "logicalType": "time-millis"},
    "email": ["null", "string"],
}


def schema(**encrypted: object) -> str:
    fields = [{"name": n, "type": t} | ({"encrypted": encrypted} if n == "email" else {}) for n, t in _TYPES.items()]
    return json.dumps({"type": "record", "name": "Customer", "fields": fields})


def bare_field(name: str, kind: Any) -> dict[str, object]:
    """A field's base type, whose values are those that stand in a datum."""
    if isinstance(kind, list):
        return {"name": name, "type": [bare_field("", branch)["type"] for branch in kind]}
    is_logical = isinstance(kind, dict) and "logicalType" in kind
    return {"name": name, "type": kind["type"] if is_logical else kind}


def value(n: int, **changed: object) -> Mapping[str, object]:
    given: dict[str, object] = {
        "id": n,
        "small": -n,
        "flag": n % 2 == 0,
        "ratio": n / 7,
        "thin": n / 4,
        "name": None if n % 3 == 0 else f"Zoë {n}",
        "code": None if n % 4 == 0 else b"abc",
        "raw": bytes(range(n % 5)),
        "kind": "AB"[n % 2],
        "number": f"00112233-4455-6677-8899-AABBCCDD{n:04X}",
        "day": n - 20_000,
        "at": n * 1_000_003 - 10**15,
        "local": n * 1009,
        "moment": None if n % 5 == 0 else 1_700_000_000_000 + n,
        "time": n * 86_399,
        "email": None if n % 6 == 0 else f"c{n}@example.org",
    }
    return given | changed


class Case:
    """Some records on their way into two tables of one shape."""

    def __init__(self, values: Sequence[Mapping[str, object] | None], keys: Sequence[bytes]) -> None:
        self.compiled: CompiledSchema = compile_schema(schema(format="leased"), DeclarationOptions())
        bare = json.dumps({"type": "record", "name": "Bare", "fields": [bare_field(n, t) for n, t in _TYPES.items()]})
        records = [
            SourceRecord(
                Position("customers", 0, n),
                key,
                None if v is None else _PREFIX + encode_value(bare, v),
                (),
                n % 2,
                1_700_000_000_000 + n,
            )
            for n, (v, key) in enumerate(zip(values, keys, strict=True))
        ]
        batch = of_native(records)
        live = [n for n, v in enumerate(values) if v is not None]
        some = batch if len(live) == len(records) else batch.select(live)
        split = self.compiled.split_batch(some, some.keys, len(_PREFIX))
        (sealed,) = BatchEncryptor(InMemoryAuthority()).seal([(split, _PREFIX)])
        rows = RowSource(self.compiled, len(_PREFIX))
        parts = [Part(live, sealed.data, "9", {}, rows)]
        gone = [n for n, v in enumerate(values) if v is None]
        if gone:
            parts.append(Part(gone, [None] * len(gone)))
        output = batch.output(parts, range(len(records)))
        assert isinstance(output, NativeOutput)
        self.ready, self.plain = output, batch.output(parts, range(len(records)), keys=batch.keys)

    @property
    def went_the_short_way(self) -> bool:
        """Whether nobody has asked for the records as objects."""
        return "plain" not in vars(self.ready)

    def write(self, sinks: Sinks, table: str, output: Output, **options: Any) -> list[tuple[Any, ...]]:
        sink = sinks(table=table, topic_id=table, **options)
        sink.ensure_schema()
        sink.tables.create_table(self.compiled.row_type, topic="customers")
        sink.positions({TopicPartition("customers", 0): 0})
        sink.begin()
        sink.write(output)
        sink.flush()
        sink.commit({TopicPartition("customers", 0): OffsetRange(0, len(output))}, [], None)
        sinks.query("DELETE FROM worker.offsets")
        sink.close()
        return sinks.query(f"SELECT * FROM {table} ORDER BY 1 NULLS FIRST, ctid")


@pytest.mark.parametrize("mode", _MODES)
def test_both_ways_write_the_same_rows(sinks: Sinks, mode: str) -> None:
    """Every type that goes the short way, nulls and repeated keys included."""
    numbers = [*range(1, 200), 7, 8, 7]
    case = Case([value(n, small=at) for at, n in enumerate(numbers)], [b"%d" % n for n in numbers])

    ready = case.write(sinks, "ready", case.ready, **_MODES[mode])
    plain = case.write(sinks, "plain", case.plain, **_MODES[mode])

    assert case.went_the_short_way
    assert ready == plain
    assert len(ready) == (199 if mode == "upsert" else 202)


def test_tombstones_are_rows_of_coordinates(sinks: Sinks) -> None:
    """A batch with tombstones need not go the long way."""
    case = Case([value(1), None, value(3), None], [b"1", b"2", b"3", b"4"])

    ready = case.write(sinks, "ready", case.ready)
    plain = case.write(sinks, "plain", case.plain)

    assert case.went_the_short_way
    assert ready == plain
    assert [row[0] for row in ready] == [None, None, 1, 3]


@pytest.mark.parametrize("mode", _MODES)
def test_a_value_that_no_row_holds_is_named_by_the_twin(sinks: Sinks, mode: str) -> None:
    """A text with a zero has no place in PostgreSQL; the record is named, and nothing is written."""
    case = Case([value(1), value(2, name="a\0b"), value(3)], [b"1", b"2", b"3"])

    with pytest.raises(SinkRejected) as caught:
        case.write(sinks, "ready", case.ready, **_MODES[mode])

    assert caught.value.positions == (Position("customers", 0, 1),)


@pytest.mark.parametrize(
    ("alter", "changed", "offset"),
    [
        ("ADD CHECK (small <> -5)", {}, 4),
        # The server speaks of a line behind the last one.
        ("ALTER name SET STORAGE PLAIN", {2: {"name": "n" * 9_000}}, 1),
    ],
    ids=["a constraint", "no page holds it"],
)
def test_what_the_server_refuses_is_named(
    sinks: Sinks, alter: str, changed: Mapping[int, Mapping[str, object]], offset: int
) -> None:
    """What is wrong with one record is said of it, not of the batch."""
    case = Case([value(n, **changed.get(n, {})) for n in range(1, 9)], [b"%d" % n for n in range(1, 9)])
    sink = sinks(table="ready", topic_id="ready")
    sink.ensure_schema()
    sink.tables.create_table(case.compiled.row_type, topic="customers")
    sinks.query(f"ALTER TABLE ready {alter}")

    with pytest.raises(SinkRejected) as caught:
        case.write(sinks, "ready", case.ready)

    assert caught.value.positions == (Position("customers", 0, offset),)


def test_a_key_that_is_no_number_is_named(sinks: Sinks) -> None:
    """The key column's type refuses it."""
    case = Case([value(1), value(2)], [b"1", b"two"])

    with pytest.raises(SinkRejected) as caught:
        case.write(sinks, "ready", case.ready, **_MODES["upsert"])

    assert caught.value.positions == (Position("customers", 0, 1),)
