"""A record as a source gives it and as a sink takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.model.rows import Row
from worker.position import Position

Header = tuple[str, bytes | None]


@dataclass(slots=True)
class SourceRecord:
    """
    One record as the source gave it.

    `timestamp_type` is Kafka's: 0 not available, 1 CreateTime, 2 LogAppendTime; `timestamp_ms` is in ms since 1970.
    """

    position: Position
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Sequence[Header] = field(default=(), repr=False)
    timestamp_type: int = 0
    timestamp_ms: int = -1


@dataclass(slots=True)
class SinkRecord:
    """
    One record as a sink writes it.

    `value` is the framed output (schema id in front), `row` the same record's top-level values for a table, encrypted
    fields as envelopes; `row` is None for a tombstone and for sinks that take bytes. `schema_id` is the output's.
    `topic` names the target where it is not the sink's own: a record forwarded for another region.
    """

    position: Position
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Sequence[Header] = field(default=(), repr=False)
    timestamp_type: int = 0
    timestamp_ms: int = -1
    row: Row | None = field(default=None, repr=False)
    key_row: Row | None = field(default=None, repr=False)
    schema_id: str = ""
    topic: str | None = None
