"""What a batch used, as rows of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from uuid import uuid4

from worker.encryption import KeyUsage
from worker.model import SourceRecord, ValueColumn
from worker.sink.base import LedgerRow


def ledger_rows(
    members: Sequence[SourceRecord],
    columns: Sequence[ValueColumn],
    failed: Collection[int],
    usage: Sequence[KeyUsage],
    schema_id: str,
) -> list[LedgerRow]:
    """
    Return one row per partition for each keyset and format, each keyset and format under a batch id of its own.

    A batch's keys serve all its partitions together, so they are counted in its first row only; values are exact.
    """
    # Plain tuples: per record and value this loop hashes one.
    places = [record.position[:2] for record in members]
    first: dict[tuple[str, int], int] = {}
    last: dict[tuple[str, int], int] = {}
    for place, record in zip(places, members, strict=True):
        last[place] = record.position.offset
        first.setdefault(place, record.position.offset)
    rows = []
    for use in usage:
        values: Counter[tuple[str, int]] = Counter()
        for column in columns:
            if column.plan.format == use.format and column.plan.descriptor in use.descriptors:
                kept = [i for i in column.records if i not in failed] if failed else column.records
                values.update(map(places.__getitem__, kept))
        batch, keys = uuid4(), use.keys
        requests = tuple(sorted(use.request_ids))
        for place, offset in first.items():
            row = (*place, offset, last[place], schema_id)
            rows.append(LedgerRow(batch, requests, use.keyset, use.format, keys, values[place], *row))
            keys = 0
    return rows
