"""
What flows from a source to a sink: a batch of columns, and what became of it.

A batch comes in two forms behind one contract: plain Python lists (`worker.model.plain`), the readable specification,
and native memory. A record becomes an object only where somebody must look at one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from worker.model.records import Header, SinkRecord, SourceRecord
from worker.model.rows import Row
from worker.position import TopicPartition

Stamp = tuple[int, int]
"""Kafka's timestamp type (0 not available, 1 CreateTime, 2 LogAppendTime), and ms since 1970."""

Indexes = Sequence[int]
"""Places in a batch, ascending; a `range` where they follow each other."""


class Run(NamedTuple):
    """The longest stretch of a batch from one partition with offsets that ascend: places `start` to `stop`."""

    topic: str
    partition: int
    start: int
    stop: int

    @property
    def place(self) -> TopicPartition:
        """The partition."""
        return TopicPartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class Frames:
    """
    Which schema each key or value of a batch names, by what it begins with.

    Args:
        groups: `00 | id 4` or `01 | guid 16` in front -> the records that begin so.
        named: records with the header that names a schema instead.
        bare: records that begin with neither.
        absent: records without a key or value.
    """

    groups: Mapping[bytes, Indexes]
    named: Indexes = ()
    bare: Indexes = ()
    absent: Indexes = ()


@dataclass(frozen=True, slots=True)
class Part:
    """
    What some of a batch's records became, by one schema.

    Args:
        indexes: which records of the batch.
        values: one each, framed; None for a tombstone, and for a record that is not written.
        schema_id: the output's; empty for tombstones.
        topics: by place in `indexes`: another topic than the sink's own.
        rows: reads framed values as a table's rows, for a sink that wants some.
    """

    indexes: Indexes
    values: Sequence[bytes | None] = field(repr=False)
    schema_id: str = ""
    topics: Mapping[int, str] = field(default_factory=dict)
    rows: Callable[[Sequence[bytes]], Sequence[Row]] | None = None


class Columns(Protocol):
    """Records side by side; the columns are aligned, and may be made only when they are asked for."""

    def __len__(self) -> int: ...

    @property
    def runs(self) -> Sequence[Run]:
        """Which partition each record is of; together they cover the batch."""
        ...

    @property
    def offsets(self) -> Sequence[int]:
        """Each record's offset."""
        ...

    @property
    def keys(self) -> Sequence[bytes | None]:
        """Each record's key."""
        ...

    @property
    def values(self) -> Sequence[bytes | None]:
        """Each record's value."""
        ...

    @property
    def headers(self) -> Sequence[Sequence[Header]] | None:
        """Each record's headers; None where no record has any."""
        ...

    @property
    def stamps(self) -> Sequence[Stamp]:
        """Each record's timestamp."""
        ...

    def content_bytes(self, run: Run) -> int:
        """Bytes of the keys and values of one run."""
        ...


class Batch(Columns, Protocol):
    """Records as a source gave them; never changed once made."""

    @property
    def size(self) -> int:
        """Bytes of keys, values and headers."""
        ...

    def ages(self, now_ms: float, bounds: Sequence[float]) -> tuple[Sequence[int], float]:
        """
        Tell how old the records are that have a timestamp.

        Args:
            now_ms: now, in ms since 1970.
            bounds: upper bounds of buckets in seconds, ascending, the last infinite.

        Returns:
            how many records lie in each bucket, and the sum of their ages in seconds, none of which is negative.
        """
        ...

    def find(self, run: Run, offset: int) -> int:
        """Return the place of a run's first record at or after an offset; `run.stop` where there is none."""
        ...

    def select(self, indexes: Indexes) -> Batch:
        """Return the records at these places."""
        ...

    def concat(self, others: Sequence[Batch]) -> Batch:
        """Return this batch's records and those of others behind them."""
        ...

    def record(self, index: int) -> SourceRecord:
        """Return one record as an object: for a dead letter, and for whoever must look at it."""
        ...

    def frames(self, part: Literal["key", "value"], header: str) -> Frames:
        """Part the records by the schema that their key or value names; `header` is what may name it instead."""
        ...

    def output(
        self,
        parts: Sequence[Part],
        kept: Indexes,
        *,
        keys: Sequence[bytes | None] | None = None,
        key_rows: Mapping[int, Row] | None = None,
    ) -> Output:
        """
        Put together what the batch became, in its order.

        Args:
            parts: what each schema's records became; they do not overlap and cover at least `kept`.
            kept: the records that are written.
            keys: one for each record of the batch, where they are not written as they are.
            key_rows: by place in the batch: key columns of a table and their values.
        """
        ...


class Output(Columns, Protocol):
    """
    Records as a sink takes them, in the order of their source; `offsets` and `runs` tell where they come from.

    `values` are framed (schema id in front), None for a tombstone.
    """

    @property
    def topics(self) -> Mapping[int, str]:
        """By place: another topic than the sink's own."""
        ...

    @property
    def largest(self) -> int:
        """Bytes of the largest value."""
        ...

    @property
    def schema_ids(self) -> Sequence[str]:
        """The output schema's id of each record; empty for tombstones."""
        ...

    @property
    def rows(self) -> Sequence[Row | None]:
        """Each record's top-level values for a table, encrypted fields as envelopes; None for a tombstone."""
        ...

    @property
    def key_rows(self) -> Mapping[int, Row]:
        """By place: key columns and their values, where the key has a schema."""
        ...

    def record(self, index: int) -> SinkRecord:
        """Return one record as an object, with its row."""
        ...


def records_of(batch: Batch) -> Iterator[SourceRecord]:
    """Yield each record as an object."""
    return map(batch.record, range(len(batch)))


def next_offsets(batch: Columns) -> dict[TopicPartition, int]:
    """Return each partition's offset after its last record."""
    offsets = batch.offsets
    return {run.place: offsets[run.stop - 1] + 1 for run in batch.runs}


def first_offsets(batch: Columns) -> dict[TopicPartition, int]:
    """Return the offset of each partition's first record."""
    found: dict[TopicPartition, int] = {}
    for run in batch.runs:
        found.setdefault(run.place, batch.offsets[run.start])
    return found


def within(batch: Batch, spans: Iterable[tuple[int, int]]) -> Batch:
    """Return the records of some spans of places, ascending; the batch itself where that is all of it."""
    merged: list[tuple[int, int]] = []
    for start, stop in spans:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], stop)
        elif start < stop:
            merged.append((start, stop))
    if merged == [(0, len(batch))]:
        return batch
    if len(merged) == 1:
        return batch.select(range(*merged[0]))
    return batch.select([i for start, stop in merged for i in range(start, stop)])


def without(batch: Batch, partitions: Collection[TopicPartition]) -> Batch:
    """Return the records of the other partitions."""
    return within(batch, ((run.start, run.stop) for run in batch.runs if run.place not in partitions))


def since(batch: Batch, positions: Mapping[TopicPartition, int]) -> Batch:
    """Return the records at or after their partition's position; those of a partition without one are dropped."""
    kept = [run for run in batch.runs if run.place in positions]
    return within(batch, ((batch.find(run, positions[run.place]), run.stop) for run in kept))


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """Return the two halves of a batch of two records or more."""
    middle = len(batch) // 2
    return batch.select(range(middle)), batch.select(range(middle, len(batch)))
