"""How a type's values get into a column: what a fit is, and the SQL types that tables are made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from worker.model.rows import ColumnType
from worker.sink.postgres.wire import Encode

BYTEA = 17
TEXT = 25
UNIT_NS = {"millis": 1_000_000, "micros": 1000, "nanos": 1}
TYPMOD_HEADER = 4
"""What a type modifier has beyond a length."""

_CREATED = {
    "boolean": "boolean",
    "int": "integer",
    "long": "bigint",
    "float": "real",
    "double": "double precision",
    "string": "text",
    "bytes": "bytea",
    "fixed": "bytea",
    "enum": "text",
    "uuid": "uuid",
    "date": "date",
    "time-millis": "time",
    "time-micros": "time",
    "timestamp-millis": "timestamptz",
    "timestamp-micros": "timestamptz",
    "local-timestamp-millis": "timestamp",
    "local-timestamp-micros": "timestamp",
    "decimal": "numeric",
    "big-decimal": "numeric",
}


class Misfit(Exception):
    """A column can't take a type's values; the text says why, and what would."""


class Whole(NamedTuple):
    """A whole number's binary form: of so many bytes, the value times a factor and moved, where that is allowed."""

    width: int
    factor: int
    offset: int
    allowed: range


@dataclass(frozen=True, slots=True)
class Fit:
    """
    How a type's values get into a column.

    Args:
        encode: the base value's binary form.
        native: the oid under which the driver makes the same form of the value as it is; None where it does not.
        cast: whether `encode` gives text that the server is to read.
        remark: which values are refused, in words that follow "refused:"; empty where none is.
        whole: what `encode` does, where that is all.
    """

    encode: Encode
    native: int | None = None
    cast: bool = False
    remark: str = ""
    whole: Whole | None = None


def describe(kind: ColumnType) -> str:
    """A type in words."""
    return f"{kind.logical} on {kind.kind}" if kind.logical else "of JSON's kind" if kind.kind == "json" else kind.kind


def sql_type(kind: ColumnType) -> str:
    """The SQL type that a table gets for a field's values, which takes every one of them that means anything."""
    if kind.kind == "array":
        assert kind.items is not None
        return f"{sql_type(kind.items)}[]"
    return _CREATED.get(kind.logical) or _CREATED.get(kind.kind, "jsonb")
