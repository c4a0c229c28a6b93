"""`worker pause`."""

from __future__ import annotations

import typer

from worker.cli.running import Config, Route, Token, Url, ask


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pause")(pause)


def pause(route: Route, config: Config = None, url: Url = None, token_env: Token = None) -> None:
    """Let a running worker read nothing more in a route until `resume`, or until it is started again."""
    ask("POST", f"admin/pause/{route}", config, url, token_env)
