"""Columns of every Avro type: what comes back is what went in, in an Arrow type that no value decides on."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pytest

from tests.unit.sdk.services import Recording
from worker import Encryption
from worker.errors import ConfigError, RecordError
from worker.model.values import base_value
from worker.sdk.columns import Column

FIELD = "acme.crm.Customer/note"
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
LONG_DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 80, "scale": 2}
UUID_TEXT = {"type": "string", "logicalType": "uuid"}
DATE = {"type": "int", "logicalType": "date"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
NANOS = {"type": "long", "logicalType": "timestamp-nanos"}
TIME = {"type": "int", "logicalType": "time-millis"}
MAP = {"type": "map", "values": "long"}
NOTE = {
    "type": "record",
    "name": "Note",
    "fields": [{"name": "by", "type": ["null", "string"]}, {"name": "counts", "type": MAP}],
}
TREE = {"type": "record", "name": "Tree", "fields": [{"name": "next", "type": ["null", "Tree"]}]}
ID = UUID("de2df598-9948-4988-b00a-a41c0e287398")


def columns(type_: object) -> dict[str, Column]:
    return {"note": Column(field=FIELD, type=json.dumps(type_))}


def sealed(encryption: Encryption, type_: object, values: list[Any]) -> Any:
    """A column of values as they are sealed one by one."""
    text = json.dumps(type_)
    envelopes = [None if v is None else encryption.encrypt(v, field=FIELD, schema=text) for v in values]
    return pa.table({"note": pa.array(envelopes, pa.binary())})


@pytest.mark.parametrize(
    ("type_", "values", "arrow"),
    [
        (MAP, [{"a": 1}, {"b": 2}, {}], pa.map_(pa.string(), pa.int64())),
        ({"type": "array", "items": MAP}, [[{"a": 1}, {}], []], pa.list_(pa.map_(pa.string(), pa.int64()))),
        ({"type": "array", "items": "int"}, [[], [1]], pa.list_(pa.int32())),
        ({"type": "array", "items": DECIMAL}, [[Decimal("1.00")]], pa.list_(pa.decimal128(10, 2))),
        (
            NOTE,
            [{"by": None, "counts": {"x": 1}}, {"by": "ann", "counts": {}}],
            pa.struct([("by", pa.string()), ("counts", pa.map_(pa.string(), pa.int64()))]),
        ),
        (["null", NOTE], [None, {"by": None, "counts": {}}], None),
    ],
)
def test_nested_values_come_back_in_their_types(
    encryption: Encryption, type_: object, values: list[Any], arrow: object
) -> None:
    """A map is a map: as a struct each would have the keys of all, with nulls that nobody wrote."""
    opened = encryption.decrypt_table(sealed(encryption, type_, values), columns=columns(type_))
    again = encryption.decrypt_table(encryption.encrypt_table(opened, columns=columns(type_)), columns=columns(type_))

    assert opened.column("note").to_pylist(maps_as_pydicts="strict") == values
    assert arrow is None or opened.column("note").type == arrow
    assert again.equals(opened)


@pytest.mark.parametrize(
    ("type_", "values", "texts"),
    [
        (UUID_TEXT, [ID], [str(ID)]),
        ({"type": "array", "items": UUID_TEXT}, [[ID]], [[str(ID)]]),
        ({"type": "map", "values": ["null", UUID_TEXT]}, [{"a": ID, "b": None}], [{"a": str(ID), "b": None}]),
        ({"type": "bytes", "logicalType": "big-decimal"}, [Decimal("1.10"), Decimal("1E+3")], ["1.10", "1E+3"]),
        (LONG_DECIMAL, [Decimal("1.00")], ["1.00"]),
    ],
)
def test_what_arrow_has_no_number_for_is_text(
    encryption: Encryption, type_: object, values: list[Any], texts: list[Any]
) -> None:
    """Which is encrypted again as what it says."""
    opened = encryption.decrypt_table(sealed(encryption, type_, values), columns=columns(type_))
    again = encryption.encrypt_table(opened, columns=columns(type_)).column("note").to_pylist()

    assert opened.column("note").to_pylist(maps_as_pydicts="strict") == texts
    assert [encryption.decrypt(each, field=FIELD, schema=json.dumps(type_)) for each in again] == values


@pytest.mark.parametrize(
    "type_", [["long", "string"], {"type": "array", "items": ["null", "long", "string"]}, TREE, [NOTE, TREE]]
)
def test_a_type_that_no_arrow_type_holds_is_refused(encryption: Encryption, service: Recording, type_: object) -> None:
    """By its column, before a key is asked for; a guess from the values would be in words of theirs, or change them."""
    with pytest.raises(ConfigError, match=r"column note .*decrypt_row"):
        encryption.decrypt_table(pa.table({"note": pa.array([b"\1"], pa.binary())}), columns=columns(type_))

    assert service.asked == []


def test_days_beyond_pythons_years_stay(encryption: Encryption) -> None:
    """Arrow has room for them, out and in again; pandas has not, and says so without the value."""
    found = sealed(encryption, DATE, [base_value(2_932_897, "date"), date(2020, 1, 1)])

    opened = encryption.decrypt_table(found, columns=columns(DATE))
    again = encryption.decrypt_table(encryption.encrypt_table(opened, columns=columns(DATE)), columns=columns(DATE))

    assert opened.column("note").cast(pa.int32()).to_pylist() == [2_932_897, 18_262]
    assert again.equals(opened)
    with pytest.raises(RecordError, match="column note holds what pandas has no room for"):
        encryption.decrypt_table(found.to_pandas(), columns=columns(DATE))


def test_a_time_of_no_day_is_no_other_time(encryption: Encryption) -> None:
    """24:00:00 would show as midnight: it is a fault of its row alone."""
    found = sealed(encryption, TIME, [time(1, 2), base_value(86_400_000, "time-millis")])

    with pytest.raises(RecordError, match=r"row 1: .*no room"):
        encryption.decrypt_table(found, columns=columns(TIME))
    opened = encryption.decrypt_table(found, columns=columns(TIME), errors="return")
    assert opened.column("note").to_pylist() == [time(1, 2), None]


@pytest.mark.parametrize(
    ("type_", "column"),
    [
        (MICROS, pa.array([2**62], pa.timestamp("s", "UTC"))),
        (MAP, pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()))),
    ],
)
def test_what_python_can_t_hold_names_its_row(encryption: Encryption, type_: object, column: Any) -> None:
    """And not the value."""
    with pytest.raises(RecordError, match="column note, row 0") as found:
        encryption.encrypt_table(pa.table({"note": column}), columns=columns(type_))

    assert found.value.__suppress_context__


def test_nanoseconds_of_pandas_are_encrypted(encryption: Encryption) -> None:
    """As the whole numbers that they are."""
    frame = pd.DataFrame({"note": pd.to_datetime(["2020-01-01 01:02:03.123456789"], utc=True).as_unit("ns")})

    opened = encryption.decrypt_table(encryption.encrypt_table(frame, columns=columns(NANOS)), columns=columns(NANOS))

    assert opened["note"].tolist() == [1_577_840_523_123_456_789]
    assert datetime.fromtimestamp(opened["note"].iloc[0] // 10**9, UTC) == datetime(2020, 1, 1, 1, 2, 3, tzinfo=UTC)
