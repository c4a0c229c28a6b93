"""`worker status`: what a running worker says of itself."""

from __future__ import annotations

import json as json_
from typing import Any

import typer
from rich.table import Table

from worker.cli.consoles import PlainConsole
from worker.cli.options import Json
from worker.cli.running import Config, Token, Url, ask


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(config: Config = None, url: Url = None, token_env: Token = None, json: Json = False) -> None:
    """Show a running worker: routes, positions, lag, what is paused and why, keys, pins; exit 1 unless all is ready."""
    told = ask("GET", "status", config, url, token_env)
    if json:
        typer.echo(json_.dumps(told, indent=2))
    else:
        _show(told)
    if not all(route["ready"] for route in told["routes"]):
        raise typer.Exit(1)


def _show(told: dict[str, Any]) -> None:
    console = PlainConsole(highlight=False, markup=False)
    console.print(f"{told['region']}  {told['instance']}  version {told['version']}, {told['processes']} process(es)")
    table = Table("route", "state", "lag", "records", "positions")
    for route in told["routes"]:
        state = "ready" if route["ready"] else "\n".join(route["reasons"])
        records = ", ".join(f"{count} {outcome}" for outcome, count in sorted(route["records"].items()))
        at = "\n".join(f"{p['topic']}[{p['partition']}] {p['position']}" for p in route["partitions"])
        table.add_row(route["route"], state, str(route["lag"]), records, at)
    console.print(table)
    keys = told["keys"]
    held = ", ".join(f"{count} in {place}" for place, count in sorted(keys["held"].items())) or "none shown"
    console.print(f"keys: {held}; oldest {keys['oldest_age_s']:.0f} s; breaker {keys['breaker']}")
    console.print("pins: " + ", ".join(f"{pin} {state}" for pin, state in sorted(told["pins"].items())))
