"""A table that is gone through by key: which key, which columns, which rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from worker.column_names import column_name
from worker.errors import ConfigError
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.table import Column, Table, read_table

# The columns in the index's own order, as paging by it needs them; the primary key first.
_KEY = """
SELECT array_agg(a.attname::text ORDER BY k.n)
  FROM pg_index i
 CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(att, n)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.att
 WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
   AND k.n <= i.indnkeyatts
 GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(a.attnotnull)
 ORDER BY i.indisprimary DESC, count(*) LIMIT 1
"""
_COUNTED = 1_000_000

Condition = sql.Composable
"""Which rows are wanted, of the alias `t`."""


def find_table(connection: Connection, name: str, key: Sequence[str] = ()) -> tuple[Table, tuple[str, ...]]:
    """
    Return a table, and the columns of its key.

    Args:
        connection: within a block that is guarded.
        name: `schema.table` or `table`.
        key: the columns to page by; none looks for the primary key, or another unique index without nulls.

    Raises:
        ConfigError: there is no such table, no such key, or none that tells every row from the others.
    """
    table = read_table(connection, name)
    if table is None:
        raise ConfigError(f"table {name} does not exist, or this role may not see it")
    if not key:
        found = connection.execute(_KEY, [table.oid]).fetchone()
        if found is None:
            raise ConfigError(
                f"table {name} has no primary key and no unique index of columns that are NOT NULL, by which its rows "
                "could be told apart; make one (CREATE UNIQUE INDEX CONCURRENTLY)"
            )
        return table, tuple(found[0])
    unknown = [column for column in key if column not in table.columns]
    if unknown:
        raise ConfigError(f"--key: table {name} has no column {', '.join(unknown)}")
    if tuple(sorted(key)) not in {unique.columns for unique in table.unique}:
        raise ConfigError(f"--key: no unique index of table {name} is of exactly ({', '.join(key)})")
    if nullable := [column for column in key if not table.columns[column].required]:
        raise ConfigError(f"--key: {', '.join(nullable)} may be null in table {name}; a row without key is not found")
    return table, tuple(key)


def column_of(table: Table, name: str) -> Column:
    """Return the column of a field; raises `ConfigError` where the table has none."""
    found = table.columns.get(column_name(name))
    if found is None:
        raise ConfigError(f"table {table.name} has no column {column_name(name)}, and the schema encrypts its field")
    return found


def other_than(table: Table, heads: Mapping[str, tuple[bytes, int]]) -> Condition:
    """
    Return the condition that some cell of a row does not look as it should; a first look, the server's own.

    Args:
        table: of the alias `t`.
        heads: by column, bytes and where they stand: counted from 1, from the end where negative. No bytes: any.
    """
    found: list[sql.Composable] = []
    for name, (head, at) in heads.items():
        value = sql.SQL("t.{}").format(sql.Identifier(name))
        if not head or table.columns[name].type != "bytea":
            found.append(sql.SQL("{} IS NOT NULL").format(value))
            continue
        start = sql.SQL("octet_length({}) - {}").format(value, sql.Literal(-at - 1)) if at < 0 else sql.Literal(at)
        found.append(
            sql.SQL("substring({} FROM {} FOR {}) <> {}").format(
                value, start, sql.Literal(len(head)), sql.Literal(head)
            )
        )
    return sql.SQL("({})").format(sql.SQL(" OR ").join(found))


def every_row() -> Condition:
    """Return the condition that every row meets."""
    return sql.SQL("true")


def count_rows(connection: Connection, table: Table) -> int:
    """Return how many rows a table has: by the server's statistics where they are many, else counted."""
    known = connection.execute(
        "SELECT coalesce(sum(c.reltuples), 0)::int8 FROM pg_class c WHERE c.relkind = 'r' "
        "AND (c.oid = %(t)s OR c.oid IN (SELECT relid FROM pg_partition_tree(%(t)s::oid::regclass)))",
        {"t": table.oid},
    ).fetchone()
    if known is not None and known[0] > _COUNTED:
        return int(known[0])
    counted = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table.identifier)).fetchone()
    return 0 if counted is None else int(counted[0])
