"""Typed plaintext: what the `record` format encrypts, from and to a field's Avro binary."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable

from worker.encryption.refusal import unexpected_plaintext
from worker.model import FieldPlan, PlaintextKind

VERSION = 1
BIGINT, BOOL, DECIMAL, FLOAT, INT, SMALLINT, TIMESTAMP, TEXT, DATE, BIGUINT, JSON = range(1, 12)
NULL_BIT = 0x80
EPOCH_DAY = 719_163
"""1970-01-01, where 0001-01-01 is day 1."""
LAST_DAY = 3_652_059
"""9999-12-31."""

_INT = struct.Struct(">BBi")
_LONG = struct.Struct(">BBq")
_DOUBLE = struct.Struct(">BBd")
_AVRO = re.compile(rb'\x01\x0b\{ ?"avro" ?: ?"([A-Za-z0-9+/]*={0,2})" ?\}')

Codec = Callable[[bytes], bytes]


def to_typed(plan: FieldPlan) -> Codec:
    """
    Return what turns a field's Avro binary into typed plaintext `01 type value`, big-endian.

    Whatever the type can't carry exactly becomes type 11, `{"avro":"<base64>"}`, so that every input comes back byte
    for byte: NaN, varints longer than they need be, nulls, dates outside the years 1-9999.

    Source:
        tests/vectors/zerokms.json, `plaintext_encoding`
    """
    exact = None if hides_null(plan) else _exact_writer(plan)
    if exact is None:
        return as_avro
    write = exact
    prefix = b"" if plan.null_branch is None else _value_branch(plan.null_branch)
    start = len(prefix)

    def encode(value: bytes) -> bytes:
        if value[:start] == prefix:
            typed = write(value[start:])
            if typed is not None:
                return typed
        return as_avro(value)

    return encode


def from_typed(plan: FieldPlan) -> Codec:
    """
    Return what turns typed plaintext back into the field's Avro binary.

    It raises `DecryptionError` for a type that the field does not have.
    """
    exact = None if hides_null(plan) else _exact_reader(plan)
    prefix = b"" if plan.null_branch is None else _value_branch(plan.null_branch)

    def decode(typed: bytes) -> bytes:
        if typed[:2] == b"\x01\x0b":
            return avro_of(typed)
        if exact is None or typed[:1] != b"\x01":
            raise unexpected_plaintext()
        if plan.null_branch is not None and len(typed) == 2 and typed[1] & NULL_BIT:
            return varint(plan.null_branch)
        return prefix + exact(typed)

    return decode


def hides_null(plan: FieldPlan) -> bool:
    """Whether null and value must look alike, so that no typed form may be used."""
    return plan.null == "encrypt" and plan.null_branch is not None


def as_avro(value: bytes) -> bytes:
    """Type 11: any field's bytes as they stand."""
    return b'\x01\x0b{"avro":"' + base64.b64encode(value) + b'"}'


def avro_of(typed: bytes) -> bytes:
    """Read type 11 as `as_avro` writes it."""
    match = _AVRO.fullmatch(typed)
    if match is None:
        raise unexpected_plaintext()
    try:
        return base64.b64decode(match[1], validate=True)
    except binascii.Error:
        raise unexpected_plaintext() from None


def varint(number: int) -> bytes:
    """Avro's zigzag varint, in its shortest form; 64 bits."""
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def read_varint(data: bytes) -> tuple[int, int] | None:
    """Return number and length of a varint in its shortest form at the start of `data`, or None."""
    rest = 0
    for i, byte in enumerate(data[:10]):
        rest |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if (byte == 0 and i > 0) or rest >> 64:
                return None
            return (rest >> 1) ^ -(rest & 1), i + 1
    return None


def _value_branch(null_branch: int) -> bytes:
    return b"\x00" if null_branch == 1 else b"\x02"


def _whole_varint(data: bytes) -> int | None:
    found = read_varint(data)
    return found[0] if found is not None and found[1] == len(data) else None


def _write_boolean(data: bytes) -> bytes | None:
    return b"\x01\x02" + data if data in (b"\0", b"\1") else None


def _write_int(data: bytes) -> bytes | None:
    number = _whole_varint(data)
    if number is None or not -(2**31) <= number < 2**31:
        return None
    return _INT.pack(VERSION, INT, number)


def _write_date(data: bytes) -> bytes | None:
    number = _whole_varint(data)
    if number is None or not 1 <= number + EPOCH_DAY <= LAST_DAY:
        return None
    return _INT.pack(VERSION, DATE, number + EPOCH_DAY)


def _long_writer(kind: int) -> Callable[[bytes], bytes | None]:
    def write(data: bytes) -> bytes | None:
        number = _whole_varint(data)
        return None if number is None else _LONG.pack(VERSION, kind, number)

    return write


def _float_writer(layout: str) -> Callable[[bytes], bytes | None]:
    form = struct.Struct(layout)

    def write(data: bytes) -> bytes | None:
        if len(data) != form.size:
            return None
        (number,) = form.unpack(data)
        return _DOUBLE.pack(VERSION, FLOAT, number) if number == number else None

    return write


def _write_string(data: bytes) -> bytes | None:
    # One byte of length holds 0-63, most of what streams carry.
    first = data[0] if data else 1
    if first < 0x80:
        text = data[1:]
        fits = first == len(text) << 1
    else:
        found = read_varint(data)
        text = data[found[1] :] if found else b""
        fits = found is not None and found[0] == len(text)
    if not fits:
        return None
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            return None
    return b"\x01\x08" + text


def _exact_writer(plan: FieldPlan) -> Callable[[bytes], bytes | None] | None:
    if plan.kind is PlaintextKind.ENUM:
        names = {varint(i): b"\x01\x08" + symbol.encode() for i, symbol in enumerate(plan.symbols)}
        return names.get
    return {
        PlaintextKind.BOOLEAN: _write_boolean,
        PlaintextKind.INT: _write_int,
        PlaintextKind.LONG: _long_writer(BIGINT),
        PlaintextKind.FLOAT: _float_writer("<f"),
        PlaintextKind.DOUBLE: _float_writer("<d"),
        PlaintextKind.STRING: _write_string,
        PlaintextKind.DATE: _write_date,
        PlaintextKind.TIMESTAMP_MS: _long_writer(TIMESTAMP),
    }.get(plan.kind)


def _fixed_reader(form: struct.Struct, kind: int, write: Callable[[int], bytes]) -> Codec:
    def read(typed: bytes) -> bytes:
        if len(typed) != form.size or typed[1] != kind:
            raise unexpected_plaintext()
        return write(form.unpack(typed)[2])

    return read


def _float_reader(layout: str) -> Codec:
    form = struct.Struct(layout)

    def read(typed: bytes) -> bytes:
        if len(typed) != _DOUBLE.size or typed[1] != FLOAT:
            raise unexpected_plaintext()
        try:
            written = form.pack(_DOUBLE.unpack(typed)[2])
        except OverflowError:
            raise unexpected_plaintext() from None
        # A double that another client wrote may not fit a float exactly.
        if _DOUBLE.pack(VERSION, FLOAT, form.unpack(written)[0]) != typed:
            raise unexpected_plaintext()
        return written

    return read


def _read_boolean(typed: bytes) -> bytes:
    if typed not in (b"\x01\x02\x00", b"\x01\x02\x01"):
        raise unexpected_plaintext()
    return typed[2:]


def _read_string(typed: bytes) -> bytes:
    if typed[1:2] != b"\x08":
        raise unexpected_plaintext()
    return varint(len(typed) - 2) + typed[2:]


def _exact_reader(plan: FieldPlan) -> Codec | None:
    if plan.kind is PlaintextKind.ENUM:
        indexes = {b"\x01\x08" + symbol.encode(): varint(i) for i, symbol in enumerate(plan.symbols)}

        def read_symbol(typed: bytes) -> bytes:
            found = indexes.get(typed)
            if found is None:
                raise unexpected_plaintext()
            return found

        return read_symbol
    return {
        PlaintextKind.BOOLEAN: _read_boolean,
        PlaintextKind.INT: _fixed_reader(_INT, INT, varint),
        PlaintextKind.LONG: _fixed_reader(_LONG, BIGINT, varint),
        PlaintextKind.FLOAT: _float_reader("<f"),
        PlaintextKind.DOUBLE: _float_reader("<d"),
        PlaintextKind.STRING: _read_string,
        PlaintextKind.DATE: _fixed_reader(_INT, DATE, lambda day: varint(day - EPOCH_DAY)),
        PlaintextKind.TIMESTAMP_MS: _fixed_reader(_LONG, TIMESTAMP, varint),
    }.get(plan.kind)
