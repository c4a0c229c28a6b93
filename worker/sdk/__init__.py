"""Encryption and decryption of values and records, for programs other than the worker."""

from worker.sdk.aio import AsyncEncryption
from worker.sdk.client import Encryption
from worker.sdk.kept import CacheOptions
from worker.sdk.options import (
    AccessOptions,
    ClientOptions,
    DecryptOptions,
    EncryptOptions,
    EnvironmentOptions,
    RecordOptions,
    RecordsOptions,
)
from worker.sdk.records import output_schema
from worker.sdk.regions import Regions
from worker.sdk.rows import Table
from worker.sdk.values import Described, LockContext

__all__ = [
    "AccessOptions",
    "AsyncEncryption",
    "CacheOptions",
    "ClientOptions",
    "DecryptOptions",
    "Described",
    "EncryptOptions",
    "Encryption",
    "EnvironmentOptions",
    "LockContext",
    "RecordOptions",
    "RecordsOptions",
    "Regions",
    "Table",
    "output_schema",
]
