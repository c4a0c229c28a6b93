"""Values as JSON prints them, read back by their type."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pytest

from worker import jsonform
from worker.avro.decode import decode_value
from worker.avro.encode import encode_value
from worker.avro.printed import value_of_text
from worker.errors import RecordError
from worker.model.values import base_value

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
NODE = {
    "type": "record",
    "name": "Node",
    "fields": [
        {"name": "born", "type": {"type": "int", "logicalType": "date"}},
        {"name": "next", "type": ["null", "Node"]},
    ],
}


def logical(base: str, word: str) -> dict[str, str]:
    return {"type": base, "logicalType": word}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (DECIMAL, Decimal("12.30")),
        (DECIMAL, base_value(b"", "decimal")),
        ({**DECIMAL, "type": "fixed", "name": "F", "size": 5}, Decimal("-0.01")),
        (logical("bytes", "big-decimal"), Decimal("1E+3")),
        (logical("int", "date"), date(2026, 11, 26)),
        (logical("int", "date"), base_value(2**30, "date")),
        (logical("int", "time-millis"), time(1, 2, 3, 22_000)),
        (logical("long", "time-micros"), time(23, 59, 59, 999_999)),
        (logical("long", "timestamp-millis"), datetime(1, 1, 1, tzinfo=UTC)),
        (logical("long", "timestamp-micros"), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)),
        (logical("long", "timestamp-nanos"), 2**62),
        (logical("long", "local-timestamp-micros"), datetime(2026, 11, 26, 1)),
        (logical("string", "uuid"), UUID(int=7)),
        (logical("string", "uuid"), base_value("n/a", "uuid")),
        ({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, UUID(int=2**127)),
        ("bytes", b"\x00\xff"),
        ({"type": "fixed", "name": "B", "size": 2}, b"\x00\xff"),
        ("string", "12.30"),
        ("double", 0.1),
        ("double", -math.inf),
        ("float", 0.5),
        ("long", -(2**63)),
        ("boolean", False),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B"),
        (["null", "string"], "x"),
        (["null", "string"], None),
        (["double", "long"], 5),
        (["null", logical("int", "date")], date(1969, 12, 31)),
        ({"type": "array", "items": DECIMAL}, [Decimal("1.00"), Decimal("-2.50")]),
        ({"type": "map", "values": "bytes"}, {"": b"", "k": b"v"}),
        (NODE, {"born": date(1815, 12, 10), "next": {"born": date(1836, 5, 12), "next": None}}),
    ],
    ids=lambda each: json.dumps(each, default=str)[:60],
)
def test_what_is_printed_goes_back(schema: object, value: object) -> None:
    """A value that decryption prints is the same bytes of Avro when it is read again."""
    text = json.dumps(schema)
    printed = jsonform.dumps(decode_value(text, encode_value(text, value))).decode()

    assert encode_value(text, value_of_text(text, printed)) == encode_value(text, value)


def test_a_float_that_is_no_number_goes_back() -> None:
    assert math.isnan(value_of_text('"double"', '"NaN"'))  # type: ignore[arg-type]


def test_a_number_keeps_its_digits() -> None:
    """Sixteen digits and more are no float's."""
    schema = json.dumps({"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 10})

    assert value_of_text(schema, "12345678901234567890.0123456789") == Decimal("12345678901234567890.0123456789")


def test_a_branch_that_no_value_tells_is_named() -> None:
    """Text may be bytes, too: which of them is meant is said, and a wrong name is none."""
    schema = '["null", "string", "bytes"]'
    with pytest.raises(RecordError, match=r'as \{"string": value\}; it fits string, bytes'):
        value_of_text(schema, '"aGk="')

    assert encode_value(schema, value_of_text(schema, '{"bytes": "aGk="}')) == b"\x04\x04hi"
    assert encode_value(schema, value_of_text(schema, '{"string": "aGk="}')) == b"\x02\x08aGk="
    with pytest.raises(RecordError, match="no branch"):
        value_of_text(schema, '{"text": "aGk="}')


@pytest.mark.parametrize(
    ("schema", "text", "said"),
    [
        ('"bytes"', '"a"', "base64"),
        ('"bytes"', "1", "base64"),
        ('"int"', "true", "a whole number"),
        ('"int"', "1.0", "a whole number"),
        ('"double"', '"1"', "a double is a number"),
        ('"double"', "NaN", "no JSON"),
        ('"string"', "x", "no JSON"),
        ('"string"', "null", "is text"),
        ('{"type": "map", "values": "int"}', '{"a": 1, "a": 2}', "twice"),
        ('{"type": "map", "values": "int"}', '{"a": "s3cret"}', r"\{\}: a value of type int"),
        ('{"type": "int", "logicalType": "date"}', '"26.11.2026"', "a date is text as 2026-11-26"),
        ('["null", {"type": "int", "logicalType": "date"}]', "5", "text as 2026-11-26"),
        ('{"type": "string", "logicalType": "uuid"}', "7", "a uuid is text as 8f0f"),
        (json.dumps(DECIMAL), '"NaN"', "a decimal is a decimal number"),
        (json.dumps(DECIMAL), '"abcd"', "a decimal is a decimal number"),
        (json.dumps(NODE), '{"born": "1815-12-10"}', "an object of born, next"),
    ],
)
def test_what_is_none_is_refused(schema: str, text: str, said: str) -> None:
    """In words that say what is wanted, and never the value."""
    with pytest.raises(RecordError, match=said) as refused:
        value_of_text(schema, text)

    assert "s3cret" not in str(refused.value)
