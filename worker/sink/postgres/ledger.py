"""The ledger in the rows' transaction: a chain a group and partition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from worker.sink.base import LedgerRow
from worker.sink.ledger import GENESIS, LedgerEntry, link
from worker.sink.postgres.connection import Connection

_LAST = "SELECT sequence, hash FROM worker.ledger WHERE chain = %s ORDER BY sequence DESC LIMIT 1"
_INSERT = """
INSERT INTO worker.ledger (batch, request_ids, keyset, format, keys, "values", topic, partition, first_offset,
  last_offset, schema_id, prev_hash, hash, chain, sequence)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def write_ledger(connection: Connection, group: str, rows: Sequence[LedgerRow]) -> None:
    """
    Append a batch's rows to their chains.

    Called after the positions' swap, whose row locks let one transaction at a time extend a chain.
    """
    entries: list[LedgerEntry] = []
    ordered = sorted(rows, key=_chain_key)
    for (topic, partition), members in groupby(ordered, key=_chain_key):
        chain = f"{group}/{topic}/{partition}"
        last = connection.execute(_LAST, [chain]).fetchone()
        sequence, head = (0, GENESIS) if last is None else (int(last[0]) + 1, bytes(last[1]))
        entries += link(members, chain=chain, sequence=sequence, prev_hash=head)
    if entries:
        with connection.cursor() as cursor:
            cursor.executemany(_INSERT, [_values(entry) for entry in entries])


def _chain_key(row: LedgerRow) -> tuple[str, int]:
    return row.topic, row.partition


def _values(entry: LedgerEntry) -> tuple[object, ...]:
    r = entry.row
    return (
        r.batch, list(r.request_ids), r.keyset, r.format, r.keys, r.values, r.topic, r.partition, r.first_offset,
        r.last_offset, r.schema_id, entry.prev_hash, entry.hash, entry.chain, entry.sequence,
    )  # fmt: skip
