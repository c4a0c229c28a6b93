"""Envelopes: typed plaintext, the two formats, search terms, and whole batches of them."""

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
