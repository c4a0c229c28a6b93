"""A topic's batches encrypted anew: the processor of a route whose source is encrypted already."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.errors import FatalError, RecordError, WorkerError
from worker.model import Batch, Fate, Fates, Part, Position
from worker.pipeline.groups import Group, grouped
from worker.pipeline.job import Failure, Processed
from worker.rekey.keys import Way
from worker.rekey.pace import Pace
from worker.rekey.stored import StoredSchemas
from worker.sink.base import DeadLetter

Refused = Callable[[Position, WorkerError], None]


class RekeyProcessor:
    """
    Gives each record its new envelopes; key, headers and timestamp stay.

    Args:
        schemas: of what is stored.
        way: from old keys to new ones.
        keep: write what can't be opened as it is, instead of stopping.
        most: stop where more than so many records can't be opened.
        refused: told each of them.
        pace: what may go by a second.
    """

    def __init__(
        self, schemas: StoredSchemas, way: Way, *, keep: bool, most: int, refused: Refused, pace: Pace
    ) -> None:
        self._schemas, self._way, self._pace = schemas, way, pace
        self._keep, self._most, self._refused = keep, most, refused
        self._kept: dict[Position, WorkerError] = {}

    @property
    def kept(self) -> int:
        """Records that could not be opened and were written as they are."""
        return len(self._kept)

    def process(self, batch: Batch) -> Processed:
        """
        Process a batch, whole; see `Processor.process`.

        Raises besides:
            FatalError: a record can't be opened, and none is to be kept, or too many.
        """
        fates, first = Fates(len(batch)), Fates(len(batch))
        groups, tombstones = grouped(batch, first)
        parts: list[Part] = []
        left: dict[int, WorkerError] = {i: failed.error for i, failed in first.failures.items()}
        if tombstones:
            fates.settle(tombstones, Fate.TOMBSTONE)
            parts.append(Part(tombstones, [None] * len(tombstones)))
        for group in groups:
            left |= self._group(group, parts)
        if left:
            self._tell(batch, left)
            places = sorted(left)
            fates.settle(places, Fate.PASSED)
            parts.append(Part(places, [batch.values[i] for i in places]))
        fates.settle(fates.open(range(len(batch))), Fate.ENCRYPTED)
        fates.close()
        self._pace.wait(len(batch))
        return Processed(batch, batch.output(parts, fates.written), fates)

    def _group(self, group: Group, parts: list[Part]) -> dict[int, WorkerError]:
        """Add what a schema's records became; returns which of the batch's records it could not open."""
        try:
            renewed = self._schemas.renewed(group.ref, self._way.recoder)
        except RecordError as exc:
            return dict.fromkeys(group.indexes, exc)
        values = [value or b"" for value in group.batch.values]
        keys = group.batch.keys
        split = renewed.recoder.split(values, keys, group.start)
        recoded = renewed.recoder.recode(split, keys, renewed.prefix)
        good = [i for i, datum in enumerate(recoded.data) if datum is not None]
        parts.append(Part([group.indexes[i] for i in good], [recoded.data[i] for i in good], renewed.schema_id))
        return {group.indexes[i]: error for i, error in recoded.errors.items()}

    def _tell(self, batch: Batch, left: dict[int, WorkerError]) -> None:
        for i, error in sorted(left.items()):
            position = batch.record(i).position
            if not self._keep:
                raise FatalError(
                    f"{position}: {error}; the new topic ends before it. Let such records be written as they are with "
                    "--on-error keep"
                )
            if position not in self._kept:
                self._kept[position] = error
                self._refused(position, error)
        if len(self._kept) > self._most:
            raise FatalError(
                f"more than {self._most} records can't be opened (--max-errors): are these the right credentials?"
            )


class NoLetters:
    """Stands for the dead letters of a rekey, which has none: what the sink refuses ends it."""

    def seal(self, failures: Sequence[Failure]) -> list[DeadLetter]:
        """Raise `FatalError` for the first failure."""
        first = failures[0]
        raise FatalError(
            f"{first.record.position}: {first.error}; the new topic ends before it. A topic takes larger records with "
            "a larger max.message.bytes"
        )
