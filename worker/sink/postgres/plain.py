"""A table of plain types that is filled in one transaction: what was decrypted to leave, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from worker.column_names import column_name
from worker.errors import ConfigError
from worker.metrics import Metrics
from worker.model import Position
from worker.model.rows import ColumnType, Row, RowType
from worker.sink.base import SinkRoute
from worker.sink.postgres.connection import Connection, Database
from worker.sink.postgres.copy import RowWriter
from worker.sink.postgres.fit import sql_type
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.residency import DeclaredRegion
from worker.sink.postgres.schema import targets_of
from worker.sink.postgres.table import identifier, read_table

_TIMEOUT_S = 900.0
_IDLE_S = 600.0


class AnyRegion(DeclaredRegion):
    """No declaration is asked for: somebody has said in words that the data may leave."""

    def verify(self, connection: psycopg.Connection[Any]) -> None:
        """Accept every database."""

    def verify_again(self, connection: psycopg.Connection[Any]) -> None:
        """Accept every database."""


class PlainTable:
    """
    Takes records of a plain schema; `finish` makes all of them visible at once.

    Args:
        dsn: the database's, secret.
        name: `schema.table` or `table`; made where it is missing, and else empty.
        region: what the database must declare; with `may_leave` it need not.

    Raises:
        ConfigError: the table has rows, or the database declares nothing.
        RegionViolation: it declares another region.
    """

    def __init__(self, dsn: str, name: str, region: str, *, may_leave: bool) -> None:
        self._options = PostgresSinkOptions(table=name, timeout_s=_TIMEOUT_S, idle_transaction_s=_IDLE_S)
        residency = (AnyRegion if may_leave else DeclaredRegion)(region, None)
        route = SinkRoute(name="export", region=region)
        self._database = Database(dsn, self._options, route, residency=residency, metrics=Metrics(region))
        self._name = name
        self._writers: dict[RowType, RowWriter] = {}
        try:
            with self._database.guarded(f"looking at table {name}") as connection:
                if read_table(connection, name) is not None and _has_rows(connection, name):
                    raise ConfigError(f"table {name} has rows; export into an empty table, or a new one")
        except BaseException:
            self._database.discard()
            raise

    def add(self, row_type: RowType, rows: Sequence[Row]) -> None:
        """
        Copy rows of one type.

        Raises:
            SinkRejected: a value has no room in its column.
            ConfigError: the table has no column for a field, or one that takes no value of it.
        """
        with self._database.guarded(f"writing table {self._name}") as connection:
            writer = self._writer(connection, row_type)
            at = [Position(self._name, 0, i) for i in range(len(rows))]
            writer.copy(connection, identifier(self._name), (row.values for row in rows), at)

    def finish(self) -> None:
        """Commit."""
        with self._database.guarded("committing") as connection:
            connection.commit()

    def close(self) -> None:
        """Forget what was not committed; safe to call twice."""
        self._database.discard()

    def _writer(self, connection: Connection, row_type: RowType) -> RowWriter:
        if row_type not in self._writers:
            fields = {column_name(kind.name): kind for kind in row_type.columns}
            _ensure(connection, self._name, fields)
            table = read_table(connection, self._name)
            assert table is not None
            self._writers[row_type] = RowWriter(table, targets_of(table, fields, self._options))
        return self._writers[row_type]


def _ensure(connection: Connection, name: str, fields: dict[str, ColumnType]) -> None:
    """Make the table, or add the columns that it lacks."""
    # The types are the sink's own words, never input.
    types = {n: sql.SQL(sql_type(kind)) for n, kind in fields.items()}  # type: ignore[arg-type,unused-ignore]
    table = read_table(connection, name)
    if table is None:
        if "." in name:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(name.split(".", 1)[0])))
        columns = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), kind) for n, kind in types.items())
        connection.execute(sql.SQL("CREATE TABLE {} ({})").format(identifier(name), columns))
        return
    for n, kind in types.items():
        if n not in table.columns:
            connection.execute(
                sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(identifier(name), sql.Identifier(n), kind)
            )


def _has_rows(connection: Connection, name: str) -> bool:
    found = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(identifier(name))).fetchone()
    return found == (True,)
