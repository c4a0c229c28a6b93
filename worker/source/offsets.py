"""Where a partition starts and ends: stored offsets, ends of the log, offsets by time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from worker.errors import OffsetLost, SourceUnavailable
from worker.kafka.refusals import Needs
from worker.kafka.verdict import read_error
from worker.model import TopicPartition
from worker.source.identity import TopicIdentities
from worker.source.options import SourceOptions

_REQUEST_S = 10.0
_TAG = "topic-id="


class Offsets:
    """
    Looks offsets up for one consumer.

    Stored offsets carry the topic's id in their metadata, so that a topic made anew is not taken for the old one.

    Args:
        consumer: the group's member.
        identities: the topics' ids.
        options: where a partition without a stored offset starts.
        needs: the rights that reading takes.
    """

    def __init__(
        self, consumer: Consumer, identities: TopicIdentities, options: SourceOptions, needs: Needs | None = None
    ) -> None:
        self._needs = needs
        self._consumer = consumer
        self._identities = identities
        self._options = options

    def start(self, partitions: Collection[TopicPartition], *, stored: bool) -> dict[TopicPartition, int]:
        """Return where each partition starts; raises `OffsetLost` where the stored offset is another topic's."""
        found: dict[TopicPartition, int] = {}
        if stored and partitions:
            for item in self._ask(lambda: self._consumer.committed(as_kafka(partitions), timeout=_REQUEST_S)):
                if item.error is not None:
                    raise read_error(item.error, "asking for stored offsets", needs=self._needs)
                if item.offset >= 0:
                    self._refuse_other_topic(item)
                    found[TopicPartition(item.topic, item.partition)] = item.offset
        missing = [p for p in partitions if p not in found]
        time_ms = self._options.start_time_ms
        if time_ms is not None:
            return found | self.at_time(missing, time_ms)
        return found | {p: self._edge(p, at_start=self._options.start == "earliest") for p in missing}

    def end(self, partitions: Collection[TopicPartition], until_ms: int | None) -> dict[TopicPartition, int]:
        """Return the last stable offsets, or the first offsets at or after a time."""
        if until_ms is not None:
            return self.at_time(partitions, until_ms)
        return {p: self._edge(p, at_start=False) for p in partitions}

    def at_time(self, partitions: Collection[TopicPartition], time_ms: int) -> dict[TopicPartition, int]:
        """Return each partition's first offset at or after `time_ms`, its end where there is none."""
        asked = [KafkaPartition(p.topic, p.partition, time_ms) for p in partitions]
        found = {}
        for item in self._ask(lambda: self._consumer.offsets_for_times(asked, timeout=_REQUEST_S)) if asked else []:
            if item.error is not None:
                raise read_error(item.error, "asking for offsets by time", needs=self._needs)
            place = TopicPartition(item.topic, item.partition)
            found[place] = item.offset if item.offset >= 0 else self._edge(place, at_start=False)
        return found

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

    def _edge(self, partition: TopicPartition, *, at_start: bool) -> int:
        logical = OFFSET_BEGINNING if at_start else OFFSET_END
        place = KafkaPartition(partition.topic, partition.partition, logical)
        try:
            marks = self._consumer.get_watermark_offsets(place, timeout=_REQUEST_S)
        except KafkaException as exc:
            raise read_error(exc.args[0], f"asking for the ends of {partition}", needs=self._needs) from exc
        if marks is None:
            raise SourceUnavailable(f"asking for the ends of {partition}: no answer in time")
        return int(marks[0] if at_start else marks[1])

    def _ask(self, call: Callable[[], list[Any]]) -> list[Any]:
        try:
            return call()
        except KafkaException as exc:
            raise read_error(exc.args[0], "asking for offsets", needs=self._needs) from exc

    def _refuse_other_topic(self, item: Any) -> None:
        known = _TAG + self._identities.topic_id(item.topic)
        if item.metadata and item.metadata.startswith(_TAG) and item.metadata != known:
            raise OffsetLost(
                f"{item.topic}[{item.partition}]: the stored offset belongs to a topic of this name with "
                f"{item.metadata}, the topic now has {known}; reset the group's offsets deliberately"
            )


def as_kafka(partitions: Collection[TopicPartition]) -> list[Any]:
    """Return partitions as the client takes them."""
    return [KafkaPartition(p.topic, p.partition) for p in partitions]
