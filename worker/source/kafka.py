"""Kafka as a source: one consumer of one group, manual offsets, both rebalance protocols."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from worker.errors import SourceUnavailable
from worker.kafka.chunk import chunk_of
from worker.kafka.clients import make_consumer
from worker.kafka.native import NativeEvent, adopted
from worker.kafka.properties import Property
from worker.model import Batch, TopicPartition
from worker.native.batch import NativeBatch
from worker.source.base import AssignmentListener, Search
from worker.source.commits import Commits
from worker.source.confirmation import Confirmation
from worker.source.identity import TopicIdentities
from worker.source.membership import Membership
from worker.source.offsets import Offsets, as_kafka
from worker.source.options import SourceOptions
from worker.source.properties import GroupMember, consumer_properties
from worker.source.reports import Reports
from worker.source.watch import group_watch

if TYPE_CHECKING:
    from worker import _native

_log = structlog.get_logger(__name__)
_LEAVE_S = 2.0
_WOKEN_S, _WATCHFUL_S, _UNWOKEN_S = 5.0, 2.0, 0.25


class KafkaSource:
    """
    A consumer group's member over one or more topics; reads committed records only.

    Not thread-safe: one thread calls it, since the client answers some questions only to the one that polls.

    Args:
        options: the route's `source`.
        member: of which group, under which name.
        connection: what `worker.kafka.properties.connection_properties` returned.
        cluster_id: the pin; every connection's cluster must have it. None pins to the first one seen.
        bounded: whether `at_end` is asked.
        statistics: takes librdkafka's statistics, on the thread that polls.

    Raises:
        ConfigError: a property is refused or unknown.
    """

    def __init__(
        self,
        options: SourceOptions,
        member: GroupMember,
        connection: Mapping[str, Property],
        *,
        cluster_id: str | None = None,
        bounded: bool = False,
        statistics: Callable[[str], None] | None = None,
    ) -> None:
        self._options = options
        topics = ", ".join(options.topics)
        needs = {"TOPIC": f"Read on topic {topics}", "GROUP": f"Read on group {member.group}"}
        self._membership = Membership(incremental=options.protocol != "eager")
        self._reports = Reports(self._membership, self.confirm, needs, static=options.static_membership)
        self._closed = False
        conf = consumer_properties(options, member, connection, bounded=bounded)
        self._group = group_watch(options, member, connection, conf, bounded=bounded)
        told = {
            "error_cb": self._reports.on_error,
            "stats_cb": statistics or (lambda _said: None),
            "on_commit": self._membership.on_commit,
        }
        late = (lambda: None) if self._group is None else self._group.late
        self._consumer, self._native = adopted(partial(make_consumer, late=late), {**conf, **told})
        self._membership.native = self._native
        self._identities = TopicIdentities(connection, options.topics, cluster_id=cluster_id)
        self._offsets = Offsets(self._consumer, self._identities, options, needs)
        self._commits = Commits(self._consumer, self._offsets, needs)
        self._confirmation = Confirmation(self._consumer, self._native, self._identities, options.topics[0], needs)
        if self._group is not None:
            self._membership.shared = self._group.given
            self._identities.seen = self._group.exists

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
        self._membership.listener = listener
        self._membership.join(self._consumer, self._options.topics)
        if self._group is not None:
            self._group.start()

    def partitions(self) -> frozenset[TopicPartition]:
        """All partitions of the topics, as they were when the group was joined."""
        return self._identities.partitions

    def poll(self, max_records: int, timeout_s: float) -> Batch | None:
        """Return records, and serve the group meanwhile."""
        if self._group is not None and self._group.must_leave():
            # The client leaves by this alone, and joins once its partitions have been given back.
            self._consumer.unsubscribe()
            self._membership.join(self._consumer, self._options.topics)
        if self._native is not None:
            return self._receive(self._native, max_records, timeout_s)
        try:
            # Wait for one, then take what lies ready: that is bounded by `queue_bytes`. A wait for all of them would be
            # filled by fetches meanwhile, and so many large records are more than any batch may hold.
            messages: list[Any] = list(self._consumer.consume(1, timeout_s))
            if messages and max_records > 1:
                messages += self._consumer.consume(max_records - 1, 0)
        except KafkaException as exc:
            raise self._reports.error(exc.args[0], "reading") from exc
        return self._judged(messages)

    def wake(self) -> None:
        """End a `poll` that waits in native memory, else the next one; safe from any thread."""
        if self._native is not None:
            self._native.interrupt()

    @property
    def patience_s(self) -> float:
        """How long a `poll` may wait; in native memory what the group says ends it, and so does `wake`."""
        if self._native is None or not self._membership.placed:
            return _UNWOKEN_S
        return _WOKEN_S if self._group is None else _WATCHFUL_S

    def _receive(self, native: _native.Client, max_records: int, timeout_s: float) -> Batch | None:
        """Take records in native memory; rebalances and the group's errors still come by the consumer's own queue."""
        # The extension waits at the queue of partitions that are read; without one there is nothing to wait at.
        reads = bool(self._membership.placed)
        try:
            strays = self._judged(list(self._consumer.consume(1, 0 if reads else timeout_s)))
        except KafkaException as exc:
            raise self._reports.error(exc.args[0], "reading") from exc
        if strays is not None or not reads:
            return strays
        batch, events = native.receive(max_records, int(timeout_s * 1000))
        for event in events:
            self._reports.judge(NativeEvent(*event))
        return NativeBatch(batch) if len(batch) else None

    def _judged(self, messages: list[Any]) -> Batch | None:
        self._membership.raise_failure()
        if any(message.error() is not None for message in messages):
            for message in messages:
                if message.error() is not None:
                    self._reports.judge(message)
            messages = [message for message in messages if message.error() is None]
        return chunk_of(messages) if messages else None

    def find(
        self, partitions: Collection[TopicPartition], *, stored: bool, bounded: bool, until_ms: int | None
    ) -> dict[TopicPartition, Search]:
        """Begin to look where partitions start: at the group's stored offsets, else as the options say."""
        return self._offsets.find(partitions, stored=stored, bounded=bounded, until_ms=until_ms)

    def at_end(self, partition: TopicPartition, end: int) -> bool:
        """Whether the broker has said that nothing more lies before `end`."""
        return self._reports.ends.get(partition, -1) >= end

    def seek(self, positions: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        """Continue there; a partition whose fetcher has not started yet is left for the next call."""
        done = set()
        for partition, offset in positions.items():
            try:
                self._consumer.seek(KafkaPartition(partition.topic, partition.partition, offset))
            except KafkaException as exc:
                if exc.args[0].code() not in (KafkaError._STATE, KafkaError._PREV_IN_PROGRESS):
                    raise self._reports.error(exc.args[0], f"seeking {partition}") from exc
                continue
            done.add(partition)
        self._membership.placed |= done
        for partition in done:
            self._reports.ends.pop(partition, None)
        return done

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Stop fetching these."""
        self._consumer.pause(as_kafka(partitions))

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        """Fetch these again, at once."""
        self._confirmation.ahead(partitions, self._offsets)
        self._consumer.resume(as_kafka(partitions))
        self._offsets.reach(partitions)

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
        """Refuse another cluster behind the same address before any record of it is delivered."""
        self._confirmation.confirm()

    def lag(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return the lag by the end that the last fetch reported."""
        return self._offsets.lag(positions)

    def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        self._closed = True
        self._identities.close()
        if self._group is not None:
            self._group.close()
        if self._native is not None:
            # What the group still gives while the client closes is only given back.
            self._membership.native = None
            self._native.end()
        with contextlib.suppress(KafkaException):
            # What the group gave is taken while it still answers: a client that meets it in its close waits for ever.
            self._consumer.consume(1, 0)
            if self._options.protocol != "consumer" and not self._options.static_membership:
                self._leave()
        try:
            self._consumer.close()
        except KafkaException as exc:
            _log.warning("source_close_failed", error=exc.args[0].name())

    def _leave(self) -> None:
        """
        Let the client leave while it is still served.

        One of librdkafka's (2.16) that is closed while its group rebalances ends without leaving, and the others wait
        for its session.
        """
        self._consumer.unsubscribe()
        end = time.monotonic() + _LEAVE_S
        while self._consumer.memberid() and time.monotonic() < end:
            self._consumer.consume(1, 0.05)
