"""What the worker needs in a database: its own schema, and target tables that fit an output schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
import structlog
from psycopg import sql

from worker.column_names import column_name
from worker.errors import ConfigError
from worker.model.rows import ColumnType, RowType
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.copy import Target, unknown_columns
from worker.sink.postgres.eql import eql_fit
from worker.sink.postgres.fit import Misfit, sql_type
from worker.sink.postgres.matching import fit
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.table import COORDINATES, Table, identifier, read_table

_log = structlog.get_logger(__name__)
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
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (chain, sequence));
ALTER TABLE worker.ledger ADD COLUMN IF NOT EXISTS at timestamptz NOT NULL DEFAULT now();
ALTER TABLE worker.ledger ADD COLUMN IF NOT EXISTS audited text[] NOT NULL DEFAULT '{}';
CREATE TABLE IF NOT EXISTS worker.ledger_checkpoint (
  chain text PRIMARY KEY, sequence bigint NOT NULL, hash bytea NOT NULL,
  keys bigint NOT NULL, "values" bigint NOT NULL, keyset uuid NOT NULL, signature bytea NOT NULL,
  at timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS ledger_by_batch ON worker.ledger (batch, topic, partition);
CREATE INDEX IF NOT EXISTS ledger_by_request ON worker.ledger USING gin (request_ids);
"""
"""Idempotent; the region's row is declared by the database's administrator, never by a worker."""
_IS_COMPLETE = """
SELECT FROM pg_attribute WHERE attrelid = to_regclass('worker.ledger') AND attname = 'audited' AND NOT attisdropped
  AND to_regclass('worker.ledger_checkpoint') IS NOT NULL
"""

_SYSTEM = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})
COORDINATE_TYPES = (
    ColumnType("_topic", "string"),
    ColumnType("_partition", "int"),
    ColumnType("_offset", "long"),
    ColumnType("_timestamp", "long", "timestamp-millis", nullable=True),
)
PLAIN_KEY = ColumnType("", "string")
"""What a key without a schema is: text of the column's type."""


def ensure_schema(connection: Connection) -> None:
    """Create schema `worker` and its tables where they are missing; the caller commits."""
    # IF NOT EXISTS does not hold where two workers create the same at once: the second one waits.
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('worker'))")
    connection.execute(WORKER_SCHEMA)


def complete_schema(connection: Connection, *, is_there: bool) -> None:
    """
    Create schema `worker` and its tables, or what those of an earlier version lack; the caller commits.

    Whoever does not own tables that are there leaves them as they are: the worker goes on with less in its ledger.
    """
    if not is_there:
        ensure_schema(connection)
    elif connection.execute(_IS_COMPLETE).fetchone() is None:
        try:
            with connection.transaction():
                ensure_schema(connection)
        except psycopg.errors.InsufficientPrivilege:
            _log.warning("ledger_not_completed", do="run worker check --create as its owner")


def fields_of(row_type: RowType, options: PostgresSinkOptions) -> dict[str, ColumnType]:
    """
    Return the column of each field that has one of its own, by name; key columns hold the key.

    Raises:
        ConfigError: two fields have one column, or a field the name of a column that is not its.
    """
    reserved = COORDINATES.keys() if options.mode == "append" else ()
    found: dict[str, ColumnType] = {}
    for kind in row_type.columns:
        name = column_name(kind.name)
        if name in found:
            raise ConfigError(f"two fields have the column {name}; rename one of them")
        if name in reserved:
            raise ConfigError(f"the field {name} has the name of a coordinate; rename it, or use mode = upsert")
        if name in _SYSTEM:
            raise ConfigError(f"the field {name} has the name of a system column of PostgreSQL; rename it")
        if name not in options.key:
            found[name] = kind
    return found


def key_fields(key_type: RowType | None, options: PostgresSinkOptions) -> dict[str, ColumnType]:
    """
    Return the types of the key columns.

    Args:
        key_type: of the keys as they are written; None where they are plain text.
        options: name the columns.

    Raises:
        ConfigError: the key has not these fields.
    """
    columns = options.key_columns
    if key_type is None:
        return dict.fromkeys(columns, PLAIN_KEY)
    kinds = {kind.name: kind for kind in key_type.columns}
    if "" in kinds:
        return dict.fromkeys(columns, kinds[""])
    if missing := [name for name in columns.values() if name not in kinds]:
        raise ConfigError(f"the record key has no field {', '.join(missing)}, it has {', '.join(kinds)}")
    return {column: kinds[name] for column, name in columns.items()}


def targets_of(table: Table, fields: Mapping[str, ColumnType], options: PostgresSinkOptions) -> list[Target]:
    """
    Return how each field gets into its column.

    Raises:
        ConfigError: columns are missing, or take no value of their field; every one is named.
    """
    if missing := [name for name in fields if name not in table.columns]:
        raise unknown_columns(table, missing)
    found, wrong = [], []
    for name, kind in fields.items():
        column = table.columns[name]
        try:
            storage = options.columns.get(name, "")
            is_eql = kind.encrypted is not None and storage == "eql"
            how = eql_fit(kind, column, table.name) if is_eql else fit(kind, column, storage)
            found.append(Target(name, how))
        except Misfit as exc:
            wrong.append(f"{name} is {column.declared}: {exc}")
    if wrong:
        raise ConfigError(f"table {table.name}: {'; '.join(wrong)}")
    return found


def row_targets(table: Table, row_type: RowType | None, options: PostgresSinkOptions) -> list[Target]:
    """Return how a row's values, and in append mode its coordinates, get into a table; raises as `targets_of`."""
    fields = fields_of(row_type, options) if row_type is not None else {}
    if options.mode == "append":
        fields |= {kind.name: kind for kind in COORDINATE_TYPES}
    return targets_of(table, fields, options)


def key_targets(table: Table, key_type: RowType | None, options: PostgresSinkOptions) -> list[Target]:
    """Return how a key's values get into the key columns; raises as `targets_of`."""
    kinds = key_fields(key_type, options)
    if key_type is None:
        kinds = {n: ColumnType("", "bytes") if _is_binary(table, n) else kind for n, kind in kinds.items()}
    return targets_of(table, kinds, options)


def wanted_types(row_type: RowType, options: PostgresSinkOptions, key_type: RowType | None) -> dict[str, str]:
    """Return the SQL types of a table for these rows and keys."""
    types = {name: _created(kind, options.columns.get(name, "")) for name, kind in fields_of(row_type, options).items()}
    own = {column_name(kind.name): kind for kind in row_type.columns}
    for name, kind in key_fields(key_type, options).items():
        # A key without a schema is text, of whatever type the record's own field of that name says.
        types[name] = sql_type(own[name] if key_type is None and name in own else kind)
    return types | (COORDINATES if options.mode == "append" else {})


def create_table(connection: Connection, name: str, types: Mapping[str, str], options: PostgresSinkOptions) -> None:
    """Create a target table: the given columns, and a primary key of the coordinates or the key columns."""
    key: Sequence[str] = ("_topic", "_partition", "_offset") if options.mode == "append" else options.key
    columns = [_definition(column, kind) for column, kind in types.items()]
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
    connection: Connection, name: str, row_type: RowType, options: PostgresSinkOptions, key_type: RowType | None
) -> Table:
    """Create a table for these rows, or add the columns it lacks; the caller commits."""
    types = wanted_types(row_type, options, key_type)
    table = read_table(connection, name)
    if table is None:
        create_table(connection, name, types, options)
    else:
        evolve_table(connection, table, types)
    made = read_table(connection, name)
    if made is None:
        raise ConfigError(f"table {name} was not made; is its schema in the search_path?")
    return made


def _is_binary(table: Table, name: str) -> bool:
    return name in table.columns and table.columns[name].type == "bytea"


def _created(kind: ColumnType, storage: str) -> str:
    if kind.encrypted is None:
        return "jsonb" if storage == "json" else sql_type(kind)
    if storage == "eql" and kind.encrypted == "leased":
        raise ConfigError(f"column {kind.name}: eql holds the record format only; its field is leased")
    return "jsonb" if storage == "eql" else "bytea"


def _definition(column: str, kind: str) -> sql.Composed:
    # `kind` is one of the sink's own words, never input.
    words = sql.SQL(kind)  # type: ignore[arg-type,unused-ignore]
    return sql.SQL("{} {}").format(sql.Identifier(column), words)
