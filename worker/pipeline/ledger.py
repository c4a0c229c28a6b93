"""What a batch used, as rows of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

from worker.model import Batch, KeyUsage, Split, TopicPartition, first_offsets, next_offsets
from worker.model.receipts import Receipts
from worker.sink.base import LedgerRow

_RECEIPTS = 1000
"""At most in one batch: 150 kB."""


def ledger_rows(batch: Batch, split: Split, usage: Sequence[KeyUsage], schema_id: str) -> list[LedgerRow]:
    """
    Return one row per partition for each keyset and format, each keyset and format under a batch id of its own.

    A batch's keys serve all its partitions together, so they are counted in its first row only; values are exact.

    Args:
        batch: the records of one schema.
        split: the same, as they were sealed.
        usage: what was used.
        schema_id: the output's.
    """
    first, following = first_offsets(batch), next_offsets(batch)
    rows = []
    for use in usage:
        values: Counter[TopicPartition] = Counter()
        for run in batch.runs:
            values[run.place] += split.count(use.format, use.descriptors, range(run.start, run.stop))
        batch_id, keys = uuid4(), use.keys
        requests = tuple(sorted(use.request_ids))
        for place, offset in first.items():
            row = (*place, offset, following[place] - 1, schema_id)
            rows.append(LedgerRow(batch_id, requests, use.keyset, use.format, keys, values[place], *row))
            keys = 0
    return rows


@contextmanager
def receipted(rows: Sequence[LedgerRow], receipts: Receipts | None) -> Iterator[Sequence[LedgerRow]]:
    """
    Yield a batch's rows, the first with the receipts held; within this the rows become durable.

    Where they do not, or nobody knows, the receipts are held on: in two entries they do no harm.
    """
    if receipts is None or not rows:
        yield rows
        return
    held = receipts.held(_RECEIPTS)
    yield [replace(rows[0], audited=held), *rows[1:]]
    receipts.kept(held)
