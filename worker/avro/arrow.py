"""Values of one Avro type as a pyarrow array; needs the extra `tables`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import pyarrow as pa

from worker.avro.logical import decimal_digits, logical
from worker.avro.schema import Node, null_index, parse
from worker.errors import ConfigError, RecordError
from worker.model.values import BaseValue, base_value

Change = Callable[[Any], Any]

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

_NANOS = {"timestamp-nanos": "UTC", "local-timestamp-nanos": None}
_DIGITS = 76
"""The longest decimal that Arrow has."""
_REFUSED = (pa.ArrowException, OverflowError, ValueError, TypeError, KeyError)


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

    Raises:
        ConfigError: no Arrow type holds each value of the type exactly.
        RecordError: Arrow's type has no room for one of the values, which `no_room` finds.
    """
    node = parse(schema)
    change = _changed(node, _into_arrow)
    try:
        made = values if change is None else [None if value is None else change(value) for value in values]
        return pa.array(made, arrow_type(node))
    except _REFUSED:
        # Arrow's words hold the value.
        raise RecordError("Arrow's type has no room for a value") from None


def no_room(schema: str, values: Sequence[object]) -> dict[int, RecordError]:
    """Return why Arrow's type of an Avro type takes one of these values, by its index."""
    found: dict[int, RecordError] = {}
    for i, value in enumerate(values):
        try:
            arrow_array(schema, [value])
        except RecordError:
            found[i] = RecordError(f"Arrow's {arrow_type(parse(schema))} has no room for it; read it with decrypt_row")
    return found


def arrow_values(schema: str, column: Any) -> list[object]:
    """
    Return a column's values as Python has them and the Avro type wants them, None for null.

    Raises:
        RecordError: a value has no form in Python, or a map one key twice; the message names the row.
    """
    node = parse(schema)
    word, change = logical(_some(node)), _changed(node, _from_arrow)
    if word in _NANOS and column.type == pa.timestamp("ns", _NANOS[word]):
        column = column.cast(pa.int64())
    try:
        values: list[object] = column.to_pylist(maps_as_pydicts="strict")
    except _REFUSED:
        is_its_own = word in _BOUNDS and column.type == arrow_type(node)
        values = [_one(scalar, row, word if is_its_own else "") for row, scalar in enumerate(column)]
    return values if change is None else [None if value is None else change(value) for value in values]


def _one(scalar: Any, row: int, word: str) -> object:
    try:
        return scalar.as_py(maps_as_pydicts="strict")
    except _REFUSED:
        if word:
            return base_value(scalar.value, word)
        raise RecordError(f"row {row}: Python's types have no room for it, or a map has one key twice") from None


def arrow_type(node: Node) -> Any:
    """
    Return the Arrow type that holds each value of an Avro type as it is: text where Arrow has no such number.

    Raises:
        ConfigError: there is none, as for a union of several types, or a type that holds itself.
    """
    return _type_of(node, frozenset())


def _type_of(node: Node, above: frozenset[str]) -> Any:
    if node.kind == "union":
        others = [branch for branch in node.inner if branch.kind != "null"]
        if len(others) > 1:
            raise ConfigError(
                "a union of several types, which no Arrow type holds as they are; read it with decrypt_row"
            )
        return _type_of(others[0], above) if others else pa.null()
    if node.kind == "record":
        if node.name in above:
            raise ConfigError(f"{node.name} holds itself, which no Arrow type does; read it with decrypt_row")
        within = above | {node.name}
        return pa.struct([pa.field(each.name, _type_of(each.node, within)) for each in node.fields])
    if node.kind == "array":
        return pa.list_(_type_of(node.inner[0], above))
    if node.kind == "map":
        return pa.map_(pa.string(), _type_of(node.inner[0], above))
    word = logical(node)
    if word == "decimal":
        precision, scale = decimal_digits(node)
        if precision <= _DIGITS:
            return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    return _BY_WORD.get(word) or _BY_KIND[node.kind]


def _some(node: Node) -> Node:
    """What a union of null and one other holds beside null."""
    null = null_index(node)
    return node.inner[1 - null] if node.kind == "union" and null is not None and len(node.inner) == 2 else node


def _changed(node: Node, leaf: Callable[[Node], Change | None]) -> Change | None:
    """Return what changes each value of a type that `leaf` changes, wherever it stands; None where it changes none."""
    if node.kind == "union":
        return _changed(_some(node), leaf) if _some(node) is not node else None
    if node.kind in ("array", "map"):
        change = _changed(node.inner[0], leaf)
        if change is None:
            return None
        if node.kind == "array":
            return lambda value: [None if each is None else change(each) for each in value]
        return lambda value: {key: None if each is None else change(each) for key, each in value.items()}
    if node.kind == "record":
        changes = {each.name: change for each in node.fields if (change := _changed(each.node, leaf)) is not None}
        if not changes:
            return None
        return lambda value: {
            name: each if each is None or name not in changes else changes[name](each) for name, each in value.items()
        }
    return leaf(node)


def _into_arrow(node: Node) -> Change | None:
    word = logical(node)
    if word.startswith("time-"):
        # Arrow would take the number, and show another time.
        return _time
    return str if _is_text(node) else None


def _from_arrow(node: Node) -> Change | None:
    if not _is_text(node):
        return None
    return _uuid if logical(node) == "uuid" else _decimal


def _is_text(node: Node) -> bool:
    """Whether values that are no text in Python are one in Arrow."""
    word = logical(node)
    return word in ("uuid", "big-decimal") or (word == "decimal" and decimal_digits(node)[0] > _DIGITS)


def _time(value: Any) -> Any:
    if isinstance(value, BaseValue):
        raise ValueError
    return value


def _uuid(value: Any) -> Any:
    try:
        return uuid if isinstance(value, str) and str(uuid := UUID(value)) == value else value
    except ValueError:
        return value


def _decimal(value: Any) -> Any:
    try:
        return Decimal(value) if isinstance(value, str) else value
    except InvalidOperation:
        return value


_BY_WORD = {
    "date": pa.date32(),
    "time-millis": pa.time32("ms"),
    "time-micros": pa.time64("us"),
    "timestamp-millis": pa.timestamp("ms", "UTC"),
    "timestamp-micros": pa.timestamp("us", "UTC"),
    "local-timestamp-millis": pa.timestamp("ms"),
    "local-timestamp-micros": pa.timestamp("us"),
    **{word: pa.string() for word in ("uuid", "decimal", "big-decimal")},
}
_BY_KIND = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "fixed": pa.binary(),
    "enum": pa.string(),
}
