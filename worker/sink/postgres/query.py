"""Rows of a table or a query, streamed, for commands that read what a sink wrote."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from worker.errors import ConfigError, SinkUnavailable, WorkerError
from worker.sink.postgres.errors import Verdict, connection_verdict, judge, place
from worker.sink.postgres.table import identifier

_ROWS = 1_000
_READ_ONLY, _SYNTAX = "25006", "42601"
_NAMED = ": a table is named as schema.table or table"
_HINTS = {
    _READ_ONLY: ": it writes, and this reads alone",
    "42P01": ": there is no such table; is its schema named?",
    "42501": ": this role may not read it",
    _SYNTAX: ": it is no single SELECT",
    "42703": ": there is no such column",
}


def rows_of(dsn: str, *, table: str | None, query: str | None) -> Generator[list[dict[str, Any]]]:
    """
    Yield rows by column, a thousand at a time, through a server-side cursor in a read-only transaction.

    Args:
        dsn: the database's.
        table: `schema.table` or `table`; or
        query: one SELECT.

    Raises:
        ConfigError: the connection string, the table or the query is wrong.
        SinkUnavailable: the database does not answer.
    """
    statement = sql.SQL(query or "") if table is None else sql.SQL("SELECT * FROM {}").format(identifier(table))
    try:
        connection = psycopg.connect(dsn, connect_timeout=10, row_factory=dict_row)
    except psycopg.Error as exc:
        raise connection_verdict(exc, f"the database at {place(dsn)}") from None
    with connection:
        try:
            connection.read_only = True
            with connection.cursor(name="worker_decrypt") as cursor:
                cursor.execute(statement)
                while rows := cursor.fetchmany(_ROWS):
                    yield rows
        except psycopg.Error as exc:
            raise _refused(exc, table) from None


def _refused(exc: psycopg.Error, table: str | None) -> WorkerError:
    """Return what to raise where rows can't be read; the server's own words may quote them."""
    what = "the query" if table is None else f"table {table}"
    state = exc.sqlstate
    if state is None or (judge(state) is Verdict.OUTAGE and state != _READ_ONLY):
        return SinkUnavailable(f"{what}: the database broke off" + (f", SQLSTATE {state}" if state else ""))
    hint = _NAMED if table is not None and state == _SYNTAX else _HINTS.get(state, "")
    return ConfigError(f"the query or the table is refused: {what}, SQLSTATE {state}{hint}")
