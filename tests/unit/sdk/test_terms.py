"""Query terms: what finds a value in a search index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.conftest import DatabaseFactory
from worker import Encryption
from worker.encryption import record
from worker.encryption.terms import IndexKey, match, unique
from worker.encryption.values import typed_of_value
from worker.errors import ConfigError, RecordError

FIELD = "customers/email"


@pytest.fixture
def encryption(authority: dict[str, str]) -> Iterator[Encryption]:
    with Encryption.from_env(environ=authority) as made:
        yield made


@pytest.mark.integration
def test_a_where_finds_the_row_by_its_index(encryption: Encryption, new_database: DatabaseFactory) -> None:
    """By equality and by a part of the text, on an index each, which PostgreSQL uses."""
    key = IndexKey(encryption._terms.load(None).index_key)
    people = ["ann@example.com", "bob@example.org", "cid@example.com"]
    with psycopg.connect(new_database(), autocommit=True) as connection:
        connection.execute("CREATE TABLE customers (id int, email jsonb)")
        connection.execute("CREATE INDEX ON customers ((email ->> 'hm'))")
        connection.execute("CREATE INDEX ON customers USING gin ((email -> 'bf'))")
        for i, email in enumerate(people):
            terms = {"hm": unique(key, typed_of_value(email)), "bf": match(key, email)}
            payload = record.from_msgpack(encryption.encrypt(email, field=FIELD)).to_eql(
                "customers", "email", terms=terms
            )
            connection.execute("INSERT INTO customers VALUES (%s, %s)", [i, Jsonb(payload)])
        connection.execute("SET enable_seqscan = off")

        def found(where: str, term: object) -> list[int]:
            query = f"SELECT id FROM customers WHERE {where} ORDER BY id"
            plan = connection.execute(f"EXPLAIN {query}".encode(), [term]).fetchall()
            assert any("Index" in line for (line,) in plan)
            return [row[0] for row in connection.execute(query.encode(), [term])]

        assert found("email ->> 'hm' = %s", encryption.query_term(FIELD, "bob@example.org")) == [1]
        assert found("email -> 'bf' @> %s", Jsonb(encryption.query_term(FIELD, "example.com", index="match"))) == [0, 2]


@pytest.mark.parametrize(
    ("value", "options", "error"),
    [
        (True, {}, ConfigError),
        ("TIN", {"schema": json.dumps({"type": "enum", "name": "Tier", "symbols": ["GOLD", "TIN"]})}, ConfigError),
        (True, {"schema": '"boolean"'}, ConfigError),
        ("ann", {"index": "fuzzy"}, ConfigError),
        (7, {"index": "match"}, ConfigError),
        ("an", {"index": "match"}, RecordError),
        ({"a": 1}, {}, RecordError),
        (None, {"schema": '["null", "string"]'}, RecordError),
    ],
)
def test_refuses_what_has_no_term(
    encryption: Encryption, value: object, options: dict[str, Any], error: type[Exception]
) -> None:
    """A term of a boolean or an enum would say which it is; others have none. The field is named, the value is not."""
    with pytest.raises(error, match=FIELD) as found:
        encryption.query_term(FIELD, value, **options)

    assert "TIN" not in str(found.value)
