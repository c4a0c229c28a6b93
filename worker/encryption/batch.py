"""Columns of values to columns of envelopes: the batch's side of encryption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.encryption.sealing import SealedColumn
from worker.encryption.tally import KeyUsage, Tally
from worker.errors import RecordError
from worker.model import EncryptionKeys, ValueColumn


@dataclass(slots=True)
class Encrypted:
    """Envelopes aligned with the columns and their values; `errors` by index of the record within the batch."""

    envelopes: list[list[bytes]] = field(repr=False)
    errors: dict[int, RecordError]
    usage: list[KeyUsage]


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

    def encrypt(self, columns: Sequence[ValueColumn]) -> Encrypted:
        """
        Return one envelope per value; a record whose context is refused has an error and empty ones.

        Raises:
            KeyServiceUnavailable: no keys now; the batch as a whole may be tried again.
            KeyAccessDenied: this identity may not.
            ConfigError: a plan asks for what its format can't do.
        """
        return self.encrypt_all([columns])[0]

    def encrypt_all(self, groups: Sequence[Sequence[ValueColumn]]) -> list[Encrypted]:
        """
        Do so for the columns of several schemas, whose keys are asked for together; raises as `encrypt`.

        What has keys is sealed while those of the rest are under way.
        """
        sealed = [[SealedColumn(column, self._default_keyset) for column in columns] for columns in groups]
        tallies = [Tally() for _ in groups]
        filled = [(column, group) for group, columns in enumerate(sealed) for column in columns if column.column.values]
        errors: list[dict[int, RecordError]] = [{} for _ in groups]
        with self._keys.hold([column.need() for column, _ in filled]) as hold:
            for grant in hold:
                column, group = filled[grant.need]
                column.seal(grant, tallies[group])
            for (need, at), refusal in hold.refused.items():
                column, group = filled[need]
                errors[group].update(dict.fromkeys(column.forgo(at), column.refused(refusal)))
        for column, _ in filled:
            column.check()
        return [
            Encrypted([column.envelopes for column in columns], errors[group], tallies[group].usage())
            for group, columns in enumerate(sealed)
        ]
