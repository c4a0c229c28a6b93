"""A record's time goes with it, also where that is 1970 or none."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from tests.components import Kafka
from tests.conftest import TopicFactory
from tests.integration.test_delivery_kafka import Member
from worker.kafka.chunk import chunk_of
from worker.sink.kafka import KafkaSink

pytestmark = pytest.mark.integration
# librdkafka gives 0 out as now: the first millisecond becomes the second.
EPOCH, NONE, USUAL = 1, -1, 1_700_000_000_000


@pytest.mark.parametrize("is_native", [True, False], ids=["native", "twin"])
def test_times_are_kept(kafka: Kafka, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch, is_native: bool) -> None:
    """None becomes the time at which the worker wrote, which retention and readers would go by."""
    source, target = topic(), topic()
    given = [USUAL, NONE, EPOCH, USUAL + 1]
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for at_ms in given:
        producer.produce(source, str(at_ms).encode(), timestamp=at_ms)
    producer.flush()
    if not is_native:
        monkeypatch.setattr(KafkaSink, "_send_native", lambda *_: False)

    member = Member(kafka, source, target, bounded=True).start()
    member.join()

    assert member.error is None
    assert stamps(kafka, target, len(given)) == [(1, USUAL), (0, NONE), (1, EPOCH), (1, USUAL + 1)]


def stamps(kafka: Kafka, topic: str, count: int) -> list[tuple[int, int]]:
    """Kinds and times of a topic's records, as the worker reads them."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic, "isolation.level": "read_committed"})
    try:
        consumer.assign([KafkaPartition(topic, 0, 0)])
        found: list[Message] = []
        while len(found) < count:
            found += consumer.consume(count, 1.0)
    finally:
        consumer.close()
    return list(chunk_of(found).stamps)
