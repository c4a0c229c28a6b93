"""A partition that the group gives is assigned, then paused: nothing of between is delivered."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.integration.test_woken import member
from worker.source.membership import Membership

pytestmark = [pytest.mark.integration]
_RECORDS, _FIRST = 500, 100


class _PausesLate:
    """A consumer that pauses once it has fetched."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def pause(self, partitions: list[Any]) -> None:
        for partition in partitions:
            # The first answer to a fetch tells the end; records came with it.
            while self._consumer.get_watermark_offsets(partition, cached=True)[1] != _RECORDS:
                pass
        self._consumer.pause(partitions)


@pytest.mark.parametrize("native", [True, False])
def test_what_was_fetched_before_the_pause_is_dropped(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    """The first record delivered is the one that was sought, on either way out of the client."""
    topic = kafka.create_topic()
    producer = Producer(kafka.client)
    for number in range(_RECORDS):
        producer.produce(topic, str(number).encode())
    assert producer.flush(30) == 0
    take = Membership._take
    monkeypatch.setattr(Membership, "_take", lambda self, consumer, given: take(self, _PausesLate(consumer), given))
    source, told = member(kafka, topic, "w0")
    if not native:
        source._native = source._membership.native = None

    early = [source.poll(1000, 0.05) for _ in range(5)]
    while "assigned" not in told.events:
        early.append(source.poll(1000, 0.05))
    positions = dict.fromkeys(source.partitions(), _FIRST)
    while positions:
        for placed in source.seek(positions):
            del positions[placed]
        early.append(source.poll(1000, 0.05))
    source.resume(source.partitions())
    first = None
    while first is None:
        first = source.poll(1000, 1.0)
    source.close()

    assert [batch for batch in early if batch is not None] == []
    assert first.offsets[0] == _FIRST
