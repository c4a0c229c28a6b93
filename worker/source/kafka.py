"""Kafka as a source: one consumer of one group, manual offsets, both rebalance protocols."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from worker.errors import Fenced, SourceUnavailable, WorkerError
from worker.kafka.clients import make_consumer
from worker.kafka.native import NativeEvent, adopted
from worker.kafka.properties import Property
from worker.kafka.refusals import refusal
from worker.kafka.verdict import read_error
from worker.model import Batch, TopicPartition
from worker.native.batch import NativeBatch
from worker.source.base import AssignmentListener, Search
from worker.source.chunk import chunk_of
from worker.source.commits import Commits, answers
from worker.source.identity import TopicIdentities
from worker.source.offsets import Offsets, as_kafka, lost
from worker.source.options import SourceOptions
from worker.source.properties import consumer_properties

if TYPE_CHECKING:
    from worker import _native

_log = structlog.get_logger(__name__)
# Half of the time after which the loop would have to poll; the group is served by the client's own threads.
_CONFIRM_S = 5.0


class KafkaSource:
    """
    A consumer group's member over one or more topics; reads committed records only.

    Not thread-safe: one thread calls it, since the client answers some questions only to the one that polls.

    Args:
        options: the route's `source`.
        bootstrap: the cluster's addresses.
        group: the consumer group.
        instance: the worker's stable name, for static membership and client id.
        properties: librdkafka properties; those that the worker owns are refused by name.
        cluster_id: the pin; every connection's cluster must have it. None pins to the first one seen.
        bounded: whether `at_end` is asked.
        statistics: takes librdkafka's statistics, on the thread that polls.

    Raises:
        ConfigError: a property is refused or unknown.
    """

    def __init__(
        self,
        options: SourceOptions,
        *,
        bootstrap: str,
        group: str,
        instance: str,
        properties: Mapping[str, Property],
        cluster_id: str | None = None,
        bounded: bool = False,
        statistics: Callable[[str], None] | None = None,
    ) -> None:
        self._options = options
        topics = ", ".join(options.topics)
        self._needs = {"TOPIC": f"Read on topic {topics}", "GROUP": f"Read on group {group}"}
        self._incremental = options.protocol != "eager"
        self._listener: AssignmentListener | None = None
        self._placed: set[TopicPartition] = set()
        self._ends: dict[TopicPartition, int] = {}
        self._failure: BaseException | None = None
        self._closed = False
        conf = consumer_properties(options, bootstrap, group, instance, properties, bounded=bounded)
        told = {"error_cb": self._on_error, "stats_cb": statistics or _ignore, "on_commit": self._on_commit}
        self._consumer, self._native = adopted(make_consumer, {**conf, **told})
        self._identities = TopicIdentities(
            {"bootstrap.servers": bootstrap, **properties}, options.topics, cluster_id=cluster_id
        )
        self._offsets = Offsets(self._consumer, self._identities, options, self._needs)
        self._commits = Commits(self._consumer, self._offsets, self._needs)

    def cluster_id(self) -> str:
        """The cluster's id as its broker says it now; raises `SourceUnavailable` if none answers in time."""
        return self._identities.cluster_id()

    def topic_id(self, topic: str) -> str:
        """The topic's id as first seen by this source; another topic of the same name has another."""
        return self._identities.topic_id(topic)

    def missing_topics(self) -> dict[str, str]:
        """Return the topics that are not there, or are hidden from this identity, with the nearest name there is."""
        return self._identities.missing()

    @property
    def offsets(self) -> Offsets:
        """What the group has stored, and what the log has; for who only looks."""
        return self._offsets

    def subscribe(self, listener: AssignmentListener) -> None:
        """Learn the identities of cluster and topics, then join the group."""
        self._identities.learn()
        self._listener = listener
        self._consumer.subscribe(
            list(self._options.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def partitions(self) -> frozenset[TopicPartition]:
        """All partitions of the topics, as they were when the group was joined."""
        return self._identities.partitions

    def poll(self, max_records: int, timeout_s: float) -> Batch | None:
        """Return records, and serve the group meanwhile."""
        if self._native is not None:
            return self._receive(self._native, max_records, timeout_s)
        try:
            # Wait for one, then take what lies ready: that is bounded by `queue_bytes`. A wait for all of them would be
            # filled by fetches meanwhile, and two thousand large records are more than any batch may hold.
            messages: list[Any] = list(self._consumer.consume(1, timeout_s))
            if messages and max_records > 1:
                messages += self._consumer.consume(max_records - 1, 0)
        except KafkaException as exc:
            raise self._error(exc.args[0], "reading") from exc
        return self._judged(messages)

    def _receive(self, native: _native.Client, max_records: int, timeout_s: float) -> Batch | None:
        """Take records in native memory; rebalances and the group's errors still come by the consumer's own queue."""
        try:
            strays = self._judged(list(self._consumer.consume(1, 0)))
        except KafkaException as exc:
            raise self._error(exc.args[0], "reading") from exc
        if strays is not None:
            return strays
        batch, events = native.receive(max_records, int(timeout_s * 1000))
        for event in events:
            self._judge(NativeEvent(*event))
        return NativeBatch(batch) if len(batch) else None

    def _judged(self, messages: list[Any]) -> Batch | None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if any(message.error() is not None for message in messages):
            for message in messages:
                if message.error() is not None:
                    self._judge(message)
            messages = [message for message in messages if message.error() is None]
        return chunk_of(messages) if messages else None

    def find(
        self, partitions: Collection[TopicPartition], *, stored: bool, bounded: bool, until_ms: int | None
    ) -> dict[TopicPartition, Search]:
        """Begin to look where partitions start: at the group's stored offsets, else as the options say."""
        return self._offsets.find(partitions, stored=stored, bounded=bounded, until_ms=until_ms)

    def at_end(self, partition: TopicPartition, end: int) -> bool:
        """Whether the broker has said that nothing more lies before `end`."""
        return self._ends.get(partition, -1) >= end

    def seek(self, positions: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        """Continue there; a partition whose fetcher has not started yet is left for the next call."""
        done = set()
        for partition, offset in positions.items():
            try:
                self._consumer.seek(KafkaPartition(partition.topic, partition.partition, offset))
            except KafkaException as exc:
                if exc.args[0].code() not in (KafkaError._STATE, KafkaError._PREV_IN_PROGRESS):
                    raise self._error(exc.args[0], f"seeking {partition}") from exc
                continue
            done.add(partition)
        self._placed |= done
        for partition in done:
            self._ends.pop(partition, None)
        return done

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Stop fetching these."""
        self._consumer.pause(as_kafka(partitions))

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch these again."""
        self._consumer.resume(as_kafka(partitions))

    def store(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Begin to store the group's offsets with the topics' ids beside them."""
        self._commits.store(offsets)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Store the group's offsets with the topics' ids beside them, and wait."""
        return self._commits.commit(offsets)

    def holds(self) -> bool:
        """Store again what the group has stored for this member's partitions: an old generation is refused."""
        return self._commits.holds()

    def group_metadata(self) -> object:
        """
        The group's metadata for a transaction.

        Read before the member id: metadata without a member is not fenced by the broker. The client answers both only
        to the thread that polls: from another one, beside a running `poll`, the call can hang for ever.
        """
        metadata: object = self._consumer.consumer_group_metadata()
        if not self._consumer.memberid():
            raise SourceUnavailable("the consumer is no member of its group now")
        return metadata

    def verify(self) -> bool:
        """Compare cluster and topics with those at the start."""
        return self._identities.verify()

    def confirm(self) -> None:
        """
        Refuse another cluster behind the same address before any record of it is delivered.

        Asks over this client's own connections, since another client's may still lead to the cluster of before.
        """
        try:
            found = self._consumer.list_topics(self._options.topics[0], timeout=_CONFIRM_S).cluster_id
        except KafkaException as exc:
            raise self._error(exc.args[0], "asking for the cluster's identity") from exc
        self._identities.compare_cluster(str(found))

    def lag(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return the lag by the end that the last fetch reported."""
        return self._offsets.lag(positions)

    def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        self._closed = True
        self._identities.close()
        if self._native is not None:
            self._native.end()
        try:
            self._consumer.close()
        except KafkaException as exc:
            _log.warning("source_close_failed", error=exc.args[0].name())

    def _on_assign(self, consumer: Any, partitions: list[Any]) -> None:
        self._rebalance(lambda: self._take(consumer, partitions))

    def _on_revoke(self, consumer: Any, partitions: list[Any]) -> None:
        self._rebalance(lambda: self._give(consumer, partitions, lost=False))

    def _on_lost(self, consumer: Any, partitions: list[Any]) -> None:
        self._rebalance(lambda: self._give(consumer, partitions, lost=True))

    def _on_commit(self, error: KafkaError | None, items: Collection[Any]) -> None:
        listener = self._listener
        if listener is not None:
            for taken, offsets in answers(error, items):
                self._rebalance(partial(listener.stored, offsets, taken=taken))

    def _rebalance(self, act: Callable[[], None]) -> None:
        # An exception inside a callback would make the client drop the records it is about to return.
        try:
            act()
        except Exception as exc:
            self._failure = exc

    def _take(self, consumer: Any, partitions: list[Any]) -> None:
        # Offset 0 while paused: no lookup, no fetch; `seek` gives the true one before `resume`.
        placed = [KafkaPartition(p.topic, p.partition, 0) for p in partitions]
        if self._native is not None:
            for p in partitions:
                self._native.watch(p.topic, p.partition)
        if self._incremental:
            consumer.incremental_assign(placed)
        else:
            consumer.assign(placed)
        consumer.pause(placed)
        if self._listener is not None:
            self._listener.assigned(_own(partitions))

    def _give(self, consumer: Any, partitions: list[Any], *, lost: bool) -> None:
        gone = _own(partitions)
        try:
            if self._listener is not None:
                self._listener.revoked(gone, lost=lost)
        finally:
            self._placed -= set(gone)
            if self._incremental:
                consumer.incremental_unassign(partitions)
            else:
                consumer.unassign()

    def _judge(self, message: Any) -> None:
        error = message.error()
        topic, number = message.topic(), message.partition()
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self._ends[TopicPartition(topic, number)] = message.offset()
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            if TopicPartition(topic, number) in self._placed:
                self._offset_lost(TopicPartition(topic, number))
        elif code in (KafkaError._MAX_POLL_EXCEEDED, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            _log.warning("source_degraded", error=error.name())
        elif code == KafkaError._FATAL and self._options.static_membership:
            raise Fenced(
                "the group refuses this member: another process has its instance's name, or a dead one's session "
                "has not ended yet; give each its own WORKER_INSTANCE, or start again"
            )
        else:
            failure = self._error(error, f"reading {topic or 'as a group'}")
            if isinstance(failure, SourceUnavailable):
                _log.warning("source_degraded", error=error.name(), topic=topic)
            else:
                raise failure

    def _offset_lost(self, partition: TopicPartition) -> None:
        # Another cluster has other offsets, and that is the graver finding.
        with contextlib.suppress(SourceUnavailable):
            self.confirm()
        raise lost(str(partition))

    def _error(self, error: KafkaError, doing: str) -> WorkerError:
        return read_error(error, doing, needs=self._needs)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            _log.warning("source_away", error=error.name())
        elif reason := refusal(error):
            _log.warning("source_refused", error=reason)
        elif error.fatal():
            self._failure = self._error(error, "reading")
        else:
            _log.info("source_degraded", error=error.name())


def _ignore(_statistics: str) -> None:
    """Take what nobody asked for."""


def _own(partitions: Collection[Any]) -> list[TopicPartition]:
    return [TopicPartition(p.topic, p.partition) for p in partitions]
