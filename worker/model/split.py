"""The records of one schema taken apart: what encryption takes from them, and how they are put together again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from worker.errors import RecordError
from worker.model.plan import FieldPlan, Format, ValueColumn


class Split(Protocol):
    """
    The records of one schema, their declared values lying ready; places count within these records.

    Two forms: plain columns of bytes (`worker.avro`), sealed by `worker.encryption`; and native spans, sealed where
    they lie by the native encryptor. Whoever makes the one must be given to the other.
    """

    def __len__(self) -> int: ...

    @property
    def errors(self) -> Mapping[int, RecordError]:
        """Why a record does not decode; such a record has no value in any column."""
        ...

    @property
    def columns(self) -> Sequence[ValueColumn]:
        """The declared values, a column a field that occurs; made only for whoever asks."""
        ...

    def extracted(self, name: str) -> Sequence[str | None]:
        """A root sibling as text, one for every record."""
        ...

    def drop(self, records: Collection[int]) -> None:
        """Take records out, before anything is sealed: their values get no key, and nothing is put together of them."""
        ...

    def count(self, format: Format, descriptors: Collection[str], records: range) -> int:
        """Return how many values of some fields a stretch of records has."""
        ...

    def join(self, replaced: Sequence[Sequence[bytes]], prefix: bytes = b"") -> Sequence[bytes | None]:
        """
        Put one value in the place of each of the columns' values.

        Args:
            replaced: aligned with `columns` and their values.
            prefix: what stands in front of each record.

        Returns:
            one a record; None for those that failed or were dropped.
        """
        ...


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """
    What one batch used of one keyset in one format, for the ledger.

    `keys` counts the data keys the batch was sealed under; a lease counts in every batch that it serves. `descriptors`
    tell which fields they served: a field has one keyset.
    """

    keyset: UUID
    format: Format
    request_ids: frozenset[UUID]
    keys: int
    values: int
    descriptors: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FieldUsage:
    """How many values of one field were sealed, and their bytes before and after."""

    plan: FieldPlan
    values: int
    plaintext_bytes: int
    ciphertext_bytes: int


class Sealed(Protocol):
    """A split that was sealed."""

    @property
    def data(self) -> Sequence[bytes | None]:
        """The records, framed; None for those that failed or were dropped."""
        ...

    @property
    def usage(self) -> Sequence[KeyUsage]:
        """Which keys it took."""
        ...

    @property
    def fields(self) -> Sequence[FieldUsage]:
        """What was sealed, a field that occurs."""
        ...

    @property
    def envelopes(self) -> Sequence[Sequence[bytes]]:
        """Aligned with the split's columns and their values; made only for whoever asks."""
        ...

    @property
    def errors(self) -> Mapping[int, RecordError]:
        """Records whose context the key service refuses; they have been dropped from the split."""
        ...


class Encryptor(Protocol):
    """Seals what schemas declare, a batch at a time."""

    def seal(self, splits: Sequence[tuple[Split, bytes]]) -> Sequence[Sealed]:
        """
        Seal every value of a batch's splits and put their records together, each split's behind its prefix.

        The keys of all of them are asked for together.

        Raises:
            KeyServiceUnavailable: no keys now; the batch as a whole may be tried again.
            KeyAccessDenied: this identity may not.
            ConfigError: a plan asks for what its format can't do.
        """
        ...


@dataclass(frozen=True, slots=True)
class PlainSealed:
    """What sealing plain columns gave; see `Sealed`."""

    data: Sequence[bytes | None] = field(repr=False)
    usage: Sequence[KeyUsage]
    fields: Sequence[FieldUsage]
    envelopes: Sequence[Sequence[bytes]] = field(repr=False)
    errors: Mapping[int, RecordError] = field(default_factory=dict)
