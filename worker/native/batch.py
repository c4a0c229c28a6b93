"""A batch and its output in native memory; records become Python objects only where somebody asks for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, overload

from worker.model import (
    Batch,
    Frames,
    Header,
    Indexes,
    Output,
    Part,
    PlainBatch,
    PlainOutput,
    Run,
    SinkRecord,
    SourceRecord,
    Stamp,
)
from worker.model.columns import position_at
from worker.model.rows import Row, RowSource, RowType
from worker.native import extension

if TYPE_CHECKING:
    from worker import _native


class NativeOffsets(Sequence[int]):
    """Offsets in native memory, of which most batches are asked for their first and last alone."""

    def __init__(self, records: _native.Batch) -> None:
        self._native = records

    def __len__(self) -> int:
        return len(self._native)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        """Return one, or those of a slice."""
        if isinstance(index, slice):
            return memoryview(self._native.offsets()).cast("q")[index]
        return self._native.offset(index if index >= 0 else range(len(self))[index])

    def __iter__(self) -> Iterator[int]:
        return iter(memoryview(self._native.offsets()).cast("q"))


class NativeColumns:
    """The columns of records in native memory, each made when it is asked for; see `worker.model.Columns`."""

    def __init__(self, records: _native.Batch) -> None:
        self.native = records

    def __len__(self) -> int:
        return len(self.native)

    @cached_property
    def runs(self) -> Sequence[Run]:
        """Which partition each record is of."""
        return [Run(*run) for run in self.native.runs()]

    @cached_property
    def offsets(self) -> Sequence[int]:
        """Each record's offset."""
        return NativeOffsets(self.native)

    @cached_property
    def keys(self) -> Sequence[bytes | None]:
        """Each record's key, still in native memory."""
        return self.native.column("key")

    @cached_property
    def headers(self) -> Sequence[Sequence[Header]] | None:
        """Each record's headers."""
        if not self.native.has_headers():
            return None
        return [self.native.headers(i) for i in range(len(self))]

    @cached_property
    def stamps(self) -> Sequence[Stamp]:
        """Each record's timestamp."""
        return [self.native.stamp(i) for i in range(len(self))]


class NativeBatch(NativeColumns):
    """Records as librdkafka gave them; see `worker.model.Batch`."""

    @cached_property
    def values(self) -> Sequence[bytes | None]:
        """Each record's value, still in native memory."""
        return self.native.column("value")

    @property
    def size(self) -> int:
        """Bytes of keys, values and headers."""
        return self.native.size()

    def content_bytes(self, run: Run) -> int:
        """Bytes of the keys and values of one run."""
        return self.native.content_bytes(run.start, run.stop)

    def ages(self, now_ms: float, bounds: Sequence[float]) -> tuple[list[int], float]:
        """Tell how old the records are that have a timestamp."""
        return self.native.ages(now_ms, list(bounds))

    def find(self, run: Run, offset: int) -> int:
        """Return the place of a run's first record at or after an offset."""
        return self.native.find(run.start, run.stop, offset)

    def select(self, indexes: Indexes) -> NativeBatch:
        """Return the records at these places."""
        if isinstance(indexes, range):
            return NativeBatch(self.native.stretch(indexes.start, max(indexes.start, indexes.stop)))
        return NativeBatch(self.native.select(indexes))

    def concat(self, others: Sequence[Batch]) -> Batch:
        """Return this batch's records and those of others behind them."""
        natives = [other.native for other in others if isinstance(other, NativeBatch)]
        if len(natives) == len(others):
            return NativeBatch(self.native.concat(natives)) if others else self
        plain = PlainBatch(self.runs, self.offsets, list(self.keys), list(self.values), self.stamps, self.headers)
        return plain.concat(others)

    def record(self, index: int) -> SourceRecord:
        """Return one record as an object."""
        kind, at_ms = self.native.stamp(index)
        headers = self.native.headers(index)
        return SourceRecord(position_at(self, index), self.keys[index], self.values[index], headers, kind, at_ms)

    def frames(self, part: Literal["key", "value"], header: str) -> Frames:
        """Part the records by the schema that their key or value names."""
        groups, named, bare, absent = self.native.frames(part, header)
        every = range(len(self))
        if len(absent) == len(every):
            absent = every  # type: ignore[assignment]
        return Frames({head: every if members is None else members for head, members in groups}, named, bare, absent)

    def output(
        self,
        parts: Sequence[Part],
        kept: Indexes,
        *,
        keys: Sequence[bytes | None] | None = None,
        key_rows: Mapping[int, Row] | None = None,
    ) -> Output:
        """Put together what the batch became: in native memory, unless keys were replaced or a part is a list."""
        if keys is None and not key_rows and all(_is_native(part) for part in parts):
            return NativeOutput(self, parts, kept)
        return PlainOutput(self, parts, kept, self.keys if keys is None else keys, key_rows or {})


class NativeOutput(NativeColumns):
    """What a batch became, its values where they were sealed; see `worker.model.Output`."""

    def __init__(self, source: NativeBatch, parts: Sequence[Part], kept: Indexes) -> None:
        whole = len(kept) == len(source)
        super().__init__((source if whole else source.select(kept)).native)
        self._source, self._parts, self._kept = source, parts, kept
        self.outputs: list[_native.Output] = [p.values for p in parts if isinstance(p.values, extension.Output)]
        one = whole and len(parts) == 1 and len(parts[0].indexes) == len(source)
        self.rows_of: list[tuple[int, int, int]] | None = None if one and self.outputs else self._places()

    @cached_property
    def plain(self) -> PlainOutput:
        """The same as lists."""
        return PlainOutput(self._source, self._parts, self._kept, self._source.keys, {})

    @property
    def values(self) -> Sequence[bytes | None]:
        """Each record's framed value; None for a tombstone."""
        return self.plain.values

    @property
    def topics(self) -> Mapping[int, str]:
        """By place: another topic than the sink's own."""
        return self.plain.topics if any(part.topics for part in self._parts) else {}

    @property
    def schema_ids(self) -> Sequence[str]:
        """The output schema's id of each record."""
        return self.plain.schema_ids

    @property
    def rows(self) -> Sequence[Row | None]:
        """Each record's top-level values for a table."""
        return self.plain.rows

    @property
    def key_rows(self) -> Mapping[int, Row]:
        """Nothing: keys are as they came."""
        return {}

    @property
    def largest(self) -> int:
        """Bytes of the largest value."""
        return max((output.largest for output in self.outputs), default=0)

    @cached_property
    def _row_source(self) -> RowSource | None:
        framed = [part.rows for part in self._parts if isinstance(part.values, extension.Output)]
        return framed[0] if len(framed) == 1 and isinstance(framed[0], RowSource) else None

    @property
    def row_type(self) -> RowType | None:
        """The type of every row, where it is one, and nothing stands in a row but what stands in its value."""
        source = self._row_source
        return None if source is None or source.terms or self.topics else source.schema.row_type

    def copied(self, rows: _native.Rows) -> tuple[bytes, Sequence[int]] | None:
        """
        Return the rows as a table takes them, and which records they are of; None where one is for the twin.

        Args:
            rows: puts rows of `row_type` together.
        """
        source = self._row_source
        made = rows.copy(self.native, self.outputs[0], self.rows_of, source.start) if source is not None else None
        if made is None:
            return None
        data, kept = made
        return data, memoryview(kept).cast("I") if kept else range(len(self))

    def content_bytes(self, run: Run) -> int:
        """Bytes of the keys and values of one run."""
        if self.rows_of is None:
            return self.native.key_bytes(run.start, run.stop) + self.outputs[0].content_bytes(run.start, run.stop)
        values = sum(
            self.outputs[n].content_bytes(i, i + 1) for _, n, i in self.rows_of[run.start : run.stop] if n >= 0
        )
        return self.native.key_bytes(run.start, run.stop) + values

    def record(self, index: int) -> SinkRecord:
        """Return one record as an object, with its row."""
        return self.plain.record(index)

    def _places(self) -> list[tuple[int, int, int]]:
        """Where each record's value lies: its place, the output (-1 for a tombstone), the place there."""
        place = {i: n for n, i in enumerate(self._kept)}
        found: list[tuple[int, int, int]] = []
        number = 0
        for part in self._parts:
            at = [(place[i], n) for n, i in enumerate(part.indexes) if i in place]
            if isinstance(part.values, extension.Output):
                found += [(where, number, n) for where, n in at]
                number += 1
            else:
                found += [(where, -1, 0) for where, _ in at]
        return sorted(found)


def _is_native(part: Part) -> bool:
    return isinstance(part.values, extension.Output) or all(value is None for value in part.values)
