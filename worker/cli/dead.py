"""`worker dead`: list sealed dead letters, show one, put them back after the cause is mended."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import orjson
import typer
from rich.table import Table

from worker.assembly.connections import kafka_connection
from worker.assembly.context import instance_name
from worker.assembly.graph import Graph
from worker.checks.findings import enforce
from worker.checks.identity import check_identity
from worker.checks.start import verify
from worker.cli.consoles import PlainConsole
from worker.cli.options import ConfigFile, Json, LogFormat, LogLevel, Set, load
from worker.cli.replay import through_route, to_source
from worker.config import Settings
from worker.encryption import BatchDecryptor
from worker.errors import ConfigError, DecryptionError
from worker.kafka.properties import Property
from worker.kafka.whole import read_batches
from worker.model import SourceRecord, records_of
from worker.pipeline.deadletter import open_letters, position_of
from worker.pipeline.job import Failure
from worker.pipeline.letterfile import read_letters
from worker.sink.kafka import ClusterPin
from worker.topic_names import dead_topic

app = typer.Typer(help="List, show and replay sealed dead letters.", no_args_is_help=True)

Route = Annotated[str | None, typer.Option("--route", help="Only letters of this route.")]
Code = Annotated[str | None, typer.Option("--code", help="Only letters with this error code, as trailing_bytes.")]
Keys = Annotated[list[str] | None, typer.Option("--key", help="Only this letter: topic/partition/offset. Repeatable.")]
Files = Annotated[
    list[Path] | None,
    typer.Option("--file", help="Letters of this file, <name>.dead beside an output, not the topics'. Repeatable."),
]
_BATCH = 500


@app.command("list")
def list_(
    config: ConfigFile,
    route: Route = None,
    code: Code = None,
    file: Files = None,
    set_: Set = None,
    json: Json = False,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "auto",
) -> None:
    """List the letters of the configured routes' topics, or of files, by their headers; nothing is decrypted."""
    settings = load(config, set_, log_level=log_level, log_format=log_format)
    wanted = Wanted(route=route, code=code)
    if file:
        rows = [row_of(letter) for letter in _of_files(file, wanted)]
    else:
        rows = [row_of(letter) for letter in letters_of(settings, kafka_connection(settings.kafka, os.environ), wanted)]
    if json:
        typer.echo(orjson.dumps(rows))
        return
    table = Table("letter", "route", "stage", "code", "field", "error", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(row[name] for name in ("letter", "route", "stage", "code", "path", "error")))
    PlainConsole(width=None if PlainConsole().is_terminal else 200, markup=False).print(table)


@app.command()
def show(
    config: ConfigFile,
    letter: Annotated[str, typer.Argument(help="The letter's key: topic/partition/offset, or file/block/index.")],
    file: Files = None,
    set_: Set = None,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "auto",
) -> None:
    """Decrypt one letter and print it as JSON, its bytes in base64. What it prints is in the clear."""
    settings = load(config, set_, log_level=log_level, log_format=log_format)
    with Graph(settings, environ_of("dead-show")) as graph:
        enforce(check_identity(graph))
        wanted = Wanted(keys=frozenset({letter}))
        found = list(_of_files(file, wanted) if file else letters_of(settings, graph.connection, wanted))
        if not found:
            place = ", ".join(map(str, file)) if file else "the dead topics of this configuration"
            raise ConfigError(f"there is no letter {letter!r} in {place}")
        record = _opened(decryptor_of(graph), found[-1:])[0]
    typer.echo(orjson.dumps({**row_of(found[-1]), **_content(record)}))


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
    log_format: LogFormat = "auto",
) -> None:
    """Put letters back. A letter stays in its topic: choose with --code and --key what was not replayed before."""
    if to not in ("sink", "source"):
        raise ConfigError(f"--to {to!r}: sink or source")
    settings = load(config, set_, log_level=log_level, log_format=log_format)
    chosen = next((r for r in settings.routes if r.name == route), None)
    if chosen is None:
        raise ConfigError(f"there is no route {route!r}; {', '.join(r.name for r in settings.routes)}")
    replayed, failures = 0, list[Failure]()
    with Graph(settings, environ_of("dead-replay")) as graph:
        enforce(verify(graph, routes=[chosen]))
        wanted = Wanted(route, code, frozenset(key) if key else None)
        letters = list(letters_of(settings, graph.connection, wanted))
        decryptor = decryptor_of(graph)
        with through_route(graph.routes, chosen) if to == "sink" else nullcontext() as way:
            for start in range(0, len(letters), _BATCH):
                records = _opened(decryptor, letters[start : start + _BATCH])
                if way is None:
                    to_source(graph.connection, records, _pin(graph))
                else:
                    failures += way.put(records)
                replayed += len(records)
    _tell(replayed - len(failures), failures, json=json)
    if failures:
        raise typer.Exit(1)


def _pin(graph: Graph) -> ClusterPin:
    return ClusterPin(
        graph.settings.kafka.cluster_id,
        pin="source_cluster",
        name="replay to the source",
        connection=graph.connection,
        metrics=graph.context.metrics,
    )


def _tell(replayed: int, failures: Sequence[Failure], *, json: bool) -> None:
    refused = [
        {"letter": _key(f.record), "stage": f.stage, "code": f.error.code, "path": f.error.path} for f in failures
    ]
    if json:
        typer.echo(orjson.dumps({"replayed": replayed, "failed": len(refused), "refused": refused}))
        return
    for row in refused:
        typer.echo(f"failed again: {row['letter']} {row['code']} {row['path']}".rstrip())
    typer.echo(f"replayed {replayed}, failed again {len(refused)}")


def _key(record: SourceRecord) -> str:
    at = record.position
    return f"{at.topic}/{at.partition}/{at.offset}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant; None: every one."""

    route: str | None = None
    code: str | None = None
    keys: frozenset[str] | None = None

    def takes(self, row: Mapping[str, str]) -> bool:
        """Whether a letter, by its row, is one of them."""
        meant = self.route in (None, row["route"]) and self.code in (None, row["code"])
        return meant and (self.keys is None or row["letter"] in self.keys)


def letters_of(settings: Settings, connection: Mapping[str, Property], wanted: Wanted) -> Iterator[SourceRecord]:
    """Return the letters that are meant, of the configured routes' topics."""
    routes = [r for r in settings.routes if wanted.route in (None, r.name)]
    for topic in dict.fromkeys(topic for r in routes for topic in r.source.topics):
        # A table's route may seal a record more than once: the last letter of a record and route stands for all.
        found: dict[tuple[str, str], SourceRecord] = {}
        for record in chain.from_iterable(map(records_of, read_batches(dead_topic(topic), connection))):
            row = row_of(record)
            if record.value is not None and wanted.takes(row):
                found[row["letter"], row["route"]] = record
        yield from found.values()


def _of_files(paths: Sequence[Path], wanted: Wanted) -> Iterator[SourceRecord]:
    return (letter for path in paths for letter in read_letters(path) if wanted.takes(row_of(letter)))


def row_of(letter: SourceRecord) -> dict[str, str]:
    """Return what a letter's key and headers say."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in letter.headers}
    return {
        "letter": (letter.key or b"").decode("utf-8", "replace"),
        "route": headers.get("__connect.errors.connector.name", ""),
        "stage": headers.get("__connect.errors.stage", ""),
        "code": headers.get("worker.error.code", ""),
        "path": headers.get("worker.error.path", ""),
        "error": headers.get("__connect.errors.exception.class.name", ""),
    }


def decryptor_of(graph: Graph) -> BatchDecryptor:
    """Return what opens letters."""
    return BatchDecryptor(graph.keys.decryption("", "dead"))


def refuse_moved(letters: Sequence[SourceRecord]) -> None:
    """
    Raise `DecryptionError` for a letter of another topic than the one beside which it lies.

    It opens, since what it is bound to is where its record was; but the route would handle another one's record by its
    own rules, with its key in the clear perhaps. A letter of a file lies where its record did.
    """
    for letter in letters:
        own = position_of(letter.key or b"")
        if letter.position.topic not in (own.topic, dead_topic(own.topic)):
            raise DecryptionError(
                f"letter of {own}: it lies in {letter.position.topic}, into which it was moved; a route takes letters "
                "of its own topics alone (choose with --key)"
            )


def _opened(decryptor: BatchDecryptor, letters: list[SourceRecord]) -> list[SourceRecord]:
    refuse_moved(letters)
    pairs = [(position_of(letter.key or b""), letter.value or b"") for letter in letters]
    opened = open_letters(pairs, decryptor)
    records = []
    for position, record in zip((p for p, _ in pairs), opened, strict=True):
        if isinstance(record, DecryptionError):
            raise DecryptionError(f"letter of {position}: {record}", code=record.code)
        records.append(record)
    return records


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


def environ_of(purpose: Literal["dead-show", "dead-replay", "erase-report"]) -> dict[str, str]:
    """Return the environment of a command that opens letters."""
    # A name of its own: the running worker's transactional id must not be taken from it.
    return {**os.environ, "WORKER_INSTANCE": f"{instance_name(os.environ)}.{purpose}"}
