"""How far a table's rewrite has come: a row of `worker.rekey`, moved in the transaction of each page."""

from __future__ import annotations

from dataclasses import dataclass

from worker.errors import Fenced
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.rewrite import Key

REKEY_TABLE = """
CREATE SCHEMA IF NOT EXISTS worker;
CREATE TABLE IF NOT EXISTS worker.rekey (
  "table" text, job text, pass int NOT NULL DEFAULT 1, after text[],
  rewritten bigint NOT NULL DEFAULT 0, raced bigint NOT NULL DEFAULT 0, kept bigint NOT NULL DEFAULT 0,
  pass_rewritten bigint NOT NULL DEFAULT 0, step bigint NOT NULL DEFAULT 0, owner text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz, PRIMARY KEY ("table", job));
"""
_COLUMNS = "pass, after, rewritten, raced, kept, pass_rewritten, step"


@dataclass(frozen=True, slots=True)
class Way:
    """
    How far it has come.

    Args:
        number: of the pass, from 1.
        after: the last key that is behind it in this pass; None at its start.
        rewritten: rows, in all passes.
        raced: rows that others had changed, or were changing, in this pass.
        kept: rows of this pass that could not be opened and stay as they were.
        found: rows rewritten in this pass.
        step: of this row of `worker.rekey`; another's step in between is refused.
    """

    number: int = 1
    after: Key | None = None
    rewritten: int = 0
    raced: int = 0
    kept: int = 0
    found: int = 0
    step: int = 0


class Progress:
    """
    One rewrite's row.

    Args:
        table: as it is configured.
        job: what tells this rewrite from others of the table.
        owner: who does it.
    """

    def __init__(self, table: str, job: str, owner: str) -> None:
        self._of = (table, job)
        self._owner = owner

    def begin(self, connection: Connection) -> Way:
        """Return where an interrupted run was, else begin anew; the caller commits."""
        if connection.execute("SELECT to_regclass('worker.rekey') IS NULL").fetchone() == (True,):
            connection.execute(REKEY_TABLE)
        found = connection.execute(
            f'SELECT {_COLUMNS} FROM worker.rekey WHERE "table" = %s AND job = %s AND finished_at IS NULL FOR UPDATE',  # noqa: S608
            self._of,
        ).fetchone()
        if found is None:
            connection.execute('DELETE FROM worker.rekey WHERE "table" = %s AND job = %s', self._of)
            new = (*self._of, self._owner)
            connection.execute('INSERT INTO worker.rekey ("table", job, owner) VALUES (%s, %s, %s)', new)
            return Way()
        return _way(found)

    def move(self, connection: Connection, before: Way, after: Way, *, finished: bool = False) -> None:
        """
        Say how far it has come, within the page's transaction; the caller commits.

        Raises:
            Fenced: another run of the same rewrite has gone on from here.
        """
        key = None if after.after is None else list(after.after)
        moved = connection.execute(
            "UPDATE worker.rekey SET pass = %s, after = %s, rewritten = %s, raced = %s, kept = %s, "
            "pass_rewritten = %s, step = step + 1, owner = %s, updated_at = now(), "
            "finished_at = CASE WHEN %s THEN now() END "
            'WHERE "table" = %s AND job = %s AND step = %s',
            (
                *(after.number, key, after.rewritten, after.raced, after.kept, after.found, self._owner, finished),
                *self._of,
                before.step,
            ),
        ).rowcount
        if moved != 1:
            raise Fenced(f"another run rewrites table {self._of[0]} in the same way; this one has written nothing more")


def _way(row: tuple[object, ...]) -> Way:
    number, after, *counts = row
    key = tuple(map(str, after)) if isinstance(after, list) else None
    rewritten, raced, kept, found, step = (int(str(count)) for count in counts)
    return Way(int(str(number)), key, rewritten, raced, kept, found, step)
