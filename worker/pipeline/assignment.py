"""The partitions that the group gives this member, and what is known of each as long as it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from worker.model import Batch, TopicPartition
from worker.pipeline.progress import Span
from worker.source.base import Search, Source


@dataclass(slots=True, eq=False)
class Lane:
    """
    One partition for as long as the group gives it: made when it is given, gone when it is taken.

    A job that still holds a lane of an earlier assignment moves nothing.

    Args:
        collected: the offset after the last record taken.
        durable: the position that is stored with its records.
        stored: the offset that the group has of it, as far as this member knows.
        storing: the offset that the group has been asked to store.
        end: where a bounded run ends.
        passed: a record beyond the end was seen.
        active: read; before that it arrives, paused until its position is known and sought.
        start: where it will be read from, once that is known.
        search: asks the brokers for that.
        asked: the sink has been asked for its position, and has none.
        not_before: when it may be tried again, on the loop's clock.
        metadata: what stands beside its offset where a transaction stores that.
    """

    collected: int = 0
    durable: int = 0
    stored: int | None = None
    storing: int | None = None
    end: int | None = None
    passed: bool = False
    active: bool = False
    start: int | None = None
    search: Search | None = None
    asked: bool = False
    not_before: float = 0.0
    metadata: str = ""

    @property
    def unstored(self) -> int | None:
        """The position that the group is still to be told; None where it has it, or has been asked to take it."""
        position = self.durable if self.active else self.start
        return None if position in (None, self.stored, self.storing) else position


class Assignment:
    """
    Every assigned partition's lane.

    Args:
        source: paused where a position is to be read anew.
        bounded: whether each lane ends.
        until_ms: end before this time; None ends at the end of the log.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        source: Source,
        *,
        bounded: bool = False,
        until_ms: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._clock = source, clock
        self._joined_at: float | None = None
        self.bounded, self.until_ms = bounded, until_ms
        self._lanes: dict[TopicPartition, Lane] = {}
        self._spans: dict[TopicPartition, Span] = {}
        self._done: set[TopicPartition] = set()

    def __len__(self) -> int:
        return len(self._lanes)

    def get(self, partition: TopicPartition) -> Lane | None:
        """Return an active lane."""
        lane = self._lanes.get(partition)
        return lane if lane is not None and lane.active else None

    def has(self, partition: TopicPartition, lane: Lane) -> bool:
        """Whether this very lane still counts."""
        return self._lanes.get(partition) is lane

    def of(self, batch: Batch) -> dict[TopicPartition, Lane]:
        """Return the lanes of the partitions that have a record in a batch."""
        return {run.place: self._lanes[run.place] for run in batch.runs}

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Take partitions in, arriving."""
        if self._joined_at is None:
            self._joined_at = self._clock()
        for partition in partitions:
            self._lanes[partition] = Lane()

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions, and all that is known of them."""
        for partition in partitions:
            self._lanes.pop(partition, None)

    def reposition(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions' positions again before anything more is taken from them."""
        again = [p for p in partitions if p in self._lanes]
        self._source.pause(again)
        self.add(again)

    def arriving(self) -> dict[TopicPartition, Lane]:
        """Return the partitions whose position is not known yet."""
        return {partition: lane for partition, lane in self._lanes.items() if not lane.active}

    def active(self) -> list[TopicPartition]:
        """Return the partitions that are read."""
        return [partition for partition, lane in self._lanes.items() if lane.active]

    def unstored(self) -> dict[TopicPartition, int]:
        """Return the positions of active lanes that the group is still to be told."""
        told = {partition: lane.unstored for partition, lane in self._lanes.items() if lane.active}
        return {partition: offset for partition, offset in told.items() if offset is not None}

    def is_told(self) -> bool:
        """Whether the group has the position of every active lane."""
        return all(lane.durable == lane.stored for lane in self._lanes.values() if lane.active)

    def storing(self, offsets: dict[TopicPartition, int]) -> None:
        """Note that the group has been asked to store these."""
        for partition, offset in offsets.items():
            self._lanes[partition].storing = offset

    def stored(self, partition: TopicPartition, offset: int, *, taken: bool) -> None:
        """Note the group's answer; one to an earlier assignment's question says nothing."""
        lane = self._lanes.get(partition)
        if lane is not None and lane.storing == offset:
            lane.storing = None
            if taken:
                lane.stored = offset

    def activate(self, partition: TopicPartition, start: int) -> None:
        """Begin to read a partition there."""
        lane = self._lanes[partition]
        lane.collected = lane.durable = start
        lane.active = True
        began = self._spans.get(partition)
        self._spans[partition] = Span(start if began is None else began.start, start, lane.end)

    def positions(self) -> dict[TopicPartition, int]:
        """Return the stored position of each active partition."""
        return {partition: lane.durable for partition, lane in self._lanes.items() if lane.active}

    def advance(self, partition: TopicPartition, lane: Lane, offset: int, *, stored: bool) -> None:
        """Take over what a job made durable; `stored` where the group has it by that."""
        if not self.has(partition, lane) or not lane.active or offset <= lane.durable:
            return
        lane.durable = offset
        if stored:
            lane.stored = offset
        self._spans[partition] = replace(self._spans[partition], next=offset)

    def spans(self) -> dict[TopicPartition, Span]:
        """Return how far each partition came that was ever assigned; safe from any thread."""
        return dict(self._spans)

    def backlog(self) -> int:
        """Return how many offsets of the assigned partitions a bounded run has still to pass; 0 in an endless one."""
        return sum(max(0, lane.end - lane.durable) for lane in self._lanes.values() if lane.end is not None)

    def done(self) -> frozenset[TopicPartition]:
        """Return the partitions that `ended` has seen at their end, those that went elsewhere since included."""
        return frozenset(self._done.copy())

    def ended(self) -> bool:
        """Whether every assigned partition of a bounded run has been read to its end, and is durable up to there."""
        if not self.bounded:
            return False
        self._done |= {p for p, lane in self._lanes.items() if self._has_ended(p, lane)}
        return self._lanes.keys() <= self._done

    def is_final(self, patience_s: float) -> bool:
        """Whether the group's answer counts: a member that is given nothing may be given its share a moment later."""
        if self._joined_at is None:
            return False
        return len(self._lanes) > 0 or self._clock() - self._joined_at >= patience_s

    def _has_ended(self, partition: TopicPartition, lane: Lane) -> bool:
        if not lane.active or lane.end is None:
            return False
        return lane.passed or lane.durable >= lane.end or self._source.at_end(partition, lane.end)
