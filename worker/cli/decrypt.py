"""`worker decrypt`: topics, tables, files and single envelopes in the clear."""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from worker.cli import output, whole_files
from worker.cli.options import load
from worker.cli.printing import Form, print_lines, print_text
from worker.cli.readers import reader, source_region
from worker.cli.sources import Lines, Selection, container_lines, envelope_lines, schema_text, table_lines
from worker.cli.topic import Topic
from worker.cli.topic_records import Texts, TopicRecords
from worker.errors import ConfigError
from worker.sdk import Encryption, Regions


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("decrypt")(decrypt)


def decrypt(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Container files that the worker wrote, a file of `worker encrypt`, or - for envelopes."),
    ] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="The topic that the worker wrote.")] = None,
    table: Annotated[str | None, typer.Option("--table", help="The table that the worker wrote.")] = None,
    query: Annotated[str | None, typer.Option("--query", help="Rows of such a table, by SQL.")] = None,
    dsn: Annotated[str | None, typer.Option("--dsn", envvar="DATABASE_URL", help="The table's database.")] = None,
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="The region's TOML file.")] = None,
    bootstrap: Annotated[str | None, typer.Option("--bootstrap", help="The cluster, without a --config.")] = None,
    env_prefix: Annotated[str, typer.Option("--env-prefix", help="Prefix of the credentials, as CS_EU_.")] = "CS_",
    region: Annotated[
        list[str] | None, typer.Option("--region", help="Read with that region's credentials; several route by keyset.")
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the authority's audit.")] = None,
    schema: Annotated[Path | None, typer.Option("--schema", help="The output schema, for every record.")] = None,
    registry: Annotated[str | None, typer.Option("--registry", help="Schema registry, by each record's id.")] = None,
    property_: Annotated[list[str] | None, typer.Option("--property", help="A librdkafka property: k=v.")] = None,
    field: Annotated[str | None, typer.Option("--field", help="The field that single envelopes belong to.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Records from this time on, ISO 8601.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Records before this time, ISO 8601.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Records of this key alone.")] = None,
    where_field: Annotated[
        list[str] | None, typer.Option("--where-field", help="Only where a field, once in the clear, is: name=value.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after this many lines.")] = None,
    form: Annotated[Form, typer.Option("--format", help="jsonl, csv or table.")] = Form.JSONL,
    out: Annotated[Path | None, typer.Option("--out", help="Where a file of `worker encrypt` is written.")] = None,
) -> None:
    """
    Print a topic's records decrypted, a table's rows, or those of files: one a line, up to the present end.

    What does not open is a line with `error` and `code`, and the exit code is 1; so is every record of a schema
    without `encryption`, unless a route of --config lists its name under `clear`.
    """
    sources = {"--topic": topic, "--table": table, "--query": query, "files": files or None}
    named = [name for name, value in sources.items() if value is not None]
    if len(named) != 1:
        raise ConfigError("give one of --topic, --table, --query, files or -: what is to be decrypted?")
    is_whole = whole_files.is_one(files or [])
    if not is_whole:
        output.refuse_closed(reads=files == ["-"])
    settings = None if config_file is None else load(config_file, None, log_level="warning")
    regions = list(region or [])
    selection = Selection.of(from_=from_, to=to, key=key, where=where_field or [])
    clear = {name for route in settings.routes for name in route.clear} if settings is not None else set[str]()
    where = source_region(settings, regions)

    def opened() -> AbstractContextManager[Encryption | Regions]:
        return reader(settings, env_prefix, regions, reason)

    make: Lines
    texts: Texts | None = None
    if topic is not None:
        source = Topic.of(topic, settings, bootstrap, property_ or [])
        schemas = source.schemas(settings, None if schema is None else schema_text(schema), registry)
        records = TopicRecords(source, schemas, selection, clear, where)
        make, texts = records.lines, records.texts
    elif table is not None or query is not None:
        selection.refuse("a table's rows, which --query takes a WHERE for")
        make = table_lines(table, query, dsn, schema_text(schema), selection, where)
    elif files == ["-"]:
        selection.refuse("single envelopes", fields=False)
        make = envelope_lines(field, None if schema is None else schema_text(schema), where)
    elif is_whole:
        selection.refuse("a file of `worker encrypt`", fields=False)
        with opened() as encryption:
            whole_files.decrypt((files or [])[0], encryption, field, out)
        return
    else:
        selection.refuse("container files")
        make = container_lines(list(map(Path, files or [])), selection, clear, where)

    with opened() as encryption:
        if texts is not None and form is Form.JSONL:
            failed = print_text(texts(encryption, limit))
        else:
            failed = print_lines(islice(make(encryption), limit), form)
        selection.refuse_unmet()
    if failed:
        raise typer.Exit(1)
