"""Positions of the assigned partitions, and how each comes to be read from the right one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from worker.model import Batch, TopicPartition
from worker.pipeline.progress import Span
from worker.sink.base import Sink
from worker.source.base import Source


@dataclass(slots=True)
class Lane:
    """
    One assigned partition.

    `collected` is the offset after the last record taken, `durable` the position that is stored with its records;
    `end` is where a bounded run ends and `passed` says that a record beyond
    it was seen. An inactive lane is arriving: paused until its position has been read and sought.
    """

    collected: int = 0
    durable: int = 0
    active: bool = False
    end: int | None = None
    passed: bool = False


class Lanes:
    """
    Every assigned partition's lane.

    Positions are read at every assignment, from the sink where it owns them, never remembered from an earlier one.

    Args:
        source: sought and resumed.
        sink: asked where it owns positions.
        bounded: whether each lane ends.
        until_ms: end before this time; None ends at the end of the log.
    """

    def __init__(self, source: Source, sink: Sink, *, bounded: bool = False, until_ms: int | None = None) -> None:
        self._source = source
        self._sink = sink
        self._bounded = bounded
        self._until_ms = until_ms
        self._lanes: dict[TopicPartition, Lane] = {}
        self._spans: dict[TopicPartition, Span] = {}
        self._done: set[TopicPartition] = set()

    def __len__(self) -> int:
        return len(self._lanes)

    def get(self, partition: TopicPartition) -> Lane | None:
        """Return an active lane."""
        lane = self._lanes.get(partition)
        return lane if lane is not None and lane.active else None

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Take partitions in, arriving."""
        for p in partitions:
            self._lanes[p] = Lane()

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions."""
        for p in partitions:
            self._lanes.pop(p, None)

    def reposition(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions' positions again before anything more is taken from them."""
        again = [p for p in partitions if p in self._lanes]
        self._source.pause(again)
        self.add(again)

    def arriving(self) -> list[TopicPartition]:
        """Return the partitions whose position is not known yet."""
        return [partition for partition, lane in self._lanes.items() if not lane.active]

    def active(self) -> list[TopicPartition]:
        """Return the partitions that are read."""
        return [partition for partition, lane in self._lanes.items() if lane.active]

    def place(self) -> None:
        """Read the positions of what arrives, seek, resume; raises `TransientError` to be called again."""
        arriving = self.arriving()
        start = self._source.start_positions(arriving, stored=not self._sink.owns_positions)
        if self._sink.owns_positions:
            start = {**start, **self._sink.positions(start)}
        ends = self._source.end_positions(arriving, self._until_ms) if self._bounded else {}
        placed = self._source.seek(start)
        for partition in placed:
            offset = start[partition]
            end = ends.get(partition)
            self._lanes[partition] = Lane(offset, offset, active=True, end=end)
            began = self._spans.get(partition)
            self._spans[partition] = Span(offset if began is None else began.start, offset, end)
        self._source.resume(placed)

    def durable(self, batch: Batch) -> dict[TopicPartition, int]:
        """Return the stored position of each partition that has a record in `batch`."""
        return {run.place: self._lanes[run.place].durable for run in batch.runs}

    def positions(self) -> dict[TopicPartition, int]:
        """Return the stored position of each active partition."""
        return {partition: lane.durable for partition, lane in self._lanes.items() if lane.active}

    def advance(self, durable: Mapping[TopicPartition, int]) -> int:
        """Take over what a job made durable; returns by how many offsets all lanes advanced."""
        moved = 0
        for partition, offset in durable.items():
            lane = self.get(partition)
            # A lane that was revoked and came back meanwhile has read its position anew.
            if lane is not None and lane.durable < offset <= lane.collected:
                moved += offset - lane.durable
                lane.durable = offset
                self._spans[partition] = replace(self._spans[partition], next=offset)
        return moved

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
        if not self._bounded:
            return False
        self._done |= {p for p, lane in self._lanes.items() if self._has_ended(p, lane)}
        return self._lanes.keys() <= self._done

    def _has_ended(self, partition: TopicPartition, lane: Lane) -> bool:
        if not lane.active or lane.end is None:
            return False
        return lane.passed or lane.durable >= lane.end or self._source.at_end(partition, lane.end)
