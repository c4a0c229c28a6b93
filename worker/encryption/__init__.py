"""Envelopes: typed plaintext, the two formats, search terms, and whole batches of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker import lazy

if TYPE_CHECKING:
    from worker.encryption.batch import BatchEncryptor
    from worker.encryption.columns import Encrypted
    from worker.encryption.leased import LeasedEnvelope
    from worker.encryption.record import EncryptedRecord
    from worker.encryption.unbatch import BatchDecryptor, Decrypted

__all__ = [
    "BatchDecryptor",
    "BatchEncryptor",
    "Decrypted",
    "Encrypted",
    "EncryptedRecord",
    "LeasedEnvelope",
]

__getattr__ = lazy.parts(
    __name__,
    {
        "BatchEncryptor": "worker.encryption.batch",
        "Encrypted": "worker.encryption.columns",
        "LeasedEnvelope": "worker.encryption.leased",
        "EncryptedRecord": "worker.encryption.record",
        "BatchDecryptor": "worker.encryption.unbatch",
        "Decrypted": "worker.encryption.unbatch",
    },
)
