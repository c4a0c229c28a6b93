"""Records as objects where a test wants them: into an output for a sink, and out of one."""

from __future__ import annotations

from collections.abc import Sequence

from worker.model import Output, Part, SinkRecord, SourceRecord, batch_of
from worker.model.rows import Row, RowType


def output_of(records: Sequence[SinkRecord]) -> Output:
    """Return an output that holds these records."""
    batch = batch_of(
        SourceRecord(r.position, r.key, r.value, r.headers, r.timestamp_type, r.timestamp_ms) for r in records
    )
    parts = [
        Part([i], [r.value], r.schema_id, {0: r.topic} if r.topic is not None else {}, _rows(r.row))
        for i, r in enumerate(records)
    ]
    key_rows = {i: r.key_row for i, r in enumerate(records) if r.key_row is not None}
    return batch.output(parts, range(len(records)), key_rows=key_rows)


def records_of(output: Output) -> list[SinkRecord]:
    """Return an output's records as objects."""
    return [output.record(i) for i in range(len(output))]


class _rows:
    """Gives one row back, whatever the value."""

    def __init__(self, row: Row | None) -> None:
        self._row = row

    def __call__(self, values: Sequence[bytes]) -> list[Row]:
        return [self._row or Row(RowType(()), ()) for _ in values]
