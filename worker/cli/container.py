"""Container files that the worker wrote, as lines for `worker decrypt`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from worker.avro.container import Block, DatumSplitter, open_container
from worker.errors import (
    DeclarationError,
    DecodeError,
    KeyAccessDenied,
    RecordError,
    SubjectErased,
    WorkerError,
)
from worker.sdk import Encryption, Regions


def file_lines(
    paths: Iterable[Path], encryption: Encryption | Regions, clear: Collection[str] = (), region: str | None = None
) -> Iterator[dict[str, object]]:
    """
    Yield a line for each record: its place, and its value or why it does not open; every envelope must be its field's.

    Raises:
        ConfigError: a path is no container file.
    """
    for path in paths:
        with open_container(path) as (_, reader):
            splitter = DatumSplitter(reader.schema)
            number = 0
            try:
                for number, block in enumerate(reader.blocks()):
                    for index, told in enumerate(_told(block, splitter, encryption, reader.schema, clear, region)):
                        yield {"file": str(path), "block": number, "index": index, **told}
            except DecodeError as exc:
                yield {"file": str(path), "block": number, **failure(exc)}


def _told(
    block: Block,
    splitter: DatumSplitter,
    encryption: Encryption | Regions,
    schema: str,
    clear: Collection[str],
    region: str | None,
) -> Iterator[dict[str, object]]:
    datums, rest = splitter.split(block)
    for value in decrypted(encryption, datums, schema, clear=clear, region=region):
        yield failure(value) if isinstance(value, WorkerError) else {"value": value}
    if rest is not None:
        yield failure(rest[1])


def decrypted(
    encryption: Encryption | Regions,
    datums: Sequence[bytes],
    schema: str,
    *,
    keys: Sequence[bytes | None] | None = None,
    clear: Collection[str] = (),
    region: str | None = None,
) -> Sequence[dict[str, object] | RecordError | KeyAccessDenied]:
    """Return each record's values, or why it did not open; under a schema without `encryption` none did."""
    try:
        if isinstance(encryption, Regions):
            return encryption.decrypt_records(
                datums, schema=schema, region=region, keys=keys, clear=clear, errors="return"
            )
        return encryption.decrypt_records(datums, schema=schema, keys=keys, clear=clear, errors="return")
    except DeclarationError as exc:
        return [not_encrypted(exc)] * len(datums)


def not_encrypted(error: DeclarationError) -> RecordError:
    """Return why no record of a schema without `encryption` opens."""
    return RecordError(str(error), code="not_encrypted", path=error.path)


def failure(error: WorkerError) -> dict[str, object]:
    """Return why a record did not open, as the line says it."""
    if isinstance(error, RecordError):
        return {"error": str(error), "code": error.code, "path": error.path}
    code = "subject_erased" if isinstance(error, SubjectErased) else "key_refused"
    return {"error": str(error), "code": code, "path": ""}
