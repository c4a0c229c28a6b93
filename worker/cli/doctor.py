"""`worker doctor`: is everything there and reachable, and if not, what to do."""

from __future__ import annotations

import os

import typer

from worker.assembly.graph import Graph
from worker.checks.reach import reach, token
from worker.checks.start import verify
from worker.cli.check import show
from worker.cli.options import ConfigFile, Json, LogFormat, LogLevel, Set, load


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    config: ConfigFile,
    set_: Set = None,
    json: Json = False,
    log_level: LogLevel = "error",
    log_format: LogFormat = "auto",
) -> None:
    """
    Look at versions, clock, names, ports, certificates and token, then at all that `check` does; exit 1 for a finding.

    Each is looked at by itself, and a failure does not hide the next one.
    """
    with Graph(load(config, set_, log_level=log_level, log_format=log_format), os.environ) as graph:
        findings = [*reach(graph), *token(graph), *verify(graph, positions=True)]
    show(findings, json=json)
    if any(finding.is_broken for finding in findings):
        raise typer.Exit(1)
