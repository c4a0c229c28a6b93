"""`worker decrypt` over a real database: a table, and the rows of a query."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from tests.conftest import DatabaseFactory
from tests.integration.test_decrypt import run
from worker import Encryption, output_schema

pytestmark = pytest.mark.integration

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "acme.crm.Customer",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "tenant", "type": "string"},
            {"name": "email", "type": "string", "encrypted": {"context": ["tenant"]}},
        ],
    }
)


@pytest.fixture
def options(new_database: DatabaseFactory, authority: Mapping[str, str], tmp_path: Path) -> tuple[str, ...]:
    """A table of four customers in a schema of its own, and how it is reached; the last one's envelope is another's."""
    url, file = new_database(), tmp_path / "output.avsc"
    file.write_text(output_schema(SCHEMA))
    with Encryption.from_env(environ=authority) as encryption, psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA crm")
        connection.execute('CREATE TABLE crm."Customers" (id bigint, tenant text, email bytea)')
        for i in range(4):
            tenant = "acme" if i % 2 else "globex"
            envelope = encryption.encrypt(
                f"c{i}@x",
                field="acme.crm.Customer/email" if i < 3 else "acme.crm.Customer/phone",
                context={"tenant": tenant},
            )
            connection.execute('INSERT INTO crm."Customers" VALUES (%s, %s, %s)', [i, tenant, envelope])
    return ("--dsn", url, "--schema", str(file))


def test_a_table_is_printed(authority: dict[str, str], options: tuple[str, ...]) -> None:
    """Every row is a line; an envelope of another field is an error in its row's place, and the exit code is 1."""
    result = run(authority, "--table", "crm.Customers", *options)

    lines = {line["row"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert result.returncode == 1, result.stderr
    assert [lines[i]["value"] for i in range(3)] == [
        {"id": i, "tenant": "acme" if i % 2 else "globex", "email": f"c{i}@x"} for i in range(3)
    ]
    assert "acme.crm.Customer/email: the envelope belongs to another field" in lines[3]["error"]
    assert "c3@x" not in result.stdout + result.stderr


@pytest.mark.parametrize("where", [("--where-field", "email=c1@x"), ("--limit", "1")])
def test_a_query_is_printed(authority: dict[str, str], options: tuple[str, ...], where: tuple[str, ...]) -> None:
    """The rows of a SELECT, of which fields in the clear choose; a column that it computes is there too."""
    query = """SELECT id + 10 AS shown, tenant, email FROM crm."Customers" WHERE id = 1"""

    result = run(authority, "--query", query, *options, *where)

    assert result.returncode == 0, result.stderr
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"row": 0, "value": {"shown": 11, "tenant": "acme", "email": "c1@x"}}
    ]


def test_a_query_makes_csv(authority: dict[str, str], options: tuple[str, ...]) -> None:
    """For spreadsheets and shells: the first line names the columns."""
    query = """SELECT * FROM crm."Customers" WHERE id < 2 ORDER BY id"""

    result = run(authority, "--query", query, *options, "--format", "csv")

    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["id"], row["email"], row["error"]) for row in rows] == [("0", "c0@x", ""), ("1", "c1@x", "")]


@pytest.mark.parametrize(
    ("query", "more", "word"),
    [
        ("SELECT id FROM crm.nothing", (), "query or the table"),
        ('DELETE FROM crm."Customers"', (), "query or the table"),
        ('SELECT id, email FROM crm."Customers"', (), "tenant"),
        ('SELECT id FROM crm."Customers"', (), "encrypted"),
        ('SELECT 1 / 0 AS email FROM crm."Customers"', (), "SQLSTATE 22012"),
        ("SELECT 1", ("--dsn", "postgresql://me:hunter2@bad host/db"), "connection string can't be read"),
        ("SELECT 1", ("--from", "2026-01-01"), "--from"),
        ("SELECT 1", ("--key", "k"), "--key"),
    ],
    ids=["no_table", "writes", "lacks_context", "nothing_encrypted", "fails", "no_string", "from", "key"],
)
def test_what_can_not_be_read_says_so(
    authority: dict[str, str], options: tuple[str, ...], query: str, more: tuple[str, ...], word: str
) -> None:
    """Exit code 2, and one line that says what to change; nothing is written to the database."""
    result = run(authority, "--query", query, *options, *more)

    assert result.returncode == 2, result.stdout
    assert word in result.stderr
    assert "Traceback" not in result.stderr
    with psycopg.connect(options[1]) as connection:
        assert connection.execute('SELECT count(*) FROM crm."Customers"').fetchone() == (4,)
