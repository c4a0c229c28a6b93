"""Rows by binary COPY."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from worker.errors import ConfigError, SinkRejected
from worker.model import Position, SinkRecord
from worker.model.rows import RowType
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.errors import copy_line, verdict
from worker.sink.postgres.fit import BYTEA, Fit
from worker.sink.postgres.stage import stage
from worker.sink.postgres.table import Table

# What an encoder, or the driver's, raises for a value that the column can't hold exactly.
_UNFIT = (ValueError, TypeError, AttributeError, ArithmeticError, LookupError, struct.error)


@dataclass(frozen=True, slots=True)
class Target:
    """A column to fill, and how."""

    name: str
    fit: Fit


class RowWriter:
    """
    Writes rows of one shape into one table.

    Args:
        table: where they go.
        targets: the columns, in the order of the rows' values.
    """

    def __init__(self, table: Table, targets: Sequence[Target]) -> None:
        self.table = table
        self.targets = tuple(targets)
        self._types = [BYTEA if t.fit.native is None else t.fit.native for t in targets]
        self._steps = [(i, t) for i, t in enumerate(targets) if t.fit.native is None]
        self.casts = [t.name for t in targets if t.fit.cast]

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [target.name for target in self.targets]

    def copy(
        self,
        connection: Connection,
        into: sql.Composable,
        rows: Iterable[Sequence[object]],
        positions: Sequence[Position],
    ) -> None:
        """
        Copy rows into `into`, which has these columns.

        Args:
            connection: within the batch's transaction.
            into: quoted name.
            rows: one sequence of base values each.
            positions: each row's place in the source, for what is raised.

        Raises:
            SinkRejected: names the record whose value the table or its type refuses.
        """
        columns = sql.SQL(", ").join(map(sql.Identifier, self.names))
        done = 0
        try:
            with (
                connection.cursor() as cursor,
                cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(into, columns)) as copy,
            ):
                copy.set_types(self._types)
                write_row = copy.write_row
                for row in rows:
                    write_row(self._encoded(row, positions[done]) if self._steps else row)
                    done += 1
        except psycopg.Error as exc:
            raise self._refusal(exc, connection, positions, done) from None
        except _UNFIT:
            raise self._unfit(positions[done]) from None

    def copy_ready(
        self, connection: Connection, into: sql.Composable, data: bytes, position_of: Callable[[int], Position]
    ) -> None:
        """Copy rows that are in the binary form already; raises as `copy`."""
        columns = sql.SQL(", ").join(map(sql.Identifier, self.names))
        try:
            with (
                connection.cursor() as cursor,
                cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(into, columns)) as copy,
            ):
                copy.write(data)
        except psycopg.Error as exc:
            raise self._refused(exc, position_of) or exc from None

    def _encoded(self, row: Sequence[object], position: Position) -> Sequence[object]:
        values = list(row)
        for i, target in self._steps:
            value = values[i]
            if value is not None:
                try:
                    values[i] = target.fit.encode(value)
                except _UNFIT:
                    why = f" takes no {target.fit.remark}" if target.fit.remark else " has no room for a value"
                    message = f"table {self.table.name}: column {target.name}{why}"
                    raise SinkRejected(message, positions=[position]) from None
        return values

    def _refusal(
        self, exc: psycopg.Error, connection: Connection, positions: Sequence[Position], done: int
    ) -> Exception:
        refused = self._refused(exc, positions.__getitem__)
        if refused is not None:
            return refused
        if exc.sqlstate is not None or connection.broken or not isinstance(exc, psycopg.DataError):
            return exc
        return self._unfit(positions[done])

    def _refused(self, exc: psycopg.Error, position_of: Callable[[int], Position]) -> SinkRejected | None:
        """The server's refusal of one row, None where it does not say of which, or refuses none."""
        line = copy_line(exc)
        if line is None:
            return None
        cause = verdict(exc, f"table {self.table.name}")
        return SinkRejected(str(cause), positions=[position_of(line)]) if isinstance(cause, SinkRejected) else None

    def _unfit(self, position: Position) -> SinkRejected:
        """The driver's own refusal: a text with a NUL, a number without room."""
        return SinkRejected(f"table {self.table.name}: a value does not fit its column", positions=[position])


def append(connection: Connection, writer: RowWriter, records: Sequence[SinkRecord]) -> None:
    """Append records of one row type with their coordinates; a tombstone is a row of coordinates and nulls."""
    positions = [record.position for record in records]
    rows = _rows_with_coordinates(records)
    if not writer.casts:
        writer.copy(connection, writer.table.identifier, rows, positions)
        return
    staged = stage(connection, writer.table, writer.names, casts=writer.casts, purpose="rows")
    writer.copy(connection, staged.name, rows, positions)
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
            writer.table.identifier,
            sql.SQL(", ").join(map(sql.Identifier, writer.names)),
            sql.SQL(", ").join(map(staged.read, writer.names)),
            staged.name,
        )
    )


def by_type(records: Iterable[SinkRecord]) -> dict[tuple[RowType | None, RowType | None], list[SinkRecord]]:
    """Group records by the types of their rows and keys; one group, but for a batch that spans a schema's change."""
    groups: dict[tuple[RowType | None, RowType | None], list[SinkRecord]] = {}
    for record in records:
        row, key = record.row, record.key_row
        types = None if row is None else row.type, None if key is None else key.type
        groups.setdefault(types, []).append(record)
    return groups


def _rows_with_coordinates(records: Sequence[SinkRecord]) -> Iterator[tuple[object, ...]]:
    for record in records:
        at = record.position
        moment = record.timestamp_ms if record.timestamp_type else None
        own = record.row.values if record.row is not None else ()
        yield (*own, at.topic, at.partition, at.offset, moment)


def unknown_columns(table: Table, names: Sequence[str]) -> ConfigError:
    """Return the refusal of a table that lacks columns."""
    return ConfigError(
        f"table {table.name} lacks columns {', '.join(names)}; worker check --create adds them, "
        "or evolve = true on the sink as they come"
    )
