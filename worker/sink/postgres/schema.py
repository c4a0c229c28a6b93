"""What the worker needs in a database: its own schema, and target tables that fit an output schema."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Literal

from psycopg import sql

from worker.errors import ConfigError
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.table import Table, identifier, read_table

WORKER_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS worker;
CREATE TABLE IF NOT EXISTS worker.residency (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  region text NOT NULL,
  declared_at timestamptz NOT NULL DEFAULT now(),
  declared_by text NOT NULL DEFAULT session_user,
  signature text);
CREATE TABLE IF NOT EXISTS worker.offsets (
  group_id text, topic text, partition int,
  topic_id text NOT NULL, cluster_id text NOT NULL,
  next_offset bigint NOT NULL CHECK (next_offset >= 0),
  owner text NOT NULL, committed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (group_id, topic, partition));
CREATE TABLE IF NOT EXISTS worker.ledger (
  batch uuid NOT NULL, request_ids uuid[] NOT NULL, keyset uuid NOT NULL, format text NOT NULL,
  keys bigint NOT NULL, "values" bigint NOT NULL, topic text NOT NULL, partition int NOT NULL,
  first_offset bigint NOT NULL, last_offset bigint NOT NULL, schema_id text NOT NULL,
  prev_hash bytea NOT NULL, hash bytea NOT NULL,
  chain text NOT NULL, sequence bigint NOT NULL,
  PRIMARY KEY (chain, sequence));
CREATE INDEX IF NOT EXISTS ledger_by_batch ON worker.ledger (batch, topic, partition);
CREATE INDEX IF NOT EXISTS ledger_by_request ON worker.ledger USING gin (request_ids);
"""
"""Idempotent; the region's row is declared by the database's administrator, never by a worker."""

_PRIMITIVE = {
    "boolean": "boolean",
    "int": "integer",
    "long": "bigint",
    "float": "real",
    "double": "double precision",
    "string": "text",
    "bytes": "bytea",
    "fixed": "bytea",
    "enum": "text",
}
_LOGICAL = {
    "uuid": "uuid",
    "date": "date",
    "time-millis": "time",
    "time-micros": "time",
    "timestamp-millis": "timestamptz",
    "timestamp-micros": "timestamptz",
    "timestamp-nanos": "timestamptz",
    "local-timestamp-millis": "timestamp",
    "local-timestamp-micros": "timestamp",
}
_COORDINATE_TYPES = {"_topic": "text", "_partition": "integer", "_offset": "bigint", "_timestamp": "timestamptz"}


def ensure_schema(connection: Connection) -> None:
    """Create schema `worker` and its tables where they are missing; the caller commits."""
    connection.execute(WORKER_SCHEMA)


def column_types(output_schema: str, columns: Mapping[str, Literal["bytea", "eql"]]) -> dict[str, str]:
    """
    Return the SQL type of every top-level field of an output schema.

    Encrypted fields are `bytea`, or `jsonb` where `columns` says `eql`; containers and unions are `jsonb`.

    Raises:
        ConfigError: the root is not one record.
    """
    root = json.loads(output_schema)
    if not isinstance(root, dict) or root.get("type") != "record":
        raise ConfigError("a table takes records of one type; the schema's root is something else")
    found: dict[str, str] = {}
    for field in root["fields"]:
        name = field["name"]
        if "encryption" in field:
            if columns.get(name) == "eql" and field["encryption"].get("format") == "leased":
                raise ConfigError(f"column {name}: eql holds the record format only; its field is leased")
            found[name] = "jsonb" if columns.get(name) == "eql" else "bytea"
        else:
            found[name] = _sql_type(field["type"])
    return found


def key_types(key_schema: str | None, columns: Mapping[str, str]) -> dict[str, str]:
    """
    Return the SQL types of the key columns.

    Args:
        key_schema: Avro schema of the keys as they are written; None where keys are plain text.
        columns: the key columns and the key's fields that fill them.

    Raises:
        ConfigError: the key has not these fields.
    """
    if key_schema is None:
        return {}
    root = json.loads(key_schema)
    if not isinstance(root, dict) or root.get("type") != "record":
        return dict.fromkeys(columns, _sql_type(root))
    fields = {field["name"]: _sql_type(field["type"]) for field in root["fields"]}
    if missing := [name for name in columns.values() if name not in fields]:
        raise ConfigError(f"the record key has no field {', '.join(missing)}, it has {', '.join(fields)}")
    return {column: fields[name] for column, name in columns.items()}


def create_table(
    connection: Connection, name: str, types: Mapping[str, str], *, mode: str, key: tuple[str, ...]
) -> None:
    """Create a target table: the given columns, an append table's coordinates, an upsert table's primary key."""
    if missing := [column for column in key if column not in types]:
        raise ConfigError(f"table {name}: key columns {', '.join(missing)} are no fields of the schema")
    columns: list[sql.Composable] = [_definition(column, kind) for column, kind in types.items()]
    if mode == "append":
        columns += [_definition(column, kind) for column, kind in _COORDINATE_TYPES.items()]
        columns.append(sql.SQL("PRIMARY KEY (_topic, _partition, _offset)"))
    else:
        columns.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, key))))
    if "." in name:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(name.split(".", 1)[0])))
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(identifier(name), sql.SQL(", ").join(columns))
    )


def evolve_table(connection: Connection, table: Table, types: Mapping[str, str]) -> list[str]:
    """Add the columns that a table lacks, nullable, and return their names; nothing is dropped or retyped."""
    added = [name for name in types if name not in table.columns]
    for name in added:
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {}").format(
                table.identifier, _definition(name, types[name])
            )
        )
    return added


def ensure_table(
    connection: Connection, name: str, output_schema: str, options: PostgresSinkOptions, key_schema: str | None = None
) -> None:
    """Create the table of an output schema, or add the columns it lacks; the caller commits."""
    types = column_types(output_schema, options.columns) | key_types(key_schema, options.key_columns)
    table = read_table(connection, name)
    if table is None:
        create_table(connection, name, types, mode=options.mode, key=options.key)
        return
    wanted = {**types, **(_COORDINATE_TYPES if options.mode == "append" else {})}
    evolve_table(connection, table, wanted)


def check_fields(table: Table, output_schema: str, options: PostgresSinkOptions, key_schema: str | None = None) -> None:
    """Raise `ConfigError` where a table lacks a column of the schema or has one of another type."""
    types = column_types(output_schema, options.columns) | key_types(key_schema, options.key_columns)
    missing = [name for name in types if name not in table.columns]
    if missing:
        raise ConfigError(f"table {table.name} lacks columns {', '.join(missing)}; worker check --create adds them")
    wrong = [f"{n} is {table.columns[n].type}, needs {t}" for n, t in types.items() if not _fits(table, n, t)]
    if wrong:
        raise ConfigError(f"table {table.name}: {'; '.join(wrong)}")
    _check_required(table, types.keys(), options)


def _definition(column: str, kind: str) -> sql.Composed:
    # `kind` is one of this module's own words, never input.
    words = sql.SQL(kind)  # type: ignore[arg-type,unused-ignore]
    return sql.SQL("{} {}").format(sql.Identifier(column), words)


def _check_required(table: Table, fields: Collection[str], options: PostgresSinkOptions) -> None:
    filled = {*fields, *(_COORDINATE_TYPES if options.mode == "append" else ())}
    unfilled = [c.name for c in table.columns.values() if c.required and c.name not in filled]
    if unfilled:
        raise ConfigError(f"table {table.name}: {', '.join(unfilled)} must not be null, but no field fills it")


def _fits(table: Table, name: str, wanted: str) -> bool:
    """Types that other types hold without loss are left to the operator; only bytes against other than bytes count."""
    binary = {"bytea", "jsonb"}
    return wanted not in binary or table.columns[name].type in (wanted, "eql_v2_encrypted", "json")


def _sql_type(avro: Any) -> str:
    if isinstance(avro, list):
        branches = [b for b in avro if b != "null"]
        return _sql_type(branches[0]) if len(branches) == 1 else "jsonb"
    if isinstance(avro, str):
        return _PRIMITIVE.get(avro, "jsonb")
    logical = avro.get("logicalType")
    if logical == "decimal":
        return f"numeric({int(avro['precision'])}, {int(avro.get('scale', 0))})"
    return _LOGICAL.get(logical) or _PRIMITIVE.get(avro["type"], "jsonb")
