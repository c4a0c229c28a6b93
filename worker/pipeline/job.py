"""One batch between the loop that collected it and the thread that delivers it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from worker.errors import RecordError, SinkRejected
from worker.model import Position, SinkRecord, SourceRecord, TopicPartition
from worker.sink.base import DeadLetter, LedgerRow, OffsetRange


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that can't be processed, why, and the stage that said so: `decode`, `encrypt` or `sink`."""

    record: SourceRecord = field(repr=False)
    error: RecordError
    stage: str


@dataclass(slots=True)
class Processed:
    """What a batch became: records for the sink in order, failures, and rows for the ledger."""

    records: list[SinkRecord] = field(default_factory=list, repr=False)
    failures: list[Failure] = field(default_factory=list)
    ledger: list[LedgerRow] = field(default_factory=list)


class Processor(Protocol):
    """Turns source records into sink records; raises `TransientError` (again later) or `FatalError`."""

    def process(self, records: Sequence[SourceRecord]) -> Processed:
        """Process a batch; called again with the same records after anything was away."""
        ...


class DeadLetterWriter(Protocol):
    """Seals failures."""

    def seal(self, failures: Sequence[Failure]) -> list[DeadLetter]:
        """Return one sealed letter per failure; raises `TransientError` or `DeadLetterLimitExceeded`."""
        ...


class Cancelled(Exception):
    """The batch's partitions went away, or the worker stops."""


class Outcome(StrEnum):
    """How a job ended: durable; abandoned before its flush; durable or not, ask; or with an error that stops."""

    COMMITTED = "committed"
    CANCELLED = "aborted"
    UNCERTAIN = "uncertain"
    FAILED = "failed"


class Job:
    """
    One batch on its way; `cancel` and `release` may be called from the loop while the other thread works.

    Args:
        records: in the order in which the source gave them.
        read: the position of each partition before the batch.
        metadata: the group's as it was when the batch was handed over; an older generation's commit is refused.
    """

    def __init__(
        self, records: list[SourceRecord], read: Mapping[TopicPartition, int], metadata: object | None = None
    ) -> None:
        self.records = records
        self.metadata = metadata
        self.read: dict[TopicPartition, int] = dict(read)
        self.durable: dict[TopicPartition, int] = dict(read)
        self.rejected: dict[Position, SinkRejected] = {}
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.cancelled = threading.Event()
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._flushing = False

    def touches(self, partitions: Iterable[TopicPartition]) -> bool:
        """Whether the batch has records of any of these."""
        return not self.durable.keys().isdisjoint(partitions)

    def remaining(self) -> list[SourceRecord]:
        """Return the records that are not durable."""
        durable = {(p.topic, p.partition): offset for p, offset in self.durable.items()}
        return [r for r in self.records if r.position.offset >= durable[(r.position.topic, r.position.partition)]]

    def cancel(self) -> None:
        """Let the batch be abandoned at its next step."""
        with self._lock:
            self.cancelled.set()

    def release(self) -> None:
        """Let the batch be abandoned unless its flush has begun: then it may be finished."""
        with self._lock:
            if not self._flushing:
                self.cancelled.set()

    def begin_flush(self) -> None:
        """From here a revocation waits; raises `Cancelled` if it came first."""
        with self._lock:
            self._raise_if_cancelled()
            self._flushing = True

    def end_flush(self) -> None:
        """The flush ended one way or the other."""
        with self._lock:
            self._flushing = False

    def check(self) -> None:
        """Raise `Cancelled` if the batch was."""
        with self._lock:
            self._raise_if_cancelled()

    def finish(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """Hand the batch back to the loop."""
        self.outcome = outcome
        self.error = error
        self.done.set()

    def _raise_if_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled


def ranges(records: Sequence[SourceRecord], durable: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetRange]:
    """Return what a run of records does to each partition, given the positions before it."""
    last: dict[tuple[str, int], int] = {}
    for record in records:
        position = record.position
        last[(position.topic, position.partition)] = position.offset
    found = {}
    for (topic, number), offset in last.items():
        partition = TopicPartition(topic, number)
        found[partition] = OffsetRange(durable[partition], offset + 1)
    return found
