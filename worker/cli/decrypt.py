"""`worker decrypt`: the records of a topic or of container files in the clear, as JSON Lines."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from worker import config, environment, jsonform
from worker.assembly.schemas import open_schemas
from worker.avro import RegistrySchemas, SchemaSource, parse_frame, registry_conf
from worker.checks import pins
from worker.cli.container import decrypted, failure, file_lines
from worker.cli.options import load
from worker.cli.topic import TopicReader
from worker.errors import ConfigError, RecordError
from worker.model import SourceRecord
from worker.region import Region
from worker.sdk import Encryption
from worker.source.kafka import KafkaSource
from worker.source.options import SourceOptions
from worker.zerokms.factory import client_from_environment


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
        source = _source(place, topic)
        try:
            failed = _print(_lines(TopicReader(source).batches(), encryption, schemas, clear, limit))
        finally:
            source.close()
    if failed:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Place:
    bootstrap: str
    properties: Mapping[str, str]
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
        return _Place(bootstrap, properties, None)
    kafka = settings.kafka
    secrets = {n: environment.require(os.environ, v, f"[kafka] secrets: {n}") for n, v in kafka.secrets.items()}
    own = {**kafka.properties, **secrets, **properties}
    # Another cluster than the region's is not this region's pin to check.
    return _Place(bootstrap or kafka.bootstrap, own, None if bootstrap else kafka.cluster_id)


def _source(place: _Place, topic: str) -> KafkaSource:
    name = f"worker-decrypt-{uuid4().hex[:12]}"
    return KafkaSource(
        SourceOptions.model_validate({"topics": (topic,)}),
        bootstrap=place.bootstrap,
        group=name,
        instance=name,
        properties=place.properties,
        cluster_id=place.cluster_id,
        bounded=True,
    )


def _encryption(settings: config.Settings | None, prefix: str) -> Encryption:
    if settings is None:
        return Encryption.from_env(prefix, reason="worker decrypt")
    authority = settings.authority
    client = client_from_environment(
        environment.with_prefix(os.environ, prefix),
        crn=authority.workspace_crn,
        allow_hosts=authority.allow_hosts,
        options=authority.client,
    )
    return Encryption.over(client, reason="worker decrypt", close=client.close)


def _schemas(settings: config.Settings | None, schema: Path | None, registry: str | None) -> Callable[[Any], str]:
    if schema is not None and registry is not None:
        raise ConfigError("give --schema or --registry, not both")
    if schema is not None:
        try:
            text = schema.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"--schema {str(schema)!r} can't be read: {type(exc).__name__}") from None
        return lambda ref: text
    if registry is not None:
        source: SchemaSource = RegistrySchemas(registry_conf(registry, {}, {}), auto_register=False)
    elif settings is not None and settings.schemas.registry:
        source = open_schemas(settings, os.environ)
        assert isinstance(source, RegistrySchemas)
        allowed = settings.schemas.allow_hosts
        pins.enforce(pins.registry(Region(settings.region), source.addresses, allowed, proxy=source.proxy))
    else:
        raise ConfigError("give --schema with the output schema's file, or --registry with the registry's URL")
    return lambda ref: source.get(ref).schema


def _lines(
    batches: Iterator[list[SourceRecord]],
    encryption: Encryption,
    schemas: Callable[[Any], str],
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
    records: Sequence[SourceRecord], encryption: Encryption, schemas: Callable[[Any], str], clear: Collection[str]
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
            lines[i] |= failure(value) if isinstance(value, RecordError) else {"value": value}
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
