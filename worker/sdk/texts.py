"""Whole records as JSON, without a Python object for any; only where the extension module is loaded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from worker.avro import open_schema
from worker.avro.text import Columns
from worker.encryption import BatchDecryptor
from worker.errors import KeyAccessDenied, RecordError
from worker.model import DecryptionKeys
from worker.sdk import records as whole


@dataclass(frozen=True, slots=True)
class RecordTexts:
    """
    What a line says of each record.

    Args:
        columns: the values of those that opened; see `worker.avro.text.json_texts`.
        errors: by place, why one did not open.
    """

    columns: Columns = field(repr=False)
    errors: dict[int, RecordError | KeyAccessDenied]


def record_texts(
    values: Sequence[bytes],
    keys: Sequence[bytes | None],
    start: int,
    schema: str,
    source: AbstractContextManager[DecryptionKeys],
    clear: Collection[str] = (),
) -> RecordTexts:
    """
    Decrypt whole records as `Encryption.decrypt_records` does with `errors="return"`.

    Args:
        values: n datums, each behind `start` bytes of a frame.
        keys: their records' keys.
        start: likewise.
        schema: the output schema, JSON text.
        source: the keys of this call.
        clear: names of schemas whose records may be in the clear.

    Raises:
        DeclarationError: no field of the schema has `encryption`.
    """
    reader = open_schema(schema)
    reader.refuse_clear(clear)
    with source as found:
        opened = BatchDecryptor(found).open(reader.split_batch(values, keys, start))
    columns, unread = reader.texts(opened.data)
    errors: dict[int, RecordError | KeyAccessDenied] = {**opened.errors, **opened.denied, **unread}
    return RecordTexts(columns, {i: whole.hinted(error, values[i][start:]) for i, error in errors.items()})
