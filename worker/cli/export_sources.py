"""What `worker export` reads: topics, tables and container files, as records of their output schemas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from worker.avro.container import DatumSplitter, open_container
from worker.avro.projection import projection
from worker.cli.encrypt_files import expanded
from worker.cli.sources import schema_text
from worker.cli.topic import Topic
from worker.config import Settings
from worker.errors import ConfigError, DecodeError, RecordError, WorkerError
from worker.model import records_of
from worker.rekey.export import Batch
from worker.sdk.rows import envelope_of
from worker.sink.postgres.query import rows_of

Place = dict[str, object]
Batches = Iterator[Batch | tuple[Place, WorkerError]]
"""Records, and those of which not even that can be told."""


def topic_batches(topic: Topic, settings: Settings | None, schema: Path | None, registry: str | None) -> Batches:
    """Yield a topic's records up to its present end; tombstones hold nothing."""
    schemas = topic.schemas(settings, None if schema is None else schema_text(schema), registry)
    for batch in topic.batches(since_ms=None):
        by_schema: dict[str, list[tuple[bytes, bytes | None, Place]]] = {}
        for record in records_of(batch):
            at = record.position
            place: Place = {"topic": at.topic, "partition": at.partition, "offset": at.offset}
            if record.value is None:
                continue
            try:
                text, start = schemas(record)
            except RecordError as exc:
                yield place, exc
                continue
            by_schema.setdefault(text, []).append((record.value[start:], record.key, place))
        for text, found in by_schema.items():
            yield Batch(text, [d for d, _, _ in found], [k for _, k, _ in found], [p for _, _, p in found])


def table_batches(table: str, dsn: str | None, schema: Path | None) -> Batches:
    """Yield a table's rows as records of the schema, for each of whose fields it has a column; others are left."""
    if dsn is None:
        raise ConfigError("give --dsn, or DATABASE_URL: which database is the table in?")
    text, number = schema_text(schema), 0
    for rows in rows_of(dsn, table=table, query=None):
        shape = projection(text, tuple(rows[0]))
        if shape.missing:
            raise ConfigError(
                f"table {table} has no column for {', '.join(shape.missing)} of the schema, and nothing is exported "
                "where something would be left; give the schema of what is in the table"
            )
        datums: list[bytes] = []
        places: list[Place] = []
        for row in rows:
            place: Place = {"table": table, "row": number}
            number += 1
            try:
                datums.append(shape.datum(row, envelope_of))
                places.append(place)
            except RecordError as exc:
                yield place, exc
        yield Batch(shape.schema, datums, [None] * len(datums), places)


def file_batches(arguments: Sequence[str]) -> Batches:
    """Yield container files' records, a block at a time."""
    for path in expanded(arguments).values():
        with open_container(path) as (_, reader):
            splitter, number = DatumSplitter(reader.schema), 0
            try:
                for number, block in enumerate(reader.blocks()):
                    datums, rest = splitter.split(block)
                    places: list[Place] = [_place(path, number, i) for i in range(len(datums))]
                    yield Batch(reader.schema, datums, [None] * len(datums), places)
                    if rest is not None:
                        yield _place(path, number, len(datums)), rest[1]
            except DecodeError as exc:
                yield _place(path, number + 1, 0), exc


def _place(path: Path, block: int, index: int) -> Place:
    return {"file": str(path), "block": block, "index": index}
