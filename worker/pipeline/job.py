"""One batch between the loop that collected it and the thread that delivers it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from worker.errors import RecordError, SinkRejected, TransientError
from worker.model import Batch, Fates, Output, Position, SourceRecord, TopicPartition, next_offsets, since
from worker.pipeline.assignment import Lane
from worker.sink.base import DeadLetter, LedgerRow, OffsetRange, Positions
from worker.turn import noticed


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that can't be processed, why, and the stage that said so: `decode`, `encrypt` or `sink`."""

    record: SourceRecord = field(repr=False)
    error: RecordError
    stage: str


@dataclass(frozen=True, slots=True)
class Processed:
    """
    What a batch became.

    Args:
        batch: what went in.
        output: what is written.
        fates: what became of each record; closed.
        ledger: rows for the ledger.
    """

    batch: Batch
    output: Output = field(repr=False)
    fates: Fates = field(repr=False)
    ledger: list[LedgerRow] = field(default_factory=list)

    @property
    def failures(self) -> list[Failure]:
        """The records that failed, as objects, in their order."""
        failed = self.fates.failures
        return [Failure(self.batch.record(i), failed[i].error, failed[i].stage) for i in sorted(failed)]


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
        batch: in the order in which the source gave it.
        lanes: the batch's partitions, as they are assigned now.
        metadata: the group's as it was when the batch was handed over; an older generation's commit is refused.
        collected_at: when the first of its records came, by `time.monotonic`; None: now.
        ahead: what the batch becomes, where that was begun before its turn; for the first attempt alone.
    """

    def __init__(
        self,
        batch: Batch,
        lanes: Mapping[TopicPartition, Lane],
        metadata: object | None = None,
        *,
        collected_at: float | None = None,
        ahead: Future[Processed] | None = None,
    ) -> None:
        self.batch = batch
        self._ahead = ahead
        self.may_be_followed = threading.Event()
        self.lanes = lanes
        self.metadata = metadata
        self.collected_at = time.monotonic() if collected_at is None else collected_at
        self.durable: dict[TopicPartition, int] = {partition: lane.durable for partition, lane in lanes.items()}
        self.rejected: dict[Position, SinkRejected] = {}
        self.letters: dict[Position, DeadLetter] = {}
        self.kept_letters: set[Position] = set()
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.expired = False
        self.cancelled = threading.Event()
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._flushing = False
        self._failing = False
        self._released = False

    def places(self) -> Iterator[str]:
        """Say where the batch's records lie: topic, partition, first and last offset of each stretch."""
        offsets = self.batch.offsets
        for run in self.batch.runs:
            yield f"{run.place}@{offsets[run.start]}..{offsets[run.stop - 1]}"

    def processed(self, batch: Batch, process: Callable[[Batch], Processed]) -> Processed:
        """
        Return what a batch becomes: what was begun before its turn, once and for the whole batch, else anew.

        The next one may begin once this one waits for its keys, or has them.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is not None and batch is self.batch and not ahead.cancel():
            # Whatever was away before its turn, the batch before this one has got past it since.
            passed = (TransientError,) if ahead.done() else ()
            self.may_be_followed.set()
            with suppress(*passed):
                return ahead.result()
        with noticed(self.may_be_followed.set):
            result = process(batch)
        self.may_be_followed.set()
        return result

    def touches(self, partitions: Iterable[TopicPartition]) -> bool:
        """Whether the batch has records of any of these."""
        return not self.durable.keys().isdisjoint(partitions)

    def remaining(self) -> Batch:
        """Return the records that are not durable."""
        return since(self.batch, self.durable)

    def cancel(self) -> None:
        """Let the batch be abandoned at its next step."""
        with self._lock:
            self.cancelled.set()

    def release(self) -> bool:
        """
        Let the batch be abandoned unless its flush has begun: then that may be finished, but is not tried again.

        Returns:
            whether it is worth waiting for: a flush that follows a failed one may take as long as that did.
        """
        with self._lock:
            self._released = True
            if not self._flushing or self._failing:
                self.cancelled.set()
            return not self._failing

    def begin_flush(self) -> None:
        """From here a revocation waits; raises `Cancelled` if it came first."""
        with self._lock:
            self._raise_if_cancelled()
            self._flushing = True

    def end_flush(self, *, failed: bool) -> None:
        """The flush ended one way or the other; one that failed is not tried again once the batch was released."""
        with self._lock:
            self._flushing, self._failing = False, failed
            if failed and self._released:
                self.cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the batch was."""
        with self._lock:
            self._raise_if_cancelled()

    def finish(self, outcome: Outcome, error: BaseException | None = None) -> None:
        """Hand the batch back to the loop."""
        self.outcome = outcome
        self.error = error
        self.may_be_followed.set()
        self.done.set()

    def _raise_if_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled


class Claim:
    """
    A question to the sink, asked on the thread that alone calls it.

    Args:
        partitions: where each starts if the sink has no position of it; None leaves such a one out.
        settles: whether the sink is opened again first, which settles a commit of unknown fate.
    """

    def __init__(self, partitions: Mapping[TopicPartition, int | None], *, settles: bool = False) -> None:
        self.partitions, self.settles = partitions, settles
        self.positions = Positions()
        self.error: BaseException | None = None
        self.done = threading.Event()


def ranges(batch: Batch, job: Job) -> dict[TopicPartition, OffsetRange]:
    """Return what a part of a job does to each partition, given the positions before it."""
    return {
        place: OffsetRange(job.durable[place], following, job.lanes[place].metadata)
        for place, following in next_offsets(batch).items()
    }
