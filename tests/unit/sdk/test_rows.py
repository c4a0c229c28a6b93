"""Rows of a table, as drivers return them."""

from __future__ import annotations

import base64
import json
from collections import namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy

from tests.unit.encryption.authority import InMemoryAuthority
from worker import Encryption, Table, jsonform, output_schema
from worker.avro import decode_value
from worker.encryption import record
from worker.errors import ConfigError, ContextDenied, DecryptionError, RecordError
from worker.sdk.rows import envelope_of

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
STAMP = {"type": "long", "logicalType": "timestamp-micros"}
PHONE = {
    "type": "record",
    "name": "Phone",
    "fields": [
        {"name": "kind", "type": "string"},
        {"name": "number", "type": "string", "encrypted": {"format": "leased", "bind": ["kind"]}},
    ],
}
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "tenant", "type": "long"},
    {"name": "opened", "type": {"type": "int", "logicalType": "date"}},
    {"name": "seen", "type": ["null", STAMP], "default": None},
    {
        "name": "email",
        "type": ["null", "string"],
        "default": None,
        "encrypted": {"format": "leased", "context": ["tenant"]},
    },
    {"name": "limit", "type": DECIMAL, "encrypted": {"format": "leased", "bind": ["id", "seen", "opened"]}},
    {"name": "born", "type": {"type": "int", "logicalType": "date"}, "encrypted": {"format": "record"}},
    {"name": "phones", "type": {"type": "array", "items": PHONE}},
]
SCHEMA = json.dumps({"type": "record", "name": "acme.crm.Customer", "fields": FIELDS})
ROW: dict[str, Any] = {
    "id": UUID("7366f130-a5f2-4f5f-a5f7-a6d1c1e9c1de"),
    "tenant": 17,
    "opened": date(2024, 5, 6),
    "seen": datetime(2024, 5, 6, 7, 8, 9, 123456, UTC),
    "email": "ann@example.com",
    "limit": Decimal("1234.50"),
    "born": date(1986, 3, 1),
    "phones": [{"kind": "home", "number": "+49 30 1"}, {"kind": "work", "number": "+49 30 2"}],
}


@pytest.fixture
def encryption() -> Encryption:
    return Encryption.over(InMemoryAuthority())


@pytest.fixture
def stored(encryption: Encryption) -> dict[str, Any]:
    """The row as a driver gives it: nested values from `jsonb`, a timestamp in the session's zone."""
    datum = encryption.encrypt_record(ROW, schema=SCHEMA)
    found: dict[str, Any] = decode_value(output_schema(SCHEMA), datum)  # type: ignore[assignment]
    found["phones"] = json.loads(jsonform.dumps(found["phones"]))
    found["seen"] = ROW["seen"].astimezone(timezone(timedelta(hours=2)))
    return found


def test_a_row_opens_with_its_own_columns(encryption: Encryption, stored: dict[str, Any]) -> None:
    """Contexts and bound values come from the row, nested ones too; other columns stay as they are."""
    opened = encryption.decrypt_row({**stored, "_topic": "customers"}, table=output_schema(SCHEMA))

    assert opened == {**ROW, "_topic": "customers"}


def test_a_row_of_some_columns_opens(encryption: Encryption, stored: dict[str, Any]) -> None:
    """Only what an encrypted column is bound to has to be selected with it; what lacks is named."""
    table = Table(output_schema(SCHEMA))
    some = {name: stored[name] for name in ("tenant", "email", "born")}

    assert encryption.decrypt_row(some, table=table) == {name: ROW[name] for name in some}
    with pytest.raises(ConfigError, match="id, seen, opened"):
        encryption.decrypt_row({"limit": stored["limit"]}, table=table)
    with pytest.raises(ConfigError, match="none of the columns"):
        encryption.decrypt_row({"id": stored["id"]}, table=table)


def test_drivers_rows_are_read(encryption: Encryption, stored: dict[str, Any]) -> None:
    """SQLAlchemy's rows, named tuples, memoryviews; a bare tuple has no columns."""
    kind = namedtuple("kind", ["tenant", "email"])
    table = output_schema(SCHEMA)
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        query = sqlalchemy.text("SELECT :tenant AS tenant, :email AS email")
        row = connection.execute(query, {"tenant": 17, "email": stored["email"]}).one()
        result = connection.execute(query, {"tenant": 17, "email": stored["email"]})
        streamed = list(encryption.decrypt_cursor(result, table=table))

    assert encryption.decrypt_row(row, table=table)["email"] == "ann@example.com"
    assert encryption.decrypt_row(kind(17, memoryview(stored["email"])), table=table)["email"] == "ann@example.com"
    assert [found["email"] for found in streamed] == ["ann@example.com"]
    with pytest.raises(ConfigError, match="dict_row"):
        encryption.decrypt_row((17, stored["email"]), table=table)


def test_eql_columns_are_read(encryption: Encryption, stored: dict[str, Any]) -> None:
    """An EQL payload opens parsed or as text."""
    payload = record.from_msgpack(stored["born"]).to_eql("customers", "born")

    for found in (payload, json.dumps(payload)):
        assert encryption.decrypt_row({"born": found}, table=output_schema(SCHEMA))["born"] == ROW["born"]


def test_a_row_that_was_changed_costs_its_own_place(encryption: Encryption, stored: dict[str, Any]) -> None:
    """A value moved to another tenant, altered, or of another type than its column is an error of its row."""
    moved, altered, wrong = dict(stored), dict(stored), dict(stored)
    moved["tenant"] = 18
    altered["limit"] = stored["limit"][:-1] + bytes([stored["limit"][-1] ^ 1])
    wrong["opened"] = "soon"

    found = encryption.decrypt_rows([stored, moved, altered, wrong], table=output_schema(SCHEMA), errors="return")

    assert found[0] == ROW
    assert [type(error) for error in found[1:]] == [ContextDenied, DecryptionError, RecordError]
    assert "opened" in str(found[3])
    assert "soon" not in str(found[3])


def test_a_table_in_the_clear_is_no_table_of_envelopes() -> None:
    """A schema without `encryption` is refused when the table is named."""
    with pytest.raises(ConfigError, match="no `encryption`"):
        Table(SCHEMA)


@pytest.mark.parametrize("value", [None, 7, "not base64!", [1]])
def test_what_is_no_envelope_says_so(value: object) -> None:
    """A column in the clear is told from a broken envelope."""
    with pytest.raises(DecryptionError, match="not an envelope"):
        envelope_of(value)


def test_base64_within_json_is_an_envelope(encryption: Encryption) -> None:
    """As `worker` writes nested envelopes into `jsonb`."""
    envelope = encryption.encrypt("ann", field="a/b")

    assert envelope_of(base64.b64encode(envelope).decode()) == envelope
