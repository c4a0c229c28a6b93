"""Confluent's frame: which schema a message was written with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from worker.errors import DecodeError
from worker.model import Header

VALUE_HEADER = "__value_schema_id"
KEY_HEADER = "__key_schema_id"


@dataclass(frozen=True, slots=True)
class SchemaRef:
    """A schema's number, or its GUID (16 bytes), as a message names it."""

    id: int | None = None
    guid: bytes | None = None

    def __str__(self) -> str:
        return str(UUID(bytes=self.guid)) if self.guid is not None else str(self.id)


def parse_frame(value: bytes, headers: Sequence[Header], *, header: str = VALUE_HEADER) -> tuple[SchemaRef, int]:
    """
    Read Confluent's frame: `00 | id 4` or `01 | guid 16`, in a header (keys: `__key_schema_id`) or before the payload.

    Returns:
        the reference, and where in `value` the payload starts.

    Raises:
        DecodeError: neither (code `bad_magic`), or cut short within it (`decode_failed`).
    """
    told = next((content for name, content in reversed(headers) if name == header), None)
    if told is not None:
        ref, length = _frame(told)
        if length != len(told):
            raise DecodeError(f"the header {header} has bytes behind its schema id", code="bad_magic")
        return ref, 0
    return _frame(value)


def _frame(data: bytes) -> tuple[SchemaRef, int]:
    if data[:1] == b"\0" and len(data) >= 5:
        return SchemaRef(id=int.from_bytes(data[1:5], "big")), 5
    if data[:1] == b"\1" and len(data) >= 17:
        return SchemaRef(guid=bytes(data[1:17])), 17
    if data[:1] in (b"\0", b"\1"):
        raise DecodeError("the message ends within its schema id")
    raise DecodeError("the message does not begin with a schema id (magic byte 0 or 1)", code="bad_magic")


def frame(schema_id: int) -> bytes:
    """The five bytes before a payload."""
    return b"\0" + schema_id.to_bytes(4, "big")
