"""A topic's records from its start to its present end, read without leaving a trace in any group's offsets."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator

from worker.errors import SourceUnavailable
from worker.model import SourceRecord, TopicPartition
from worker.source.base import Source

_BATCH = 500
_POLL_S = 0.25


class TopicReader:
    """
    Reads a bounded source once, committing nothing.

    Args:
        source: of a group of its own, built as bounded; closed by its owner.
        assignment_s: how long the broker may take to give the partitions.
    """

    def __init__(self, source: Source, *, assignment_s: float = 60.0) -> None:
        self._source = source
        self._assignment_s = assignment_s
        self._unplaced: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._assigned = False

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Learn where these begin and end; see `AssignmentListener`."""
        self._ends |= self._source.end_positions(partitions, None)
        self._unplaced |= self._source.start_positions(partitions, stored=False)
        self._assigned = True

    def revoked(self, partitions: Collection[TopicPartition], *, lost: bool) -> None:
        """Forget these; see `AssignmentListener`."""
        for partition in partitions:
            self._unplaced.pop(partition, None)
            self._ends.pop(partition, None)

    def batches(self) -> Iterator[list[SourceRecord]]:
        """
        Yield batches until every partition has reached the end that it had when it was assigned.

        Raises:
            SourceUnavailable: the broker does not answer, or gives no partition in time.
        """
        self._source.subscribe(self)
        deadline = time.monotonic() + self._assignment_s
        while not self._assigned or not self._finished():
            chunk = self._source.poll(_BATCH, _POLL_S)
            records = [] if chunk is None else [chunk.record(i) for i in range(len(chunk))]
            self._place()
            if not self._assigned and time.monotonic() > deadline:
                raise SourceUnavailable(f"the broker gave no partition within {self._assignment_s:.0f} s")
            kept = [record for record in records if self._is_before_end(record)]
            if kept:
                yield kept

    def _place(self) -> None:
        done = self._source.seek(self._unplaced) if self._unplaced else set()
        for partition in done:
            if self._unplaced.pop(partition) >= self._ends[partition]:
                del self._ends[partition]
            else:
                self._source.resume([partition])

    def _finished(self) -> bool:
        return not self._unplaced and all(self._source.at_end(p, end) for p, end in self._ends.items())

    def _is_before_end(self, record: SourceRecord) -> bool:
        position = record.position
        return position.offset < self._ends.get(TopicPartition(position.topic, position.partition), 0)
