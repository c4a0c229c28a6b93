"""What the brokers say of topics."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from worker.errors import SinkUnavailable
from worker.kafka.administration import administration
from worker.kafka.properties import Property
from worker.kafka.verdict import error_of, write_error

BROKERS_TIME: Mapping[str, str] = {"message.timestamp.type": "LogAppendTime"}
"""Of a topic whose records are the worker's own: brokers refuse the time of a clock that is far ahead of theirs."""
_AGAIN_S = 0.1
# One broker that is down takes this long from the whole; a live one answers within milliseconds.
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the brokers describe it; `config` holds its effective settings as text."""

    name: str
    partitions: int
    config: Mapping[str, str]

    @property
    def max_message_bytes(self) -> int:
        """The largest record batch it takes."""
        return int(self.config["max.message.bytes"])

    @property
    def retention_ms(self) -> int:
        """How long a record stays after its timestamp; -1 for ever, as where only compaction removes records."""
        return int(self.config["retention.ms"]) if "delete" in self.config["cleanup.policy"] else -1

    @property
    def keeps_timestamps(self) -> bool:
        """False where the broker writes its own time over the producer's."""
        return self.config["message.timestamp.type"] == "CreateTime"


class Topics:
    """
    Asks the brokers about topics, and creates them.

    Raises `SinkUnavailable` where they do not answer, `ConfigError` where they refuse.
    """

    def __init__(self, connection: Mapping[str, Property], *, name: str, timeout_s: float) -> None:
        self._name = f"{name}, brokers at {connection.get('bootstrap.servers', '[kafka] bootstrap')}"
        self._timeout_s = timeout_s
        self._answer_s = min(_ANSWER_S, timeout_s)
        self._created: set[str] = set()
        self._held = administration(connection)
        self._admin = self._held.client

    def describe(self, names: Iterable[str]) -> tuple[str, dict[str, TopicFacts]]:
        """
        Return the cluster's id and the facts of those topics that exist.

        Brokers learn of a new topic one after the other: one that was created here, or that a broker names and the next
        one does not know, is asked for again. So is everything after a broker's silence: the client also sends to one
        that is down, and the next time to another.
        """
        wanted, end = list(dict.fromkeys(names)), time.monotonic() + self._timeout_s
        while True:
            try:
                cluster_id, facts = self._ask(wanted)
            except SinkUnavailable:
                if time.monotonic() > end:
                    raise
            else:
                if not self._created.intersection(wanted) - facts.keys() or time.monotonic() > end:
                    return cluster_id, facts
            time.sleep(_AGAIN_S)

    def _ask(self, names: Sequence[str]) -> tuple[str, dict[str, TopicFacts]]:
        metadata = self._listed()
        found = {name: metadata.topics[name] for name in names if name in metadata.topics}
        configs = self._configs(found)
        facts = {
            name: TopicFacts(name, len(topic.partitions), {k: str(v.value) for k, v in configs[name].items()})
            for name, topic in found.items()
        }
        return str(metadata.cluster_id), facts

    def brokers(self) -> list[tuple[str, int]]:
        """Return where the brokers say that they are: what every client goes on to, whatever it was told at first."""
        return sorted({(broker.host, broker.port) for broker in self._listed().brokers.values()})

    def exists(self, name: str) -> bool:
        """Whether the brokers list the topic; they hide what an identity may not describe."""
        return name in self._listed().topics

    def _listed(self) -> Any:
        try:
            return self._admin.list_topics(timeout=self._answer_s)
        except KafkaException as exc:
            raise write_error(error_of(exc), f"{self._name}: listing topics") from exc
        finally:
            self._admin.poll(0)  # serves the log

    def _configs(self, names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._admin.describe_configs(resources, request_timeout=self._answer_s) if resources else {}
        found: dict[str, Mapping[str, Any]] = {}
        for resource, future in answers.items():
            try:
                found[resource.name] = future.result()
            except KafkaException as exc:
                needs = {"TOPIC": f"DescribeConfigs on topic {resource.name}"}
                raise write_error(error_of(exc), f"{self._name}: describing {resource.name}", needs=needs) from exc
        return found

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        """Create a topic with the cluster's default replication; one that exists meanwhile is left as it is."""
        self._created.add(name)
        new = NewTopic(name, num_partitions=partitions, replication_factor=-1, config=dict(config))
        for future in self._admin.create_topics([new], request_timeout=self._timeout_s).values():
            try:
                future.result()
            except KafkaException as exc:
                if error_of(exc).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    needs = dict.fromkeys(
                        ("TOPIC", "CLUSTER"), f"Create or, where it is there already, Write on topic {name}"
                    )
                    raise write_error(error_of(exc), f"{self._name}: creating topic {name}", needs=needs) from exc
