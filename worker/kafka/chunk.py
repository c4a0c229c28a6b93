"""Messages of the client as a batch of columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import lt
from typing import Any

from worker.model import PlainBatch, Run, joined_runs


def chunk_of(messages: Sequence[Any]) -> PlainBatch:
    """Return messages without an error as a batch, in their order."""
    offsets = [m.offset() for m in messages]
    runs: list[Run] = []
    at = 0
    for (topic, number), members in groupby((m.topic(), m.partition()) for m in messages):
        count = sum(1 for _ in members)
        runs.append(Run(topic, number, at, at + count))
        at += count
    headers = [m.headers() for m in messages]
    return PlainBatch(
        _ascending(runs, offsets),
        offsets,
        [m.key() for m in messages],
        [m.value() for m in messages],
        [_stamp(*m.timestamp()) for m in messages],
        [each or () for each in headers] if any(headers) else None,
    )


def _stamp(kind: int, at_ms: int) -> tuple[int, int]:
    """Return a timestamp as none where whoever sent the record gave none: its format says -1 then."""
    return (0 if at_ms == -1 else kind, at_ms)


def _ascending(runs: Sequence[Run], offsets: Sequence[int]) -> Sequence[Run]:
    """Part runs whose offsets go back, as behind a seek."""
    for run in runs:
        if not all(map(lt, offsets[run.start : run.stop - 1], offsets[run.start + 1 : run.stop])):
            single = (Run(r.topic, r.partition, i, i + 1) for r in runs for i in range(r.start, r.stop))
            return joined_runs(single, offsets)
    return runs
