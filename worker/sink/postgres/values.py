"""Avro's values as PostgreSQL's: JSON text, EQL payloads."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import orjson


def eql_payload(table: str, column: str, value: object) -> object:
    """
    Return the payload of an EQL column: version 2, ciphertext in base85.

    `value` is a `record` envelope's MessagePack, or a mapping or JSON text that the encryption stage has already made
    (with search terms), which passes unchanged.

    Raises:
        ValueError: the envelope is not of the `record` format, which EQL alone can read.

    Source:
        docs/contracts.md, 4: a record envelope begins with 0x95 or 0x96.
    """
    if value is None or isinstance(value, Mapping):
        return value
    if isinstance(value, str):
        return orjson.loads(value)
    if not isinstance(value, bytes) or value[:1] not in (b"\x95", b"\x96"):
        raise ValueError("not an envelope of the record format")
    text = base64.b85encode(value).decode("ascii")
    return {"v": 2, "k": "ct", "i": {"t": table, "c": column}, "c": text}
