"""A whole topic, once, from its start to what is its end now; without a group."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from worker.errors import ConfigError, SourceUnavailable
from worker.kafka.clients import make_consumer
from worker.kafka.properties import Property
from worker.kafka.verdict import read_error
from worker.model import Position, SourceRecord

_REQUEST_S = 10.0


def read_whole(topic: str, *, bootstrap: str, properties: Mapping[str, Property]) -> Iterator[SourceRecord]:
    """
    Yield a topic's committed records, partition by partition interleaved, and end at its present end.

    Raises:
        ConfigError: there is no such topic.
        SourceUnavailable: the broker does not answer.
    """
    needs = {"TOPIC": f"Read on topic {topic}"}
    conf: dict[str, Any] = {
        **properties,
        "bootstrap.servers": bootstrap,
        "group.id": f"worker-reader-{uuid.uuid4()}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 10,
    }
    consumer = make_consumer(conf)
    try:
        found = consumer.list_topics(topic, timeout=_REQUEST_S).topics[topic]
        if found.error is not None:
            raise ConfigError(f"topic {topic!r}: {found.error.name()}")
        open_partitions = set(found.partitions)
        consumer.assign([KafkaPartition(topic, p, OFFSET_BEGINNING) for p in open_partitions])
        while open_partitions:
            messages: list[Any] = list(consumer.consume(1000, 1.0))
            for message in messages:
                error = message.error()
                if error is None:
                    kind, at_ms = message.timestamp()
                    position = Position(message.topic(), message.partition(), message.offset())
                    yield SourceRecord(position, message.key(), message.value(), message.headers() or (), kind, at_ms)
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_partitions.discard(message.partition())
                elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    continue  # The client's library asks for the group's coordinator; nothing is joined or stored.
                elif not isinstance(read_error(error, f"reading {topic}", needs=needs), SourceUnavailable):
                    raise read_error(error, f"reading {topic}", needs=needs)
    except KafkaException as exc:
        raise read_error(exc.args[0], f"reading {topic}", needs=needs) from exc
    finally:
        consumer.close()
