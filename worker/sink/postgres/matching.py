"""
Which Avro types fit which columns: the one table that `check` and the writing share.

A value goes in exactly, or the record is refused. A column that no value of the type would fit is a misfit; one that
some would not fit says which, so that nobody learns it from dead letters.
"""

from __future__ import annotations

from worker.model.rows import ColumnType
from worker.sink.postgres import wire
from worker.sink.postgres.fit import BYTEA, Fit, Misfit, describe, sql_type
from worker.sink.postgres.table import Column
from worker.sink.postgres.textual import json_fit, text_fit
from worker.sink.postgres.typed import MAKERS, enum_fit

# Text of these would be rounded, or read by rules that are not the text's own.
_NO_TEXT = (
    *("boolean", "real", "double precision", "bytea", "money", "time without time zone", '"char"', "name", "bit"),
    *("point", "line", "lseg", "box", "path", "polygon", "circle", "oid", "xid", "cid"),
)
# These keep microseconds, and say nothing where a text has more.
_ROUNDED = ("interval", "time with time zone", "tsrange", "tstzrange")


def _reads_text(column: Column) -> bool:
    """Whether the server takes a text for what it says, and neither rounds nor replaces it."""
    if column.type in _ROUNDED and column.typmod != -1:
        raise Misfit(f"{column.declared} rounds fractions of a second; {column.type} keeps microseconds")
    return column.type not in _NO_TEXT and not column.type.startswith("reg")


def fit(kind: ColumnType, column: Column, storage: str = "") -> Fit:
    """
    Return how a type's values get into a column.

    Args:
        kind: of the field.
        column: of the table.
        storage: what the options say of the column: `json` reads text as the JSON it is.

    Raises:
        Misfit: they do not.
    """
    if column.unwritable:
        raise Misfit(f"it is {column.unwritable}, and takes no value")
    if kind.encrypted is not None:
        if column.type != "bytea":
            raise Misfit("the field is encrypted, which needs bytea (or jsonb, where columns says eql)")
        return Fit(bytes, BYTEA)
    if kind.kind == "array" and column.element is not None:
        assert kind.items is not None
        inner = fit(kind.items, column.element)
        if inner.cast:
            raise Misfit(f"{column.declared or column.type} has elements that only the server can read")
        return Fit(wire.array(column.element.oid, inner.encode), remark=inner.remark)
    if column.type in ("json", "jsonb"):
        return json_fit(kind, column, storage)
    if kind.kind in ("array", "json"):
        if column.category == "S":
            return text_fit(kind, column)
        raise Misfit("an array, a map, a record or a union needs jsonb")
    if column.category == "S" and column.type not in ("name", '"char"'):
        return text_fit(kind, column)
    make = MAKERS.get(column.type) if column.kind == "b" else enum_fit if column.kind == "e" else None
    found = make(kind, column) if make is not None else None
    if found is not None:
        return found
    if kind.kind == "string" and not kind.logical and column.kind in ("b", "r") and _reads_text(column):
        put = wire.fine_text if column.type in _ROUNDED else wire.text
        return Fit(put, cast=True, remark=f"text that is no {column.type}")
    raise Misfit(f"the field is {describe(kind)}, which needs {sql_type(kind)}")
