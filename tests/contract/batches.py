"""The forms of a batch, and of splitting and sealing one, that the contract suites run against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.avro import CompiledSchema
from worker.encryption import BatchEncryptor
from worker.model import Batch, EncryptionKeys, Encryptor, PlainBatch, Run, SourceRecord, Split, batch_of, joined_runs
from worker.native import IS_LOADED, extension
from worker.native.batch import NativeBatch

Build = Callable[[Sequence[SourceRecord]], Batch]


def of_columns(records: Sequence[SourceRecord]) -> PlainBatch:
    """Build a plain batch of columns, as a source does."""
    offsets = [r.position.offset for r in records]
    runs = [Run(r.position.topic, r.position.partition, i, i + 1) for i, r in enumerate(records)]
    headers = [r.headers for r in records] if any(r.headers for r in records) else None
    keys, values = [r.key for r in records], [r.value for r in records]
    stamps = [(r.timestamp_type, r.timestamp_ms) for r in records]
    return PlainBatch(joined_runs(runs, offsets), offsets, keys, values, stamps, headers)


@dataclass(frozen=True, slots=True)
class Stages:
    """How a form takes a schema's records apart and seals them."""

    build: Build
    split: Callable[..., Split]
    encryptor: Callable[[EncryptionKeys], Encryptor]


FORMS: dict[str, Build] = {"objects": batch_of, "columns": of_columns}


def split_plainly(
    schema: CompiledSchema, batch: Batch, keys: Sequence[bytes | None], start: int, most: int | None = None
) -> Split:
    """Take a batch apart with the readable form, which the extension module falls back to."""
    return schema.split([(value or b"")[start:] for value in batch.values], keys, most)


STAGES: dict[str, Stages] = {"plain": Stages(of_columns, split_plainly, BatchEncryptor)}


def of_native(records: Sequence[SourceRecord]) -> Batch:
    """Build a batch in native memory."""
    return NativeBatch(
        extension.Batch(
            [(r.position.topic, r.position.partition) for r in records],
            [r.position.offset for r in records],
            [r.key for r in records],
            [r.value for r in records],
            [(r.timestamp_type, r.timestamp_ms) for r in records],
            [list(r.headers) for r in records],
        )
    )


if IS_LOADED:
    FORMS["native"] = of_native
    STAGES["native memory"] = Stages(of_native, CompiledSchema.split_batch, BatchEncryptor)
    STAGES["native"] = Stages(of_columns, CompiledSchema.split_batch, BatchEncryptor)
