"""`worker resume`."""

from __future__ import annotations

import typer

from worker.cli.running import Config, Route, Token, Url, ask


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("resume")(resume)


def resume(route: Route, config: Config = None, url: Url = None, token_env: Token = None) -> None:
    """Let a paused route go on."""
    ask("POST", f"admin/resume/{route}", config, url, token_env)
