"""Temporary tables that rows pass through: on the way to a key, or to a type that only the server reads."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from psycopg import sql

from worker.sink.postgres.connection import Connection
from worker.sink.postgres.table import Table


@dataclass(frozen=True, slots=True)
class Staged:
    """A temporary table; `read` gives one of its columns as the target's type."""

    name: sql.Identifier
    table: Table
    casts: Collection[str]

    def read(self, column: str) -> sql.Composable:
        """The expression that reads a column."""
        if column not in self.casts:
            return sql.Identifier(column)
        # The type's name is the server's own. Without its length: a cast to that would cut what the column refuses.
        kind = sql.SQL(self.table.columns[column].type)  # type: ignore[arg-type,unused-ignore]
        return sql.SQL("{}::{}").format(sql.Identifier(column), kind)


def stage(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    *,
    purpose: str,
    casts: Collection[str] = (),
    numbered: str | None = None,
) -> Staged:
    """
    Return an empty temporary table; made once a connection, emptied at every commit.

    Args:
        connection: within the batch's transaction.
        table: whose columns it has.
        columns: their names.
        purpose: two of one batch with other purposes are two tables.
        casts: columns that are text here.
        numbered: the name of an integer column besides.
    """
    shape = "\0".join((purpose, table.name, *(f"{c}:{table.columns[c].declared}:{c in casts}" for c in columns)))
    name = sql.Identifier("pg_temp", f"worker_{hashlib.sha256(shape.encode()).hexdigest()[:16]}")
    wanted: list[sql.Composable] = [
        sql.SQL("NULL::text AS {}").format(sql.Identifier(c)) if c in casts else sql.Identifier(c) for c in columns
    ]
    if numbered is not None:
        wanted.append(sql.SQL("NULL::integer AS {}").format(sql.Identifier(numbered)))
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} WITH NO DATA"
        ).format(name, sql.SQL(", ").join(wanted), table.identifier)
    )
    # Two schemas of one batch may have the same columns.
    connection.execute(sql.SQL("DELETE FROM {}").format(name))
    return Staged(name, table, frozenset(casts))
