"""A table rewritten in place: page after page by key, pass after pass until nothing is left under other keys."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import stamina

from worker import failpoints
from worker.errors import FatalError, SinkRejected, TransientError, WorkerError
from worker.rekey.pace import Pace
from worker.rekey.rows import TableRows, Worked
from worker.sink.postgres.connection import Database
from worker.sink.postgres.rewrite import Found, Key
from worker.sink.postgres.rewritten import Progress, Way

_LONGEST_REST_S = 10.0

Refused = Callable[[Key, WorkerError], None]
Observe = Callable[[Way, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """
    How a table is rewritten.

    Args:
        page: rows of one transaction.
        rate: rows a second at most; None for as fast as it goes.
        keep: let what can't be opened stay as it is and go on, instead of stopping.
        most: stop, too, where more than so many rows of a pass can't be opened.
        passes: stop where this many did not find an end.
        patience_s: how long something may be away.
    """

    page: int = 2_000
    rate: float | None = None
    keep: bool = False
    most: int = 1_000
    passes: int = 10
    patience_s: float = 600.0


@dataclass(frozen=True, slots=True)
class TableDone:
    """
    What became of it.

    Args:
        way: how far it has come.
        complete: whether a last pass found nothing left to do but what is kept.
    """

    way: Way
    complete: bool


class TableRekey:
    """
    Rewrites one table.

    Args:
        database: of the region.
        rows: turns pages into changes.
        progress: its row of `worker.rekey`.
        options: pages, rate, what becomes of what can't be opened.
        refused: told each row of the present pass that stays as it is.
    """

    def __init__(
        self, database: Database, rows: TableRows, progress: Progress, options: TableOptions, refused: Refused
    ) -> None:
        self._database, self._rows, self._progress = database, rows, progress
        self._options, self._refused = options, refused
        self._pace = Pace(options.rate)
        self._size = self._page = self._pace.most(options.page)
        self._way: Way | None = None
        self._rest_s = 0.0

    def run(self, stop: threading.Event, observe: Observe) -> TableDone:
        """
        Go on from where an earlier run was, to the end or until stopped.

        Raises:
            FatalError: a row can't be opened, and none is to be kept, or too many.
            Fenced: another run is at it.
            TransientError: something was away for longer than `patience_s`.
        """
        while not stop.wait(self._rest_s):
            self._rest_s = 0.0
            pauses = {"wait_initial": 0.2, "wait_max": 10.0}
            for attempt in stamina.retry_context(
                on=TransientError, attempts=None, timeout=self._options.patience_s, **pauses
            ):
                with attempt:
                    ended = self._step(observe)
            assert self._way is not None
            if ended:
                return TableDone(self._way, complete=True)
            if self._way.number > self._options.passes:
                break
        return TableDone(Way() if self._way is None else self._way, complete=False)

    def _step(self, observe: Observe) -> bool:
        """Do one page; returns whether that was the end."""
        try:
            way = self._begun()
            page = self._read(way)
            if not page:
                return self._turn(way)
            worked = self._rows.work(page)
            failpoints.hit("after_process")
            try:
                after = self._written(way, page, worked)
            except SinkRejected as exc:
                self._database.rollback()
                if len(page) > 1:
                    # Down to the row that is meant.
                    self._size = max(1, len(page) // 10)
                    return False
                worked = Worked(refused=[(page[0].key, exc)])
                after = self._written(way, page, worked)
            self._way = after
        except TransientError:
            # What was committed, the server knows.
            self._way = None
            self._database.discard()
            raise
        self._size = min(self._page, self._size * 2)
        observe(self._way, len(page))
        self._pace.wait(len(page))
        return False

    def _begun(self) -> Way:
        if self._way is None:
            with self._database.guarded("beginning worker.rekey") as connection:
                self._way = self._progress.begin(connection)
                connection.commit()
        return self._way

    def _read(self, way: Way) -> list[Found]:
        with self._database.guarded("reading rows") as connection:
            page = self._rows.rewrite.page(connection, way.after, self._size, self._rows.where)
            connection.commit()
        return page

    def _written(self, way: Way, page: list[Found], worked: Worked) -> Way:
        self._tell(way, worked)
        with self._database.guarded("writing rows") as connection:
            swapped = self._rows.rewrite.swap(connection, worked.changes)
            failpoints.hit("after_write")
            after = replace(
                way,
                after=page[-1].key,
                rewritten=way.rewritten + swapped,
                raced=way.raced + len(worked.changes) - swapped,
                kept=way.kept + len(worked.refused),
                found=way.found + swapped,
            )
            self._database.verify_again(connection)
            self._progress.move(connection, way, after)
            failpoints.hit("before_commit")
            connection.commit()
        failpoints.hit("after_commit")
        return replace(after, step=way.step + 1)

    def _turn(self, way: Way) -> bool:
        """End a pass: the whole, where it found nothing to do."""
        ended = not way.found and not way.raced
        if way.raced and not way.found:
            # Somebody has hold of the rows that are left; whoever that is will be done.
            self._rest_s = min(_LONGEST_REST_S, 0.1 * 2**way.number)
        after = way if ended else replace(way, number=way.number + 1, after=None, raced=0, kept=0, found=0)
        with self._database.guarded("ending a pass") as connection:
            self._progress.move(connection, way, after, finished=ended)
            connection.commit()
        self._way = replace(after, step=way.step + 1)
        return ended

    def _tell(self, way: Way, worked: Worked) -> None:
        for key, error in worked.refused:
            self._refused(key, error)
        if worked.refused and not self._options.keep:
            key, error = worked.refused[0]
            raise FatalError(
                f"table {self._rows.rewrite.table.name}, {self._named(key)}: {error}; it stays as it was, and so does "
                "its page. Mend or remove the row, or let such rows stay with --on-error keep"
            )
        if way.kept + len(worked.refused) > self._options.most:
            raise FatalError(
                f"more than {self._options.most} rows can't be opened (--max-errors): are these the right credentials?"
            )

    def _named(self, key: Key) -> str:
        return ", ".join(f"{name} = {text}" for name, text in zip(self._rows.rewrite.key, key, strict=True))
