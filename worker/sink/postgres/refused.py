"""Which rows of a batch a table refuses: all of them, found in one transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg

from worker.errors import SinkRejected
from worker.model import Position, SinkRecord
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.errors import verdict

BLOCK = 64
"""Rows that are tried together: each refusal costs at most so many rows again."""

Write = Callable[[Connection, Sequence[SinkRecord]], None]


def refused_rows(connection: Connection, write: Write, records: Sequence[SinkRecord]) -> list[Position]:
    """
    Write rows and return which were refused; the others are written, in the caller's transaction.

    Args:
        connection: within a transaction that the caller rolls back.
        write: writes some rows, and raises as the server does or `SinkRejected`.
        records: at most `BLOCK`.

    Raises:
        psycopg.Error: anything but a refusal.
    """
    if not records:
        return []
    connection.execute("SAVEPOINT worker_refused")
    named: Sequence[Position] = ()
    try:
        write(connection, records)
        connection.execute("RELEASE SAVEPOINT worker_refused")
        return []
    except SinkRejected as exc:
        named = exc.positions
    except psycopg.Error as exc:
        if not isinstance(verdict(exc, ""), SinkRejected):
            raise
    connection.execute("ROLLBACK TO SAVEPOINT worker_refused")
    at = next((i for i, record in enumerate(records) if record.position in named), None)
    if at is None and len(records) > 1:
        middle = len(records) // 2
        return refused_rows(connection, write, records[:middle]) + refused_rows(connection, write, records[middle:])
    at = at or 0
    before = refused_rows(connection, write, records[:at])
    return [*before, records[at].position, *refused_rows(connection, write, records[at + 1 :])]
