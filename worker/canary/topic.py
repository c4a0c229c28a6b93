"""Canaries beside the data: a topic of the region's cluster that is never cleaned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from worker.errors import SinkUnavailable, WorkerError
from worker.kafka.clients import make_consumer, make_producer
from worker.kafka.properties import Property
from worker.kafka.topics import Topics
from worker.kafka.verdict import error_of, write_error

_TIMEOUT_S = 30.0


class CanaryTopic:
    """
    Keeps canaries in `worker.canary.<region>`: one partition, key = keyset's uuid, value = the canary.

    Nothing of it is ever deleted or compacted, so of two first writers the earlier record counts, for both.

    Args:
        connection: the cluster's properties, secrets included.
        region: names the topic.
    """

    def __init__(self, connection: Mapping[str, Property], *, region: str) -> None:
        self._connection = dict(connection)
        self.topic = f"worker.canary.{region}"

    def load(self, keyset: UUID) -> bytes | None:
        """Return the keyset's earliest canary, None where there is none; raises `SinkUnavailable`."""
        self._ensure()
        options = {"group.id": f"canary-{uuid4()}", "enable.auto.commit": False, "enable.partition.eof": True}
        conf: dict[str, Any] = {**self._connection, **options}
        consumer = make_consumer(conf)
        try:
            consumer.assign([TopicPartition(self.topic, 0, 0)])
            while True:
                message = consumer.poll(_TIMEOUT_S)
                if message is None:
                    raise SinkUnavailable(f"topic {self.topic} can't be read: no answer within {_TIMEOUT_S:.0f} s")
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return None
                if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    continue  # The client's library asks for the group's coordinator; nothing is joined or stored.
                if error is not None:
                    raise self._error(error, "Read")
                if message.key() == keyset.bytes:
                    return bytes(message.value() or b"")
        except KafkaException as exc:
            raise self._error(error_of(exc), "Read") from exc
        finally:
            consumer.close()

    def save(self, keyset: UUID, canary: bytes) -> None:
        """Append a canary and wait for the brokers; raises `SinkUnavailable`."""
        failures: list[KafkaError] = []

        def report(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failures.append(error)

        conf: dict[str, Any] = {**self._connection, "enable.idempotence": True}
        producer = make_producer(conf)
        producer.produce(self.topic, key=keyset.bytes, value=canary, on_delivery=report)
        if producer.flush(_TIMEOUT_S):
            raise SinkUnavailable(f"topic {self.topic} did not take the canary within {_TIMEOUT_S:.0f} s")
        if failures:
            raise self._error(failures[0], "Write")

    def _error(self, error: KafkaError, right: str) -> WorkerError:
        return write_error(error, f"the canary's topic {self.topic}", needs={"TOPIC": f"{right} on topic {self.topic}"})

    def _ensure(self) -> None:
        topics = Topics(self._connection, name="canary", timeout_s=_TIMEOUT_S)
        if not topics.exists(self.topic):
            topics.create(self.topic, 1, {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"})
