"""A table that is altered in mid-run: no value is read as another type's, and no good record is refused."""

from __future__ import annotations

import pytest

from tests.fakes.records import output_of
from tests.integration.test_sink_postgres import Sinks, sinks
from worker.errors import ConfigError, SinkRejected, SinkUnavailable
from worker.model import Position, SinkRecord, TopicPartition
from worker.model.rows import ColumnType, Row, RowType
from worker.sink.base import OffsetRange
from worker.sink.postgres import PostgresSink

__all__ = ["sinks"]
pytestmark = pytest.mark.integration

_TP = TopicPartition("customers", 0)
_ID = ColumnType("id", "long")
_KEYS = RowType((_ID,))
_TABLES = {
    "append": "id bigint, n {}, _topic text, _partition int, _offset bigint, _timestamp timestamptz",
    "upsert": "id bigint PRIMARY KEY, n {}",
}


def opened(sinks: Sinks, mode: str, column: str, *, evolve: bool = False) -> PostgresSink:
    sinks.query(f"CREATE TABLE t ({_TABLES[mode].format(column)})")
    key = ["id"] if mode == "upsert" else []
    sink = sinks(table="t", ledger=False, mode=mode, key=key, evolve=evolve)
    sink.ensure_schema()
    sink.positions({_TP: 0})
    return sink


def write(sink: PostgresSink, at: int, kind: ColumnType, value: object) -> None:
    """One batch of one record."""
    row = Row(RowType((_ID, kind)), (at, value))
    record = SinkRecord(Position("customers", 0, at), b"k", b"v", (), 1, 1_700_000_000_000, row, Row(_KEYS, (at,)))
    sink.begin()
    sink.write(output_of([record]))
    sink.flush()
    sink.commit({_TP: OffsetRange(at, at + 1)}, (), None)


# What binary rows hold is as wide in the new type as in the old one, or is rounded to it.
ALTERED = [
    ("double", "", "double precision", "bigint", 1.5, ConfigError),
    ("double", "", "double precision", "numeric(5,1)", 1.25, SinkRejected),
    ("long", "", "bigint", "double precision", 7, "7"),
    ("long", "", "bigint", "integer", 7, "7"),
    ("int", "date", "date", "text", 19_000, "2022-01-08"),
    ("long", "timestamp-micros", "timestamptz", "timestamptz(0)", 1_700_000_000_600_000, ConfigError),
    ("string", "", "text", "bytea USING n::bytea", "abc", ConfigError),
    ("bytes", "", "bytea", "text USING ''", b"abc", ConfigError),
]


@pytest.mark.parametrize("mode", _TABLES)
@pytest.mark.parametrize(
    ("kind", "logical", "column", "later", "value", "expected"), ALTERED, ids=[f"{c[2]}-{c[3]}" for c in ALTERED]
)
def test_a_column_of_another_type_takes_nothing_by_the_old_one(
    sinks: Sinks, mode: str, kind: str, logical: str, column: str, later: str, value: object, expected: object
) -> None:
    """The batch that meets the change is written anew: by the new type, or not at all."""
    sink, field = opened(sinks, mode, column), ColumnType("n", kind, logical, nullable=True)
    write(sink, 0, field, value)
    sinks.query(f"DELETE FROM t; ALTER TABLE t ALTER n TYPE {later}")

    with pytest.raises(SinkUnavailable):
        write(sink, 1, field, value)
    sink.abort()

    if isinstance(expected, str):
        write(sink, 1, field, value)
        assert sinks.query("SELECT n::text FROM t") == [(expected,)]
    else:
        with pytest.raises(expected):  # type: ignore[call-overload]
            write(sink, 1, field, value)
        assert sinks.query("SELECT n FROM t") == []


@pytest.mark.parametrize("mode", _TABLES)
def test_a_table_that_begins_to_need_what_no_field_fills_stops_the_route(sinks: Sinks, mode: str) -> None:
    """None of its records is refused for it: there is nothing wrong with them."""
    sink, field = opened(sinks, mode, "bigint"), ColumnType("n", "long")
    write(sink, 0, field, 7)
    sinks.query("DELETE FROM t; ALTER TABLE t ADD x int NOT NULL")

    with pytest.raises(SinkUnavailable, match="table t was altered"):
        write(sink, 1, field, 7)
    sink.abort()
    with pytest.raises(ConfigError, match="x must not be null, but no field fills it"):
        write(sink, 1, field, 7)


@pytest.mark.parametrize("mode", _TABLES)
def test_a_table_made_anew_is_described_anew(sinks: Sinks, mode: str) -> None:
    """Another table of the name, with the same columns of other types."""
    sink, field = opened(sinks, mode, "double precision"), ColumnType("n", "double")
    write(sink, 0, field, 1.5)
    sinks.query(f"DROP TABLE t; CREATE TABLE t ({_TABLES[mode].format('text')})")

    with pytest.raises(SinkUnavailable, match="table t was altered"):
        write(sink, 1, field, 1.5)
    sink.abort()
    write(sink, 1, field, 1.5)

    assert sinks.query("SELECT n FROM t") == [("1.5",)]


@pytest.mark.parametrize("mode", _TABLES)
def test_what_the_sink_itself_adds_is_no_change_by_others(sinks: Sinks, mode: str) -> None:
    """A record that is refused is named, also where its batch would have added a column; a good one is then written."""
    sink, field = opened(sinks, mode, "varchar(2)", evolve=True), ColumnType("n", "string")
    write(sink, 0, field, "a")
    wide = RowType((_ID, field, ColumnType("m", "string", nullable=True)))
    for at, text, fits in ((1, "abc", False), (1, "ab", True)):
        row = Row(wide, (at, text, "x"))
        record = SinkRecord(Position("customers", 0, at), b"k", b"v", (), 1, 1_700_000_000_000, row, Row(_KEYS, (at,)))
        sink.begin()
        sink.write(output_of([record]))
        if fits:
            sink.flush()
            sink.commit({_TP: OffsetRange(1, 2)}, (), None)
        else:
            with pytest.raises(SinkRejected):
                sink.flush()
            sink.abort()
    write(sink, 2, field, "b")

    assert sinks.query("SELECT id, n, m FROM t ORDER BY id") == [(0, "a", None), (1, "ab", "x"), (2, "b", None)]
