"""Avro binary of one type as a pyarrow array; needs the extra `tables`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from worker.avro.decode import value_reader
from worker.avro.logical import decimal_digits, logical
from worker.avro.reader import read_long
from worker.avro.schema import Node, null_index, parse

Fast = Callable[[bytes], Any]


def arrow_values(schema: str, values: Sequence[bytes | None]) -> Any:
    """
    Return values as an array of the Arrow type that their Avro type has.

    Args:
        schema: the values' own type, JSON text.
        values: Avro binary of it, union index included; None is null.
    """
    node = parse(schema)
    null = null_index(node)
    some = node
    prefix = 0
    if node.kind == "union" and null is not None and len(node.inner) == 2:
        some, prefix = node.inner[1 - null], 1
    kind = arrow_type(some)
    fast = _fast(some)
    if fast is None or (node.kind == "union" and not prefix):
        read = value_reader(schema).checked
        return pa.array([None if value is None else read(value) for value in values], kind)
    nothing = b"\x02" if null == 1 else b"\x00"
    if not prefix:
        return pa.array([None if value is None else fast(value) for value in values], kind)
    return pa.array([None if value is None or value == nothing else fast(value[1:]) for value in values], kind)


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
    }
    if word in by_word:
        return by_word[word]
    if word:
        return None
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


def _fast(node: Node) -> Fast | None:
    """Return what reads a plain value that its envelope has vouched for; None for a type that is read with care."""
    if logical(node):
        return None
    if node.kind in ("int", "long"):
        return lambda data: read_long(data, 0)[0]
    if node.kind == "string":
        return lambda data: str(data[1:] if data[0] < 0x80 else data[read_long(data, 0)[1] :], "utf-8")
    if node.kind == "bytes":
        return lambda data: data[1:] if data[0] < 0x80 else data[read_long(data, 0)[1] :]
    return None
