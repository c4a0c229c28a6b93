"""Whole records: Python's values to the worker's output, and what a datum begins with."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TypeVar

from worker.avro import CompiledSchema, DeclarationOptions, compile_schema, encode_value
from worker.encryption import BatchEncryptor
from worker.errors import DeclarationError, DecodeError, RecordError
from worker.model import EncryptionKeys, PlainBatch, Run
from worker.sdk import checked
from worker.sdk import values as forms

_FRAME_BYTES = 5
T = TypeVar("T")


def declared(schema: str) -> CompiledSchema:
    """Compile an input schema, once; raises `DeclarationError` where it declares nothing."""
    return _declared(str(checked.schema(schema)))


@functools.lru_cache(maxsize=64)
def _declared(schema: str) -> CompiledSchema:
    compiled = compile_schema(schema, DeclarationOptions())
    if compiled.plan.is_clear:
        raise DeclarationError(
            f"{compiled.plan.name} declares nothing encrypted: mark its fields with `encrypted`, or write it as it is",
            path=compiled.plan.name,
        )
    return compiled


def output_schema(schema: str) -> str:
    """
    Return the schema that an input schema's encrypted records have; raises `DeclarationError`.

    Example:
        >>> "encryption" in output_schema(schema)
        True
    """
    return declared(schema).plan.output_schema


def datum(schema: str, record: Mapping[str, object]) -> bytes:
    """Return a record's clear datum; raises `RecordError` naming the field that does not fit."""
    return encode_value(schema, record)


def sealed(
    compiled: CompiledSchema, datums: Sequence[bytes], keys: Sequence[bytes | None], source: EncryptionKeys
) -> list[bytes]:
    """Return the output datums of clear ones; raises `RecordError` for one that can't be sealed."""
    count = len(datums)
    batch = PlainBatch([Run("", 0, 0, count)], range(count), keys, datums, [(0, 0)] * count)
    split = compiled.split_batch(batch, keys, 0)
    for error in split.errors.values():
        raise error
    (done,) = BatchEncryptor(source).seal([(split, b"")])
    for refused in done.errors.values():
        raise refused
    return [data for data in done.data if data is not None]


def bare(data: bytes, *, framed: bool) -> bytes:
    """
    Return a datum without its frame.

    Raises:
        RecordError: it is no bytes, or has no frame where one is said to be.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise RecordError(f"a datum is bytes, not a {type(data).__name__}")
    data = bytes(data)
    if not framed:
        return data
    if data[:1] != b"\0" or len(data) < _FRAME_BYTES:
        raise DecodeError("the record has no frame (a zero byte and the four of a schema id)", code="bad_magic")
    return data[_FRAME_BYTES:]


def bares(datums: Sequence[bytes], *, framed: bool) -> list[bytes | RecordError]:
    """Return datums without their frames, and in the place of one that is none why; see `bare`."""
    try:
        return [bare(datum, framed=framed) for datum in datums]
    except RecordError:
        return [forms.attempt(bare, datum, framed=framed) for datum in datums]


def hinted(result: T, data: bytes) -> T:
    """Return a result; an error of a datum that looks framed says so."""
    if isinstance(result, RecordError) and data[:1] == b"\0" and len(data) > _FRAME_BYTES:
        number = int.from_bytes(data[1:_FRAME_BYTES], "big")
        hint = f"{result}; it begins as one framed with the schema id {number} does: pass framed=True if it is"
        result.args = (hint,)
    return result
