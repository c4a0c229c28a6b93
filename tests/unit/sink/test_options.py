"""The sinks' options and what they mean for a record."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from worker.avro.rows import row_type
from worker.model import Header, TopicPartition
from worker.sink.kafka.options import KafkaSinkOptions, header_policy
from worker.sink.postgres.eql import payload
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.schema import wanted_types
from worker.sink.postgres.table import COORDINATES

_HEADERS: list[Header] = [("__value_schema_id", b"1"), ("a", b"1"), ("b", None), ("__key_schema_id", b"2")]
_PLACE = TopicPartition("t", 1)


def test_copied_headers_leave_schema_ids_out() -> None:
    """The input's schema-id headers are never copied."""
    assert header_policy(KafkaSinkOptions(topic="x"))(_HEADERS, _PLACE, 42) == [("a", b"1"), ("b", None)]


def test_named_headers_leave_schema_ids_out() -> None:
    """Not even by name."""
    policy = header_policy(KafkaSinkOptions(topic="x", headers=("b", "__value_schema_id")))

    assert policy(_HEADERS, _PLACE, 42) == [("b", None)]


def test_the_source_header_names_the_position() -> None:
    """`worker-source` is topic/partition/offset, also where other headers are dropped."""
    policy = header_policy(KafkaSinkOptions(topic="x", headers="drop", source_header=True))

    assert policy(_HEADERS, _PLACE, 42) == [("worker-source", b"t/1/42")]


def test_upsert_needs_a_key() -> None:
    """`upsert` without key columns is refused."""
    with pytest.raises(ValidationError, match="go together"):
        PostgresSinkOptions(table="t", mode="upsert")


@pytest.mark.parametrize("name", ["pg_catalog.customers", "pg_temp.t", "information_schema.t"])
def test_a_schema_of_the_servers_own_is_refused(name: str) -> None:
    """By its name; what the server says of it is a number."""
    with pytest.raises(ValidationError, match=f"schema {name.split('.')[0]} is PostgreSQL's own"):
        PostgresSinkOptions(table="crm.t", tables={"a": name})


@pytest.mark.parametrize("name", ['crm."Customers"', '"crm".customers', '"crm.customers"', '"Customers"'])
def test_a_quoted_table_is_refused(name: str) -> None:
    """It would be one whose name has the quotes in it."""
    with pytest.raises(ValidationError, match="give the name without quotes"):
        PostgresSinkOptions(table=name)


def test_a_quote_within_a_name_is_part_of_it() -> None:
    """As in the database."""
    assert PostgresSinkOptions(table='crm.5"_pipes').all_tables


def test_a_key_column_named_twice_is_refused() -> None:
    """No unique index covers one column twice."""
    with pytest.raises(ValidationError, match="twice"):
        PostgresSinkOptions(table="t", mode="upsert", key=("id", "n", "id"))


def test_an_encrypted_key_column_is_refused() -> None:
    """An encrypted field can't be a key column."""
    with pytest.raises(ValidationError, match="email"):
        PostgresSinkOptions(table="t", mode="upsert", key=("email",), columns={"email": "eql"})


def test_column_types_follow_the_output_schema() -> None:
    """Encrypted fields are bytea or jsonb, logical types their own where they count, each use of a named type alike."""
    schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "email", "type": ["null", "bytes"], "encryption": {"format": "record"}},
            {"name": "note", "type": "bytes", "encryption": {"format": "leased"}},
            {"name": "born", "type": {"type": "int", "logicalType": "date"}},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
            {"name": "tags", "type": {"type": "array", "items": "string"}},
            {"name": "seen", "type": {"type": "string", "logicalType": "date"}},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-nanos"}},
            {"name": "first", "type": {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}},
            {"name": "second", "type": "U"},
            {"name": "n" * 70, "type": "string"},
        ],
    }
    options = PostgresSinkOptions(table="t", columns={"email": "eql"})

    found = wanted_types(row_type(json.dumps(schema)), options, None)

    assert {name: kind for name, kind in found.items() if name not in COORDINATES} == {
        "id": "bigint",
        "email": "jsonb",
        "note": "bytea",
        "born": "date",
        "price": "numeric",
        "tags": "text[]",
        "seen": "text",
        "at": "bigint",
        "first": "uuid",
        "second": "uuid",
        f"{'n' * 54}_{hashlib.sha256(b'n' * 70).hexdigest()[:8]}": "text",
    }


def test_eql_text_is_the_vectors_base85() -> None:
    """An EQL payload's ciphertext is the base85 that CipherStash's client writes."""
    vectors = json.loads((Path(__file__).parents[2] / "vectors" / "zerokms.json").read_text())
    pairs = _pairs(vectors)

    assert pairs
    for binary, text in pairs:
        assert payload("users", "email", binary, 2) == {"v": 2, "k": "ct", "i": {"t": "users", "c": "email"}, "c": text}
        assert base64.b85decode(text) == binary


def test_eql_refuses_a_leased_envelope() -> None:
    """Only the record format can be read by EQL."""
    with pytest.raises(ValueError, match="record format"):
        payload("users", "email", b"\x01" + bytes(80), 2)


def _pairs(node: object) -> list[tuple[bytes, str]]:
    if isinstance(node, list):
        return [pair for item in node for pair in _pairs(item)]
    if not isinstance(node, dict):
        return []
    own = []
    if {"msgpack", "mp_base85"} <= node.keys():
        own = [(bytes.fromhex(node["msgpack"]), node["mp_base85"])]
    return own + [pair for item in node.values() for pair in _pairs(item)]
