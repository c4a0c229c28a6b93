"""`worker config`: a commented template, and the settings' JSON schema for editors and CI."""

from __future__ import annotations

import importlib.resources

import orjson
import typer

from worker.cli import reference as pages
from worker.cli.described import describe
from worker.config import Settings

app = typer.Typer(help="A commented template and the JSON schema of the settings.", no_args_is_help=True)


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
