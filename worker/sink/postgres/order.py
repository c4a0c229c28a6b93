"""In which order a batch's rows are written and deleted, where one table refers to another."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from psycopg import errors

from worker.sink.postgres.connection import Connection
from worker.sink.postgres.table import Table
from worker.sink.postgres.upsert import Upsert

_REFERENCES = """
SELECT conrelid::int8, confrelid::int8 FROM pg_constraint
 WHERE contype = 'f' AND conrelid <> confrelid AND conrelid = ANY (%(tables)s) AND confrelid = ANY (%(tables)s)
"""


def referred_first(connection: Connection, tables: Sequence[Table]) -> list[Table]:
    """Return tables so that each comes after those its foreign keys refer to; as given where they refer in a circle."""
    by_oid = {table.oid: table for table in tables}
    sorter = TopologicalSorter[int](dict.fromkeys(by_oid, ()))
    for table, referred in connection.execute(_REFERENCES, {"tables": list(by_oid)}).fetchall():
        sorter.add(table, referred)
    try:
        return [by_oid[oid] for oid in sorter.static_order()]
    except CycleError:
        return list(tables)


def write_in_order(connection: Connection, upserts: Sequence[Upsert]) -> None:
    """
    Write several tables' rows, given as `referred_first` says.

    Rows that go are deleted before others come, those first that refer to others. Where a row can't go yet it goes
    last: what refers to it may point to another one by then.

    Raises:
        psycopg.Error: as the server does; a foreign key only where it is broken once all is written.
    """
    late = [upsert for upsert in reversed(upserts) if upsert.deletes and not _has_deleted(connection, upsert)]
    for upsert in upserts:
        upsert.merge(connection)
    for upsert in late:
        upsert.delete(connection)


def _has_deleted(connection: Connection, upsert: Upsert) -> bool:
    """Delete a table's rows; False where others still refer to one, and none was deleted."""
    connection.execute("SAVEPOINT worker_gone")
    try:
        upsert.delete(connection)
    except (errors.ForeignKeyViolation, errors.RestrictViolation):
        connection.execute("ROLLBACK TO SAVEPOINT worker_gone")
        return False
    connection.execute("RELEASE SAVEPOINT worker_gone")
    return True
