"""One table and what a command asks of it: to be rewritten, counted, or judged beforehand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from worker.metrics import Metrics
from worker.rekey.census import Census
from worker.rekey.keys import Way
from worker.rekey.marks import Marks
from worker.rekey.rows import Shape, TableRows
from worker.rekey.table import Observe, Refused, TableDone, TableOptions, TableRekey
from worker.rekey.wanted import Wanted, refuse_alike, said
from worker.sink.base import SinkRoute
from worker.sink.postgres.connection import Database
from worker.sink.postgres.keyed import count_rows, every_row, find_table
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.residency import DeclaredRegion
from worker.sink.postgres.rewrite import Found, Key
from worker.sink.postgres.rewritten import Progress

# The first look of a pass goes through all that is done already before it finds something.
_TIMEOUT_S = 900.0
_IDLE_S = 60.0
_SAMPLE_PAGES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlace:
    """
    Where a table is.

    Args:
        dsn: its database's, secret.
        name: `schema.table` or `table`.
        key: the columns to page by; none looks for them.
        instance: who asks.
        residency_key: the public key that the database's declaration must be signed with, if any.
    """

    dsn: str = field(repr=False)
    name: str
    key: tuple[str, ...] = ()
    instance: str
    residency_key: str | None = None


class RekeyedTable:
    """
    A table of the region whose keys are held; a context manager.

    Args:
        place: where it is.
        stored: the output schema of its rows.
        wanted: how they are to be encrypted.
        way: from old keys to new ones.

    Raises:
        ConfigError: the table, its key or its schema can't be used.
        RegionViolation: the database declares another region than that of the keys.
    """

    def __init__(self, place: TablePlace, stored: str, wanted: Wanted, way: Way) -> None:
        name = place.name
        options = PostgresSinkOptions(table=name, timeout_s=_TIMEOUT_S, idle_transaction_s=_IDLE_S)
        route = SinkRoute(name="rekey", region=way.region, instance=place.instance)
        residency = DeclaredRegion(way.region, place.residency_key)
        self._database = Database(place.dsn, options, route, residency=residency, metrics=Metrics(way.region))
        self.name, self._instance = name, place.instance
        try:
            whole = wanted.compiled(stored)
            refuse_alike(stored, whole)
            with self._database.guarded(f"reading table {name}") as connection:
                table, self.key = find_table(connection, name, place.key)
                connection.commit()
            shape = Shape(stored, whole, table, self.key)
            self._rows = TableRows(shape, way.recoder, way.new.resolve)
            self._marks = Marks(shape.compiled.plan.fields, way.new.resolve)
        except BaseException:
            self._database.discard()
            raise
        self._stored = shape.projection.schema
        self._job = said(whole)[:16]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._database.discard()

    def count(self) -> int:
        """Return how many rows it has, as far as the server knows without counting where they are many."""
        with self._database.guarded("counting rows") as connection:
            found = count_rows(connection, self._rows.rewrite.table)
            connection.commit()
        return found

    def rekey(self, options: TableOptions, stop: threading.Event, observe: Observe, refused: Refused) -> TableDone:
        """Rewrite it; raises as `TableRekey.run`."""
        progress = Progress(self.name, self._job, self._instance)
        return TableRekey(self._database, self._rows, progress, options, refused).run(stop, observe)

    def census(self, page: int) -> Census:
        """Count its values by what their envelopes say."""
        census = Census(self._marks, self._stored)
        for rows in self._pages(page):
            split, broken = self._rows.split(rows)
            census.broken += broken
            census.add(split)
        return census

    def estimate(self, options: TableOptions, refused: Refused) -> dict[str, object]:
        """Encrypt some pages anew, write nothing, and say what all would take."""
        rows = changed = kept = 0
        spent = 0.0
        for number, page in enumerate(self._pages(options.page)):
            if number == _SAMPLE_PAGES:
                break
            began = time.monotonic()
            worked = self._rows.work(page)
            # What the first page needs, the keys above all, the others have.
            spent += 0.0 if number == 0 else time.monotonic() - began
            rows, changed, kept = rows + len(page), changed + len(worked.changes), kept + len(worked.refused)
            for key, error in worked.refused:
                refused(key, error)
        total = self.count()
        each = spent / max(1, rows - options.page)
        seconds = total * max(each, 1 / options.rate if options.rate else 0.0)
        return {
            "table": self.name,
            "rows": total,
            "sample": rows,
            "to_rewrite": changed,
            "kept": kept,
            "seconds": round(seconds, 1),
        }

    def _pages(self, size: int) -> Iterator[list[Found]]:
        after: Key | None = None
        while True:
            with self._database.guarded("reading rows") as connection:
                page = self._rows.rewrite.page(connection, after, size, every_row())
                connection.commit()
            if not page:
                return
            yield page
            after = page[-1].key
