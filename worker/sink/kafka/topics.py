"""What the brokers say of topics, and what a sink needs of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from worker.errors import ConfigError, SinkUnavailable
from worker.kafka_properties import Property
from worker.sink.kafka.errors import error_of, unmade, verdict

DEAD_OVERHEAD_BYTES = 4096
"""What sealing may add to a record: envelope, coordinates and error headers."""

_AGAIN_S = 0.1
# One broker that is down takes this long from the whole; a live one answers within milliseconds.
_ANSWER_S = 5.0
_COPIED = ("cleanup.policy", "retention.ms", "retention.bytes")


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


def dead_topic(source_topic: str) -> str:
    """Return the name of a source topic's dead-letter topic."""
    return f"{source_topic}.dead"


class Topics:
    """
    Asks the brokers about topics, and creates them.

    Raises `SinkUnavailable` where they do not answer, `ConfigError` where they refuse.
    """

    def __init__(self, connection: Mapping[str, Property], *, name: str, timeout_s: float) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._answer_s = min(_ANSWER_S, timeout_s)
        self._created: set[str] = set()
        try:
            conf: dict[str, Any] = dict(connection)
            self._admin = AdminClient(conf, logger=logging.getLogger("librdkafka"))
        except KafkaException as exc:
            raise unmade(exc) from None

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

    def exists(self, name: str) -> bool:
        """Whether the brokers list the topic; they hide what an identity may not describe."""
        return name in self._listed().topics

    def _listed(self) -> Any:
        try:
            return self._admin.list_topics(timeout=self._answer_s)
        except KafkaException as exc:
            raise verdict(error_of(exc), f"{self._name}: listing topics") from exc
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
                raise verdict(error_of(exc), f"{self._name}: describing {resource.name}", needs=needs) from exc
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
                    raise verdict(error_of(exc), f"{self._name}: creating topic {name}", needs=needs) from exc


def missing_topic(name: str) -> ConfigError:
    """Return the refusal of a topic that the brokers do not list; they hide what an identity may not describe."""
    return ConfigError(
        f"topic {name} does not exist, or this identity lacks Write on topic {name}; create it, set the sink's "
        "create = true, or grant the right"
    )


def like_source(source: TopicFacts) -> dict[str, str]:
    """Return settings of a sink topic that keeps what its source keeps, with room for envelopes."""
    copied = {name: source.config[name] for name in _COPIED if name in source.config}
    room = source.max_message_bytes + DEAD_OVERHEAD_BYTES
    return {**copied, "max.message.bytes": str(room), "message.timestamp.type": "CreateTime"}


def ensure_dead_topics(topics: Topics, source_topics: Sequence[str], *, create: bool) -> dict[str, TopicFacts]:
    """
    Check that each source topic has a dead topic that takes its largest record sealed.

    Raises:
        ConfigError: one is missing and `create` is off, or it is too small; the message says what to set.
    """
    dead = [dead_topic(name) for name in source_topics]
    _, facts = topics.describe([*source_topics, *dead])
    missing = [name for name in source_topics if dead_topic(name) not in facts]
    for name in missing:
        if not create:
            raise missing_topic(dead_topic(name))
        source = facts.get(name)
        room = (source.max_message_bytes if source else 1048588) + DEAD_OVERHEAD_BYTES
        topics.create(dead_topic(name), source.partitions if source else 1, {"max.message.bytes": str(room)})
    if missing:
        _, facts = topics.describe([*source_topics, *dead])
    for name in source_topics:
        _check_dead_size(facts.get(name), facts.get(dead_topic(name)))
    return {name: facts[name] for name in dead if name in facts}


def _check_dead_size(source: TopicFacts | None, dead: TopicFacts | None) -> None:
    if source is None or dead is None:
        return
    needed = source.max_message_bytes + DEAD_OVERHEAD_BYTES
    if dead.max_message_bytes < needed:
        raise ConfigError(
            f"topic {dead.name} takes {dead.max_message_bytes} bytes, but a sealed record of {source.name} may need "
            f"{needed}; set its max.message.bytes to that"
        )
