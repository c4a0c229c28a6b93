"""In which order a batch's tables are written, where one refers to another."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from worker.sink.postgres.connection import Connection
from worker.sink.postgres.table import Table

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
