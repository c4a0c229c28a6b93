"""A batch that is more than one request of a partition: it is handed over in rounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.components import Kafka
from tests.contract.batches import of_native
from worker.errors import ConfigError
from worker.metrics import Metrics
from worker.model import Part, Position, SourceRecord
from worker.native import IS_LOADED
from worker.sink.base import SinkRoute
from worker.sink.kafka import KafkaSink, KafkaSinkOptions
from worker.sink.kafka.producer import BatchProducer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not IS_LOADED, reason="the extension module is not built"),
]
_COUNT, _PARTITIONS = 900, 3
_QUEUE = {"queue.buffering.max.messages": 50}


def _record(number: int) -> SourceRecord:
    """Partition 0 has most, in one stretch and between the others."""
    partition = 0 if number < 300 or number % 2 else 1 + number % (_PARTITIONS - 1)
    return SourceRecord(
        Position("s", partition, number), b"k" * (number % 90), None, [("n", str(number).encode())], 1, 5
    )


def _numbers(kafka: Kafka, target: str, partition: int, count: int) -> list[int]:
    consumer = Consumer({**kafka.client, "group.id": target, "isolation.level": "read_committed", "log_level": 3})
    consumer.assign([TopicPartition(target, partition, 0)])
    numbers: list[int] = []
    while len(numbers) < count:
        message = consumer.poll(20)
        assert message is not None, "the broker went silent"
        number = dict(message.headers() or [])["n"]
        assert number is not None
        numbers.append(int(number))
    consumer.close()
    return numbers


@pytest.mark.parametrize(
    "properties",
    [
        {"batch.size": 4_000},
        {"batch.num.messages": 7},
        # A round may be more than the client's queue takes.
        _QUEUE,
        {"batch.size": 4_000, **_QUEUE},
        {"batch.size": "0x1000"},
    ],
)
@pytest.mark.parametrize("transactional", [None, "worker.r.rounds"])
def test_each_partition_keeps_its_order(
    kafka: Kafka, topic: Callable[..., str], properties: dict[str, int | str], transactional: str | None
) -> None:
    """Whatever bounds a request, every record arrives once, after those before it in its partition."""
    target = topic(partitions=_PARTITIONS)
    batch = of_native([_record(n) for n in range(_COUNT)])
    route = SinkRoute("customers", "eu-central-1", cluster_id=kafka.cluster_id, topics=())
    options = KafkaSinkOptions(topic=target, ledger=False, timeout_s=20)
    connection = {**kafka.client, **properties}
    sink = KafkaSink(options, route, connection, transactional_id=transactional, metrics=Metrics("eu-central-1"))

    sink.begin()
    sink.write(batch.output([Part(range(_COUNT), [None] * _COUNT)], range(_COUNT)))
    sink.flush()
    sink.commit({}, (), None)

    sink.close()
    for partition in range(_PARTITIONS):
        expected = [n for n in range(_COUNT) if _record(n).position.partition == partition]
        assert _numbers(kafka, target, partition, len(expected)) == expected


def test_a_size_that_is_no_number_is_named(kafka: Kafka) -> None:
    """The client's library says so, before it is read here."""
    producer = BatchProducer(lambda: {**kafka.client, "batch.size": "many"}, name="route customers", timeout_s=1)

    with pytest.raises(ConfigError, match=r"batch\.size"):
        producer.validate()
