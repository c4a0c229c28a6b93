"""Whole batches to envelopes: what all of it needs of keys is asked for together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.encryption.sealing import SealedColumn
from worker.encryption.tally import Tally
from worker.errors import RecordError, WorkerError
from worker.model import (
    EncryptionKeys,
    FieldUsage,
    Grant,
    KeyNeed,
    KeyUsage,
    PlainSealed,
    Sealed,
    Split,
    ValueColumn,
)


@dataclass(slots=True)
class Encrypted:
    """
    Envelopes aligned with the columns and their values, and what they took.

    `errors` by record: the key service refuses keys for its context, and its envelopes are empty.
    """

    envelopes: list[list[bytes]] = field(repr=False)
    usage: list[KeyUsage]
    errors: dict[int, RecordError] = field(default_factory=dict)


class Sealing(Protocol):
    """One split on its way: what it needs, what it is given, and what became of it."""

    def needs(self) -> Sequence[KeyNeed]:
        """Return which keys it needs."""
        ...

    def seal(self, need: int, grant: Grant) -> None:
        """Seal what keys have come for, of one of its needs."""
        ...

    def refuse(self, need: int, at: int, refusal: WorkerError) -> None:
        """Give up the records of a context of one of its needs."""
        ...

    def sealed(self) -> Sealed:
        """Return the whole, once every need has been met or refused."""
        ...


class BatchEncryptor:
    """
    Seals all values of a batch; nothing of it is usable unless the whole call returned.

    Thread-safe where its keys are. Each data key of the `record` format is wiped after its one value.

    Args:
        keys: where data keys come from.
        default_keyset: for plans that name none; None leaves it to the client's own.
    """

    def __init__(self, keys: EncryptionKeys, *, default_keyset: str | None = None) -> None:
        self._keys = keys
        self._default_keyset = default_keyset

    def seal(self, splits: Sequence[tuple[Split, bytes]]) -> list[Sealed]:
        """Seal every value of a batch's splits and put their records together; see `Encryptor.seal`."""
        sealings: list[Sealing] = [_PlainSealing(split, prefix, self._default_keyset) for split, prefix in splits]
        self._fill(sealings)
        return [sealing.sealed() for sealing in sealings]

    def encrypt(self, columns: Sequence[ValueColumn]) -> Encrypted:
        """
        Return one envelope per value.

        Raises:
            KeyServiceUnavailable: no keys now; the batch as a whole may be tried again.
            KeyAccessDenied: this identity may not.
            ConfigError: a plan asks for what its format can't do.
        """
        sealing = _ColumnSealing(columns, self._default_keyset)
        self._fill([sealing])
        return sealing.encrypted()

    def _fill(self, sealings: Sequence[Sealing | _ColumnSealing]) -> None:
        """Get all keys and seal what has them while the rest is under way."""
        needs = [(sealing, i, need) for sealing in sealings for i, need in enumerate(sealing.needs())]
        with self._keys.hold([need for _, _, need in needs]) as hold:
            for grant in hold:
                sealing, i, _ = needs[grant.need]
                sealing.seal(i, grant)
            for (need, at), refusal in hold.refused.items():
                sealing, i, _ = needs[need]
                sealing.refuse(i, at, refusal)


class _ColumnSealing:
    """Columns on their way."""

    def __init__(self, columns: Sequence[ValueColumn], default_keyset: str | None) -> None:
        self._columns = [SealedColumn(column, default_keyset) for column in columns]
        self._filled = [column for column in self._columns if column.column.values]
        self._tally = Tally()
        self._errors: dict[int, RecordError] = {}

    def needs(self) -> list[KeyNeed]:
        return [column.need() for column in self._filled]

    def seal(self, need: int, grant: Grant) -> None:
        self._filled[need].seal(grant, self._tally)

    def refuse(self, need: int, at: int, refusal: WorkerError) -> None:
        column = self._filled[need]
        self._errors.update(dict.fromkeys(column.forgo(at), column.refused(refusal)))

    def encrypted(self) -> Encrypted:
        for column in self._filled:
            column.check()
        return Encrypted([column.envelopes for column in self._columns], self._tally.usage(), self._errors)


class _PlainSealing(_ColumnSealing):
    """A split of plain columns on its way."""

    def __init__(self, split: Split, prefix: bytes, default_keyset: str | None) -> None:
        self._split, self._prefix = split, prefix
        super().__init__(split.columns, default_keyset)

    def sealed(self) -> PlainSealed:
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
