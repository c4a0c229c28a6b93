"""`worker rotate`."""

from __future__ import annotations

import typer

from worker.cli.running import Config, Token, Url, ask


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rotate")(rotate)


def rotate(config: Config = None, url: Url = None, token_env: Token = None) -> None:
    """Let a running worker drop every key held and fetch new ones, as SIGHUP does."""
    ask("POST", "admin/rotate", config, url, token_env)
