"""A batch and its output as Python lists: the readable specification of `worker.model.batch`."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from worker.model.batch import Batch, Columns, Frames, Indexes, Part, Run, Stamp
from worker.model.columns import content_bytes, joined_runs, pick, picked_runs, position_at, some
from worker.model.output import PlainOutput
from worker.model.records import Header, SourceRecord
from worker.model.rows import Row

_GUID_BYTES, _ID_BYTES = 17, 5


@dataclass(frozen=True, slots=True)
class PlainBatch:
    """
    A batch of lists; see `worker.model.batch.Batch`.

    Args:
        runs: cover the records, in order.
        offsets, keys, values, stamps: one each.
        headers: one each; None where no record has any.
    """

    runs: Sequence[Run]
    offsets: Sequence[int]
    keys: Sequence[bytes | None] = field(repr=False)
    values: Sequence[bytes | None] = field(repr=False)
    stamps: Sequence[Stamp]
    headers: Sequence[Sequence[Header]] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def size(self) -> int:
        """Bytes of keys, values and headers."""
        size = sum(map(len, filter(None, self.values))) + sum(map(len, filter(None, self.keys)))
        if self.headers is not None:
            size += sum(len(name) + len(value or b"") for name, value in chain.from_iterable(self.headers))
        return size

    def content_bytes(self, run: Run) -> int:
        """Bytes of the keys and values of one run."""
        return content_bytes(self, run)

    def ages(self, now_ms: float, bounds: Sequence[float]) -> tuple[list[int], float]:
        """Tell how old the records are that have a timestamp."""
        counts, total = [0] * len(bounds), 0.0
        # Many records have one millisecond.
        for (_, at_ms), count in Counter(self.stamps).items():
            if at_ms > 0:
                age = max(0.0, now_ms - at_ms) / 1000
                counts[bisect_left(bounds, age)] += count
                total += age * count
        return counts, total

    def find(self, run: Run, offset: int) -> int:
        """Return the place of a run's first record at or after an offset."""
        return bisect_left(self.offsets, offset, run.start, run.stop)

    def select(self, indexes: Indexes) -> PlainBatch:
        """Return the records at these places."""
        offsets = pick(self.offsets, indexes)
        return PlainBatch(
            picked_runs(self.runs, indexes, offsets),
            offsets,
            pick(self.keys, indexes),
            pick(self.values, indexes),
            pick(self.stamps, indexes),
            None if self.headers is None else some(pick(self.headers, indexes)),
        )

    def concat(self, others: Sequence[Batch]) -> PlainBatch:
        """Return this batch's records and those of others behind them."""
        if not others:
            return self
        every: list[Columns] = [self, *others]
        offsets = list(chain.from_iterable(b.offsets for b in every))
        shifted: list[Run] = []
        at = 0
        for batch in every:
            shifted += (Run(topic, number, start + at, stop + at) for topic, number, start, stop in batch.runs)
            at += len(batch)
        headers: list[Sequence[Header]] | None = None
        if any(b.headers is not None for b in every):
            headers = [h for b in every for h in (b.headers if b.headers is not None else [()] * len(b))]
        return PlainBatch(
            joined_runs(shifted, offsets),
            offsets,
            list(chain.from_iterable(b.keys for b in every)),
            list(chain.from_iterable(b.values for b in every)),
            list(chain.from_iterable(b.stamps for b in every)),
            headers,
        )

    def record(self, index: int) -> SourceRecord:
        """Return one record as an object."""
        kind, at_ms = self.stamps[index]
        headers = self.headers[index] if self.headers is not None else ()
        return SourceRecord(position_at(self, index), self.keys[index], self.values[index], headers, kind, at_ms)

    def frames(self, part: Literal["key", "value"], header: str) -> Frames:
        """Part the records by the schema that their key or value names."""
        data = self.keys if part == "key" else self.values
        heads = [each if each is None else each[:_ID_BYTES] for each in data]
        named: list[int] = []
        if self.headers is not None:
            named = [i for i, headers in enumerate(self.headers) if any(name == header for name, _ in headers)]
        # Nearly every batch has one schema, in front of its values.
        if not named and heads and heads.count(heads[0]) == len(heads):
            return _alike(data, heads[0])
        groups: dict[bytes, list[int]] = {}
        bare: list[int] = []
        absent: list[int] = []
        apart = set(named)
        for i, head in enumerate(heads):
            if head is None:
                absent.append(i)
            elif i not in apart:
                frame = _frame(data[i] or b"", head)
                (bare if frame is None else groups.setdefault(frame, [])).append(i)
        named = [i for i in named if heads[i] is not None]
        return Frames(groups, named, bare, absent)

    def output(
        self,
        parts: Sequence[Part],
        kept: Indexes,
        *,
        keys: Sequence[bytes | None] | None = None,
        key_rows: Mapping[int, Row] | None = None,
    ) -> PlainOutput:
        """Put together what the batch became, in its order."""
        return PlainOutput(self, parts, kept, self.keys if keys is None else keys, key_rows or {})


def batch_of(records: Iterable[SourceRecord]) -> PlainBatch:
    """Return a batch of records that are objects already."""
    every = list(records)
    offsets = [r.position.offset for r in every]
    runs = joined_runs((Run(*r.position[:2], i, i + 1) for i, r in enumerate(every)), offsets)
    return PlainBatch(
        runs,
        offsets,
        [r.key for r in every],
        [r.value for r in every],
        [(r.timestamp_type, r.timestamp_ms) for r in every],
        some([r.headers for r in every]),
    )


def _alike(data: Sequence[bytes | None], head: bytes | None) -> Frames:
    every = range(len(data))
    if head is None:
        return Frames({}, absent=every)
    if head[:1] == b"\0" and len(head) == _ID_BYTES:
        return Frames({head: every})
    groups: dict[bytes, list[int]] = {}
    bare: list[int] = []
    for i, each in enumerate(data):
        frame = _frame(each or b"", head)
        (bare if frame is None else groups.setdefault(frame, [])).append(i)
    return Frames(groups, bare=bare)


def _frame(data: bytes, head: bytes) -> bytes | None:
    if head[:1] == b"\0" and len(head) == _ID_BYTES:
        return head
    if head[:1] == b"\1" and len(data) >= _GUID_BYTES:
        return data[:_GUID_BYTES]
    return None
