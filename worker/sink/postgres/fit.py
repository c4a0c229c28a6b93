"""
Which Avro types fit which columns, and how their values get there: the one table that `check` and the writing share.

A value goes in exactly, or the record is refused. A column that no value of the type would fit is a misfit; one that
some would not fit says which, so that nobody learns it from dead letters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from worker import jsonform
from worker.model.rows import ColumnType
from worker.sink.postgres import wire
from worker.sink.postgres.table import Column
from worker.sink.postgres.wire import Encode

BYTEA = 17
TEXT = 25
_NATIVE = {"boolean": 16, "smallint": 21, "integer": 23, "bigint": 20, "double precision": 701, "bytea": 17}
_UNIT_NS = {"millis": 1_000_000, "micros": 1000, "nanos": 1}
_DIGITS = {"int": 10, "long": 19}
_VARYING = ("character varying", "character")
_TYPMOD_HEADER = 4


class Misfit(Exception):
    """A column can't take a type's values; the text says why, and what would."""


@dataclass(frozen=True, slots=True)
class Fit:
    """
    How a type's values get into a column.

    Args:
        encode: the base value's binary form.
        native: the oid under which the driver makes the same form of the value as it is; None where it does not.
        cast: whether `encode` gives text that the server is to read.
        remark: which values are refused, in words that follow "refused:"; empty where none is.
    """

    encode: Encode
    native: int | None = None
    cast: bool = False
    remark: str = ""


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
        return _json(kind, column, storage)
    if kind.kind in ("array", "json"):
        if column.category == "S":
            return _text(kind, column)
        raise Misfit("an array, a map, a record or a union needs jsonb")
    if column.category == "S" and column.type not in ("name", '"char"'):
        return _text(kind, column)
    make = _MAKERS.get(column.type) if column.kind == "b" else _enum if column.kind == "e" else None
    found = make(kind, column) if make is not None else None
    if found is not None:
        return found
    if kind.kind == "string" and not kind.logical and column.kind in ("b", "r") and column.type not in _NO_TEXT:
        return Fit(wire.text, cast=True, remark=f"text that is no {column.type}")
    raise Misfit(f"the field is {describe(kind)}, which needs {sql_type(kind)}")


def describe(kind: ColumnType) -> str:
    """A type in words."""
    return f"{kind.logical} on {kind.kind}" if kind.logical else "of JSON's kind" if kind.kind == "json" else kind.kind


def sql_type(kind: ColumnType) -> str:
    """The SQL type that a table gets for a field's values, which takes every one of them that means anything."""
    if kind.kind == "array":
        assert kind.items is not None
        return f"{sql_type(kind.items)}[]"
    return _CREATED.get(kind.logical) or _CREATED.get(kind.kind, "jsonb")


def _text(kind: ColumnType, column: Column) -> Fit:
    to_text = _text_of(kind)
    if to_text is None:
        raise Misfit(f"the field is {describe(kind)}, which needs {sql_type(kind)}")
    limit = column.typmod - _TYPMOD_HEADER if column.type in _VARYING and column.typmod >= _TYPMOD_HEADER else None
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


def _json(kind: ColumnType, column: Column, storage: str) -> Fit:
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
        return wire.iso_date
    if word.startswith("time-"):
        return wire.iso_time(_UNIT_NS[word[5:]] // 1000)
    if "timestamp-" in word:
        return wire.iso_instant(_UNIT_NS[word.rpartition("-")[2]], not word.startswith("local-"))
    if word == "decimal":
        return lambda data: format(wire.scaled(data, kind.scale), "f")
    if word == "big-decimal":
        return lambda data: str(wire.big_decimal(data))
    if word == "uuid" and kind.kind == "fixed":
        return wire.uuid_text
    if kind.kind in ("bytes", "fixed"):
        return None
    if kind.kind == "boolean":
        return lambda value: "true" if value else "false"
    if kind.kind in ("float", "double"):
        return wire.float_text
    return (lambda value: jsonform.dumps(value).decode()) if kind.kind in ("array", "json") else str


def _boolean(kind: ColumnType, column: Column) -> Fit | None:
    return Fit(wire.boolean, _NATIVE["boolean"]) if kind.kind == "boolean" else None


def _integer(kind: ColumnType, column: Column) -> Fit | None:
    bits = {"smallint": 16, "integer": 32, "bigint": 64}[column.type]
    put = {"smallint": wire.int2, "integer": wire.int4, "bigint": wire.int8}[column.type]
    beyond = f"numbers beyond {column.type}"
    if kind.kind in ("int", "long") and (not kind.logical or kind.logical.endswith("-nanos")):
        narrow = bits < (32 if kind.kind == "int" else 64)
        return Fit(put, None if narrow else _NATIVE[column.type], remark=beyond if narrow else "")
    if kind.kind == "string" and not kind.logical:
        return Fit(lambda value: put(wire.integer(value)), remark=f"text that is no {column.type}")
    if kind.logical == "decimal":
        return Fit(lambda data: put(wire.whole(wire.scaled(data, kind.scale))), remark=f"fractions and {beyond}")
    return None


def _real(kind: ColumnType, column: Column) -> Fit | None:
    if kind.kind == "float":
        return Fit(wire.float4)
    if kind.kind in ("int", "long") and not kind.logical:
        return Fit(wire.float4_of_integer, remark="whole numbers that a real would round")
    return None


def _double(kind: ColumnType, column: Column) -> Fit | None:
    if kind.kind in ("float", "double"):
        return Fit(wire.float8, _NATIVE["double precision"])
    if kind.kind in ("int", "long") and not kind.logical:
        rounded = "whole numbers that a double precision would round" if kind.kind == "long" else ""
        return Fit(wire.float8_of_integer, remark=rounded)
    return None


def _numeric(kind: ColumnType, column: Column) -> Fit | None:
    limited = column.typmod >= _TYPMOD_HEADER
    raw = column.typmod - _TYPMOD_HEADER
    precision = raw >> 16 & 0xFFFF if limited else None
    # Since PostgreSQL 15 a scale has 11 bits and a sign; before, 16 bits without one, of which these are the lower.
    scale = ((raw & 0x7FF) ^ 1024) - 1024 if limited else 0
    put = wire.numeric(precision, scale)
    room = None if precision is None else (precision - scale, scale)
    beyond = f"numbers that {column.declared or 'numeric'} would round or has no room for"
    if kind.kind in ("int", "long") and not (kind.logical and not kind.logical.endswith("-nanos")):
        return Fit(put, remark=beyond if room is not None and (room[0] < _DIGITS[kind.kind] or scale < 0) else "")
    if kind.kind in ("float", "double"):
        return Fit(lambda value: put(wire.decimal_of_float(value)), remark=beyond if limited else "")
    if kind.logical == "decimal":
        tight = room is None or room[0] < kind.precision - kind.scale or room[1] < kind.scale
        wide = kind.precision > 16_000
        remark = "more digits than the schema's precision" if not tight else beyond if limited or wide else ""
        return Fit(lambda data: put(wire.scaled(data, kind.scale)), remark=remark)
    if kind.logical == "big-decimal":
        return Fit(lambda data: put(wire.big_decimal(data)), remark=f"{beyond}, and bytes that are no number")
    if kind.kind == "string" and not kind.logical:
        return Fit(lambda value: put(wire.number(value)), remark=f"text that is no number, and {beyond}")
    return None


def _bytea(kind: ColumnType, column: Column) -> Fit | None:
    raw = kind.kind in ("bytes", "fixed") and kind.logical in ("", "uuid", "duration")
    return Fit(bytes, _NATIVE["bytea"]) if raw else None


def _uuid(kind: ColumnType, column: Column) -> Fit | None:
    if kind.kind == "fixed" and kind.logical == "uuid":
        return Fit(bytes)
    if kind.kind == "string":
        return Fit(wire.uuid, remark="text that is no uuid")
    return None


def _date(kind: ColumnType, column: Column) -> Fit | None:
    if kind.logical == "date":
        return Fit(wire.date_of_days, remark="dates beyond PostgreSQL's")
    if kind.kind == "string" and not kind.logical:
        return Fit(wire.date_of_text, remark="text that is no date (ISO 8601)")
    return None


def _time(kind: ColumnType, column: Column) -> Fit | None:
    _refuse_rounding(kind, column)
    if kind.logical.startswith("time-"):
        return Fit(wire.time_of(_UNIT_NS[kind.logical[5:]] // 1000), remark="times outside of a day")
    return None


def _instant(kind: ColumnType, column: Column) -> Fit | None:
    _refuse_rounding(kind, column)
    zoned = column.type == "timestamp with time zone"
    word = kind.logical
    # An instant in a column without a zone is its time in UTC; the other way round nobody knows the zone.
    if "timestamp-" in word and not (zoned and word.startswith("local-")):
        fine = ", and those finer than a microsecond" if word.endswith("nanos") else ""
        return Fit(wire.instant_of(_UNIT_NS[word.rpartition("-")[2]]), remark=f"timestamps beyond PostgreSQL's{fine}")
    if kind.kind == "string" and not word:
        offset = "with an offset" if zoned else "without an offset"
        return Fit(wire.instant_of_text(zoned), remark=f"text that is no timestamp {offset} (ISO 8601, microseconds)")
    return None


def _refuse_rounding(kind: ColumnType, column: Column) -> None:
    digits = 3 if kind.logical.endswith("millis") else 6
    if 0 <= column.typmod < digits:
        raise Misfit(f"{column.declared} rounds fractions of a second; the field has {digits} digits of them")


def _interval(kind: ColumnType, column: Column) -> Fit | None:
    if kind.logical != "duration":
        return None
    if column.typmod != -1:
        raise Misfit(f"{column.declared} drops a part of a duration; interval keeps it")
    return Fit(wire.interval, remark="more than 2^31 months or days")


def _network(kind: ColumnType, column: Column) -> Fit | None:
    if kind.kind != "string" or kind.logical:
        return None
    return Fit(wire.network(column.type == "cidr"), remark=f"text that is no {column.type}")


def _enum(kind: ColumnType, column: Column) -> Fit | None:
    if kind.kind == "enum":
        if missing := [s for s in kind.symbols if s not in column.labels]:
            raise Misfit(f"{column.type} has no {', '.join(missing)}; ALTER TYPE ... ADD VALUE")
        return Fit(wire.text, TEXT)
    if kind.kind == "string" and not kind.logical:
        return Fit(wire.text, TEXT, remark=f"text that is no {column.type}")
    return None


_MAKERS: dict[str, Callable[[ColumnType, Column], Fit | None]] = {
    "boolean": _boolean,
    **dict.fromkeys(("smallint", "integer", "bigint"), _integer),
    "real": _real,
    "double precision": _double,
    "numeric": _numeric,
    "bytea": _bytea,
    "uuid": _uuid,
    "date": _date,
    "time without time zone": _time,
    **dict.fromkeys(("timestamp with time zone", "timestamp without time zone"), _instant),
    "interval": _interval,
    **dict.fromkeys(("inet", "cidr"), _network),
}
# Text of these would be rounded, or read by rules that are not the text's own.
_NO_TEXT = ("boolean", "real", "double precision", "bytea", "money", "time without time zone", '"char"', "name", "bit")
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
