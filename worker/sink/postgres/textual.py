"""How values get into columns of text and of JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker import jsonform
from worker.model.rows import ColumnType
from worker.sink.postgres import iso, wire
from worker.sink.postgres.fit import TEXT, TYPMOD_HEADER, UNIT_NS, Fit, Misfit, describe, sql_type
from worker.sink.postgres.table import Column

_VARYING = ("character varying", "character")


def text_fit(kind: ColumnType, column: Column) -> Fit:
    """Return how a type's values get into a column of text. Raises `Misfit`."""
    to_text = _text_of(kind)
    if to_text is None:
        raise Misfit(f"the field is {describe(kind)}, which needs {sql_type(kind)}")
    limit = column.typmod - TYPMOD_HEADER if column.type in _VARYING and column.typmod >= TYPMOD_HEADER else None
    put = wire.text if limit is None else wire.limited_text(limit)
    plain = kind.kind in ("string", "enum")
    fits_all = limit is None or (kind.symbols and all(len(s) <= limit for s in kind.symbols))
    blanks = ", and blanks at the end do not count" if column.type == "character" else ""
    remarks = [] if fits_all else [f"text longer than {limit} characters{blanks}"]
    remark = ", ".join([*remarks, *filter(None, [_unreadable(kind)])])
    if plain:
        return Fit(put, TEXT if limit is None else None, remark=remark)
    return Fit(lambda value: put(to_text(value)), remark=remark)


def _unreadable(kind: ColumnType) -> str:
    """Which values of a type have no text."""
    word = kind.logical
    if word == "date" or ("timestamp-" in word):
        return "what lies beyond the years 1-9999"
    if word.startswith("time-"):
        return "times outside of a day"
    return "bytes that are no number" if word == "big-decimal" else ""


def json_fit(kind: ColumnType, column: Column, storage: str) -> Fit:
    """Return how a type's values get into a column of JSON; `storage` as `fit` has it. Raises `Misfit`."""
    put = wire.jsonb if column.type == "jsonb" else bytes
    if storage == "json":
        if kind.kind != "string":
            raise Misfit(f"the field is {describe(kind)}; json reads strings")
        return Fit(lambda value: put(value.encode()), remark="text that is no JSON")
    if kind.kind in ("json", "array") and (kind.items is None or kind.items.logical == ""):
        return Fit(lambda value: put(jsonform.dumps(value)))
    each = kind.items if kind.items is not None else kind
    is_number = each.kind in ("boolean", "int", "long", "float", "double") and not each.logical
    to_text = None if is_number else _text_of(each)
    if to_text is None and each.kind in ("bytes", "fixed"):
        to_text = _identity
    convert = to_text or _identity
    remark = _unreadable(each)
    if kind.items is not None:
        return Fit(lambda vs: put(jsonform.dumps([None if v is None else convert(v) for v in vs])), remark=remark)
    return Fit(lambda value: put(jsonform.dumps(convert(value))), remark=remark)


def _identity(value: Any) -> Any:
    return value


def _text_of(kind: ColumnType) -> Callable[[Any], str] | None:
    """How a value of the type reads as text; None for bytes, which have none."""
    word = kind.logical
    if word == "date":
        return iso.iso_date
    if word.startswith("time-"):
        return iso.iso_time(UNIT_NS[word[5:]] // 1000)
    if "timestamp-" in word:
        return iso.iso_instant(UNIT_NS[word.rpartition("-")[2]], not word.startswith("local-"))
    if word == "decimal":
        return lambda data: format(wire.scaled(data, kind.scale), "f")
    if word == "big-decimal":
        return lambda data: str(wire.big_decimal(data))
    if word == "uuid" and kind.kind == "fixed":
        return iso.uuid_text
    if kind.kind in ("bytes", "fixed"):
        return None
    if kind.kind == "boolean":
        return lambda value: "true" if value else "false"
    if kind.kind in ("float", "double"):
        return iso.float_text
    return (lambda value: jsonform.dumps(value).decode()) if kind.kind in ("array", "json") else str
