"""Values of one Avro type as a pyarrow array; needs the extra `tables`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

from worker.avro.logical import decimal_digits, logical
from worker.avro.schema import Node, null_index, parse

_DAY_US = 86_400_000_000
_DAYS = tuple(day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
_US = tuple(
    (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    for instant in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
)
_BOUNDS = {
    "date": _DAYS,
    "time-millis": (0, _DAY_US // 1000 - 1),
    "time-micros": (0, _DAY_US - 1),
    **{f"{place}timestamp-micros": _US for place in ("", "local-")},
    **{f"{place}timestamp-millis": (-(-_US[0] // 1000), _US[1] // 1000) for place in ("", "local-")},
}
"""Between which numbers Python's own types, and so the twin of what is read in native memory, have room."""


class Layout(NamedTuple):
    """
    How values of an Avro type lie in Arrow's memory, where they lie there as they are.

    Args:
        type: Arrow's own.
        word: of the primitive Avro type.
        null_branch: that of the union with null, None where the type is none.
        least, most: bounds of its numbers.
    """

    type: Any
    word: str
    null_branch: int | None
    least: int
    most: int


@lru_cache(maxsize=256)
def arrow_layout(schema: str) -> Layout | None:
    """Return how the values of a type, JSON text, lie in Arrow's memory; None where each needs a look at it."""
    node = parse(schema)
    null = null_index(node)
    if node.kind == "union":
        if null is None or len(node.inner) != 2:
            return None
        node = node.inner[1 - null]
    word = logical(node)
    least, most = _BOUNDS.get(word, (-(2**63), 2**63 - 1))
    is_plain = node.kind in ("boolean", "int", "long", "float", "double", "string", "bytes")
    if not is_plain or (word and word not in _BOUNDS):
        return None
    return Layout(arrow_type(node), node.kind, null, least, most)


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
