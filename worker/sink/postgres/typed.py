"""How values get into columns of a type of their own: numbers, times, uuids, addresses, enums."""

from __future__ import annotations

from collections.abc import Callable

from worker.model.rows import ColumnType
from worker.sink.postgres import wire
from worker.sink.postgres.fit import TEXT, TYPMOD_HEADER, UNIT_NS, Fit, Misfit, Whole
from worker.sink.postgres.table import Column

_NATIVE = {"boolean": 16, "smallint": 21, "integer": 23, "bigint": 20, "double precision": 701, "bytea": 17}
_DIGITS = {"int": 10, "long": 19}


def _boolean(kind: ColumnType, column: Column) -> Fit | None:
    return Fit(wire.boolean, _NATIVE["boolean"]) if kind.kind == "boolean" else None


def _integer(kind: ColumnType, column: Column) -> Fit | None:
    bits = {"smallint": 16, "integer": 32, "bigint": 64}[column.type]
    put = {"smallint": wire.int2, "integer": wire.int4, "bigint": wire.int8}[column.type]
    beyond = f"numbers beyond {column.type}"
    if kind.kind in ("int", "long") and (not kind.logical or kind.logical.endswith("-nanos")):
        narrow = bits < (32 if kind.kind == "int" else 64)
        whole = Whole(bits // 8, 1, 0, range(-(1 << bits - 1), 1 << bits - 1))
        return Fit(put, None if narrow else _NATIVE[column.type], remark=beyond if narrow else "", whole=whole)
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
    limited = column.typmod >= TYPMOD_HEADER
    raw = column.typmod - TYPMOD_HEADER
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
        whole = Whole(4, 1, -wire.DAYS_TO_2000, wire.DATES)
        return Fit(wire.date_of_days, remark="dates beyond PostgreSQL's", whole=whole)
    if kind.kind == "string" and not kind.logical:
        return Fit(wire.date_of_text, remark="text that is no date (ISO 8601)")
    return None


def _time(kind: ColumnType, column: Column) -> Fit | None:
    _refuse_rounding(kind, column)
    if kind.logical.startswith("time-"):
        unit_us = UNIT_NS[kind.logical[5:]] // 1000
        whole = Whole(8, unit_us, 0, range(wire.DAY_US + 1))
        return Fit(wire.time_of(unit_us), remark="times outside of a day", whole=whole)
    return None


def _instant(kind: ColumnType, column: Column) -> Fit | None:
    _refuse_rounding(kind, column)
    zoned = column.type == "timestamp with time zone"
    word = kind.logical
    # An instant in a column without a zone is its time in UTC; the other way round nobody knows the zone.
    if "timestamp-" in word and not (zoned and word.startswith("local-")):
        fine = ", and those finer than a microsecond" if word.endswith("nanos") else ""
        unit_ns = UNIT_NS[word.rpartition("-")[2]]
        whole = None if fine else Whole(8, unit_ns // 1000, -wire.US_TO_2000, wire.INSTANTS)
        return Fit(wire.instant_of(unit_ns), remark=f"timestamps beyond PostgreSQL's{fine}", whole=whole)
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


def enum_fit(kind: ColumnType, column: Column) -> Fit | None:
    """Return how a type's values get into a column of an enum; None where they do not. Raises `Misfit`."""
    if kind.kind == "enum":
        if missing := [s for s in kind.symbols if s not in column.labels]:
            raise Misfit(f"{column.type} has no {', '.join(missing)}; ALTER TYPE ... ADD VALUE")
        return Fit(wire.text, TEXT)
    if kind.kind == "string" and not kind.logical:
        return Fit(wire.text, TEXT, remark=f"text that is no {column.type}")
    return None


MAKERS: dict[str, Callable[[ColumnType, Column], Fit | None]] = {
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
"""By the column's type; each returns None where the values do not fit, or raises `Misfit` where it can say why."""
