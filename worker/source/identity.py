"""Which cluster and which topics a source reads, remembered and compared."""

from __future__ import annotations

import difflib
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from worker.errors import ConfigError, OffsetLost, RegionViolation, SourceUnavailable
from worker.kafka.administration import administration
from worker.kafka.properties import Property
from worker.kafka.verdict import read_error
from worker.model import TopicPartition

# The client also asks a broker that is down, and until this has passed tries in a tight loop to reach it: the next
# question goes to another one.
_REQUEST_S = 5.0
_AGAIN_S = 1.0
# A refusal arrives within a second; another of the cluster's brokers may still take the same credentials.
_REFUSED_S = 2.0
_GLANCE_S = 0.05


class TopicIdentities:
    """
    The cluster's id and the topics' ids as first seen; later answers must be equal.

    Args:
        properties: how to reach the cluster.
        topics: the topics' names.
        cluster_id: the pin; None takes the first one seen.
    """

    def __init__(self, properties: Mapping[str, Property], topics: Sequence[str], *, cluster_id: str | None) -> None:
        self._held = administration(properties, unavailable=SourceUnavailable)
        self._admin, self._refusals = self._held.client, self._held.refusals
        self._topics = list(topics)
        self._address = str(properties.get("bootstrap.servers", "the brokers"))
        self._cluster_id = cluster_id
        self._ids: dict[str, str] = {}
        self.partitions: frozenset[TopicPartition] = frozenset()
        self.seen: Callable[[frozenset[TopicPartition]], None] = lambda _partitions: None
        """Told which partitions a topic has as soon as a broker says it, on a thread of the client."""
        self._at_join: Counter[str] = Counter()
        self._asked: list[tuple[str, Any]] = []
        self._described: list[Future[Any]] = []

    def cluster_id(self) -> str:
        """The cluster's id as its broker says it now; raises `ConfigError` for refused credentials or certificates."""
        try:
            return self._known(self._answer(self._ask_cluster(), _REQUEST_S))
        except (KafkaException, TimeoutError) as exc:
            if self._refusals.reason:
                raise ConfigError(self._refusals.reason) from exc
            raise self._away(exc, "") from exc

    def missing(self) -> dict[str, str]:
        """Return the topics that the brokers do not list, or hide from this identity; raises as `verify` does."""
        self.learn()
        gone = [topic for topic in self._topics if topic not in self._ids]
        if not gone:
            return {}
        try:
            listed = list(self._admin.list_topics(timeout=_REQUEST_S).topics)
        except KafkaException:
            listed = []
        return {topic: next(iter(difflib.get_close_matches(topic, listed, n=1)), "") for topic in gone}

    def close(self) -> None:
        """
        Let no answer come after the client is gone.

        librdkafka (2.16) takes an answer that comes while a client ends for one without a result, and aborts.
        """
        end = time.monotonic() + _REQUEST_S
        while any(not future.done() for future in self._described) and time.monotonic() < end:
            self._admin.poll(0.05)

    def topic_id(self, topic: str) -> str:
        """The topic's id as first seen."""
        if topic not in self._ids:
            self._ask()
            self._collect(wait_s=_REQUEST_S)
        if topic not in self._ids:
            raise ConfigError(f"topic {topic} does not exist, or this identity lacks Read on topic {topic}")
        return self._ids[topic]

    def learn(self) -> None:
        """Ask for everything and wait; raises as `verify` does."""
        self._ask()
        self._collect(wait_s=_REQUEST_S)
        self._at_join = Counter(partition.topic for partition in self.partitions)

    def at_join(self, topic: str) -> int:
        """How many partitions a topic had when the group was joined; 0 before that."""
        return self._at_join[topic]

    def verify(self) -> bool:
        """
        Take the answers to the last call's questions, and ask anew; never waits. Returns whether there were any.

        Raises:
            SourceUnavailable: there was no answer.
            RegionViolation: the cluster is another one.
            OffsetLost: a topic was deleted and made again, or is gone.
        """
        self._admin.poll(0)  # serves errors and the log
        if self._asked and not all(future.done() for _, future in self._asked):
            return False
        answered = bool(self._asked)
        try:
            self._collect(wait_s=0)
        finally:
            self._ask()
        return answered

    def _ask(self) -> None:
        self._asked = [("", self._ask_cluster())]
        described = self._admin.describe_topics(TopicCollection(self._topics), request_timeout=_REQUEST_S)
        self._asked += described.items()
        for topic, future in described.items():
            future.add_done_callback(partial(self._see, topic))
        self._described = [future for future in (*self._described, *described.values()) if not future.done()]

    def _see(self, topic: str, answered: Future[Any]) -> None:
        if not answered.cancelled() and answered.exception() is None:
            self.seen(_partitions(topic, answered.result()))

    def _ask_cluster(self) -> Future[Any]:
        """
        Ask for the cluster's id, on a thread.

        Not by `describe_cluster`: a broker that has just started names no broker yet, and librdkafka (2.16) aborts the
        process at such an answer (`rd_kafka_admin_response_parse: Assertion 'rko_result' failed`).
        """
        asked: Future[Any] = Future()
        threading.Thread(target=self._list, args=(asked,), name="cluster-id", daemon=True).start()
        return asked

    def _list(self, asked: Future[Any]) -> None:
        try:
            asked.set_result(self._admin.list_topics(self._topics[0], timeout=_REQUEST_S).cluster_id)
        except KafkaException as exc:
            asked.set_exception(exc)

    def _known(self, cluster_id: object) -> str:
        if not cluster_id:
            raise SourceUnavailable(f"{self._address} does not know its cluster's id yet", retry_after_s=_AGAIN_S)
        return str(cluster_id)

    def _collect(self, wait_s: float) -> None:
        asked, self._asked = self._asked, []
        for topic, future in asked:
            try:
                answer = self._answer(future, wait_s)
            except (KafkaException, TimeoutError) as exc:
                if topic in self._ids and _is_unknown_topic(exc):
                    raise OffsetLost(f"topic {topic!r} is gone; it had the id {self._ids[topic]}") from exc
                if _is_unknown_topic(exc):
                    continue
                raise self._away(exc, topic) from exc
            if topic:
                self._compare_topic(topic, str(answer.topic_id))
                self.partitions |= _partitions(topic, answer)
            else:
                self.compare_cluster(self._known(answer))

    def _answer(self, future: Future[Any], wait_s: float) -> Any:
        """Wait for an answer, but no longer than it takes to learn that the brokers refuse us."""
        end = time.monotonic() + wait_s
        refused_at = time.monotonic() + _REFUSED_S
        while not future.done() and time.monotonic() < end:
            wait([future], _GLANCE_S)
            self._admin.poll(0)  # serves errors and the log
            if self._refusals.reason and time.monotonic() > refused_at:
                raise TimeoutError
        answer = future.result(0)
        self._refusals.reason = ""
        return answer

    def _away(self, exc: KafkaException | TimeoutError, topic: str) -> Exception:
        doing = f"asking {self._address} ([kafka] bootstrap) for the cluster's identity"
        if self._refusals.reason:
            return SourceUnavailable(f"{doing}: {self._refusals.reason}")
        if isinstance(exc, KafkaException):
            return read_error(exc.args[0], doing, needs={"TOPIC": f"Read on topic {topic}"})
        return SourceUnavailable(f"{doing}: no answer in time")

    def compare_cluster(self, found: str) -> None:
        """Raise `RegionViolation` for another cluster than the pinned one, or than the first one seen."""
        if self._cluster_id is None:
            self._cluster_id = found
        if found != self._cluster_id:
            raise RegionViolation(f"Kafka cluster: expected {self._cluster_id!r}, found {found!r}")

    def _compare_topic(self, topic: str, found: str) -> None:
        known = self._ids.setdefault(topic, found)
        if found != known:
            raise OffsetLost(
                f"topic {topic!r} was deleted and made again: its id was {known}, now {found}; stored positions mean "
                "nothing there. `worker positions move` goes to the new one, deliberately"
            )


def _partitions(topic: str, described: Any) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(topic, n) for n in range(len(described.partitions)))


def _is_unknown_topic(exc: BaseException) -> bool:
    return isinstance(exc, KafkaException) and exc.args[0].code() in (
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
    )
