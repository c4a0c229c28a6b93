"""Columns that are not called as their fields, or hold fields within: whoever reads a table finds them too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastavro
import psycopg
import pytest
from psycopg import sql

from tests.conftest import DatabaseFactory
from tests.integration.test_decrypt import run as decrypt
from tests.program import said
from worker import Encryption, jsonform, output_schema
from worker.avro import decode_value
from worker.column_names import column_name

pytestmark = pytest.mark.integration

LONG = "customer_notification_preferences_marketing_communication_opt_in_status"
LINE = {"type": "record", "name": "Line", "fields": [{"name": "note", "type": "string", "encrypted": True}]}
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string"},
    {"name": LONG, "type": "string", "encrypted": {"context": [f"{LONG}_tenant"]}},
    {"name": f"{LONG}_tenant", "type": "string"},
    {"name": "home-phone", "type": "string", "encrypted": True},
    {"name": "lines", "type": {"type": "array", "items": LINE}},
]
SCHEMA = json.dumps({"type": "record", "name": "acme.crm.Row", "fields": FIELDS})
ROW = {"id": "a", LONG: "opted in", f"{LONG}_tenant": "acme", "home-phone": "+47 22", "lines": [{"note": "kept"}]}
SETTINGS = """
region = "eu-central-1"
[kafka]
bootstrap = "127.0.0.1:1"
cluster_id = "none"
[schemas]
local = { "1" = { input = "in.avsc", output_id = 2 } }
[[routes]]
name = "table"
group = "g"
source = { topics = ["rows"] }
sink = { kind = "postgres", table = "rows" }
"""


@pytest.fixture
def dsn(new_database: DatabaseFactory, authority: Mapping[str, str], tmp_path: Path) -> str:
    """A table as `check --create` makes it, with one row as the worker writes it; schemas and settings in files."""
    (tmp_path / "in.avsc").write_text(SCHEMA)
    (tmp_path / "out.avsc").write_text(output_schema(SCHEMA))
    (tmp_path / "worker.toml").write_text(SETTINGS.replace("in.avsc", str(tmp_path / "in.avsc")))
    with Encryption.from_env(environ=authority) as encryption:
        datum = encryption.encrypt_record(ROW, schema=SCHEMA)
    stored: Any = decode_value(output_schema(SCHEMA), datum)
    url = new_database()
    names = sql.SQL(", ").join(sql.Identifier(column_name(name)) for name in stored)
    with psycopg.connect(url) as connection:
        connection.execute(
            sql.SQL("CREATE TABLE rows ({} text, {} bytea, {} text, {} bytea, {} jsonb)").format(
                *(sql.Identifier(column_name(name)) for name in stored)
            )
        )
        values = [*list(stored.values())[:-1], jsonform.dumps(stored["lines"]).decode()]
        connection.execute(sql.SQL("INSERT INTO rows ({}) VALUES (%s, %s, %s, %s, %s)").format(names), values)
    return url


def test_a_field_with_a_shorter_column_is_opened(authority: dict[str, str], dsn: str, tmp_path: Path) -> None:
    """And so is one whose context has one: each under its column's name, in the clear."""
    result = decrypt(authority, "--table", "rows", "--dsn", dsn, "--schema", str(tmp_path / "out.avsc"))

    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout)["value"] == {column_name(name): value for name, value in ROW.items()}


def test_an_export_has_every_field_or_is_none(authority: dict[str, str], dsn: str, tmp_path: Path) -> None:
    """Under the fields' own names; and a table that lacks a field's column is not exported without it."""
    out, options = tmp_path / "out.avro", ("--dsn", dsn, "--schema", str(tmp_path / "out.avsc"), "--reason", "leaving")

    whole = said(authority, "export", "--table", "rows", "--out", str(out), *options)
    with out.open("rb") as file:
        exported = list(fastavro.reader(file))
    with psycopg.connect(dsn) as connection:
        connection.execute(sql.SQL("ALTER TABLE rows DROP COLUMN {}").format(sql.Identifier("home-phone")))
    partly = said(authority, "export", "--table", "rows", "--out", str(tmp_path / "part.avro"), *options)

    assert (whole.returncode, exported) == (0, [ROW]), whole.stderr
    assert partly.returncode == 2, partly.stdout
    assert "table rows has no column for home-phone" in partly.stderr
    assert not (tmp_path / "part.avro").exists()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (sql.SQL("{} = 'clear'").format(sql.Identifier(column_name(LONG))), f"rows.{column_name(LONG)}"),
        (sql.SQL("{} = 'clear'").format(sql.Identifier("home-phone")), "rows.home-phone"),
        (sql.SQL("""lines = '[{"note": "clear"}]'"""), "rows.lines[].note"),
    ],
    ids=["long", "hyphen", "nested"],
)
def test_plaintext_is_found_in_every_column(dsn: str, tmp_path: Path, change: sql.SQL, place: str) -> None:
    """By a look that passes while all is right."""
    config = str(tmp_path / "worker.toml")

    right = said({"DATABASE_URL": dsn}, "verify", "--config", config, "--json")
    with psycopg.connect(dsn) as connection:
        connection.execute(sql.SQL("UPDATE rows SET {}").format(change))
    wrong = said({"DATABASE_URL": dsn}, "verify", "--config", config, "--json")

    assert (right.returncode, json.loads(right.stdout)[0]["values"]) == (0, {"envelope": 3}), right.stderr
    assert (wrong.returncode, json.loads(wrong.stdout)[0]["plaintext"]) == (1, [place]), wrong.stderr
