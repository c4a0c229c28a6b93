"""Where a partition starts and ends: stored offsets, ends of the log, offsets by time; asked for without waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from worker.errors import OffsetLost, SourceUnavailable
from worker.kafka.refusals import Needs
from worker.kafka.verdict import read_error
from worker.model import TopicPartition
from worker.source.base import Found, Search
from worker.source.identity import TopicIdentities
from worker.source.options import SourceOptions

_REQUEST_S = 10.0
_TAG = "topic-id="

_EARLIEST, _LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
_Steps = Generator[Future[Any], Any, Found]


class Offsets:
    """
    Looks offsets up for one consumer; a partition without a leader, or with an open transaction, holds no other up.

    Stored offsets carry the topic's id in their metadata, so that a topic made anew is not taken for the old one.

    Args:
        consumer: the group's member.
        admin: asks the brokers.
        group: the consumer group.
        identities: the topics' ids.
        options: where a partition without a stored offset starts.
        needs: the rights that reading takes.
    """

    def __init__(
        self,
        consumer: Consumer,
        admin: AdminClient,
        group: str,
        identities: TopicIdentities,
        options: SourceOptions,
        needs: Needs | None = None,
    ) -> None:
        self._consumer, self._admin, self._group = consumer, admin, group
        self._identities, self._options, self._needs = identities, options, needs

    def find(
        self, partitions: Collection[TopicPartition], *, stored: bool, bounded: bool, until_ms: int | None
    ) -> dict[TopicPartition, Search]:
        """Begin to look; see `Source.find`."""
        answer = self._stored(partitions) if stored and partitions else None
        return {p: OffsetSearch(self._steps(p, answer, bounded, until_ms), self._needs, p) for p in partitions}

    def tagged(self, offsets: Mapping[TopicPartition, int]) -> list[Any]:
        """Return offsets as the client takes them, with the topics' ids beside them where those are known."""
        with contextlib.suppress(SourceUnavailable):
            return [
                KafkaPartition(p.topic, p.partition, offset, f"{_TAG}{self._identities.topic_id(p.topic)}")
                for p, offset in offsets.items()
            ]
        return [KafkaPartition(p.topic, p.partition, offset) for p, offset in offsets.items()]

    def lag(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return the lag by the ends that the last fetches reported."""
        found = {}
        for partition, position in positions.items():
            place = KafkaPartition(partition.topic, partition.partition)
            try:
                marks = self._consumer.get_watermark_offsets(place, cached=True)
            except KafkaException:
                continue
            if marks is not None and marks[1] >= 0:
                found[partition] = max(0, marks[1] - position)
        return found

    def _steps(
        self, partition: TopicPartition, answer: Future[Any] | None, bounded: bool, until_ms: int | None
    ) -> _Steps:
        stored = None
        if answer is not None:
            stored = self._read((yield answer), partition)
        start = stored
        if start is None:
            wanted = self._options.start_time_ms
            if wanted is not None:
                start = yield from self._at_time(partition, wanted)
            elif self._options.start == "earliest" or self._identities.is_new(partition):
                start = (yield self._edge(partition, _EARLIEST)).offset
            else:
                start = (yield self._edge(partition, _LATEST)).offset
        end = None
        if bounded and until_ms is not None:
            end = yield from self._at_time(partition, until_ms)
        elif bounded:
            end = (yield self._edge(partition, _LATEST)).offset
        return Found(start, stored, end)

    def _at_time(self, partition: TopicPartition, time_ms: int) -> Generator[Future[Any], Any, int]:
        """Find the first offset at or after a time; the end where there is none."""
        found = yield self._edge(partition, OffsetSpec.for_timestamp(time_ms))
        if found.offset < 0:
            found = yield self._edge(partition, _LATEST)
        return int(found.offset)

    def _edge(self, partition: TopicPartition, spec: Any) -> Future[Any]:
        # One request a partition: librdkafka waits for the leaders of all that one request names.
        asked = {KafkaPartition(partition.topic, partition.partition): spec}
        answers = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_REQUEST_S
        )
        (future,) = answers.values()
        return future

    def _stored(self, partitions: Collection[TopicPartition]) -> Future[Any]:
        asked = ConsumerGroupTopicPartitions(self._group, as_kafka(partitions))
        # Only stable offsets: an open transaction of the one before may still move them.
        answers = self._admin.list_consumer_group_offsets([asked], require_stable=True, request_timeout=_REQUEST_S)
        return answers[self._group]

    def _read(self, answer: Any, partition: TopicPartition) -> int | None:
        for item in answer.topic_partitions:
            if (item.topic, item.partition) == partition:
                if item.error is not None:
                    raise KafkaException(item.error)
                if item.offset >= 0:
                    self._refuse_other_topic(item)
                    return int(item.offset)
        return None

    def _refuse_other_topic(self, item: Any) -> None:
        known = _TAG + self._identities.topic_id(item.topic)
        if item.metadata and item.metadata.startswith(_TAG) and item.metadata != known:
            raise OffsetLost(
                f"{item.topic}[{item.partition}]: the stored offset belongs to a topic of this name with "
                f"{item.metadata}, the topic now has {known}; reset the group's offsets deliberately"
            )


@dataclass(slots=True)
class OffsetSearch:
    """One partition's search; see `Search`."""

    _steps: _Steps
    _needs: Needs | None
    _partition: TopicPartition
    _asked: Future[Any] | None = None
    _found: Found | None = None

    def answer(self) -> Found | None:
        """Go as far as the brokers have answered."""
        try:
            if self._asked is None and self._found is None:
                self._asked = next(self._steps)
            while self._asked is not None and self._asked.done():
                self._asked = self._steps.send(self._asked.result())
        except StopIteration as exc:
            self._asked, self._found = None, exc.value
        except KafkaException as exc:
            raise read_error(exc.args[0], f"asking for the offsets of {self._partition}", needs=self._needs) from exc
        return self._found


def as_kafka(partitions: Collection[TopicPartition]) -> list[Any]:
    """Return partitions as the client takes them."""
    return [KafkaPartition(p.topic, p.partition) for p in partitions]
