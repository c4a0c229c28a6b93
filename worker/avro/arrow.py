"""Values of one Avro type as a pyarrow array; needs the extra `tables`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from worker.avro.logical import decimal_digits, logical
from worker.avro.schema import Node, null_index, parse


def arrow_array(schema: str, values: Sequence[object]) -> Any:
    """
    Return values as an array of the Arrow type that their Avro type has.

    Args:
        schema: the values' own type, JSON text.
        values: in Python's types, None for null.
    """
    node = parse(schema)
    null = null_index(node)
    some = node.inner[1 - null] if node.kind == "union" and null is not None and len(node.inner) == 2 else node
    if logical(some) == "uuid":
        values = [None if value is None else str(value) for value in values]
    return pa.array(values, arrow_type(some))


def arrow_type(node: Node) -> Any:
    """Return the Arrow type of an Avro type; None leaves it to pyarrow."""
    word = logical(node)
    if word == "decimal":
        precision, scale = decimal_digits(node)
        return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    by_word = {
        "date": pa.date32(),
        "time-millis": pa.time32("ms"),
        "time-micros": pa.time64("us"),
        "timestamp-millis": pa.timestamp("ms", "UTC"),
        "timestamp-micros": pa.timestamp("us", "UTC"),
        "local-timestamp-millis": pa.timestamp("ms"),
        "local-timestamp-micros": pa.timestamp("us"),
        "uuid": pa.string(),
    }
    if word:
        return by_word.get(word)
    by_kind = {
        "boolean": pa.bool_(),
        "int": pa.int32(),
        "long": pa.int64(),
        "float": pa.float32(),
        "double": pa.float64(),
        "string": pa.string(),
        "bytes": pa.binary(),
        "enum": pa.string(),
    }
    return by_kind.get(node.kind)
