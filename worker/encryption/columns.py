"""Plain columns on their way to envelopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.encryption.sealing import SealedColumn
from worker.encryption.tally import Tally
from worker.errors import RecordError, SubjectErased, WorkerError
from worker.model import FieldPlan, FieldUsage, Grant, KeyNeed, KeyUsage, PlainSealed, Split, ValueColumn


@dataclass(slots=True)
class Encrypted:
    """
    Envelopes aligned with the columns and their values, and what they took.

    `errors` by record: the key service refuses keys for its context, and its envelopes are empty.
    """

    envelopes: list[list[bytes]] = field(repr=False)
    usage: list[KeyUsage]
    errors: dict[int, RecordError] = field(default_factory=dict)


class ColumnSealing:
    """Columns on their way."""

    def __init__(self, columns: Sequence[ValueColumn], default_keyset: str | None, tally: Tally | None = None) -> None:
        self._columns = [SealedColumn(column, default_keyset) for column in columns]
        self._filled = [column for column in self._columns if column.column.values]
        self._tally = Tally() if tally is None else tally
        self._errors: dict[int, RecordError] = {}

    def needs(self) -> list[KeyNeed]:
        """Return which keys they need."""
        return [column.need() for column in self._filled]

    def seal(self, need: int, grant: Grant) -> None:
        """Seal what keys have come for."""
        self._filled[need].seal(grant, self._tally)

    def refuse(self, need: int, at: int, refusal: WorkerError) -> None:
        """Give up the records of a context."""
        column = self._filled[need]
        self._errors.update(dict.fromkeys(column.forgo(at), refusal_of(column.column.plan, refusal)))

    def encrypted(self) -> Encrypted:
        """Return the envelopes, once every need has been met or refused."""
        for column in self._filled:
            column.check()
        return Encrypted([column.envelopes for column in self._columns], self._tally.usage(), self._errors)


class PlainSealing(ColumnSealing):
    """A split of plain columns on its way."""

    def __init__(self, split: Split, prefix: bytes, default_keyset: str | None, tally: Tally | None = None) -> None:
        self._split, self._prefix = split, prefix
        super().__init__(split.columns, default_keyset, tally)

    def sealed(self) -> PlainSealed:
        """Put the records together."""
        encrypted = self.encrypted()
        envelopes, errors = encrypted.envelopes, encrypted.errors
        if errors:
            records = [column.records for column in self._split.columns]
            envelopes = [
                [envelope for envelope, record in zip(sealed, at, strict=True) if record not in errors]
                for sealed, at in zip(envelopes, records, strict=True)
            ]
            self._split.drop(errors)
        columns = self._split.columns
        fields = [
            FieldUsage(c.plan, len(c.values), sum(map(len, c.values)), sum(map(len, sealed)))
            for c, sealed in zip(columns, envelopes, strict=True)
        ]
        return PlainSealed(self._split.join(envelopes, self._prefix), encrypted.usage, fields, envelopes, errors)


def refusal_of(plan: FieldPlan, refusal: WorkerError) -> RecordError:
    """Return the verdict on a record of whose context a field gets no keys."""
    code = "subject_erased" if isinstance(refusal, SubjectErased) else "key_refused"
    return RecordError(f"{plan.identity}: {refusal}", code=code, path=plan.identity)
