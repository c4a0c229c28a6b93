"""`worker check`: everything that `run` verifies, without consuming a record."""

from __future__ import annotations

import os
from typing import Annotated

import orjson
import typer
from rich.table import Table
from rich.text import Text

from worker.assembly.graph import Graph
from worker.checks.findings import worst
from worker.checks.start import verify
from worker.cli.consoles import PlainConsole, shown
from worker.cli.options import ConfigFile, Json, LogFormat, LogLevel, Set, load
from worker.finding import Finding


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    config: ConfigFile,
    set_: Set = None,
    json: Json = False,
    create: Annotated[
        bool, typer.Option("--create", help="Create missing topics, tables and the worker's schema.")
    ] = False,
    log_level: LogLevel = "error",
    log_format: LogFormat = "auto",
) -> None:
    """Verify the region's pins, the credentials, the schemas, the canary, the sources and the sinks; write nothing."""
    with Graph(load(config, set_, log_level=log_level, log_format=log_format), os.environ) as graph:
        findings = verify(graph, create=create, positions=True)
    show(findings, json=json)
    broken = [finding for finding in findings if finding.is_broken]
    if broken:
        raise typer.Exit(worst(broken).exit_code)


def show(findings: list[Finding], *, json: bool) -> None:
    """Print findings as a table or as JSON."""
    if json:
        typer.echo(orjson.dumps([finding.as_dict() for finding in findings]))
        return
    table = Table("what", "verdict", "expected", "found", "what to do", box=None, pad_edge=False)
    colours = {"ok": "green", "unauthenticated": "yellow", "warning": "yellow", "broken": "red", "unreachable": "red"}
    for f in findings:
        words = (f.expected, f.found, f.remedy)
        # Text, no markup: a remedy that names [kafka] must show it.
        table.add_row(Text(shown(f.name)), Text(f.verdict, colours[f.verdict]), *(Text(shown(word)) for word in words))
    PlainConsole(width=None if PlainConsole().is_terminal else 200).print(table)
