"""
Logical types: which of them count, and what their values are in Python.

Avro's rule: a logical type that its base can't carry, or whose attributes don't fit, is ignored, as if it were not
there. One that counts reads every base value: exactly, or as the marked base value where Python's type has no room.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any
from uuid import UUID

from worker.avro.reader import bytes_span, read_long, zigzag
from worker.avro.schema import Node
from worker.avro.words import LOGICAL
from worker.errors import DecodeError
from worker.model.values import BaseValue, base_value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = datetime(1970, 1, 1)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_US = 86_400_000_000
_MICROSECOND = timedelta(microseconds=1)
_UNLIMITED = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
# Beyond it, arithmetic on the number would not end: a hostile scale is no reason to compute 10^2147483647.
_MAX_SHIFT = 100_000


class Unfit(Exception):
    """A Python value has no exact form; the text says what is wanted."""


@dataclass(frozen=True, slots=True)
class Logical:
    """
    How one logical type's values are read and written.

    Args:
        read: from the base value as Avro carries it; a marked base value where it has no reading.
        write: to the base value; raises `Unfit` for what would not come back as it is.
    """

    read: Callable[[Any], object]
    write: Callable[[object], Any]


def logical(node: Node) -> str:
    """The logical type where it counts, else the empty string."""
    word = node.attributes.get("logicalType")
    if not isinstance(word, str) or word not in _allowed(node):
        return ""
    return "" if word == "decimal" and not _is_decimal(node) else word


def decimal_digits(node: Node) -> tuple[int, int]:
    """Precision and scale of a decimal that counts."""
    return node.attributes["precision"], node.attributes.get("scale", 0)


def logical_values(node: Node) -> Logical | None:
    """
    How the values of a type's logical type are read and written; None where they are the base's own.

    Those are the base's too of `timestamp-nanos`, `local-timestamp-nanos` and `duration`: Python has no type that fine.
    """
    word = logical(node)
    if word == "decimal":
        return _decimal(node)
    if word == "uuid":
        return _UUID_BYTES if node.kind == "fixed" else _UUID_TEXT
    return _VALUES.get(word)


def _allowed(node: Node) -> Iterable[str]:
    if node.kind == "fixed":
        return {12: ("duration", "decimal"), 16: ("uuid", "decimal")}.get(node.attributes.get("size", 0), ("decimal",))
    return LOGICAL.get(node.kind, ())


def _is_decimal(node: Node) -> bool:
    precision, scale = node.attributes.get("precision"), node.attributes.get("scale", 0)
    if type(precision) is not int or type(scale) is not int or not 0 <= scale <= precision or precision < 1:
        return False
    if node.kind != "fixed":
        return True
    bits: int = 8 * node.attributes["size"] - 1
    return precision <= math.floor(math.log10(2) * bits)


def _date(days: int) -> object:
    try:
        return date.fromordinal(days + _EPOCH_DAY)
    except (ValueError, OverflowError):
        return base_value(days, "date")


def _days(value: object) -> int:
    if type(value) is not date:
        raise Unfit("a date is a datetime.date")
    return value.toordinal() - _EPOCH_DAY


def _time(word: str, unit_us: int) -> Logical:
    def read(count: int) -> object:
        us = count * unit_us
        if not 0 <= us < _DAY_US:
            return base_value(count, word)
        seconds, us = divmod(us, 1_000_000)
        return time(seconds // 3600, seconds // 60 % 60, seconds % 60, us)

    def write(value: object) -> int:
        if not isinstance(value, time) or value.tzinfo is not None:
            raise Unfit(f"a {word} is a datetime.time without a zone")
        us = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
        return _whole(us, unit_us, word)

    return Logical(read, write)


def _timestamp(word: str, unit_us: int) -> Logical:
    is_local = word.startswith("local-")
    epoch = _LOCAL_EPOCH if is_local else _EPOCH

    def read(count: int) -> object:
        try:
            return epoch + timedelta(microseconds=count * unit_us)
        except OverflowError:
            return base_value(count, word)

    def write(value: object) -> int:
        # pandas' NaT is a datetime that equals nothing, and its Timestamps go on where a datetime ends.
        if not isinstance(value, datetime) or value != value or (value.utcoffset() is None) is not is_local:
            zone = "without a zone" if is_local else "with a zone: without one it names no instant"
            raise Unfit(f"a {word} is a datetime.datetime {zone}")
        if getattr(value, "nanosecond", 0):
            raise Unfit(f"a {word} has no nanoseconds, and would lose them")
        count = _whole((value - epoch) // _MICROSECOND, unit_us, word)
        if isinstance(read(count), BaseValue):
            raise Unfit(f"a {word} lies in the years 1-9999 of UTC")
        return count

    return Logical(read, write)


def _whole(us: int, unit_us: int, word: str) -> int:
    count, rest = divmod(us, unit_us)
    if rest:
        raise Unfit(f"a {word} has no microseconds, and would lose them")
    return count


def _uuid_of_text(text: str) -> object:
    try:
        found = UUID(text)
    except ValueError:
        return base_value(text, "uuid")
    return found if str(found) == text else base_value(text, "uuid")


def _uuid(value: object) -> UUID:
    if not isinstance(value, UUID):
        raise Unfit("a uuid is a uuid.UUID")
    return value


def _decimal(node: Node) -> Logical:
    precision, scale = decimal_digits(node)
    size = node.attributes["size"] if node.kind == "fixed" else None

    def read(data: bytes) -> object:
        return scaled(data, scale) if data else base_value(data, "decimal")

    def write(value: object) -> bytes:
        unscaled = _unscaled(value, scale)
        if Decimal(unscaled).adjusted() >= precision:
            raise Unfit(f"the decimal has more than the {precision} digits of its type")
        if size is None:
            return _shortest(unscaled)
        return unscaled.to_bytes(size, "big", signed=True)

    return Logical(read, write)


def scaled(data: bytes, scale: int) -> Decimal:
    """The number whose unscaled value is `data`, two's complement and big-endian: exact, whatever its digits."""
    return Decimal(int.from_bytes(data, "big", signed=True)).scaleb(-scale, _UNLIMITED)


def _unscaled(value: object, scale: int) -> int:
    if not isinstance(value, Decimal) or not value.is_finite():
        raise Unfit("a decimal is a finite decimal.Decimal")
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if value and abs(exponent) + scale > _MAX_SHIFT:
        raise Unfit("the decimal's exponent is too large")
    shifted = value.scaleb(scale, _UNLIMITED) if value else Decimal(0)
    unscaled = int(shifted)
    if unscaled != shifted:
        raise Unfit(f"the decimal has more than {scale} digits after the point, and would lose them")
    return unscaled


def _shortest(number: int) -> bytes:
    return number.to_bytes((number + (number < 0)).bit_length() // 8 + 1, "big", signed=True)


def _read_big_decimal(data: bytes) -> object:
    """Java's form: the unscaled value's length and bytes, and the scale."""
    try:
        start, end = bytes_span(data, 0)
        scale, last = read_long(data, end)
    except (IndexError, DecodeError):
        return base_value(data, "big-decimal")
    if start == end or last != len(data) or not -(2**31) <= scale < 2**31:
        return base_value(data, "big-decimal")
    return scaled(data[start:end], scale)


def _write_big_decimal(value: object) -> bytes:
    if not isinstance(value, Decimal) or not value.is_finite():
        raise Unfit("a big-decimal is a finite decimal.Decimal")
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if not -(2**31) < exponent < 2**31:
        raise Unfit("the decimal's exponent is too large")
    unscaled = _shortest(int(value.scaleb(-exponent, _UNLIMITED)))
    return zigzag(len(unscaled)) + unscaled + zigzag(-exponent)


_UUID_TEXT = Logical(_uuid_of_text, lambda value: str(_uuid(value)))
_UUID_BYTES = Logical(lambda data: UUID(bytes=data), lambda value: _uuid(value).bytes)
_VALUES = {
    "date": Logical(_date, _days),
    "time-millis": _time("time-millis", 1000),
    "time-micros": _time("time-micros", 1),
    "timestamp-millis": _timestamp("timestamp-millis", 1000),
    "timestamp-micros": _timestamp("timestamp-micros", 1),
    "local-timestamp-millis": _timestamp("local-timestamp-millis", 1000),
    "local-timestamp-micros": _timestamp("local-timestamp-micros", 1),
    "big-decimal": Logical(_read_big_decimal, _write_big_decimal),
}
