"""Values in PostgreSQL's binary formats: exactly, or a `ValueError` that says what was not possible."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from ipaddress import IPv4Interface, ip_interface
from typing import Any
from uuid import UUID

from psycopg.types.numeric import DecimalBinaryDumper

from worker.sink.postgres.iso import float_text

Encode = Callable[[Any], bytes]

_UNLIMITED = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
_EPOCH_2000 = datetime(2000, 1, 1, tzinfo=UTC)
_LOCAL_2000 = datetime(2000, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
DAYS_TO_2000 = 10_957
US_TO_2000 = DAYS_TO_2000 * 86_400_000_000
# 4713-11-24 BC to 5874897-12-31, and to 294276-12-31: what lies beyond would be read as an infinity, or not at all.
DATES = range(-2_451_545, 2_145_031_949)
INSTANTS = range(-211_813_488_000_000_000, 9_223_371_331_200_000_000)
DAY_US = 86_400_000_000
# Java's; arithmetic on a number of another one would be rounded.
_SCALES = range(-(2**31), 2**31)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?|NaN|[+-]?Infinity", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,40}", re.ASCII)
_TOO_FINE = re.compile(r"[.,]\d{6}\d*[1-9]")
_INFINITE = {"infinity": 2**63 - 1, "-infinity": -(2**63)}
_dump_numeric = DecimalBinaryDumper(Decimal).dump

boolean: Encode = struct.Struct("?").pack
int2: Encode = struct.Struct(">h").pack
int4: Encode = struct.Struct(">i").pack
int8: Encode = struct.Struct(">q").pack
float8: Encode = struct.Struct(">d").pack


def float4(value: float) -> bytes:
    """A real that holds the number exactly."""
    data = struct.pack(">f", value)
    if struct.unpack(">f", data)[0] != value and value == value:
        raise ValueError("a number that a real would round")
    return data


def float8_of_integer(value: int) -> bytes:
    """A double precision that holds the whole number exactly."""
    if int(float(value)) != value:
        raise ValueError("a number that a double precision would round")
    return float8(value)


def text(value: str) -> bytes:
    """UTF-8, which is the connection's encoding."""
    return value.encode()


def fine_text(value: str) -> bytes:
    """Text for a type that keeps microseconds and rounds what is finer."""
    if _TOO_FINE.search(value):
        raise ValueError("a fraction finer than a microsecond")
    return value.encode()


def limited_text(limit: int) -> Callable[[str], bytes]:
    """Text of at most `limit` characters: PostgreSQL itself would cut blanks at the end."""

    def encode(value: str) -> bytes:
        if len(value) > limit:
            raise ValueError(f"text longer than {limit} characters")
        return value.encode()

    return encode


def uuid(value: str) -> bytes:
    """A uuid from its text."""
    return UUID(value).bytes


def integer(value: str) -> int:
    """A whole number from its text."""
    if _INTEGER.fullmatch(value) is None:
        raise ValueError("text that is no whole number")
    return int(value)


def number(value: str) -> Decimal:
    """A number from its text, as PostgreSQL reads it."""
    if _NUMBER.fullmatch(value) is None:
        raise ValueError("text that is no number")
    return Decimal(value)


def scaled(data: bytes, scale: int) -> Decimal:
    """An Avro decimal's number: all its digits, whatever its precision says."""
    if not data:
        raise ValueError("an empty decimal")
    return Decimal(int.from_bytes(data, "big", signed=True)).scaleb(-scale, _UNLIMITED)


def big_decimal(data: bytes) -> Decimal:
    """An Avro big-decimal's number: its unscaled value's length and bytes, and its scale."""
    length, start = _long(data, 0)
    if length < 1:
        raise ValueError("bytes that are no big-decimal")
    scale, end = _long(data, start + length)
    if end != len(data) or scale not in _SCALES:
        raise ValueError("bytes that are no big-decimal")
    return scaled(data[start : start + length], scale)


def _long(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("bytes that are no big-decimal")
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def numeric(precision: int | None, scale: int) -> Callable[[Decimal | int], bytes]:
    """A numeric; with a precision, one that has room for every digit: PostgreSQL itself would round."""

    def encode(value: Decimal | int) -> bytes:
        exact = Decimal(value)
        if exact.is_finite():
            exponent = exact.as_tuple().exponent
            assert isinstance(exponent, int)
            top = exact.adjusted() if exact else 0
            if top >= 131_072 or exponent < -16_383:
                raise ValueError("a number beyond numeric's range")
            if precision is not None:
                if exact and top >= precision - scale:
                    raise ValueError(f"a number of more than {precision - scale} digits before the point")
                if exponent < -scale and exact != exact.quantize(Decimal(1).scaleb(-scale), context=_UNLIMITED):
                    raise ValueError(f"a number of more than {scale} digits after the point")
        return bytes(_dump_numeric(exact) or b"")

    return encode


def date_of_days(days: int) -> bytes:
    """A date from Avro's days since 1970."""
    return int4(_within(days - DAYS_TO_2000, DATES, "a date"))


def date_of_text(value: str) -> bytes:
    """A date from ISO 8601."""
    return int4(date.fromisoformat(value).toordinal() - _EPOCH_2000.toordinal())


def time_of(unit_us: int) -> Callable[[int], bytes]:
    """A time from a count since midnight; 24:00:00 is one."""

    def encode(count: int) -> bytes:
        us = count * unit_us
        if not 0 <= us <= DAY_US:
            raise ValueError("a time outside of a day")
        return int8(us)

    return encode


def instant_of(unit_ns: int) -> Callable[[int], bytes]:
    """A timestamp, with or without zone, from a count since 1970."""

    def encode(count: int) -> bytes:
        us, rest = divmod(count * unit_ns, 1000)
        if rest:
            raise ValueError("a timestamp finer than a microsecond")
        return int8(_within(us - US_TO_2000, INSTANTS, "a timestamp"))

    return encode


def instant_of_text(zoned: bool) -> Callable[[str], bytes]:
    """A timestamp from ISO 8601 in microseconds at most, with an offset where the column has one and without else."""
    epoch = _EPOCH_2000 if zoned else _LOCAL_2000

    def encode(value: str) -> bytes:
        if value in _INFINITE:
            return int8(_INFINITE[value])
        if _TOO_FINE.search(value):
            raise ValueError("a timestamp finer than a microsecond")
        moment = datetime.fromisoformat(value)
        if (moment.utcoffset() is not None) is not zoned:
            raise ValueError("a timestamp with an offset where none is wanted, or without one")
        return int8((moment - epoch) // _MICROSECOND)

    return encode


def interval(value: bytes) -> bytes:
    """An interval from Avro's duration: months, days and milliseconds."""
    months, days, ms = struct.unpack("<III", value)
    return struct.pack(">qii", ms * 1000, days, months)


def network(cidr: bool) -> Callable[[str], bytes]:
    """An inet or a cidr from its text."""

    def encode(value: str) -> bytes:
        if "%" in value:
            raise ValueError("an address with a scope")
        found = ip_interface(value)
        packed, bits = found.ip.packed, found.network.prefixlen
        if cidr and found.ip != found.network.network_address:
            raise ValueError("an address with bits right of its mask")
        family = 2 if isinstance(found, IPv4Interface) else 3
        return struct.pack("BBBB", family, bits, cidr, len(packed)) + packed

    return encode


def jsonb(value: bytes) -> bytes:
    """A jsonb from JSON text."""
    return b"\x01" + value


def array(oid: int, item: Encode) -> Callable[[Iterable[object]], bytes]:
    """An array of one dimension, of an element type."""

    def encode(values: Iterable[object]) -> bytes:
        items = [None if v is None else item(v) for v in values]
        head = struct.pack(">iiI", bool(items), any(i is None for i in items), oid)
        if not items:
            return head
        sized = (b"\xff\xff\xff\xff" if i is None else struct.pack(">i", len(i)) + i for i in items)
        return head + struct.pack(">ii", len(items), 1) + b"".join(sized)

    return encode


def composite(oid: int) -> Encode:
    """A composite of one column of type `oid`."""
    return lambda data: struct.pack(">iIi", 1, oid, len(data)) + data


def _within(value: int, allowed: range, what: str) -> int:
    if value not in allowed:
        raise ValueError(f"{what} beyond PostgreSQL's range")
    return value


def decimal_of_float(value: float) -> Decimal:
    """The shortest decimal that is this float again."""
    return Decimal(float_text(value))


def float4_of_integer(value: int) -> bytes:
    """A real that holds the whole number exactly."""
    data = struct.pack(">f", value)
    if int(struct.unpack(">f", data)[0]) != value:
        raise ValueError("a number that a real would round")
    return data


def whole(value: Decimal) -> int:
    """A number without a fraction."""
    found = int(value)
    if found != value:
        raise ValueError("a number with a fraction")
    return found
