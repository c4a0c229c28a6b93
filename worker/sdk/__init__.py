"""Encryption and decryption of values and records, for programs other than the worker."""

from worker.sdk.aio import AsyncEncryption
from worker.sdk.client import Encryption
from worker.sdk.options import (
    AccessOptions,
    DecryptManyOptions,
    DecryptOptions,
    EncryptOptions,
    EnvironmentOptions,
)
from worker.sdk.values import Described, LockContext

__all__ = [
    "AccessOptions",
    "AsyncEncryption",
    "DecryptManyOptions",
    "DecryptOptions",
    "Described",
    "EncryptOptions",
    "Encryption",
    "EnvironmentOptions",
    "LockContext",
]
