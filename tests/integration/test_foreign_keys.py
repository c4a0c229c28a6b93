"""Tables of one route that refer to each other: records of a batch are refused for what is wrong with them alone."""

from __future__ import annotations

import pytest

from tests.fakes.records import output_of
from tests.integration.test_sink_postgres import Sinks, sinks
from worker.errors import SinkRejected
from worker.model import Position, SinkRecord, TopicPartition
from worker.model.rows import ColumnType, Row, RowType
from worker.sink.base import OffsetRange
from worker.sink.postgres import PostgresSink

__all__ = ["sinks"]
pytestmark = pytest.mark.integration

_KEYS = RowType((ColumnType("id", "long"),))
_ROWS = RowType((ColumnType("id", "long"), ColumnType("of", "long", nullable=True)))
_TABLES = """
CREATE TABLE b_customers (id bigint PRIMARY KEY, of bigint CHECK (of > 0));
CREATE TABLE a_orders (id bigint PRIMARY KEY, of bigint REFERENCES b_customers {});
"""
# The topic of what refers sorts first, and is collected first.
_PLACES = (TopicPartition("a-orders", 0), TopicPartition("b-customers", 0))


@pytest.fixture(params=["", "DEFERRABLE INITIALLY DEFERRED"], ids=["at once", "deferred"])
def sink(sinks: Sinks, request: pytest.FixtureRequest) -> PostgresSink:
    sinks.query(_TABLES.format(request.param))
    options = {"mode": "upsert", "key": ["id"], "ledger": False}
    made = sinks(table="b_customers", tables={"a-orders": "a_orders"}, **options)  # type: ignore[arg-type]
    made.ensure_schema()
    made.positions(dict.fromkeys(_PLACES, 0))
    return made


def record(topic: str, offset: int, number: int, of: int | None) -> SinkRecord:
    row, key = Row(_ROWS, (number, of)), Row(_KEYS, (number,))
    return SinkRecord(Position(topic, 0, offset), b"k", b"v", (), 1, 1_700_000_000_000, row, key)


def write(sink: PostgresSink, *records: SinkRecord) -> None:
    sink.begin()
    sink.write(output_of(records))
    sink.flush()
    ends = {tp: OffsetRange(0, sum(r.position.topic == tp.topic for r in records)) for tp in _PLACES}
    sink.commit({tp: done for tp, done in ends.items() if done.next}, (), None)


def test_what_is_referred_to_comes_first(sinks: Sinks, sink: PostgresSink) -> None:
    """However its topics are called, and in whatever order the batch has them."""
    write(sink, record("a-orders", 0, 1, 7), record("b-customers", 0, 7, None))

    assert sinks.query("SELECT id, of FROM a_orders") == [(1, 7)]


def test_only_what_lacks_its_other_end_is_refused(sinks: Sinks, sink: PostgresSink) -> None:
    """A customer that its table refuses takes its own orders along, and no others."""
    bad, good = record("b-customers", 0, 7, -1), record("b-customers", 1, 8, None)
    orders = [record("a-orders", 0, 1, 7), record("a-orders", 1, 2, 8), record("a-orders", 2, 3, 9)]

    with pytest.raises(SinkRejected) as caught:
        write(sink, *orders, bad, good)
    sink.abort()

    assert set(caught.value.positions) == {bad.position, orders[0].position, orders[2].position}


def gone(topic: str, offset: int, number: int) -> SinkRecord:
    return SinkRecord(Position(topic, 0, offset), b"k", None, (), 1, 1_700_000_000_000, None, Row(_KEYS, (number,)))


def test_what_refers_goes_before_what_it_refers_to(sinks: Sinks, sink: PostgresSink) -> None:
    """A customer and its orders that are deleted in one batch."""
    write(sink, record("b-customers", 0, 7, None), record("a-orders", 0, 1, 7), record("a-orders", 1, 2, 7))

    again(sink, gone("b-customers", 1, 7), gone("a-orders", 2, 2), gone("a-orders", 3, 1))

    assert sinks.query("SELECT id FROM b_customers UNION ALL SELECT id FROM a_orders") == []


def test_what_is_pointed_elsewhere_lets_go(sinks: Sinks, sink: PostgresSink) -> None:
    """An order that goes over to another customer, whose row comes in the same batch as the first one's tombstone."""
    write(sink, record("b-customers", 0, 7, None), record("a-orders", 0, 1, 7))

    again(sink, gone("b-customers", 1, 7), record("b-customers", 2, 8, None), record("a-orders", 1, 1, 8))

    assert sinks.query("SELECT of FROM a_orders") == [(8,)]
    assert sinks.query("SELECT id FROM b_customers") == [(8,)]


def test_of_tombstones_only_what_is_still_referred_to_is_refused(sinks: Sinks, sink: PostgresSink) -> None:
    """Once the whole batch is written: whose orders go, or whose order is refused itself."""
    write(sink, *(record("b-customers", i, 7 + i, None) for i in range(3)))
    again(sink, *(record("a-orders", i, 1 + i, 7 + i) for i in range(3)))
    stays, bad = gone("b-customers", 4, 8), record("a-orders", 4, 4, 99)

    with pytest.raises(SinkRejected) as caught:
        again(sink, gone("b-customers", 3, 7), stays, gone("b-customers", 5, 9), gone("a-orders", 3, 1), bad,
              record("a-orders", 5, 3, None))  # fmt: skip
    sink.abort()

    assert set(caught.value.positions) == {stays.position, bad.position}


def again(sink: PostgresSink, *records: SinkRecord) -> None:
    """A batch that begins where its first records stand."""
    sink.begin()
    sink.write(output_of(records))
    sink.flush()
    spans = {}
    for place in _PLACES:
        offsets = [r.position.offset for r in records if r.position.topic == place.topic]
        if offsets:
            spans[place] = OffsetRange(min(offsets), max(offsets) + 1)
    sink.commit(spans, (), None)
