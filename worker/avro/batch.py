"""A batch of datums taken apart into columns of declared values, and put together again."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.avro.reader import (
    Read,
    State,
    block_reader,
    bytes_span,
    located,
    map_item,
    nested,
    read_long,
    record_reader,
    union_reader,
    zigzag,
)
from worker.avro.readers import Readers
from worker.avro.schema import null_index
from worker.avro.shape import Covered, Shape
from worker.avro.siblings import with_siblings
from worker.errors import DecodeError, DecryptionError, RecordError
from worker.model import Format, ValueColumn

Cut = tuple[int, int, int, bytes]
"""Start, end, plan field (-1: none) and what stands before its replacement."""


@dataclass(frozen=True, slots=True)
class Seams:
    """
    Where datums were taken apart.

    Args:
        payloads: what was taken apart.
        start: where in each of them the datum begins.
        cuts: for each record, the stretches that are replaced.
        slots: the plan field of each column.
        sized: whether a replacement has its length in front.
    """

    payloads: Sequence[bytes] = field(repr=False)
    start: int
    cuts: list[list[Cut]]
    slots: list[int]
    sized: bool


class SplitBatch:
    """
    Datums taken apart into plain columns; see `worker.model.Split`.

    Args:
        columns: one per plan field that occurs; values in the order of the records.
        errors: record index to why it failed; such a record has no value in any column.
        extracted: root siblings as text, for every record.
        seams: where the columns' values come from.
    """

    def __init__(
        self,
        columns: list[ValueColumn],
        errors: dict[int, RecordError],
        extracted: dict[str, list[str | None]],
        seams: Seams,
    ) -> None:
        self.columns, self.errors, self._extracted, self._seams = columns, errors, extracted, seams
        self._gone = set(errors)

    def __len__(self) -> int:
        return len(self._seams.payloads)

    def extracted(self, name: str) -> list[str | None]:
        """A root sibling as text, one for every record."""
        return self._extracted[name]

    def drop(self, records: Collection[int]) -> None:
        """Take records out of the columns, and of what is put together."""
        fresh = set(records) - self._gone
        if not fresh:
            return
        self._gone |= fresh
        for column in self.columns:
            column.drop(fresh)

    def count(self, format: Format, descriptors: Collection[str], records: range) -> int:
        """Return how many values of some fields a stretch of records has."""
        return sum(
            bisect_left(c.records, records.stop) - bisect_left(c.records, records.start)
            for c in self.columns
            if c.plan.format == format and c.plan.descriptor in descriptors
        )

    def join(self, replaced: Sequence[Sequence[bytes]], prefix: bytes = b"") -> list[bytes | None]:
        """
        Put one value in the place of each of the columns' values.

        Args:
            replaced: aligned with `columns` and their values.
            prefix: what stands in front of each record.
        """
        if [len(r) for r in replaced] != [len(c.values) for c in self.columns]:
            raise ValueError("join takes one value for each value of each column")
        seams, gone = self._seams, self._gone
        turns = dict(zip(seams.slots, map(iter, replaced), strict=True))
        start, sized = seams.start, seams.sized
        out: list[bytes | None] = []
        for index, (data, cuts) in enumerate(zip(seams.payloads, seams.cuts, strict=True)):
            if index in gone:
                out.append(None)
                continue
            if not cuts:
                out.append(data if data.startswith(prefix) and len(prefix) == start else prefix + data[start:])
                continue
            parts = [prefix]
            position = start
            for first, end, slot, before in cuts:
                parts.append(data[position:first])
                parts.append(before)
                position = end
                if slot >= 0:
                    value = next(turns[slot])
                    if sized:
                        parts.append(zigzag(len(value)))
                    parts.append(value)
            parts.append(data[position:])
            out.append(b"".join(parts))
        return out


class Splitter:
    """The walk over one schema's datums; `sealed` says that the data holds envelopes."""

    def __init__(self, top: Shape, covered: list[Covered], extract: Sequence[str], sealed: bool) -> None:
        self._covered, self._extract, self._sealed = covered, tuple(extract), sealed
        self._readers = Readers()
        self._made: dict[int, Read] = {}
        self._top = top
        self._read = self._of(top)

    def _of(self, shape: Shape | Covered) -> Read:
        if isinstance(shape, Covered):
            return self._covered_reader(shape)
        root = shape is self._top or (self._top.node.kind == "union" and shape in self._top.children)
        if not shape.declares and not (root and self._extract):
            return self._readers.of(shape.node)
        key = id(shape)
        if key not in self._made:
            self._made[key] = lambda data, position, state: self._made[key](data, position, state)
            self._made[key] = self._make(shape, root)
        return self._made[key]

    def _make(self, shape: Shape, root: bool) -> Read:
        reads = [self._of(child) for child in shape.children]
        kind = shape.node.kind
        if kind == "record":
            plain = record_reader([f.name for f in shape.node.fields], reads)
            return nested(with_siblings(shape, reads, self._extract if root else ()) or plain)
        if kind == "union":
            return union_reader(reads)
        item = map_item(reads[0]) if kind == "map" else reads[0]
        return nested(block_reader("{}" if kind == "map" else "[]", item, False, True))

    def _covered_reader(self, covered: Covered) -> Read:
        here = covered.sealed if self._sealed else covered.original
        there = covered.original if self._sealed else covered.sealed
        read = self._readers.of(here)
        null, null_there = null_index(here), null_index(there)
        kept = zigzag(null_there) if null is not None and null_there is not None else None
        prefix = b"" if self._sealed or there.kind != "union" else zigzag(1 - (null_there or 0))
        slot, sealed = covered.slot, self._sealed
        has_context, has_bind = bool(covered.plan.context), bool(covered.plan.bind)

        def walk(data: bytes, position: int, state: State) -> int:
            end = read(data, position, state)
            start = position
            if kept is not None:
                index, behind = read_long(data, position)
                if index == null:
                    state.cut(position, behind, -1, kept)
                    return end
                start = behind if sealed else position
            # Before the value is taken: a record that goes beyond its bound leaves nothing behind.
            state.cut(position, end, slot, prefix)
            if sealed:
                first, last = bytes_span(data, start)
                if first == last:
                    raise DecryptionError("an empty value is no envelope", code="not_an_envelope")
                state.values[slot].append(data[first:last])
            else:
                state.values[slot].append(data[start:end])
            state.records[slot].append(state.index)
            if has_context:
                state.contexts[slot].append(())
            if has_bind:
                state.binds[slot].append(())
            return end

        return walk

    def split(
        self,
        payloads: Sequence[bytes],
        keys: Sequence[bytes | None],
        start: int = 0,
        most: int | None = None,
        every: int | None = None,
    ) -> SplitBatch:
        """
        Take datums apart that begin at `start`.

        A record that fails, as one of more than `most` declared values does, is in `errors` and leaves nothing behind.
        Raises `OverflowError` where together they have more than `every`.
        """
        taken = 0
        n = len(self._covered)
        lists: list[list[Any]] = [[] for _ in range(4 * n)]
        state = State(lists[:n], lists[n : 2 * n], lists[2 * n : 3 * n], lists[3 * n :], most=most)
        errors: dict[int, RecordError] = {}
        all_cuts: list[list[Cut]] = []
        extracted: dict[str, list[str | None]] = {name: [] for name in self._extract}
        for index, (data, key) in enumerate(zip(payloads, keys, strict=True)):
            state.index, state.key, state.cuts, state.extracted, state.depth, state.widthless = index, key, [], [], 0, 0
            try:
                self._one(data, start, state)
            except RecordError as exc:
                errors[index] = exc
                self._forget(state)
            taken += len(state.cuts)
            if every is not None and taken > every:
                raise OverflowError("too many declared values at once")
            all_cuts.append(state.cuts)
            if extracted:
                for name, text in zip(self._extract, state.extracted or [None] * len(self._extract), strict=True):
                    extracted[name].append(text)
        slots = [slot for slot in range(n) if state.values[slot]]
        columns = [
            ValueColumn(
                self._covered[s].plan,
                state.values[s],
                state.records[s],
                state.contexts[s] if self._covered[s].plan.context else None,
                state.binds[s] if self._covered[s].plan.bind else None,
            )
            for s in slots
        ]
        return SplitBatch(columns, errors, extracted, Seams(payloads, start, all_cuts, slots, not self._sealed))

    def _one(self, data: bytes, start: int, state: State) -> None:
        try:
            end = self._read(data, start, state)
        except IndexError as exc:
            raise located("", exc) from None
        if end != len(data):
            raise DecodeError("bytes follow the record's end", code="trailing_bytes")

    def _forget(self, state: State) -> None:
        state.cuts, state.extracted = [], []
        for slot, records in enumerate(state.records):
            while records and records[-1] == state.index:
                records.pop()
            for lists in (state.values, state.contexts, state.binds):
                del lists[slot][len(records) :]
