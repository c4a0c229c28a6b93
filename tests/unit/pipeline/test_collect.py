"""What bounds a batch that is being collected."""

from __future__ import annotations

import pytest

from tests.fakes.pipeline import MemorySource
from worker.model import Header, Position, SourceRecord, TopicPartition, batch_of
from worker.pipeline.assignment import Assignment
from worker.pipeline.collect import Collector
from worker.pipeline.options import DeliveryOptions

P0 = TopicPartition("in", 0)


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [(b"k" * 400, b"", []), (b"", b"v" * 400, []), (b"", None, [("h", b"v" * 399), ("nothing", None)])],
)
def test_keys_values_and_headers_fill_a_batch(key: bytes, value: bytes | None, headers: list[Header]) -> None:
    """Whatever a record carries counts towards `max_bytes`, since it is held."""
    source = MemorySource({P0: []})
    source.owned[P0] = 0
    lanes = Assignment(source)
    lanes.add([P0])
    lanes.activate(P0, 0)
    options = DeliveryOptions(max_bytes=1_000)
    collector = Collector(options, lanes, limit=None, clock=lambda: 0.0)

    collector.add(batch_of([SourceRecord(Position("in", 0, n), key, value, headers) for n in range(2)]))
    before = collector.full()
    collector.add(batch_of([SourceRecord(Position("in", 0, 2), key, value, headers)]))

    assert (before, collector.full()) == (False, True)
