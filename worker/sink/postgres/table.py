"""A target table as the server describes it."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from worker.errors import ConfigError
from worker.sink.postgres.connection import Connection

COORDINATES = {"_topic": "text", "_partition": "integer", "_offset": "bigint", "_timestamp": "timestamptz"}
"""Columns of an append table beside the record's own, and their types."""

_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}
# A domain may stand on another domain: its type is the innermost, its length the outermost one that says one.
_COLUMNS = """
WITH RECURSIVE bases AS (
  SELECT a.attnum, a.atttypid AS type, a.atttypmod AS typmod, false AS checked, a.attnotnull AS required
    FROM pg_attribute a WHERE a.attrelid = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attnum, t.typbasetype, CASE WHEN b.typmod >= 0 THEN b.typmod ELSE t.typtypmod END,
         b.checked OR EXISTS (SELECT FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c'),
         b.required OR t.typnotnull
    FROM bases b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd')
SELECT a.attname, t.oid::int8, format_type(t.oid, NULL), t.typtype, t.typcategory, b.typmod,
       format_type(a.atttypid, a.atttypmod), d.typtype = 'd', b.checked,
       b.required, a.atthasdef OR a.attidentity <> '' OR d.typdefault IS NOT NULL,
       CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN a.attidentity = 'a' THEN 'an identity' ELSE '' END,
       coalesce(c.collisdeterministic, true),
       CASE WHEN t.typcategory = 'A' THEN t.typelem::int8 ELSE 0 END,
       CASE WHEN t.typcategory = 'A' THEN format_type(t.typelem, NULL) ELSE '' END,
       e.typtype, e.typcategory,
       ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = coalesce(e.oid, t.oid))
  FROM bases b
  JOIN pg_attribute a ON a.attrelid = %(table)s AND a.attnum = b.attnum
  JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd'
  JOIN pg_type d ON d.oid = a.atttypid
  LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
  LEFT JOIN pg_collation c ON c.oid = a.attcollation
 ORDER BY a.attnum
"""
# INCLUDE columns are no part of the key; ON CONFLICT takes no deferrable index, and compares by the index's collation.
_UNIQUE = """
SELECT (SELECT array_agg(a.attname::text ORDER BY a.attname::text)
          FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (k.keys)),
       i.indimmediate,
       (SELECT bool_and(a.attcollation = i.indcollation[n - 1])
          FROM generate_subscripts(k.keys, 1) n
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.keys[n])
  FROM pg_index i
  CROSS JOIN LATERAL (SELECT (i.indkey::int2[])[0:i.indnkeyatts - 1] AS zero_based) z
  CROSS JOIN LATERAL (SELECT ARRAY(SELECT unnest(z.zero_based)) AS keys) k
 WHERE i.indrelid = %(table)s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
"""
# Whoever changes a column, or a table of the name is made anew, leaves another transaction's mark.
_VERSION = """
SELECT coalesce(string_agg(a.xmin::text, ' ' ORDER BY a.attnum), '')
  FROM pg_attribute a WHERE a.attrelid = to_regclass(%(name)s) AND a.attnum > 0
"""


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column.

    Args:
        name: its name.
        oid: of its type, which is a domain's innermost base.
        type: that type's name without length.
        kind: its `typtype`: `b` base, `e` enum, `c` composite, `r` range.
        category: its `typcategory`: `S` text, `A` array.
        typmod: length, precision or scale as PostgreSQL keeps it, -1 for none.
        declared: the type as it is declared, domain and length included.
        is_domain: whether that is a domain.
        checked: whether a domain's own condition applies.
        required: whether it, or its domain, refuses null.
        filled: whether it fills itself where nothing is given.
        unwritable: why it takes no value, `generated` or `an identity`; else empty.
        deterministic: whether equal text means equal bytes.
        labels: an enum's.
        element: an array's element, as a column.
    """

    name: str
    oid: int
    type: str
    kind: str = "b"
    category: str = "U"
    typmod: int = -1
    declared: str = ""
    is_domain: bool = False
    checked: bool = False
    required: bool = False
    filled: bool = False
    unwritable: str = ""
    deterministic: bool = True
    labels: tuple[str, ...] = ()
    element: Column | None = None


@dataclass(frozen=True, slots=True)
class Unique:
    """A unique index: its key columns, sorted, and why an upsert can't use it, else empty."""

    columns: tuple[str, ...]
    unfit: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A relation; `name` is as configured, `kind` in words, `version` another one after each change of its columns."""

    name: str
    columns: dict[str, Column]
    unique: tuple[Unique, ...]
    kind: str = "table"
    oid: int = 0
    version: str = ""

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted name."""
        return identifier(self.name)


def identifier(name: str) -> sql.Identifier:
    """Quote `schema.table`."""
    return sql.Identifier(*name.split(".", 1))


def read_table(connection: Connection, name: str) -> Table | None:
    """Return a table's shape, None where there is no such table; raises `ConfigError` for one of PostgreSQL's own."""
    quoted = identifier(name).as_string(connection)
    # The version first: what is altered in between shows as another one later.
    found = connection.execute(
        f"SELECT c.oid::int8, c.relkind, n.nspname, ({_VERSION}) "  # noqa: S608
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%(name)s)",
        {"name": quoted},
    ).fetchone()
    if found is None:
        return None
    oid, kind, schema, version = found
    if schema == "pg_catalog":
        raise ConfigError(
            f"table {name} is PostgreSQL's own, of {schema}, which comes before every schema of the search_path; name "
            "your table with its schema, or give it another name"
        )
    columns = [_column(*row) for row in connection.execute(_COLUMNS, {"table": oid}).fetchall()]
    unique = tuple(
        Unique(tuple(keys), "deferrable" if not immediate else "" if same else "of another collation than the column")
        for keys, immediate, same in connection.execute(_UNIQUE, {"table": oid}).fetchall()
    )
    found_kind = _KINDS.get(kind, f"relation of kind {kind}")
    return Table(name, {column.name: column for column in columns}, unique, found_kind, oid, version)


def read_version(connection: Connection, table: Table) -> str:
    """Return a table's present version, which stays that of a transaction that has written to it."""
    row = connection.execute(_VERSION, {"name": table.identifier.as_string(connection)}).fetchone()
    assert row is not None
    return str(row[0])


def _column(  # noqa: PLR0913 - a row of the query
    name: str, oid: int, type_name: str, kind: str, category: str, typmod: int, declared: str, is_domain: bool,
    checked: bool, required: bool, filled: bool, unwritable: str, deterministic: bool, element_oid: int,
    element_type: str, element_kind: str | None, element_category: str | None, labels: list[str],
) -> Column:  # fmt: skip
    element = None
    if element_oid and element_kind is not None and element_category is not None:
        # An array's length is its elements'.
        element = Column(name, element_oid, element_type, element_kind, element_category, typmod, labels=tuple(labels))
    return Column(
        name, oid, type_name, kind, category, typmod, declared, is_domain, checked, required, filled, unwritable,
        deterministic, tuple(labels), element,
    )  # fmt: skip
