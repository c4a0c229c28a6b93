"""A batch parted by the schemas that its values name."""

from __future__ import annotations

from dataclasses import dataclass

from worker.avro import SchemaRef, parse_frame
from worker.avro.frame import VALUE_HEADER
from worker.errors import DecodeError, RecordError
from worker.model import Batch, Fates, Indexes


@dataclass(frozen=True, slots=True)
class Group:
    """The records of one schema within a batch, and where their datums begin behind the frame."""

    ref: SchemaRef
    start: int
    indexes: Indexes
    batch: Batch


def grouped(batch: Batch, fates: Fates) -> tuple[list[Group], Indexes]:
    """
    Part a batch's open records by schema; those that name none fail here.

    Args:
        batch: as it was read.
        fates: of its records.

    Returns:
        The groups, and the places of tombstones, which are still open.
    """
    frames = batch.frames("value", VALUE_HEADER)
    found: dict[tuple[str, int], tuple[SchemaRef, list[Indexes]]] = {}
    for head, indexes in frames.groups.items():
        ref, start = parse_frame(head, ())
        found.setdefault((str(ref), start), (ref, []))[1].append(fates.open(indexes))
    for i in fates.open([*frames.named, *frames.bare]):
        record = batch.record(i)
        try:
            if not record.value:
                raise DecodeError("the value is empty; a tombstone has none at all")
            ref, start = parse_frame(record.value, record.headers)
        except RecordError as exc:
            fates.fail(i, exc, "decode")
            continue
        found.setdefault((str(ref), start), (ref, []))[1].append([i])
    groups = []
    for (_, start), (ref, several) in found.items():
        indexes = several[0] if len(several) == 1 else sorted(i for each in several for i in each)
        if indexes:
            groups.append(Group(ref, start, indexes, batch if len(indexes) == len(batch) else batch.select(indexes)))
    return groups, fates.open(frames.absent)
