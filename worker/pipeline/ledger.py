"""What a batch used, as rows of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from uuid import uuid4

from worker.encryption import KeyUsage
from worker.model import SourceRecord, TopicPartition, ValueColumn
from worker.sink.base import LedgerRow


def ledger_rows(
    members: Sequence[SourceRecord],
    columns: Sequence[ValueColumn],
    failed: Container[int],
    usage: Sequence[KeyUsage],
    schema_id: str,
) -> list[LedgerRow]:
    """
    Return one row per partition for each keyset and format, each keyset and format under a batch id of its own.

    A batch's keys serve all its partitions together, so they are counted in its first row only; values are exact.
    """
    spans: dict[TopicPartition, tuple[int, int]] = {}
    for record in members:
        place = TopicPartition(record.position.topic, record.position.partition)
        first, _ = spans.get(place, (record.position.offset, 0))
        spans[place] = (first, record.position.offset)
    rows = []
    for use in usage:
        values = Counter(
            TopicPartition(members[i].position.topic, members[i].position.partition)
            for column in columns
            if column.plan.format == use.format and column.plan.descriptor in use.descriptors
            for i in column.records
            if i not in failed
        )
        batch, keys = uuid4(), use.keys
        for place, (first, last) in spans.items():
            row = (place.topic, place.partition, first, last, schema_id)
            requests = tuple(sorted(use.request_ids))
            rows.append(LedgerRow(batch, requests, use.keyset, use.format, keys, values[place], *row))
            keys = 0
    return rows
