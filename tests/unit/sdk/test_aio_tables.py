"""Tables and terms under an event loop: the same calls, options and answers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import anyio
import psycopg
import pyarrow as pa
import pytest

from tests.conftest import DatabaseFactory
from tests.unit.encryption.authority import InMemoryAuthority
from tests.unit.sdk.services import Asynchronous
from worker import AsyncEncryption, Encryption, output_schema
from worker.errors import ConfigError, DecryptionError

FIELD = "acme.crm.Customer/email"
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "acme.crm.Customer",
        "fields": [{"name": "id", "type": "long"}, {"name": "email", "type": "string", "encrypted": True}],
    }
)


def calls(kind: type[object]) -> Mapping[str, inspect.Signature]:
    """The public calls of a class and how they are made."""
    found = inspect.getmembers(kind, callable)
    return {name: inspect.signature(call) for name, call in found if not name.startswith("_") and name != "over"}


# What the classes of the calls share among themselves.
_WITHIN = {"close_keys", "expect_open", "opened_rows", "reading", "restored", "restored_one", "scope"}


def test_every_call_is_there_with_the_same_options() -> None:
    """Whoever knows `Encryption` knows `AsyncEncryption`."""
    plain, asynchronous = calls(Encryption), calls(AsyncEncryption)

    assert set(plain) - _WITHIN == set(asynchronous)
    for name in asynchronous:
        assert list(plain[name].parameters) == list(asynchronous[name].parameters), name


def over(service: InMemoryAuthority) -> AsyncEncryption:
    return AsyncEncryption.over(Asynchronous(service))


def test_rows_and_tables_come_back() -> None:
    """A row, several with one broken, and a column in memory."""
    service = InMemoryAuthority()

    async def story() -> None:
        async with over(service) as encryption:
            sealed = [await encryption.encrypt(email, field=FIELD) for email in ("ann@x", "bob@x")]
            rows = [{"id": i, "email": envelope} for i, envelope in enumerate(sealed)]
            table = output_schema(SCHEMA)
            assert await encryption.decrypt_row(rows[0], table=table) == {"id": 0, "email": "ann@x"}
            broken = {"id": 2, "email": b"\x01"}
            found = await encryption.decrypt_rows([*rows, broken], table=table, errors="return")
            assert found[:2] == [{"id": 0, "email": "ann@x"}, {"id": 1, "email": "bob@x"}]
            assert isinstance(found[2], DecryptionError)
            plain = pa.table({"email": ["ann@x", "bob@x"]})
            column = await encryption.encrypt_table(plain, columns={"email": FIELD})
            assert (await encryption.decrypt_table(column, columns={"email": FIELD})).equals(plain)

    anyio.run(story)


def test_a_closed_client_and_one_without_terms_say_so() -> None:
    """As `Encryption` does, before anything is asked."""

    async def story() -> None:
        encryption = over(InMemoryAuthority())
        with pytest.raises(ConfigError, match="no index keys"):
            await encryption.query_term(FIELD, "ann@x")
        with pytest.raises(ConfigError, match="lists no keysets"):
            await encryption.keysets()
        await encryption.close()
        with pytest.raises(ConfigError, match="is closed"):
            await encryption.query_term(FIELD, "ann@x")
        with pytest.raises(ConfigError, match="is closed"):
            await encryption.decrypt_row({"id": 1, "email": b""}, table=output_schema(SCHEMA))

    anyio.run(story)


@pytest.mark.integration
def test_terms_are_those_of_the_other_client(authority: dict[str, str]) -> None:
    """What one writes into an index the other looks for, and both list the same keysets."""

    async def story() -> None:
        with Encryption.from_env(environ=authority) as plain:
            async with AsyncEncryption.from_env(environ=authority) as encryption:
                assert await encryption.query_term(FIELD, "ann@x") == plain.query_term(FIELD, "ann@x")
                assert await encryption.query_term(FIELD, "ann@x", index="match") == plain.query_term(
                    FIELD, "ann@x", index="match"
                )
                assert await encryption.keysets() == plain.keysets()

    anyio.run(story)


@pytest.mark.integration
def test_an_asynchronous_cursor_streams(new_database: DatabaseFactory) -> None:
    """psycopg's, with its bare tuples: the names of the columns come from the cursor."""
    url = new_database()

    async def story() -> list[Any]:
        async with over(InMemoryAuthority()) as encryption, await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("CREATE TABLE customers (id bigint, email bytea)")
            for i in range(5):
                envelope = await encryption.encrypt(f"c{i}@x", field=FIELD)
                await connection.execute("INSERT INTO customers VALUES (%s, %s)", [i, envelope])
            cursor = await connection.execute("SELECT * FROM customers ORDER BY id")
            rows = encryption.decrypt_cursor(cursor, table=output_schema(SCHEMA), size=2)
            return [row async for row in rows]

    assert anyio.run(story) == [{"id": i, "email": f"c{i}@x"} for i in range(5)]
