"""A streaming ETL encryption worker for data residency."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from worker.version import __version__

if TYPE_CHECKING:
    from worker import errors
    from worker.model.values import BaseValue
    from worker.sdk import AsyncEncryption, CacheOptions, Encryption, LockContext, Regions, Table, output_schema

__all__ = [
    "AsyncEncryption",
    "BaseValue",
    "CacheOptions",
    "Encryption",
    "LockContext",
    "Regions",
    "Table",
    "__version__",
    "errors",
    "output_schema",
]

_SDK = ("AsyncEncryption", "CacheOptions", "Encryption", "LockContext", "Regions", "Table", "output_schema")


def __getattr__(name: str) -> Any:
    """Import the SDK when it is first used: the authority and the command line's help do without it."""
    if name in _SDK:
        return getattr(import_module("worker.sdk"), name)
    if name == "BaseValue":
        return import_module("worker.model.values").BaseValue
    if name == "errors":
        return import_module("worker.errors")
    raise AttributeError(f"module 'worker' has no attribute {name!r}")
