"""The ledger in the rows' transaction: a chain a group and partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import structlog

from worker.sink.base import LedgerRow
from worker.sink.ledger import GENESIS, LedgerEntry, link
from worker.sink.postgres.connection import Connection

_log = structlog.get_logger(__name__)
_LAST = "SELECT sequence, hash FROM worker.ledger WHERE chain = %s ORDER BY sequence DESC LIMIT 1"
_INSERT = """
INSERT INTO worker.ledger (batch, request_ids, keyset, format, keys, "values", topic, partition, first_offset,
  last_offset, schema_id, prev_hash, hash, chain, sequence)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_INSERT_AUDITED = """
INSERT INTO worker.ledger (batch, request_ids, keyset, format, keys, "values", topic, partition, first_offset,
  last_offset, schema_id, prev_hash, hash, chain, sequence, audited)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
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
        if entries:
            with connection.cursor() as cursor:
                if self._takes_receipts:
                    cursor.executemany(_INSERT_AUDITED, [(*_values(e), list(e.row.audited)) for e in entries])
                else:
                    cursor.executemany(_INSERT, [_values(entry) for entry in entries])

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
