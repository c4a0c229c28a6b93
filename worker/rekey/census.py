"""How many values lie under which keyset: read from the envelopes themselves, without a key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from worker.avro import open_schema
from worker.errors import DecryptionError
from worker.model import Split
from worker.rekey.marks import Mark, Marks, mark_of


@dataclass(frozen=True, slots=True)
class Line:
    """Values of one field that look alike; `mark` is None for what is no envelope."""

    field: str
    mark: Mark | None
    values: int
    wanted: bool


@dataclass(slots=True)
class Census:
    """
    Counts values as they come.

    Args:
        marks: how they should look.
        stored: the output schema of what is counted.
    """

    marks: Marks
    stored: str = field(repr=False)
    _counts: Counter[tuple[str, Mark | None]] = field(default_factory=Counter)
    broken: int = 0
    """Records that are none of their schema."""

    def add(self, split: Split) -> None:
        """Count a batch."""
        self.broken += len(split.errors)
        for column in split.columns:
            identity, mark = column.plan.identity, self.marks.of.get(column.plan.identity)
            good = [value for value in column.values if mark is not None and self.marks.has(identity, value)]
            if good:
                self._counts[identity, mark] += len(good)
            if len(good) < len(column.values):
                rest = (v for v in column.values if mark is None or not self.marks.has(identity, v))
                self._counts.update((identity, _mark(value)) for value in rest)

    def add_datums(self, datums: Sequence[bytes], keys: Sequence[bytes | None]) -> None:
        """Count bare records."""
        self.add(open_schema(self.stored).split_batch(datums, keys))

    def lines(self) -> list[Line]:
        """Return what was counted, field by field."""
        found = sorted(self._counts.items(), key=lambda item: (item[0][0], str(item[0][1])))
        wanted: Mapping[str, Mark] = self.marks.of
        return [Line(name, mark, n, mark is not None and mark == wanted.get(name)) for (name, mark), n in found]

    @property
    def others(self) -> int:
        """Values that do not look as they should."""
        return self.broken + sum(line.values for line in self.lines() if not line.wanted)


def told(lines: Iterable[Line]) -> list[dict[str, object]]:
    """Return lines as they are printed."""
    return [
        {
            "field": line.field,
            "keyset": "" if line.mark is None else str(line.mark.keyset or "the client's own"),
            "format": "no envelope" if line.mark is None else line.mark.format,
            "descriptor": "" if line.mark is None else line.mark.descriptor,
            "values": line.values,
            "wanted": line.wanted,
        }
        for line in lines
    ]


def _mark(value: bytes) -> Mark | None:
    try:
        return mark_of(value)
    except DecryptionError:
        return None
