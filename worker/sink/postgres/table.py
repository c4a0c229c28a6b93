"""A target table as the server describes it."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from worker.errors import ConfigError
from worker.sink.postgres.connection import Connection

COORDINATES = ("_topic", "_partition", "_offset", "_timestamp")
"""Columns of an append table beside the record's own."""

_TEXT_OID = 25
_COLUMNS = """
SELECT a.attname,
       CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END::int8,
       coalesce(b.typtype, t.typtype) = 'e' OR coalesce(b.typcategory, t.typcategory) = 'S',
       format_type(a.atttypid, NULL), a.attnotnull AND NOT a.atthasdef
  FROM pg_attribute a
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
 WHERE a.attrelid = %s::regclass AND a.attnum > 0
   AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
 ORDER BY a.attnum
"""
_UNIQUE = """
SELECT array_agg(a.attname::text ORDER BY a.attname::text)
  FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
 WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
 GROUP BY i.indexrelid
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `wire_oid` is the type whose binary form COPY sends, `type` its name, `required` without default."""

    name: str
    wire_oid: int
    type: str
    required: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table and its writable columns; `name` is as configured, `unique` its unique indexes' sorted columns."""

    name: str
    columns: dict[str, Column]
    unique: tuple[tuple[str, ...], ...]

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted name."""
        return identifier(self.name)


def identifier(name: str) -> sql.Identifier:
    """Quote `schema.table`."""
    return sql.Identifier(*name.split(".", 1))


def read_table(connection: Connection, name: str) -> Table | None:
    """Return a table's shape, None where there is no such table."""
    quoted = identifier(name).as_string(connection)
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [quoted]).fetchone()
    if found is None or not found[0]:
        return None
    rows = connection.execute(_COLUMNS, [quoted]).fetchall()
    columns = {
        str(column): Column(str(column), _TEXT_OID if textual else int(oid), str(type_name), bool(required))
        for column, oid, textual, type_name, required in rows
    }
    unique = tuple(tuple(row[0]) for row in connection.execute(_UNIQUE, [quoted]).fetchall())
    return Table(name, columns, unique)


def check_table(table: Table, *, mode: str, key: tuple[str, ...], columns: dict[str, str]) -> None:
    """Raise `ConfigError` where a table can't take the route's rows, naming what to change."""
    if mode == "append" and (missing := [c for c in COORDINATES if c not in table.columns]):
        raise ConfigError(f"table {table.name} lacks {', '.join(missing)}; worker check --create adds them")
    if mode == "append" and table.columns["_timestamp"].type != "timestamp with time zone":
        raise ConfigError(f"column {table.name}._timestamp is not timestamptz")
    if mode == "upsert" and tuple(sorted(key)) not in table.unique:
        raise ConfigError(f"table {table.name} has no unique index on exactly ({', '.join(key)})")
    for name, kind in columns.items():
        wanted = "jsonb" if kind == "eql" else "bytea"
        column = table.columns.get(name)
        if column is not None and column.type not in (wanted, "eql_v2_encrypted"):
            raise ConfigError(f"column {table.name}.{name} is {column.type}; {kind} needs {wanted}")
