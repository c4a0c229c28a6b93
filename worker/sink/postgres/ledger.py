"""The ledger in the rows' transaction: a chain a group and partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import structlog
from psycopg import sql

from worker.sink.base import LedgerRow
from worker.sink.ledger import GENESIS, LedgerEntry, link
from worker.sink.postgres.connection import Connection

_log = structlog.get_logger(__name__)
_LAST = "SELECT sequence, hash FROM worker.ledger WHERE chain = %s ORDER BY sequence DESC LIMIT 1"
_COLUMNS = (
    "batch", "request_ids", "keyset", "format", "keys", "values", "topic", "partition", "first_offset", "last_offset",
    "schema_id", "prev_hash", "hash", "chain", "sequence",
)  # fmt: skip
# A statement takes 65,535 parameters.
_AT_ONCE = 1_000
_TAKES_RECEIPTS = """
SELECT FROM pg_attribute WHERE attrelid = 'worker.ledger'::regclass AND attname = 'audited' AND NOT attisdropped
"""


class LedgerTable:
    """
    Writes a group's entries.

    A table that an earlier version made has no column for receipts of the authority's audit: it gets entries without.

    Args:
        group: names the chains.
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._takes_receipts: bool | None = None

    def write(self, connection: Connection, rows: Sequence[LedgerRow]) -> None:
        """
        Append a batch's rows to their chains.

        Called after the positions' swap, whose row locks let one transaction at a time extend a chain.
        """
        entries: list[LedgerEntry] = []
        ordered = sorted(self._taken(connection, rows), key=_chain_key)
        for (topic, partition), members in groupby(ordered, key=_chain_key):
            chain = f"{self._group}/{topic}/{partition}"
            last = connection.execute(_LAST, [chain]).fetchone()
            sequence, head = (0, GENESIS) if last is None else (int(last[0]) + 1, bytes(last[1]))
            entries += link(members, chain=chain, sequence=sequence, prev_hash=head)
        for at in range(0, len(entries), _AT_ONCE):
            self._insert(connection, entries[at : at + _AT_ONCE])

    def _insert(self, connection: Connection, entries: Sequence[LedgerEntry]) -> None:
        """
        Insert some in one statement.

        Not by psycopg's `executemany`: behind its pipeline the server counts no idle time, and the transaction of a
        worker that freezes there would never end.
        """
        columns = (*_COLUMNS, "audited") if self._takes_receipts else _COLUMNS
        row = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(columns)))
        insert = sql.SQL("INSERT INTO worker.ledger ({}) VALUES {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join([row] * len(entries))
        )
        values = [(*_values(e), list(e.row.audited)) if self._takes_receipts else _values(e) for e in entries]
        connection.execute(insert, [value for each in values for value in each])

    def _taken(self, connection: Connection, rows: Sequence[LedgerRow]) -> Sequence[LedgerRow]:
        """Return the rows as the table takes them."""
        if self._takes_receipts is None:
            self._takes_receipts = connection.execute(_TAKES_RECEIPTS).fetchone() is not None
            if not self._takes_receipts:
                _log.warning("ledger_without_receipts", do="run worker check --create as its owner, then restart")
        return rows if self._takes_receipts else [replace(row, audited=()) for row in rows]


def _chain_key(row: LedgerRow) -> tuple[str, int]:
    return row.topic, row.partition


def _values(entry: LedgerEntry) -> tuple[object, ...]:
    r = entry.row
    return (
        r.batch, list(r.request_ids), r.keyset, r.format, r.keys, r.values, r.topic, r.partition, r.first_offset,
        r.last_offset, r.schema_id, entry.prev_hash, entry.hash, entry.chain, entry.sequence,
    )  # fmt: skip
