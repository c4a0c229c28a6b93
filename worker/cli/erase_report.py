"""`worker erase-report`: where a subject still stands that erasing its keys does not reach."""

from __future__ import annotations

import json as json_
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

import typer

from worker import environment
from worker.assembly.graph import Graph
from worker.avro import encode_value
from worker.avro.keys import KeySchema
from worker.checks.findings import enforce
from worker.checks.identity import check_identity
from worker.cli.dead import Wanted, decryptor_of, environ_of, letters_of, row_of
from worker.cli.options import ConfigFile, Json, LogFormat, LogLevel, Set, load
from worker.config import RouteSettings
from worker.errors import ConfigError, RecordError
from worker.model import SourceRecord
from worker.pipeline.deadletter import open_letters, position_of
from worker.pipeline.subjects import Subjects
from worker.sink.postgres.sample import count

_BATCH = 500


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("erase-report")(erase_report)


def erase_report(
    config: ConfigFile,
    context: Annotated[str, typer.Option("--context", help="The subject: name=value, as `worker authority erase`.")],
    set_: Set = None,
    json: Json = False,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "auto",
) -> None:
    """
    List a subject's records in dead letters, and its terms and pseudonyms in sinks; 1 where any are.

    Letters that can't be read as records are listed too: nobody can tell whose they are.
    """
    settings = load(config, set_, log_level=log_level, log_format=log_format)
    name, sign, text = context.partition("=")
    if not name or not sign:
        raise ConfigError("--context is not name=value")
    found: list[dict[str, Any]] = []
    with Graph(settings, environ_of("erase-report")) as graph:
        enforce(check_identity(graph))
        for route in settings.routes:
            found += _letters(graph, route, (name, text))
            found += _pseudonyms(graph, route, (name, text))
            found += _terms(route, (name, text))
    if json:
        typer.echo(json_.dumps(found))
    else:
        for each in found:
            typer.echo("  ".join(f"{key}={value}" for key, value in each.items()))
    raise typer.Exit(1 if found else 0)


def _letters(graph: Graph, route: RouteSettings, subject: tuple[str, str]) -> Iterator[dict[str, Any]]:
    letters = list(letters_of(graph.settings, graph.connection, Wanted(route=route.name)))
    subjects, decryptor = Subjects(partial(graph.routes.reader, route), subject), decryptor_of(graph)
    for start in range(0, len(letters), _BATCH):
        some = letters[start : start + _BATCH]
        opened = open_letters([(position_of(each.key or b""), each.value or b"") for each in some], decryptor)
        records = [record for record in opened if isinstance(record, SourceRecord)]
        told = iter(subjects.of(records) if records else ())
        whose = [next(told) if isinstance(record, SourceRecord) else "unreadable" for record in opened]
        for letter, verdict in zip(some, whose, strict=True):
            if verdict != "other":
                row = row_of(letter)
                at = {"letter": row["letter"], "code": row["code"], "whose": verdict}
                yield {"kind": "dead letter", "route": route.name, **at}


def _pseudonyms(graph: Graph, route: RouteSettings, subject: tuple[str, str]) -> Iterator[dict[str, Any]]:
    if route.key != "pseudonym":
        return
    name, text = subject
    declaration = graph.settings.declaration(route)
    for known in graph.schemas.key_schemas(route.source.topics):
        for plan in KeySchema(known.schema, declaration).fields:
            if plan.identity.rpartition("/")[2] != name:
                continue
            try:
                value = encode_value(plan.schema, _typed(text, plan.schema))
            except (RecordError, ValueError):
                continue
            (pseudonym,) = graph.keys.pseudonyms(plan.keyset).of(plan.descriptor, [value])
            for place in (*route.sink.all_topics, *route.sink.all_tables):
                yield {"kind": "pseudonym", "route": route.name, "in": f"keys of {place}", "pseudonym": pseudonym.hex()}


def _typed(text: str, schema: str) -> object:
    return int(text) if schema.strip('"') in ("int", "long") else text


def _terms(route: RouteSettings, subject: tuple[str, str]) -> Iterator[dict[str, Any]]:
    fields: Sequence[str] = route.sink.searchable
    if not fields or route.sink.dsn_env is None:
        return
    dsn = environment.require(os.environ, route.sink.dsn_env, f"route {route.name}: the database")
    for table in route.sink.all_tables:
        rows = count(dsn, table, *subject, timeout_s=route.sink.timeout_s)
        if rows:
            columns = ", ".join(sorted(fields))
            yield {"kind": "terms", "route": route.name, "in": table, "columns": columns, "rows": rows}
