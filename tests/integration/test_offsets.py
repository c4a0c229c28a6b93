"""Where many partitions start and end: asked for together, and the same as one by one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from tests.components import Kafka
from worker.model import TopicPartition
from worker.source.base import Found
from worker.source.offsets import Offsets
from worker.source.options import SourceOptions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
PARTITIONS = 60


class Counted:
    """A consumer whose questions to the brokers are counted."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.asked[name] += 1
        return getattr(self._consumer, name)


class Known:
    """What the group's topics are; none of their partitions is new."""

    partitions: frozenset[TopicPartition] = frozenset()

    def topic_id(self, topic: str) -> str:
        return "id"

    def at_join(self, topic: str) -> int:
        return 0


@pytest.fixture(scope="module")
def filled(kafka: Kafka) -> Iterator[tuple[Counted, str, int]]:
    """A topic whose n-th partition has n records from before, and one from after, a moment."""
    topic = kafka.create_topic(partitions=PARTITIONS)
    producer = Producer(kafka.client)
    for partition in range(PARTITIONS):
        for _ in range(partition):
            producer.produce(topic, b"x", partition=partition, timestamp=1_000)
        producer.produce(topic, b"x", partition=partition, timestamp=int(time.time() * 1000))
    assert producer.flush(30) == 0
    consumer = Consumer({**kafka.client, "group.id": topic})
    deadline = time.monotonic() + 30
    while True:
        try:
            consumer.committed([KafkaPartition(topic, 0)], 5)
            break
        except KafkaException:
            # The group's coordinator is chosen at its first use.
            assert time.monotonic() < deadline
    yield Counted(consumer), topic, PARTITIONS
    consumer.close()


def found(counted: Counted, topic: str, start: str, until_ms: int | None) -> dict[int, Found | None]:
    options = SourceOptions.model_validate({"topics": [topic], "start": start})
    offsets = Offsets(counted, Known(), options)  # type: ignore[arg-type]
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    counted.asked.clear()
    searches = offsets.find(partitions, stored=True, bounded=True, until_ms=until_ms)
    return {place.partition: search.answer() for place, search in searches.items()}


@pytest.mark.parametrize("start", ["earliest", "latest"])
@pytest.mark.parametrize("until_ms", [None, 2_000])
def test_all_partitions_are_asked_for_at_once(
    filled: tuple[Counted, str, int], start: str, until_ms: int | None
) -> None:
    """One question for the stored offsets, one for the starts, one for the ends, however many partitions there are."""
    counted, topic, _ = filled

    answers = found(counted, topic, start, until_ms)

    for number, answer in answers.items():
        end = number + 1
        assert answer == Found(0 if start == "earliest" else end, None, end if until_ms is None else number)
    assert counted.asked == {"committed": 1, "offsets_for_times": 2}


def test_a_start_by_time_is_found_for_all_at_once(filled: tuple[Counted, str, int]) -> None:
    """The first record at or after a time; a partition that has none later starts at its end."""
    counted, topic, _ = filled

    answers = found(counted, topic, "1970-01-01T00:00:02Z", None)

    assert [answer and answer.start for answer in answers.values()] == list(range(PARTITIONS))


def test_a_time_beyond_the_log_is_its_end_for_all_at_once(filled: tuple[Counted, str, int]) -> None:
    """Partitions without a record at or after a time start at their ends, which one more question finds."""
    counted, topic, _ = filled

    answers = found(counted, topic, "2999-01-01T00:00:00Z", None)

    assert [answer and answer.start for answer in answers.values()] == [n + 1 for n in range(PARTITIONS)]
    assert counted.asked == {"committed": 1, "offsets_for_times": 3}
