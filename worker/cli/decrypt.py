"""`worker decrypt`: the records of a topic or of container files in the clear, as JSON Lines."""

from __future__ import annotations

import base64
import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from worker import config, environment, jsonform
from worker.assembly.connections import authority_client, checked_connection, kafka_connection
from worker.assembly.schemas import open_registry, output_schemas
from worker.avro import SchemaRef, parse_frame
from worker.checks import pins
from worker.checks.findings import enforce
from worker.cli.container import decrypted, failure, file_lines
from worker.cli.options import load
from worker.errors import ConfigError, RecordError, WorkerError
from worker.kafka.properties import Property
from worker.kafka.whole import read_whole
from worker.model import SourceRecord
from worker.region import Region
from worker.sdk import Encryption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("decrypt")(decrypt)


def decrypt(
    files: Annotated[list[Path] | None, typer.Argument(help="Container files that the worker wrote.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="The topic that the worker wrote.")] = None,
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="The region's TOML file.")] = None,
    bootstrap: Annotated[str | None, typer.Option("--bootstrap", help="The cluster, without a --config.")] = None,
    env_prefix: Annotated[str, typer.Option("--env-prefix", help="Prefix of the credentials, as CS_EU_.")] = "CS_",
    schema: Annotated[Path | None, typer.Option("--schema", help="The output schema, for every record.")] = None,
    registry: Annotated[str | None, typer.Option("--registry", help="Schema registry, by each record's id.")] = None,
    property_: Annotated[list[str] | None, typer.Option("--property", help="A librdkafka property: k=v.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after this many records.")] = None,
) -> None:
    """
    Print a topic's records decrypted, one JSON object a line, from its start to its present end, or those of files.

    A record that does not open is a line with `error` and `code`, and the exit code is 1; so is every record of a
    schema without `encryption`, unless a route of --config lists its name under `clear`.
    """
    settings = None if config_file is None else load(config_file, None, log_level="warning")
    clear = {name for route in settings.routes for name in route.clear} if settings is not None else set[str]()
    if topic is None or files:
        if topic is not None or not files:
            raise ConfigError("give --topic or container files: what is to be decrypted?")
        with _encryption(settings, env_prefix) as encryption:
            failed = _print(islice(file_lines(files, encryption, clear), limit))
        if failed:
            raise typer.Exit(1)
        return
    place = _place(settings, bootstrap, property_ or [])
    schemas = _schemas(settings, schema, registry)
    with _encryption(settings, env_prefix) as encryption:
        batches = read_whole(topic, place.connection, cluster_id=place.cluster_id)
        with contextlib.closing(batches):
            failed = _print(_lines(batches, encryption, schemas, clear, limit))
    if failed:
        raise typer.Exit(1)


SchemaOf = Callable[[SchemaRef], str]


@dataclass(frozen=True, slots=True)
class _Place:
    connection: Mapping[str, Property]
    cluster_id: str | None


def _place(settings: config.Settings | None, bootstrap: str | None, assignments: Sequence[str]) -> _Place:
    properties: dict[str, str] = {}
    for assignment in assignments:
        name, found, value = assignment.partition("=")
        if not found or not name:
            raise ConfigError(f"--property {name!r} is not name=value")
        properties[name] = value
    if settings is None:
        if bootstrap is None:
            raise ConfigError("give --config or --bootstrap: which cluster is the topic in?")
        return _Place(checked_connection(bootstrap, properties), None)
    kafka = settings.kafka
    if bootstrap is not None:
        kafka = kafka.model_copy(update={"bootstrap": bootstrap})
    # Another cluster than the region's is not this region's pin to check.
    pin = None if bootstrap else kafka.cluster_id
    return _Place(kafka_connection(kafka, os.environ, overrides=properties), pin)


def _encryption(settings: config.Settings | None, prefix: str) -> Encryption:
    if settings is None:
        return Encryption.from_env(prefix, reason="worker decrypt")
    client = authority_client(settings, environment.with_prefix(os.environ, prefix))
    return Encryption.over(client, reason="worker decrypt", close=client.close)


def _schemas(settings: config.Settings | None, schema: Path | None, registry: str | None) -> SchemaOf:
    if schema is not None and registry is not None:
        raise ConfigError("give --schema or --registry, not both")
    if schema is not None:
        try:
            text = schema.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"--schema {str(schema)!r} can't be read: {type(exc).__name__}") from None
        return lambda ref: text
    # A registry of the command line is another one than the settings', which gets none of their secrets.
    own = settings.schemas if settings is not None and registry is None else config.SchemaSettings(registry=registry)
    if settings is not None and own.local:
        return partial(_local, output_schemas(settings, os.environ))
    if own.registry is None:
        raise ConfigError("give --schema with the output schema's file, or --registry with the registry's URL")
    source = open_registry(own, os.environ, own.registry, auto_register=False)
    if settings is not None and registry is None:
        enforce(pins.registry(Region(settings.region), source, own.allow_hosts))
    return lambda ref: source.get(ref).schema


def _local(outputs: Mapping[int, str], ref: SchemaRef) -> str:
    if ref.id is None or ref.id not in outputs:
        raise RecordError(f"[schemas.local] has no schema whose output_id is {ref}", code="unknown_schema")
    return outputs[ref.id]


def _lines(
    batches: Iterable[list[SourceRecord]],
    encryption: Encryption,
    schemas: SchemaOf,
    clear: Collection[str],
    limit: int | None,
) -> Iterator[dict[str, object]]:
    left = limit
    for batch in batches:
        records = batch if left is None else batch[:left]
        yield from _decrypted(records, encryption, schemas, clear)
        if left is not None:
            left -= len(records)
            if left == 0:
                return


def _decrypted(
    records: Sequence[SourceRecord], encryption: Encryption, schemas: SchemaOf, clear: Collection[str]
) -> list[dict[str, object]]:
    lines = [_coordinates(record) for record in records]
    by_schema: dict[str, list[tuple[int, bytes]]] = {}
    for i, record in enumerate(records):
        if record.value is None:
            lines[i]["value"] = None
            continue
        try:
            ref, start = parse_frame(record.value, record.headers)
            by_schema.setdefault(schemas(ref), []).append((i, record.value[start:]))
        except RecordError as exc:
            lines[i] |= failure(exc)
    for schema, found in by_schema.items():
        keys = [records[i].key for i, _ in found]
        opened = decrypted(encryption, [datum for _, datum in found], schema, keys=keys, clear=clear)
        for (i, _), value in zip(found, opened, strict=True):
            lines[i] |= failure(value) if isinstance(value, WorkerError) else {"value": value}
    return lines


def _coordinates(record: SourceRecord) -> dict[str, object]:
    at = record.position
    line: dict[str, object] = {"topic": at.topic, "partition": at.partition, "offset": at.offset}
    line["timestamp_ms"] = record.timestamp_ms
    if record.key is None:
        line["key"] = None
        return line
    try:
        line["key"] = record.key.decode()
    except UnicodeDecodeError:
        line["key_base64"] = base64.b64encode(record.key).decode()
    return line


def _print(lines: Iterator[dict[str, object]]) -> int:
    failed = 0
    for line in lines:
        failed += "error" in line
        marks: dict[str, str] = {}
        if "value" in line:
            line["value"] = jsonform.plain(line["value"], "", marks)
        sys.stdout.buffer.write(jsonform.dumps({**line, "base_values": marks} if marks else line, newline=True))
    sys.stdout.buffer.flush()
    return failed
