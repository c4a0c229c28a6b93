"""Canaries beside the data: a topic of the region's cluster that is never cleaned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from confluent_kafka import KafkaError

from worker.errors import SinkUnavailable, SourceUnavailable
from worker.kafka.clients import make_producer
from worker.kafka.properties import Property
from worker.kafka.topics import BROKERS_TIME, Topics
from worker.kafka.verdict import write_error
from worker.kafka.whole import read_batches
from worker.model import records_of

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
        if not self._topics().exists(self.topic):
            return None
        try:
            for batch in read_batches(self.topic, self._connection, exists=True):
                for record in records_of(batch):
                    if record.key == keyset.bytes:
                        return record.value or b""
        except SourceUnavailable as exc:
            # The canaries lie where the worker writes: what stops it is on that side.
            raise SinkUnavailable(str(exc)) from exc
        return None

    def save(self, keyset: UUID, canary: bytes) -> None:
        """Append a canary and wait for the brokers; raises `SinkUnavailable`."""
        failures: list[KafkaError] = []

        def report(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failures.append(error)

        self._ensure()
        conf: dict[str, Any] = {**self._connection, "enable.idempotence": True}
        producer = make_producer(conf)
        producer.produce(self.topic, key=keyset.bytes, value=canary, on_delivery=report)
        if producer.flush(_TIMEOUT_S):
            raise SinkUnavailable(f"topic {self.topic} did not take the canary within {_TIMEOUT_S:.0f} s")
        if failures:
            what, needs = f"the canary's topic {self.topic}", {"TOPIC": f"Write on topic {self.topic}"}
            raise write_error(failures[0], what, needs=needs)

    def _topics(self) -> Topics:
        return Topics(self._connection, name="canary", timeout_s=_TIMEOUT_S)

    def _ensure(self) -> None:
        topics = self._topics()
        if not topics.exists(self.topic):
            kept = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
            topics.create(self.topic, 1, {**kept, **BROKERS_TIME})
