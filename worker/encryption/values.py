"""Python values as typed plaintext, for callers who have no Avro schema."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson

from worker.encryption import plaintext as typed_form
from worker.encryption.refusal import unexpected_plaintext
from worker.errors import DecryptionError, RecordError
from worker.model.values import base_value

PlainValue = bool | int | float | str | date | datetime | dict[str, object] | list[object]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS, _LAST_MS = (
    (m.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1) for m in (datetime.min, datetime.max)
)
_TEXT = bytes((1, typed_form.TEXT))
_MILLISECOND = timedelta(milliseconds=1)


def typed_of_value(value: object) -> bytes:
    """
    Return the typed plaintext of a Python value.

    bool, int (64 bits, signed or not), float, str, date, datetime (with a time zone, in whole milliseconds), and dict
    or list of what JSON can hold.

    Raises:
        RecordError: the value has no typed form that keeps it exactly; give a schema, or another type.
    """
    # bool is an int, and datetime a date: the narrower ones come first.
    if isinstance(value, bool):
        return bytes((1, typed_form.BOOL, value))
    if isinstance(value, int):
        return _of_int(value)
    if isinstance(value, float):
        return struct.pack(">BBd", 1, typed_form.FLOAT, value)
    if isinstance(value, str):
        return _TEXT + _utf8(value)
    if isinstance(value, datetime):
        return _of_datetime(value)
    if isinstance(value, date):
        return struct.pack(">BBi", 1, typed_form.DATE, value.toordinal())
    if isinstance(value, dict | list):
        return _of_json(value)
    raise RecordError(f"a value of type {type(value).__name__} has no typed form; give its Avro schema")


def typed_of_values(values: Sequence[object]) -> list[bytes]:
    """Return the typed plaintext of each value; see `typed_of_value`."""
    if set(map(type, values)) == {str}:
        texts: Any = values
        with contextlib.suppress(UnicodeEncodeError):
            return [_TEXT + text.encode() for text in texts]
    return [typed_of_value(value) for value in values]


def value_of_typed(typed: bytes) -> object:
    """
    Return the Python value of a typed plaintext, None for a typed null, a marked base value for a far timestamp.

    Raises:
        DecryptionError: the type is unknown, of a length it can't have, or carries Avro binary (give the schema).
    """
    if len(typed) < 2 or typed[0] != typed_form.VERSION:
        raise unexpected_plaintext()
    kind, data = typed[1], typed[2:]
    if kind & typed_form.NULL_BIT:
        if data or kind & 0x7F not in _NULLABLE:
            raise unexpected_plaintext()
        return None
    read = _READERS.get(kind)
    if read is None:
        raise unexpected_plaintext()
    try:
        return read(data)
    except (struct.error, ValueError, OverflowError):
        raise unexpected_plaintext() from None


def values_of_typed(typed: Iterable[bytes | None]) -> list[object | DecryptionError]:
    """Return the Python value of each typed plaintext, or what is wrong with it; see `value_of_typed`."""
    out: list[object | DecryptionError] = []
    for each in typed:
        try:
            if each is None:
                out.append(None)
            else:
                out.append(each[2:].decode() if each[:2] == _TEXT else value_of_typed(each))
        except UnicodeDecodeError:
            out.append(unexpected_plaintext())
        except DecryptionError as exc:
            out.append(exc)
    return out


def text_of_value(value: object) -> str:
    """
    Return the text that a context carries for a sibling's value: as the worker computes it from Avro.

    Raises:
        RecordError: the value is neither text, nor an integer, nor a boolean.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value
    raise RecordError("a context value is text, an integer or a boolean", code="context_null")


def _of_int(value: int) -> bytes:
    if -(2**63) <= value < 2**63:
        return struct.pack(">BBq", 1, typed_form.BIGINT, value)
    if 0 <= value < 2**64:
        return struct.pack(">BBQ", 1, typed_form.BIGUINT, value)
    raise RecordError("an integer over 64 bits has no typed form")


def _of_datetime(value: datetime) -> bytes:
    if value != value:
        raise RecordError("a missing datetime (NaT) has no form")
    if value.tzinfo is None:
        raise RecordError("a datetime without a time zone names no instant; give it one")
    count, rest = divmod(value - _EPOCH, _MILLISECOND)
    if rest:
        raise RecordError("a datetime finer than a millisecond would lose its end; round it, or give its Avro schema")
    if not _FIRST_MS <= count <= _LAST_MS:
        raise RecordError("a datetime outside of the years 1-9999 of UTC has no form")
    return struct.pack(">BBq", 1, typed_form.TIMESTAMP, count)


def _of_json(value: object) -> bytes:
    if isinstance(value, dict) and value.keys() == {"avro"}:
        raise RecordError('an object whose one key is "avro" is how Avro binary is carried; give another key')
    try:
        data = orjson.dumps(value)
        same = orjson.loads(data) == value
    except TypeError:
        same = False
    # JSON has null for NaN, text for a date and a list for a tuple: none of them comes back.
    if not same:
        raise RecordError("the object holds what JSON can't; give its Avro schema")
    return b"\x01\x0b" + data


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RecordError("the text holds a lone surrogate, which UTF-8 can't carry") from None


def _read_bool(data: bytes) -> bool:
    if data not in (b"\0", b"\1"):
        raise ValueError
    return data == b"\1"


def _number(layout: str) -> Callable[[bytes], object]:
    form = struct.Struct(layout)
    return lambda data: form.unpack(data)[0]


def _read_timestamp(data: bytes) -> object:
    (count,) = struct.unpack(">q", data)
    try:
        return _EPOCH + count * _MILLISECOND
    except OverflowError:
        return base_value(count, "timestamp-millis")


def _read_json(data: bytes) -> object:
    value = orjson.loads(data)
    if isinstance(value, dict) and value.keys() == {"avro"}:
        raise ValueError
    return value


_READERS: dict[int, Callable[[bytes], object]] = {
    typed_form.BIGINT: _number(">q"),
    typed_form.BOOL: _read_bool,
    typed_form.FLOAT: _number(">d"),
    typed_form.INT: _number(">i"),
    typed_form.SMALLINT: _number(">h"),
    typed_form.TIMESTAMP: _read_timestamp,
    typed_form.TEXT: lambda data: data.decode(),
    typed_form.DATE: lambda data: date.fromordinal(struct.unpack(">i", data)[0]),
    typed_form.BIGUINT: _number(">Q"),
    typed_form.JSON: _read_json,
}
_NULLABLE = frozenset(range(typed_form.BIGINT, typed_form.JSON + 1))
