"""Where a partition starts and ends: stored offsets, ends of the log, offsets by time; asked for without long waits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from worker.errors import OffsetLost, SourceUnavailable
from worker.kafka.refusals import Needs
from worker.kafka.verdict import read_error
from worker.model import TopicPartition
from worker.source.base import Found, Search
from worker.source.identity import TopicIdentities
from worker.source.options import SourceOptions
from worker.source.tags import Tag

# Brokers answer within milliseconds; what takes longer must not keep the loop from its polls, and is asked again.
_TOGETHER_S, _ALONE_S, _EDGE_S, _AGAIN_S = 1.0, 0.1, 0.8, 1.0
# Times that a broker takes for the ends of a log.
_LATEST, _EARLIEST = -1, -2


class Offsets:
    """
    Looks offsets up for one consumer; a partition without a leader, or with an open transaction, holds no other up.

    Stored offsets carry the topic's id in their metadata, so that a topic made anew is not taken for the old one, and
    the number of its partitions when the group first read it: what is above that was made since, and is read whole.

    Args:
        consumer: the group's member.
        identities: the topics' ids.
        options: where a partition without a stored offset starts.
        needs: the rights that reading takes.
    """

    def __init__(
        self,
        consumer: Consumer,
        identities: TopicIdentities,
        options: SourceOptions,
        needs: Needs | None = None,
    ) -> None:
        self._consumer = consumer
        self._identities, self._options, self._needs = identities, options, needs
        self._at_first: dict[str, int] = {}

    def find(
        self, partitions: Collection[TopicPartition], *, stored: bool, bounded: bool, until_ms: int | None
    ) -> dict[TopicPartition, Search]:
        """Begin to look; see `Source.find`."""
        answers = self._stored(partitions) if stored else {}
        unplaced = [p for p in partitions if answers.get(p) is None]
        untold = self._learn_first({p.topic for p in unplaced})
        starts = self._together({p: self._start_time(p) for p in unplaced if p.topic not in untold})
        ends = self._together(dict.fromkeys(partitions, _LATEST if until_ms is None else until_ms) if bounded else {})

        def find(partition: TopicPartition) -> Found:
            answer = answers.get(partition)
            try:
                if isinstance(answer, KafkaError):
                    raise KafkaException(answer)
                start = answer
                if start is None and partition.topic in untold:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                if start is None:
                    start = starts[partition] if partition in starts else self._start(partition)
                end = None
                if bounded:
                    end = ends[partition] if partition in ends else self._end(partition, until_ms)
            except KafkaException as exc:
                failure = read_error(exc.args[0], f"asking for the offsets of {partition}", needs=self._needs)
                if isinstance(failure, SourceUnavailable):
                    failure.retry_after_s = _AGAIN_S
                raise failure from exc
            return Found(start, answer, end, self._tag(partition.topic))

        return {p: OffsetSearch(partial(find, p)) for p in partitions}

    def stored(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """
        Return what the group has stored; nothing for a partition whose offset an open transaction may still move.

        Raises:
            OffsetLost: an offset belongs to another topic of the same name.
            ConfigError, SourceUnavailable: as any answer of the brokers.
        """
        found: dict[TopicPartition, int] = {}
        for partition, answer in self._stored(partitions).items():
            if isinstance(answer, KafkaError) and answer.code() != KafkaError._TIMED_OUT:
                raise read_error(answer, f"asking for the offsets of {partition}", needs=self._needs)
            if isinstance(answer, int):
                found[partition] = answer
        return found

    def refuse_lost(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Raise `OffsetLost` where a position is not in the log, unless the options say what becomes of it."""
        if self._options.on_offset_loss != "stop":
            return
        lows, highs = (self._together(dict.fromkeys(offsets, end)) for end in (_EARLIEST, _LATEST))
        for partition, offset in offsets.items():
            try:
                low = lows[partition] if partition in lows else self._edge(partition, _EARLIEST)
                high = highs[partition] if partition in highs else self._edge(partition, _LATEST)
            except KafkaException as exc:
                raise read_error(exc.args[0], f"asking for the ends of {partition}", needs=self._needs) from exc
            if not low <= offset <= high:
                raise lost(f"{partition} goes on at {offset}, and the log has {low} to {high}")

    def tagged(self, offsets: Mapping[TopicPartition, int]) -> list[Any]:
        """Return offsets as the client takes them, with the topics' ids beside them where those are known."""
        tags = {topic: self._tag(topic) for topic in {p.topic for p in offsets}}
        return [KafkaPartition(p.topic, p.partition, offset, tags[p.topic]) for p, offset in offsets.items()]

    def _tag(self, topic: str) -> str:
        with contextlib.suppress(SourceUnavailable):
            return str(Tag(self._identities.topic_id(topic), self._first(topic)))
        return ""

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

    def reach(self, partitions: Collection[TopicPartition], timeout_s: float = 0.0) -> None:
        """
        Ask each partition's leader something, so that the client connects to it, and looks at once what it may fetch:
        left alone it notices a resumed partition up to a second later.

        Args:
            partitions: whose leaders.
            timeout_s: how long to wait for the answers; nobody needs them.
        """
        if partitions:
            asked = [KafkaPartition(p.topic, p.partition, _LATEST) for p in partitions]
            with contextlib.suppress(KafkaException):
                self._consumer.offsets_for_times(asked, timeout=timeout_s)

    def _together(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """
        Return the first offsets at or after times, the ends where there are none, all asked for at once: a round trip a
        broker, and one more for ends.

        Those that are not found are asked for one by one; a partition without a leader holds up all others here.
        """
        if len(times) < 2:
            return {}
        asked = [KafkaPartition(p.topic, p.partition, time_ms) for p, time_ms in times.items()]
        try:
            found = self._consumer.offsets_for_times(asked, timeout=_EDGE_S)
        except KafkaException:
            return {}
        offsets = {TopicPartition(item.topic, item.partition): int(item.offset) for item in found if item.error is None}
        past = [p for p, offset in offsets.items() if offset < 0 <= times[p]]
        ends = self._together(dict.fromkeys(past, _LATEST))
        return {p: offset for p, offset in offsets.items() if offset >= 0} | ends

    def _start_time(self, partition: TopicPartition) -> int:
        time_ms = self._options.start_time_ms
        if time_ms is not None:
            return time_ms
        return _EARLIEST if self._options.start == "earliest" or self._is_new(partition) else _LATEST

    def _first(self, topic: str) -> int:
        return self._at_first.get(topic) or self._identities.at_join(topic)

    def _is_new(self, partition: TopicPartition) -> bool:
        return 0 < self._first(partition.topic) <= partition.partition

    def _learn_first(self, topics: Collection[str]) -> set[str]:
        """Learn how many partitions topics had when the group first read them; returns those that can't be told now."""
        if self._options.start != "latest":
            return set()
        untold = set()
        for topic in topics - self._at_first.keys():
            known = sorted(p for p in self._identities.partitions if p.topic == topic)
            try:
                self._ask(known, _TOGETHER_S)
            except KafkaException:
                # An open transaction holds up the answer for its own partition; any other one tells.
                end = time.monotonic() + _TOGETHER_S
                for partition in known:
                    if topic in self._at_first or time.monotonic() > end:
                        break
                    with contextlib.suppress(KafkaException):
                        self._ask([partition], _ALONE_S)
                if topic not in self._at_first:
                    untold.add(topic)
        return untold

    def _start(self, partition: TopicPartition) -> int:
        time_ms = self._start_time(partition)
        return self._at_time(partition, time_ms) if time_ms >= 0 else self._edge(partition, time_ms)

    def _end(self, partition: TopicPartition, until_ms: int | None) -> int:
        return self._edge(partition, _LATEST) if until_ms is None else self._at_time(partition, until_ms)

    def _at_time(self, partition: TopicPartition, time_ms: int) -> int:
        """Find the first offset at or after a time; the end where there is none."""
        asked = [KafkaPartition(partition.topic, partition.partition, time_ms)]
        (found,) = self._consumer.offsets_for_times(asked, timeout=_EDGE_S)
        if found.error is not None:
            raise KafkaException(found.error)
        return int(found.offset) if found.offset >= 0 else self._edge(partition, _LATEST)

    def _edge(self, partition: TopicPartition, end: int) -> int:
        place = KafkaPartition(partition.topic, partition.partition)
        marks = self._consumer.get_watermark_offsets(place, timeout=_EDGE_S)
        if marks is None:
            raise SourceUnavailable(f"asking for the ends of {partition}: no answer in time", retry_after_s=_AGAIN_S)
        return int(marks[0] if end == _EARLIEST else marks[1])

    def _stored(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int | KafkaError | None]:
        """
        Return the group's stable offsets, or why there is none now.

        Asked over the member's own connection to its coordinator: the admin client's waits for a dead one until it
        times out, which can abort the process, and gives offsets of -1001 for leaders that have moved (librdkafka
        2.16). An open transaction of the one before may still move an offset; the call waits for it, so those are then
        asked for one by one.
        """
        try:
            return self._ask(partitions, _TOGETHER_S)
        except KafkaException as exc:
            if len(partitions) == 1 or exc.args[0].code() != KafkaError._TIMED_OUT:
                return dict.fromkeys(partitions, exc.args[0])
        found: dict[TopicPartition, int | KafkaError | None] = {}
        for partition in partitions:
            try:
                found |= self._ask([partition], _ALONE_S)
            except KafkaException as exc:
                found[partition] = exc.args[0]
        return found

    def _ask(
        self, partitions: Collection[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int | KafkaError | None]:
        found: dict[TopicPartition, int | KafkaError | None] = {}
        for item in self._consumer.committed(as_kafka(partitions), timeout=timeout_s) if partitions else []:
            if item.error is None and item.offset >= 0:
                self._read_tag(item)
            offset = int(item.offset) if item.offset >= 0 else None
            found[TopicPartition(item.topic, item.partition)] = offset if item.error is None else item.error
        return found

    def _read_tag(self, item: Any) -> None:
        tag, known = Tag.read(item.metadata), self._identities.topic_id(item.topic)
        if tag.is_of_another(known):
            raise OffsetLost(
                f"{item.topic}[{item.partition}]: the stored offset belongs to a topic of this name with the id "
                f"{tag.topic_id}, the topic now has {known}; `worker positions move` goes on in the new one"
            )
        if tag.partitions:
            self._at_first[item.topic] = min(tag.partitions, self._at_first.get(item.topic, tag.partitions))


def lost(where: str) -> OffsetLost:
    """Return the refusal of a position that is not in the log any more."""
    return OffsetLost(
        f"{where}: the position to continue from is not in the log any more (retention, or another topic of "
        "this name). Nothing was skipped. Move it (worker positions move) or set on_offset_loss, deliberately"
    )


@dataclass(slots=True)
class OffsetSearch:
    """One partition's search; see `Search`."""

    _find: Callable[[], Found]
    _found: Found | None = None

    def answer(self) -> Found:
        """Ask, once, for no longer than an answer takes from a leader that is there."""
        if self._found is None:
            self._found = self._find()
        return self._found


def as_kafka(partitions: Collection[TopicPartition]) -> list[Any]:
    """Return partitions as the client takes them."""
    return [KafkaPartition(p.topic, p.partition) for p in partitions]
