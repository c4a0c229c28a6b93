"""Gathers records until a batch is full or old."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from worker.model import Batch, TopicPartition, within, without
from worker.pipeline.assignment import Assignment
from worker.pipeline.options import DeliveryOptions

_CHUNK = 10_000


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
        self,
        options: DeliveryOptions,
        lanes: Assignment,
        *,
        limit: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._lanes = lanes
        self._left = limit
        self._clock = clock
        self._chunks: list[Batch] = []
        self._count = 0
        self._bytes = 0
        self.first_at = 0.0
        self._average = 256.0
        self._is_drained = False

    def is_empty(self) -> bool:
        """Whether nothing is collected."""
        return not self._count

    def exhausted(self) -> bool:
        """Whether the limit is reached."""
        return self._left is not None and self._left <= 0

    def full(self) -> bool:
        """Whether the batch has its count or bytes."""
        return self.exhausted() or self._count >= self._options.max_records or self._bytes >= self._options.max_bytes

    def due(self) -> bool:
        """
        Whether the batch should go when nothing is under way: full, old enough, or all that lies ready at the source.

        While another is under way nobody asks, and this one grows: the slower the commits, the larger the batches.
        """
        if not self._count:
            return False
        return self.full() or self._is_drained or self._clock() - self.first_at >= self._options.max_latency_ms / 1000

    def drained(self, asked: int, got: int) -> None:
        """Note how many records a poll asked for and got: fewer means that nothing more lies ready."""
        self._is_drained = got < asked

    def room(self) -> int:
        """Return how many records to ask for, so that neither count nor, by the average so far, bytes overflow."""
        by_bytes = int((self._options.max_bytes - self._bytes) / self._average) + 1
        return max(1, min(self._options.max_records - self._count, by_bytes, _CHUNK))

    def add(self, chunk: Batch) -> None:
        """Take a chunk in; what is of inactive lanes, from before a seek or beyond an end is left out."""
        spans: list[tuple[int, int]] = []
        for run in chunk.runs:
            lane = self._lanes.get(run.place)
            if lane is None or self.exhausted():
                continue
            start = chunk.find(run, lane.collected)
            stop = run.stop if lane.end is None else chunk.find(run, lane.end)
            lane.passed = lane.passed or stop < run.stop
            if self._left is not None:
                stop = min(stop, start + self._left)
                self._left -= max(0, stop - start)
            if start < stop:
                lane.collected = chunk.offsets[stop - 1] + 1
                spans.append((start, stop))
        kept = within(chunk, spans)
        if len(kept):
            self._average = max(1.0, 0.8 * self._average + 0.2 * kept.size / len(kept))
            self._take_in(kept, first=False)

    def take(self) -> Batch | None:
        """Return the batch and begin another; None where nothing is collected."""
        chunks, self._chunks = self._chunks, []
        self._count = self._bytes = 0
        return chunks[0].concat(chunks[1:]) if chunks else None

    def put_back(self, batch: Batch) -> None:
        """Take an abandoned batch in again, before what was collected since; gone partitions' records are dropped."""
        spans = []
        for run in batch.runs:
            lane = self._lanes.get(run.place)
            if lane is not None:
                spans.append((batch.find(run, lane.durable), batch.find(run, lane.collected)))
        kept = within(batch, spans)
        if len(kept):
            self._take_in(kept, first=True)

    def drop(self, partitions: Collection[TopicPartition]) -> None:
        """Forget the records of these partitions."""
        gone, since = set(partitions), self.first_at
        chunks, self._chunks, self._count, self._bytes = self._chunks, [], 0, 0
        for chunk in chunks:
            kept = without(chunk, gone)
            if len(kept):
                self._take_in(kept, first=False)
        self.first_at = since

    def _take_in(self, chunk: Batch, *, first: bool) -> None:
        if not self._count:
            self.first_at = self._clock()
        self._chunks.insert(0 if first else len(self._chunks), chunk)
        self._count += len(chunk)
        self._bytes += chunk.size
