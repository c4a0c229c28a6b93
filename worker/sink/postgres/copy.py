"""Rows by binary COPY."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

import psycopg
from psycopg import sql

from worker.errors import ConfigError, SinkRejected
from worker.model import Position, SinkRecord
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.errors import copy_line, verdict
from worker.sink.postgres.table import COORDINATES, Table

# What psycopg's dumpers raise for a value that the column's type can't hold.
_UNFIT = (psycopg.DataError, TypeError, ValueError, AttributeError, ArithmeticError, struct.error)
# A timestamptz in binary is an int8 of microseconds since 2000-01-01: sent as that, it costs no datetime a row.
_EPOCH_2000_MS = 946_684_800_000
_INT8_OID = 20

Convert = Callable[[str, str, object], object]
"""Table, column and value to the value that psycopg sends."""


def copy_rows(
    connection: Connection,
    target: sql.Composable,
    table: Table,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    positions: Sequence[Position],
) -> None:
    """
    Copy rows into `target`, a table with the columns of `table`.

    Args:
        connection: within the batch's transaction.
        target: quoted name.
        table: whose column types the rows have.
        columns: names, in the order of the rows' values.
        rows: one sequence of values each.
        positions: each row's place in the source, for what is raised.

    Raises:
        SinkRejected: names the record whose value the table or its type refuses.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        target, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    done = 0
    try:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types([_INT8_OID if c == "_timestamp" else table.columns[c].wire_oid for c in columns])
            write_row = copy.write_row
            for row in rows:
                write_row(row)
                done += 1
    except psycopg.Error as exc:
        line = copy_line(exc)
        if line is not None:
            cause = verdict(exc, f"table {table.name}")
            if isinstance(cause, SinkRejected):
                raise SinkRejected(str(cause), positions=[positions[line]]) from None
        if exc.sqlstate is not None or connection.broken:
            raise
        raise _unfit(exc, table, positions[done]) from None
    except _UNFIT as exc:
        raise _unfit(exc, table, positions[done]) from None


def append(connection: Connection, table: Table, records: Sequence[SinkRecord], convert: Convert | None) -> None:
    """Append records with their coordinates; a tombstone is a row of coordinates and nulls."""
    for fields, group in by_fields(table, records).items():
        columns = (*fields, *COORDINATES)
        rows = _rows_with_coordinates(group, table, fields, convert)
        copy_rows(connection, table.identifier, table, columns, rows, [record.position for record in group])


def by_fields(table: Table, records: Sequence[SinkRecord]) -> dict[tuple[str, ...], list[SinkRecord]]:
    """
    Group records by the columns they fill; one group, but for a batch that spans a schema's change.

    Raises:
        ConfigError: a field has no column.
    """
    groups: dict[tuple[str, ...], list[SinkRecord]] = {}
    for record in records:
        fields = tuple(record.row or ())
        group = groups.get(fields)
        if group is None:
            if unknown := [name for name in fields if name not in table.columns]:
                raise ConfigError(
                    f"table {table.name} lacks columns {', '.join(unknown)}; worker check --create adds them"
                )
            group = groups[fields] = []
        group.append(record)
    return groups


def values(record: SinkRecord, table: Table, fields: Sequence[str], convert: Convert | None) -> Sequence[object]:
    """Return a record's values in the order of its fields."""
    row = record.row
    if row is None:
        return ()
    if convert is None:
        return tuple(row.values())
    return [convert(table.name, name, row[name]) for name in fields]


def _rows_with_coordinates(
    group: Sequence[SinkRecord], table: Table, fields: tuple[str, ...], convert: Convert | None
) -> Iterator[tuple[object, ...]]:
    for record in group:
        at = record.position
        moment = (record.timestamp_ms - _EPOCH_2000_MS) * 1000 if record.timestamp_type else None
        yield (*values(record, table, fields, convert), at.topic, at.partition, at.offset, moment)


def _unfit(exc: Exception, table: Table, position: Position) -> SinkRejected | ConfigError:
    if isinstance(exc, psycopg.ProgrammingError):
        return ConfigError(f"table {table.name} has a column whose type can't be written by binary COPY")
    return SinkRejected(f"table {table.name}: a value does not fit its column's type", positions=[position])
