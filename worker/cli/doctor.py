"""`worker doctor`: is everything there and reachable, and if not, what to do."""

from __future__ import annotations

import os

import typer

from worker.assembly.graph import Graph
from worker.checks.start import verify
from worker.cli.check import show
from worker.cli.options import ConfigFile, Json, Set, load


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(config: ConfigFile, set_: Set = None, json: Json = False) -> None:
    """Look at each connection by itself, go on after a failure, and say for each what to do; exit 1 for a finding."""
    with Graph(load(config, set_, log_level="error"), os.environ) as graph:
        findings = verify(graph)
    show(findings, json=json)
    if any(finding.is_broken for finding in findings):
        raise typer.Exit(1)
