"""A batch taken apart in native memory: spans instead of columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from worker.errors import RecordError
from worker.model import FieldPlan, Format, Split, ValueColumn

if TYPE_CHECKING:
    from worker import _native

Twin = Callable[[Sequence[int]], Split]


class SpanSplit:
    """
    The records of one schema, their values left where they lie; see `worker.model.Split`.

    What the extension refuses is read again by the twin, which says why, or takes the record over (`rest`): letters
    beyond ASCII in a uuid's text, for one, are Python's to lower.

    Args:
        spans: what the extension found.
        plans: of the program's slots.
        extract: names of the texts asked for.
        twin: takes some of the records apart, by their places.
    """

    def __init__(self, spans: _native.Split, plans: Sequence[FieldPlan], extract: Sequence[str], twin: Twin) -> None:
        self.spans, self.plans, self.twin, self._extract = spans, plans, twin, tuple(extract)
        self.refused: list[int] = spans.refused
        self.rest: Split | None = twin(self.refused) if self.refused else None
        errors = self.rest.errors if self.rest is not None else {}
        self.errors: Mapping[int, RecordError] = {self.refused[i]: error for i, error in errors.items()}

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def columns(self) -> list[ValueColumn]:
        """The declared values, made anew at each call; the twin's records are in columns of their own at the end."""
        columns = []
        for slot, plan in enumerate(self.plans):
            values, records, contexts, binds = self.spans.column(slot)
            if values:
                columns.append(
                    ValueColumn(
                        plan,
                        values,
                        records,
                        [tuple(texts) for texts in contexts] if plan.context else None,
                        [tuple(bound) for bound in binds] if plan.bind else None,
                    )
                )
        return columns + self.rest_columns

    @property
    def rest_columns(self) -> list[ValueColumn]:
        """The columns of what the twin took over, by the places of the whole."""
        if self.rest is None:
            return []
        return [
            ValueColumn(c.plan, c.values, [self.refused[i] for i in c.records], c.contexts, c.binds)
            for c in self.rest.columns
        ]

    def extracted(self, name: str) -> Sequence[str | None]:
        """A root sibling as text, one for every record."""
        texts = self.spans.extracted(self._extract.index(name))
        if self.rest is not None:
            for place, text in zip(self.refused, self.rest.extracted(name), strict=True):
                texts[place] = text
        return texts

    def drop(self, records: Collection[int]) -> None:
        """Take records out."""
        self.spans.drop(list(records))
        if self.rest is not None:
            self.rest.drop({i for i, place in enumerate(self.refused) if place in records})

    def count(self, format: Format, descriptors: Collection[str], records: range) -> int:
        """Return how many values of some fields a stretch of records has."""
        found = sum(
            self.spans.count(slot, records.start, records.stop)
            for slot, plan in enumerate(self.plans)
            if plan.format == format and plan.descriptor in descriptors
        )
        if self.rest is not None:
            at = [i for i, place in enumerate(self.refused) if place in records]
            found += sum(self.rest.count(format, descriptors, range(i, i + 1)) for i in at)
        return found

    def join(self, replaced: Sequence[Sequence[bytes]], prefix: bytes = b"") -> Sequence[bytes | None]:
        """Spans are sealed where they lie: `worker.encryption.spans` puts them together."""
        raise NotImplementedError("spans are put together by the encryptor that seals them")
