"""Rows of a table or a query, streamed, for commands that read what a sink wrote."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from worker.errors import ConfigError, SinkUnavailable

_ROWS = 1_000


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
    statement = (
        sql.SQL(query or "") if table is None else sql.SQL("SELECT * FROM {}").format(sql.Identifier(*table.split(".")))
    )
    try:
        with psycopg.connect(dsn, connect_timeout=10, row_factory=dict_row) as connection:
            connection.read_only = True
            with connection.cursor(name="worker_decrypt") as cursor:
                cursor.execute(statement)
                while rows := cursor.fetchmany(_ROWS):
                    yield rows
    except psycopg.OperationalError as exc:
        raise SinkUnavailable(f"the database does not answer: {type(exc).__name__}") from None
    except psycopg.ProgrammingError as exc:
        raise ConfigError(f"the query or the table is refused: {type(exc).__name__}") from None
