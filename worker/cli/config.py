"""`worker config`: a first file, a commented template, and the settings' JSON schema for editors and CI."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import orjson
import typer

from worker.cli import reference as pages
from worker.cli.beginnings import Beginning
from worker.cli.described import describe
from worker.config import Settings
from worker.config.loading import parse
from worker.config.sections import broker_addresses, registry_addresses
from worker.errors import ConfigError, why
from worker.kafka.topics import Topics
from worker.region import Region

_ASK_S = 15.0

app = typer.Typer(
    help="A first file, a commented template, the reference and the JSON schema of the settings.", no_args_is_help=True
)


@app.command()
def init(
    region: Annotated[str, typer.Option(help="The region's name, as eu-central-1 or on-prem-oslo.")],
    bootstrap: Annotated[str, typer.Option(help="The cluster's addresses; it is asked for its id.")],
    topic: Annotated[str, typer.Option(help="The topic to read; encrypted records go to TOPIC.enc.")],
    schema_file: Annotated[
        list[str] | None, typer.Option("--schema", help="A schema's file; its records carry id 1, the next one's 2.")
    ] = None,
    registry: Annotated[str, typer.Option(help="The schema registry's URL, instead of files.")] = "",
    table: Annotated[str, typer.Option(help="Write rows into this table of DATABASE_URL too.")] = "",
) -> None:
    """Print a first file for a cluster that needs no credentials; the authority's hosts are those of CS_*_HOST."""
    _require_files(schema_file or ())
    try:
        address, _ = broker_addresses(bootstrap), registry_addresses(registry) if registry else ""
    except ValueError as exc:
        raise ConfigError(f"--bootstrap or --registry: {exc}") from None
    brokers = Topics({"bootstrap.servers": address}, name="--bootstrap", timeout_s=_ASK_S)
    cluster_id, found = brokers.describe([topic])
    if topic not in found:
        typer.echo(f"topic {topic} does not exist at {address}: create it, or correct --topic", err=True)
    beginning = Beginning(
        region=Region(region).name,
        bootstrap=bootstrap,
        cluster_id=cluster_id,
        topic=topic,
        schemas=tuple(schema_file or ()),
        registry=registry,
        table=table,
        environ=os.environ,
    )
    text = beginning.text()
    # A name that Kafka or the table's sink would not take is told here, and not of a file that nobody wrote by hand.
    parse(text, Path("what --topic, --schema, --registry and --table come to"), environ={})
    typer.echo(text, nl=False)


def _require_files(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            Path(path).open("rb").close()
        except OSError as exc:
            raise ConfigError(f"--schema {path!r} can't be read: {why(exc)}") from None


@app.command()
def template() -> None:
    """Print a TOML file with every section explained."""
    file = importlib.resources.files("worker.config") / "template.toml"
    typer.echo(file.read_text(encoding="utf-8"), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON schema of the settings."""
    describe(Settings)
    typer.echo(orjson.dumps(Settings.model_json_schema(), option=orjson.OPT_INDENT_2))


@app.command()
def reference() -> None:
    """Print every option with its type, default and meaning, in Markdown."""
    typer.echo(pages.options())
