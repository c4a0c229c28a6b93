"""Some rows of a table, for whoever looks at what was written; reads only."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from worker.column_names import column_name
from worker.errors import ConfigError
from worker.sink.postgres.errors import connection_verdict, place
from worker.sink.postgres.table import identifier


def sample(dsn: str, table: str, columns: Sequence[str], rows: int, *, timeout_s: float) -> dict[str, list[object]]:
    """
    Return values of the columns that the table has, from so many rows taken at random.

    Args:
        dsn: the database.
        table: `schema.table` or `table`.
        columns: names; one that the table lacks is left out.
        rows: at most so many.
        timeout_s: bound of connecting and of each statement.

    Raises:
        ConfigError: there is no such table, or the right to read it is missing.
        SinkUnavailable: the database does not answer.
    """
    name = identifier(table)
    options = f"-c statement_timeout={int(timeout_s * 1000)} -c default_transaction_read_only=on"
    try:
        with psycopg.connect(dsn, connect_timeout=max(2, int(timeout_s)), options=options) as connection:
            described = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(name)).description
            present = [column for column in columns if column in {c.name for c in described or ()}]
            if not present:
                return {}
            chosen = sql.SQL(", ").join(map(sql.Identifier, present))
            # Pages at random while the table is large, all of it while it is not.
            share = _share(connection, table, rows)
            query = sql.SQL("SELECT {} FROM {} TABLESAMPLE SYSTEM ({}) LIMIT {}").format(
                chosen, name, sql.Literal(share), sql.Literal(rows)
            )
            found = connection.execute(query).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as exc:
        raise ConfigError(f"table {table} is not there or may not be read (SQLSTATE {exc.sqlstate})") from None
    except psycopg.Error as exc:
        raise connection_verdict(exc, f"looking into {table} at {place(dsn)}") from None
    return {column: [row[n] for row in found] for n, column in enumerate(present)}


def count(dsn: str, table: str, column: str, text: str, *, timeout_s: float) -> int:
    """
    Return how many rows of a table have a text in a clear column; 0 where there is no such column.

    Args:
        dsn: the database.
        table: `schema.table` or `table`.
        column: its field's name.
        text: the value, as text.
        timeout_s: as for `sample`.

    Raises:
        ConfigError, SinkUnavailable: as `sample`.
    """
    name, own = identifier(table), column_name(column)
    options = f"-c statement_timeout={int(timeout_s * 1000)} -c default_transaction_read_only=on"
    try:
        with psycopg.connect(dsn, connect_timeout=max(2, int(timeout_s)), options=options) as connection:
            described = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(name)).description
            if own not in {c.name for c in described or ()}:
                return 0
            query = sql.SQL("SELECT count(*) FROM {} WHERE {}::text = %s").format(name, sql.Identifier(own))
            found = connection.execute(query, [text]).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as exc:
        raise ConfigError(f"table {table} is not there or may not be read (SQLSTATE {exc.sqlstate})") from None
    except psycopg.Error as exc:
        raise connection_verdict(exc, f"looking into {table} at {place(dsn)}") from None
    return 0 if found is None else int(str(found[0]))


def _share(connection: psycopg.Connection[tuple[object, ...]], table: str, rows: int) -> float:
    found = connection.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", [table]).fetchone()
    known = float(str(found[0])) if found is not None else 0.0
    # Twice what is needed, since pages are unevenly filled.
    return 100.0 if known <= 10 * rows else min(100.0, 200.0 * rows / known)
