"""An output as Python lists: the readable specification of `worker.model.batch.Output`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.model.batch import Columns, Indexes, Part, Run, Stamp
from worker.model.columns import content_bytes, pick, picked_runs, position_at, some
from worker.model.records import Header, SinkRecord
from worker.model.rows import Row


class PlainOutput:
    """An output of lists; see `worker.model.batch.Output`."""

    __slots__ = ("_parts", "headers", "key_rows", "keys", "offsets", "runs", "schema_ids", "stamps", "topics", "values")

    def __init__(
        self,
        source: Columns,
        parts: Sequence[Part],
        kept: Indexes,
        keys: Sequence[bytes | None],
        key_rows: Mapping[int, Row],
    ) -> None:
        whole = len(kept) == len(source)
        self.offsets: Sequence[int] = source.offsets if whole else pick(source.offsets, kept)
        self.runs: Sequence[Run] = source.runs if whole else picked_runs(source.runs, kept, self.offsets)
        self.keys: Sequence[bytes | None] = keys if whole else pick(keys, kept)
        self.stamps: Sequence[Stamp] = source.stamps if whole else pick(source.stamps, kept)
        headers = source.headers
        if headers is not None and not whole:
            headers = some(pick(headers, kept))
        self.headers: Sequence[Sequence[Header]] | None = headers
        self._parts: Sequence[tuple[Part, Indexes, Indexes]]
        if whole and len(parts) == 1 and len(parts[0].indexes) == len(source):
            [part] = parts
            self._parts = [(part, kept, kept)]
            self.values: Sequence[bytes | None] = part.values
            self.schema_ids: Sequence[str] = [part.schema_id] * len(source)
            self.topics: Mapping[int, str] = part.topics
            self.key_rows: Mapping[int, Row] = key_rows
        else:
            self._merge(parts, kept, key_rows)

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def largest(self) -> int:
        """Bytes of the largest value."""
        return max(map(len, filter(None, self.values)), default=0)

    def content_bytes(self, run: Run) -> int:
        """Bytes of the keys and values of one run."""
        return content_bytes(self, run)

    @property
    def rows(self) -> list[Row | None]:
        """Each record's top-level values for a table, read anew at each call."""
        rows: list[Row | None] = [None] * len(self)
        for part, at, there in self._parts:
            if part.rows is not None and there:
                for place, row in zip(there, part.rows([part.values[i] or b"" for i in at]), strict=True):
                    rows[place] = row
        return rows

    def record(self, index: int) -> SinkRecord:
        """Return one record as an object, with its row."""
        kind, at_ms = self.stamps[index]
        return SinkRecord(
            position_at(self, index),
            self.keys[index],
            self.values[index],
            self.headers[index] if self.headers is not None else (),
            kind,
            at_ms,
            self._row(index),
            self.key_rows.get(index),
            self.schema_ids[index],
            self.topics.get(index),
        )

    def _row(self, index: int) -> Row | None:
        for part, _, there in self._parts:
            if part.rows is not None and index in there:
                return part.rows([self.values[index] or b""])[0]
        return None

    def _merge(self, parts: Sequence[Part], kept: Indexes, key_rows: Mapping[int, Row]) -> None:
        place = {i: n for n, i in enumerate(kept)}
        values: list[bytes | None] = [None] * len(kept)
        ids = [""] * len(kept)
        topics: dict[int, str] = {}
        owned: list[tuple[Part, Indexes, Indexes]] = []
        for part in parts:
            at = [n for n, i in enumerate(part.indexes) if i in place]
            there = [place[part.indexes[n]] for n in at]
            owned.append((part, at, there))
            for n, where in zip(at, there, strict=True):
                values[where], ids[where] = part.values[n], part.schema_id
                if n in part.topics:
                    topics[where] = part.topics[n]
        self._parts, self.values, self.schema_ids, self.topics = owned, values, ids, topics
        self.key_rows = {place[i]: row for i, row in key_rows.items() if i in place}
