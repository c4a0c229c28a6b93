"""Search over encrypted columns: terms written beside the envelopes, and queries that find the right rows by them."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.conftest import DatabaseFactory
from tests.fakes.records import output_of
from tests.integration.test_sink_postgres import Sinks
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import DeclarationOptions, compile_schema, encode_value
from worker.encryption import BatchEncryptor, record
from worker.encryption.terms import IndexKey, match_query, unique
from worker.encryption.values import typed_of_value
from worker.model import Position, SinkRecord
from worker.pipeline.search import SearchTerms

pytestmark = pytest.mark.integration

KEY = bytes(range(32))
INDEXED = {"index": ["unique", "match"]}
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "int"},
    {"name": "email", "type": ["null", "string"], "encrypted": INDEXED},
    {"name": "age", "type": "long", "encrypted": {"index": ["unique"]}},
]
PEOPLE = [(1, "ann@example.com", 41), (2, "bob@example.org", 41), (3, "ANN@example.com", 7), (4, None, 7)]
# EQL's own types as its SQL defines them: a composite in version 2, domains over jsonb that demand `v` in version 3.
TYPES = {
    "jsonb": "",
    "eql_v2_encrypted": "CREATE TYPE eql_v2_encrypted AS (data jsonb);",
    "eql_v3_text": "CREATE DOMAIN eql_v3_text AS jsonb CHECK (value ->> 'v' = '3' AND value ? 'c');",
}


def written(dsn: str, kind: str) -> None:
    """Write the people through compile, split, seal and sink, with their terms."""
    schema = {"type": "record", "name": "Person", "fields": FIELDS}
    clear = {**schema, "fields": [{k: v for k, v in f.items() if k != "encrypted"} for f in FIELDS]}
    compiled = compile_schema(json.dumps(schema), DeclarationOptions())
    values = [dict(zip(("id", "email", "age"), person, strict=True)) for person in PEOPLE]
    split = compiled.split([encode_value(json.dumps(clear), value) for value in values], [None] * len(values))
    sealed = BatchEncryptor(InMemoryAuthority()).encrypt(split.columns).envelopes
    terms = SearchTerms(lambda keyset: KEY, default_keyset=None, columns=("email", "age")).of(split.columns, sealed)
    outputs = [datum for datum in split.join(sealed) if datum is not None]
    rows = compiled.rows(outputs, terms=terms)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TYPES[kind])
        coordinates = "_topic text, _partition int, _offset bigint, _timestamp timestamptz"
        connection.execute(f"CREATE TABLE people (id int, email {kind}, age {kind}, {coordinates})")
    sinks = Sinks(dsn)
    sink = sinks(table="people", ledger=False, columns={"email": "eql", "age": "eql"})
    sink.ensure_schema()
    sink.check()
    remarks = sink.tables.check_schema(compiled.row_type, topic="customers")
    assert all("domain eql_v3_text" in remark for remark in remarks)
    sink.begin()
    sink.write(
        output_of([SinkRecord(Position("customers", 0, i), None, b"v", (), 0, -1, row) for i, row in enumerate(rows)])
    )
    sink.flush()
    sink.commit({}, (), None)
    sinks.close()


def found(dsn: str, kind: str, where: str, value: object) -> list[int]:
    at = "({}).data" if kind == "eql_v2_encrypted" else "{}"
    with psycopg.connect(dsn) as connection:
        query = (
            f"SELECT id FROM people WHERE {where.format(email=at.format('email'), age=at.format('age'))} ORDER BY id"
        )
        return [row[0] for row in connection.execute(query.encode(), [value]).fetchall()]


@pytest.mark.parametrize("kind", TYPES)
def test_equality_and_match_find_the_right_rows(new_database: DatabaseFactory, kind: str) -> None:
    """Equal values are found by `hm`, parts of a text by `bf`, and the payload's ciphertext is the envelope's."""
    dsn, key = new_database(region="eu-central-1"), IndexKey(KEY)
    written(dsn, kind)

    same = "{email} ->> 'hm' = %s"
    assert found(dsn, kind, same, unique(key, typed_of_value("ann@example.com"))) == [1]
    assert found(dsn, kind, same, unique(key, typed_of_value("nobody"))) == []
    assert found(dsn, kind, "{age} ->> 'hm' = %s", unique(key, typed_of_value(41))) == [1, 2]
    assert found(dsn, kind, "{email} -> 'bf' @> %s", Jsonb(match_query(key, "ann@"))) == [1, 3]
    assert found(dsn, kind, "{email} -> 'bf' @> %s", Jsonb(match_query(key, "example.org"))) == [2]
    assert found(dsn, kind, "{email} IS NULL AND %s", True) == [4]


def test_the_payload_is_the_versions(new_database: DatabaseFactory) -> None:
    """Version 2 says `k`, version 3 does not; either opens as the envelope that it is."""
    for kind, version in (("jsonb", 2), ("eql_v3_text", 3)):
        dsn = new_database(region="eu-central-1")
        written(dsn, kind)
        with psycopg.connect(dsn) as connection:
            row = connection.execute("SELECT email::jsonb FROM people WHERE id = 1").fetchone()
        assert row is not None
        assert (row[0]["v"], row[0].get("k"), row[0]["i"]) == (
            version, "ct" if version == 2 else None, {"t": "people", "c": "email"}
        )  # fmt: skip
        assert record.from_json(row[0]).descriptor == "Person/email"
