"""Gathers records until a batch is full or old."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from worker.model import SourceRecord, TopicPartition
from worker.pipeline.lanes import Lanes, touches
from worker.pipeline.options import DeliveryOptions

_CHUNK = 2_000


class Collector:
    """
    The batch that is being collected; bounded by count, bytes of keys, values and headers, and age.

    Args:
        options: the bounds.
        lanes: says which records are expected; others are stale and dropped.
        limit: take no more than this many records in all.
        clock: seconds, monotonic.
    """

    def __init__(
        self, options: DeliveryOptions, lanes: Lanes, *, limit: int | None, clock: Callable[[], float]
    ) -> None:
        self._options = options
        self._lanes = lanes
        self._left = limit
        self._clock = clock
        self._records: list[SourceRecord] = []
        self._bytes = 0
        self._first_at = 0.0
        self._average = 256.0

    def is_empty(self) -> bool:
        """Whether nothing is collected."""
        return not self._records

    def exhausted(self) -> bool:
        """Whether the limit is reached."""
        return self._left is not None and self._left <= 0

    def full(self) -> bool:
        """Whether the batch has its count or bytes."""
        return (
            self.exhausted()
            or len(self._records) >= self._options.max_records
            or self._bytes >= self._options.max_bytes
        )

    def due(self) -> bool:
        """Whether the batch should go: full, or its first record is old enough."""
        if not self._records:
            return False
        return self.full() or self._clock() - self._first_at >= self._options.max_latency_ms / 1000

    def room(self) -> int:
        """Return how many records to ask for, so that neither count nor, by the average so far, bytes overflow."""
        by_bytes = int((self._options.max_bytes - self._bytes) / self._average) + 1
        return max(1, min(self._options.max_records - len(self._records), by_bytes, _CHUNK))

    def add(self, records: Sequence[SourceRecord]) -> None:
        """Take records in order; those of inactive lanes, from before a seek or beyond an end are dropped."""
        if not self._records:
            self._first_at = self._clock()
        size = taken = 0
        get, append = self._lanes.get, self._records.append
        for record in records:
            position = record.position
            lane = get(position.topic, position.partition)
            if lane is None or position.offset < lane.collected or self.exhausted():
                continue
            if lane.end is not None and position.offset >= lane.end:
                lane.passed = True
                continue
            lane.collected = position.offset + 1
            size += _bytes(record)
            taken += 1
            append(record)
            if self._left is not None:
                self._left -= 1
        self._bytes += size
        if taken:
            self._average = max(1.0, 0.8 * self._average + 0.2 * size / taken)

    def take(self) -> list[SourceRecord]:
        """Return the batch and begin another."""
        records, self._records = self._records, []
        self._bytes = 0
        return records

    def put_back(self, records: Sequence[SourceRecord]) -> None:
        """Take an abandoned batch's records in again, before those collected since; gone partitions' are dropped."""
        kept = [r for r in records if self._is_ours(r)]
        if kept and not self._records:
            self._first_at = self._clock()
        self._records[:0] = kept
        self._bytes += _size(kept)

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget the records of these partitions."""
        keys = {(p.topic, p.partition) for p in partitions}
        self._records = [r for r in self._records if not touches(r, keys)]
        self._bytes = _size(self._records)

    def _is_ours(self, record: SourceRecord) -> bool:
        lane = self._lanes.get(record.position.topic, record.position.partition)
        return lane is not None and lane.durable <= record.position.offset < lane.collected


def _size(records: Iterable[SourceRecord]) -> int:
    return sum(map(_bytes, records))


def _bytes(record: SourceRecord) -> int:
    """Return what a record's content takes; headers count too, since they are held as well."""
    size = len(record.key or b"") + len(record.value or b"")
    if record.headers:
        size += sum(len(name) + len(value or b"") for name, value in record.headers)
    return size
