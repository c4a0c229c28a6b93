"""Which cluster and which topics a source reads, remembered and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from worker.errors import ConfigError, OffsetLost, RegionViolation, SourceUnavailable
from worker.model import TopicPartition
from worker.source.verdict import as_error

_log = structlog.get_logger(__name__)
_REQUEST_S = 10.0


class TopicIdentities:
    """
    The cluster's id and the topics' ids as first seen; later answers must be equal.

    Args:
        properties: how to reach the cluster.
        topics: the topics' names.
        cluster_id: the pin; None takes the first one seen.
    """

    def __init__(self, properties: Mapping[str, str], topics: Sequence[str], *, cluster_id: str | None) -> None:
        self._admin = AdminClient(dict(properties))
        self._topics = list(topics)
        self._cluster_id = cluster_id
        self._ids: dict[str, str] = {}
        self.partitions: frozenset[TopicPartition] = frozenset()
        self._asked: list[tuple[str, Any]] = []

    def cluster_id(self) -> str:
        """The cluster's id as its broker says it now."""
        try:
            return str(self._admin.describe_cluster(request_timeout=_REQUEST_S).result(_REQUEST_S).cluster_id)
        except (KafkaException, TimeoutError) as exc:
            raise _away(exc) from exc

    def topic_id(self, topic: str) -> str:
        """The topic's id as first seen."""
        if topic not in self._ids:
            self._ask()
            self._collect(wait_s=_REQUEST_S)
        if topic not in self._ids:
            raise ConfigError(f"topic {topic!r} does not exist, or this identity may not describe it")
        return self._ids[topic]

    def learn(self) -> None:
        """Ask for everything and wait; raises as `verify` does."""
        self._ask()
        self._collect(wait_s=_REQUEST_S)

    def verify(self) -> None:
        """
        Take the answers to the last call's questions, and ask anew; never waits.

        Raises:
            RegionViolation: the cluster is another one.
            OffsetLost: a topic was deleted and made again, or is gone.
        """
        if self._asked and not all(future.done() for _, future in self._asked):
            return
        try:
            self._collect(wait_s=0)
        except SourceUnavailable as exc:
            _log.info("source_not_verified", error=str(exc))
        self._ask()

    def _ask(self) -> None:
        self._asked = [("", self._admin.describe_cluster(request_timeout=_REQUEST_S))]
        described = self._admin.describe_topics(TopicCollection(self._topics), request_timeout=_REQUEST_S)
        self._asked += described.items()

    def _collect(self, wait_s: float) -> None:
        asked, self._asked = self._asked, []
        for topic, future in asked:
            try:
                answer = future.result(wait_s)
            except (KafkaException, TimeoutError) as exc:
                if topic in self._ids and _is_unknown_topic(exc):
                    raise OffsetLost(f"topic {topic!r} is gone; it had the id {self._ids[topic]}") from exc
                if _is_unknown_topic(exc):
                    continue
                raise _away(exc) from exc
            if topic:
                self._compare_topic(topic, str(answer.topic_id))
                self.partitions |= {TopicPartition(topic, n) for n in range(len(answer.partitions))}
            else:
                self._compare_cluster(str(answer.cluster_id))

    def _compare_cluster(self, found: str) -> None:
        if self._cluster_id is None:
            self._cluster_id = found
        if found != self._cluster_id:
            raise RegionViolation(f"Kafka cluster: expected {self._cluster_id!r}, found {found!r}")

    def _compare_topic(self, topic: str, found: str) -> None:
        known = self._ids.setdefault(topic, found)
        if found != known:
            raise OffsetLost(
                f"topic {topic!r} was deleted and made again: its id was {known}, now {found}; stored positions mean "
                "nothing there. Remove them deliberately and start again"
            )


def _is_unknown_topic(exc: BaseException) -> bool:
    return isinstance(exc, KafkaException) and exc.args[0].code() in (
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
    )


def _away(exc: BaseException) -> Exception:
    if isinstance(exc, KafkaException):
        return as_error(exc.args[0], "asking for the cluster's identity")
    return SourceUnavailable("asking for the cluster's identity: no answer in time")
