"""What a route consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.model import Batch
from worker.model.receipts import Receipts
from worker.pipeline.job import Failure, Processed
from worker.sink.base import DeadLetter, Sink
from worker.source.base import Source


class Processor(Protocol):
    """Turns a batch into its output; raises `TransientError` (again later) or `FatalError`."""

    def process(self, batch: Batch) -> Processed:
        """Process a batch; called again with the same records after anything was away."""
        ...


class DeadLetterSealer(Protocol):
    """Seals failures."""

    def seal(self, failures: Sequence[Failure]) -> list[DeadLetter]:
        """Return one sealed letter per failure; raises `TransientError` or `DeadLetterLimitExceeded`."""
        ...


@dataclass(frozen=True, slots=True)
class Stages:
    """
    What a route consists of.

    Args:
        source: closed when the route ends.
        processor: records to records.
        sink: closed when the route ends.
        dead_letters: seals what fails.
        receipts: what the authority's audit said, for the sink's ledger; None where it keeps none.
    """

    source: Source
    processor: Processor
    sink: Sink
    dead_letters: DeadLetterSealer
    receipts: Receipts | None = None
