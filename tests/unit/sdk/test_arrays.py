"""Columns that are opened in Arrow's memory come out as the readable twin reads them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pytest

from tests.unit.sdk.services import Recording
from worker import Encryption
from worker.errors import DecryptionError
from worker.native import IS_LOADED
from worker.sdk import arrays
from worker.sdk.columns import Column

FIELD = "acme.crm.Customer/value"
pytestmark = pytest.mark.skipif(not IS_LOADED, reason="needs the extension module")


def _logical(base: str, word: str) -> dict[str, str]:
    return {"type": base, "logicalType": word}


TYPES: dict[str, tuple[Any, list[Any]]] = {
    "boolean": ("boolean", [True, False, True]),
    "int": ("int", [-(2**31), 0, 2**31 - 1]),
    "long": ("long", [-(2**63), -1, 2**63 - 1]),
    "float": ("float", [0.5, -0.0, float("inf")]),
    "double": ("double", [0.1, 1e300, -2.0]),
    "string": ("string", ["", "Ärger", "x" * 300]),
    "bytes": ("bytes", [b"", b"\xff", b"x" * 300]),
    "date": (_logical("int", "date"), [date.min, date(1970, 1, 1), date.max]),
    "time-millis": (_logical("int", "time-millis"), [time(0), time(23, 59, 59, 999_000)]),
    "time-micros": (_logical("long", "time-micros"), [time(0), time.max]),
    "timestamp-millis": (
        _logical("long", "timestamp-millis"),
        [datetime(1, 1, 1, tzinfo=UTC), datetime.now(UTC).replace(microsecond=0)],
    ),
    "timestamp-micros": (_logical("long", "timestamp-micros"), [datetime.max.replace(tzinfo=UTC)]),
    "local-timestamp-millis": (
        _logical("long", "local-timestamp-millis"),
        [datetime(9999, 12, 31, 23, 59, 59, 999_000)],
    ),
    "local-timestamp-micros": (_logical("long", "local-timestamp-micros"), [datetime.min, datetime.max]),
    "decimal": ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, []),
    "enum": ({"type": "enum", "name": "acme.Level", "symbols": ["LOW", "HIGH"]}, ["LOW", "HIGH"]),
}


def _opened(encryption: Encryption, table: pa.Table, column: Column, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Open a table, in Arrow's memory and by the twin, which have to agree."""
    made = encryption.decrypt_table(table, columns={"value": column})
    with monkeypatch.context() as patched:
        patched.setattr(arrays, "IS_LOADED", False)
        twin = encryption.decrypt_table(table, columns={"value": column})
    assert made.schema == twin.schema
    assert made.equals(twin)
    made.validate(full=True)
    return made


@pytest.mark.parametrize("nullable", ["", "first", "last"])
@pytest.mark.parametrize("word", TYPES)
def test_every_type_is_read_as_the_twin_reads_it(
    encryption: Encryption, monkeypatch: pytest.MonkeyPatch, word: str, nullable: str
) -> None:
    """Both formats mixed, with nulls, in chunks and slices of larger arrays, behind 32 and 64 bits of offsets."""
    avro, values = TYPES[word]
    schema = json.dumps({"": avro, "first": ["null", avro], "last": [avro, "null"]}[nullable])
    envelopes: list[bytes | None] = []
    for kind in ("leased", "record", "leased"):
        envelopes += [None, *encryption.encrypt_many(values, field=FIELD, schema=schema, format=kind), None]
    chunks = [pa.array([b"before", *envelopes], pa.binary()).slice(1), pa.array(envelopes[:3], pa.binary()).slice(0, 2)]
    empty = pa.array([], pa.binary())

    for type_ in (pa.binary(), pa.large_binary()):
        table = pa.table({"value": pa.chunked_array([empty, *chunks, empty]).cast(type_)})
        made = _opened(encryption, table, Column(field=FIELD, type=schema), monkeypatch)
        found = made.column("value").to_pylist()
        assert found == [None, *values, None] * 3 + [None, *values, None][: len(envelopes[:2])]


@pytest.mark.parametrize("kind", ["leased", "record"])
def test_a_fault_is_told_with_its_field_or_is_null(
    encryption: Encryption, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """One altered envelope costs its own value alone."""
    envelopes = encryption.encrypt_many(["a", "b", "c"], field=FIELD, format=kind)
    at = -1 if kind == "leased" else 22
    envelopes[1] = b"".join((envelopes[1][:at], bytes([envelopes[1][at] ^ 1]), envelopes[1][at:][1:]))
    table, columns = pa.table({"value": envelopes}), {"value": Column(field=FIELD)}

    assert encryption.decrypt_table(table, columns=columns, errors="return").to_pydict() == {"value": ["a", None, "c"]}
    said = []
    for is_loaded in (True, False):
        monkeypatch.setattr(arrays, "IS_LOADED", is_loaded)
        with pytest.raises(DecryptionError) as caught:
            encryption.decrypt_table(table, columns=columns)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert FIELD in said[0]


def test_what_is_not_plainly_of_its_field_is_left_to_the_twin(encryption: Encryption) -> None:
    """An envelope of another field, of another type or none at all is refused as it is without the extension."""
    sealed = encryption.encrypt("a", field=FIELD, format="leased")
    moved = encryption.encrypt("a", field="acme.crm.Customer/other", format="leased")
    other = encryption.encrypt(1, field=FIELD, format="leased")

    for bad, word in ((moved, "another field"), (other, "another Avro type"), (b"\x07", "not an envelope")):
        table = pa.table({"value": [sealed, bad]})
        with pytest.raises(DecryptionError, match=word):
            encryption.decrypt_table(table, columns={"value": Column(field=FIELD)})
        opened = encryption.decrypt_table(table, columns={"value": Column(field=FIELD)}, errors="return")
        assert opened.to_pydict() == {"value": ["a", None]}


def test_a_number_that_its_type_has_no_room_for_is_judged_by_the_twin(
    encryption: Encryption, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day after the year 9999 is no date of Python's: whatever becomes of it, becomes of it either way."""
    days = encryption.encrypt_many([1, 10**8], field=FIELD, schema='"int"', format="leased")
    column = Column(field=FIELD, type=json.dumps(_logical("int", "date")))

    made = _opened(encryption, pa.table({"value": days}), column, monkeypatch)

    assert made.column("value").cast(pa.int32()).to_pylist() == [1, 10**8]


def test_all_columns_are_asked_for_together(encryption: Encryption, service: Recording) -> None:
    """Columns in Arrow's memory and one that is not share one request."""
    other = "acme.crm.Customer/other"
    table = pa.table(
        {
            "value": encryption.encrypt_many(["a", "b"], field=FIELD),
            "other": pa.array(encryption.encrypt_many(["c", "d"], field=other)).dictionary_encode(),
            "third": encryption.encrypt_many(["e", "f"], field=FIELD, format="leased"),
        }
    )
    before = len(service.asked)

    opened = encryption.decrypt_table(table, columns={"value": FIELD, "other": other, "third": FIELD})

    assert opened.to_pydict() == {"value": ["a", "b"], "other": ["c", "d"], "third": ["e", "f"]}
    assert len(service.asked) == before + 1
