"""Runs and columns of any batch: joined, picked, measured, and a record's place among them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TypeVar

from worker.model.batch import Columns, Indexes, Run
from worker.model.records import Header
from worker.position import Position

_T = TypeVar("_T")


def joined_runs(runs: Iterable[Run], offsets: Sequence[int]) -> list[Run]:
    """Join runs of one partition that follow each other while their offsets ascend."""
    joined: list[Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.partition == run.partition
            and last.topic == run.topic
            and offsets[last.stop - 1] < offsets[run.start]
        ):
            joined[-1] = Run(last.topic, last.partition, last.start, run.stop)
        else:
            joined.append(run)
    return joined


def picked_runs(runs: Sequence[Run], indexes: Indexes, offsets: Sequence[int]) -> list[Run]:
    """Return the runs of a selection; `offsets` are the selection's own."""
    found: list[Run] = []
    for topic, number, start, stop in runs:
        first, behind = bisect_left(indexes, start), bisect_left(indexes, stop)
        if first < behind:
            found.append(Run(topic, number, first, behind))
    return joined_runs(found, offsets)


def content_bytes(columns: Columns, run: Run) -> int:
    """Return the bytes of the keys and values of one run."""
    span = slice(run.start, run.stop)
    return sum(map(len, filter(None, columns.values[span]))) + sum(map(len, filter(None, columns.keys[span])))


def position_at(columns: Columns, index: int) -> Position:
    """Return a record's coordinates."""
    runs = columns.runs
    low, high = 0, len(runs) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if runs[middle].stop <= index else (low, middle)
    return Position(runs[low].topic, runs[low].partition, columns.offsets[index])


def pick(column: Sequence[_T], indexes: Indexes) -> Sequence[_T]:
    """Return a column's items at these places."""
    if isinstance(indexes, range):
        return column[indexes.start : indexes.stop]
    return [column[i] for i in indexes]


def some(headers: Sequence[Sequence[Header]]) -> Sequence[Sequence[Header]] | None:
    """Return headers, None where there are none at all."""
    return headers if any(headers) else None
