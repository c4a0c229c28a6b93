"""`worker dead`: list sealed dead letters, show one, put them back after the cause is mended."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import orjson
import typer
from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from worker.app import Worker
from worker.cli.options import ConfigFile, Json, LogLevel, Set, load
from worker.config import RouteSettings, Settings
from worker.encryption import BatchDecryptor
from worker.errors import ConfigError, DecryptionError, SinkUnavailable
from worker.kafka_properties import Property, operators
from worker.model import Audit, SourceRecord
from worker.pipeline.deadletter import SUFFIX, open_letters, position_of
from worker.routes import RouteBuilder, RunOptions, kafka_connection
from worker.sink.base import Sink
from worker.source.whole import read_whole
from worker.zerokms.keys import RetrievedKeys

app = typer.Typer(help="List, show and replay sealed dead letters.", no_args_is_help=True)

Route = Annotated[str | None, typer.Option("--route", help="Only letters of this route.")]
Code = Annotated[str | None, typer.Option("--code", help="Only letters with this error code, as trailing_bytes.")]
Keys = Annotated[list[str] | None, typer.Option("--key", help="Only this letter: topic/partition/offset. Repeatable.")]
_REPLAYED = "worker-replayed"
_BATCH = 500


@app.command("list")
def list_(
    config: ConfigFile,
    route: Route = None,
    code: Code = None,
    set_: Set = None,
    json: Json = False,
    log_level: LogLevel = "warning",
) -> None:
    """List the letters of the configured routes' topics by their headers; nothing is decrypted."""
    settings = load(config, set_, log_level=log_level)
    rows = [_row(letter) for letter in _letters(settings, _properties(settings), route, code, None)]
    if json:
        typer.echo(orjson.dumps(rows))
        return
    table = Table("letter", "route", "stage", "code", "field", "error", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(row[name] for name in ("letter", "route", "stage", "code", "path", "error")))
    Console(width=None if Console().is_terminal else 200).print(table)


@app.command()
def show(
    config: ConfigFile,
    letter: Annotated[str, typer.Argument(help="The letter's key: topic/partition/offset.")],
    set_: Set = None,
    log_level: LogLevel = "warning",
) -> None:
    """Decrypt one letter and print it as JSON, its bytes in base64. What it prints is in the clear."""
    settings = load(config, set_, log_level=log_level)
    with Worker(settings, _environ("dead-show")) as worker:
        builder = worker.builder()
        found = list(_letters(settings, builder.properties, None, None, {letter}))
        if not found:
            raise ConfigError(f"there is no letter {letter!r} in the dead topics of this configuration")
        record = _opened(builder, worker, found[-1:])[0]
    typer.echo(orjson.dumps({**_row(found[-1]), **_content(record)}))


@app.command()
def replay(
    config: ConfigFile,
    route: Annotated[str, typer.Option("--route", help="The route whose letters are put back.")],
    to: Annotated[str, typer.Option("--to", help="sink (through the route) or source (byte for byte).")] = "sink",
    code: Code = None,
    key: Keys = None,
    set_: Set = None,
    json: Json = False,
    log_level: LogLevel = "warning",
) -> None:
    """Put letters back. A letter stays in its topic: choose with --code and --key what was not replayed before."""
    if to not in ("sink", "source"):
        raise ConfigError(f"--to {to!r}: sink or source")
    settings = load(config, set_, log_level=log_level)
    chosen = next((r for r in settings.routes if r.name == route), None)
    if chosen is None:
        raise ConfigError(f"there is no route {route!r}; {', '.join(r.name for r in settings.routes)}")
    counts = {"replayed": 0, "failed": 0}
    with Worker(settings, _environ("dead-replay")) as worker:
        builder = worker.builder()
        letters = list(_letters(settings, builder.properties, route, code, set(key) if key else None))
        for start in range(0, len(letters), _BATCH):
            records = _opened(builder, worker, letters[start : start + _BATCH])
            put = _to_sink(builder, chosen, records) if to == "sink" else _to_source(builder, records)
            counts["replayed"] += put
            counts["failed"] += len(records) - put
    typer.echo(orjson.dumps(counts) if json else f"replayed {counts['replayed']}, failed again {counts['failed']}")
    if counts["failed"]:
        raise typer.Exit(1)


def _letters(
    settings: Settings, properties: Mapping[str, Property], route: str | None, code: str | None, keys: set[str] | None
) -> Iterator[SourceRecord]:
    topics = dict.fromkeys(topic for r in settings.routes if route in (None, r.name) for topic in r.source.topics)
    for topic in topics:
        for record in read_whole(topic + SUFFIX, bootstrap=settings.kafka.bootstrap, properties=properties):
            row = _row(record)
            wanted = record.value is not None and route in (None, row["route"]) and code in (None, row["code"])
            if wanted and (keys is None or row["letter"] in keys):
                yield record


def _row(letter: SourceRecord) -> dict[str, str]:
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in letter.headers}
    return {
        "letter": (letter.key or b"").decode("utf-8", "replace"),
        "route": headers.get("__connect.errors.connector.name", ""),
        "stage": headers.get("__connect.errors.stage", ""),
        "code": headers.get("worker.error.code", ""),
        "path": headers.get("worker.error.path", ""),
        "error": headers.get("__connect.errors.exception.class.name", ""),
    }


def _opened(builder: RouteBuilder, worker: Worker, letters: list[SourceRecord]) -> list[SourceRecord]:
    pairs = [(position_of(letter.key or b""), letter.value or b"") for letter in letters]
    keys = RetrievedKeys(
        builder.service, options=builder.key_options, audit=Audit(_name(), "", "dead"), metrics=worker.metrics
    )
    try:
        opened = open_letters(pairs, BatchDecryptor(keys))
    finally:
        keys.close()
    records = []
    for position, record in zip((p for p, _ in pairs), opened, strict=True):
        if isinstance(record, DecryptionError):
            raise DecryptionError(f"letter of {position}: {record}", code=record.code)
        records.append(record)
    return records


def _to_sink(builder: RouteBuilder, route: RouteSettings, records: list[SourceRecord]) -> int:
    source = builder.source(route, RunOptions())
    sink: Sink = builder.sink(route, source)
    try:
        result = builder.processor(route).process(records)
        sink.begin()
        try:
            sink.write(result.records)
            sink.flush()
            sink.commit({}, result.ledger, None)
        except BaseException:
            sink.abort()
            raise
    finally:
        sink.close()
        source.close()
    return len(result.records)


def _to_source(builder: RouteBuilder, records: list[SourceRecord]) -> int:
    conf: dict[str, Any] = {**builder.connection, "enable.idempotence": True, "acks": "all"}
    producer = Producer(conf)
    failed: list[object] = []

    def report(error: object, _message: object) -> None:
        if error is not None:
            failed.append(error)

    for record in records:
        mark = (_REPLAYED, str(record.position).encode())
        producer.produce(
            record.position.topic,
            record.value,
            record.key,
            record.position.partition,
            report,
            None,
            record.timestamp_ms if record.timestamp_ms > 0 else 0,
            [*record.headers, mark],
        )
    if producer.flush(60) or failed:
        raise SinkUnavailable("the source topic's broker did not take every record; run the replay again")
    return len(records)


def _content(record: SourceRecord) -> dict[str, object]:
    return {
        "key": _base64(record.key),
        "value": _base64(record.value),
        "headers": [[name, _base64(value)] for name, value in record.headers],
        "timestamp_type": record.timestamp_type,
        "timestamp_ms": record.timestamp_ms,
    }


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _name() -> str:
    return os.environ.get("WORKER_INSTANCE") or socket.gethostname()


def _environ(purpose: Literal["dead-show", "dead-replay"]) -> dict[str, str]:
    # A name of its own: the running worker's transactional id must not be taken from it.
    return {**os.environ, "WORKER_INSTANCE": f"{_name()}.{purpose}"}


def _properties(settings: Settings) -> dict[str, Property]:
    return operators(kafka_connection(settings.kafka, os.environ))
