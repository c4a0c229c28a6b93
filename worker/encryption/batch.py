"""Whole batches to envelopes: what all of it needs of keys is asked for together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from worker.encryption.columns import ColumnSealing, Encrypted, PlainSealing
from worker.encryption.spans import SpanSealing
from worker.errors import WorkerError
from worker.model import EncryptionKeys, Grant, KeyNeed, Sealed, Split, ValueColumn
from worker.native.split import SpanSplit


class Sealing(Protocol):
    """Values on their way: what they need, and what they are given."""

    def needs(self) -> Sequence[KeyNeed]:
        """Return which keys it needs."""
        ...

    def seal(self, need: int, grant: Grant) -> None:
        """Seal what keys have come for, of one of its needs."""
        ...

    def refuse(self, need: int, at: int, refusal: WorkerError) -> None:
        """Give up the records of a context of one of its needs."""
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
        sealings = [self._sealing(split, prefix) for split, prefix in splits]
        spans = [sealing for sealing in sealings if isinstance(sealing, SpanSealing)]
        try:
            self._fill(sealings)
            short = [sealing for sealing in spans if sealing.is_short]
            for sealing in short:
                sealing.again()
            if short:
                self._fill(short)
            return [sealing.sealed() for sealing in sealings]
        finally:
            for sealing in spans:
                sealing.release()

    def encrypt(self, columns: Sequence[ValueColumn]) -> Encrypted:
        """
        Return one envelope per value.

        Raises:
            KeyServiceUnavailable: no keys now; the batch as a whole may be tried again.
            KeyAccessDenied: this identity may not.
            ConfigError: a plan asks for what its format can't do.
        """
        sealing = ColumnSealing(columns, self._default_keyset)
        self._fill([sealing])
        return sealing.encrypted()

    def _sealing(self, split: Split, prefix: bytes) -> PlainSealing | SpanSealing:
        if isinstance(split, SpanSplit):
            return SpanSealing(split, prefix, self._default_keyset)
        return PlainSealing(split, prefix, self._default_keyset)

    def _fill(self, sealings: Sequence[Sealing]) -> None:
        """Get all keys and seal what has them while the rest is under way."""
        needs = [(sealing, i, need) for sealing in sealings for i, need in enumerate(sealing.needs())]
        with self._keys.hold([need for _, _, need in needs]) as hold:
            for grant in hold:
                sealing, i, _ = needs[grant.need]
                sealing.seal(i, grant)
            for (need, at), refusal in hold.refused.items():
                sealing, i, _ = needs[need]
                sealing.refuse(i, at, refusal)
