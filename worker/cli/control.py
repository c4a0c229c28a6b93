"""`worker status`, `pause`, `resume`, `rotate`: a running worker is asked and told over HTTP."""

from __future__ import annotations

import json as json_
import os
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from worker import config, environment
from worker.cli.options import Json
from worker.errors import ConfigError, TransientError
from worker.http_client import open_client, require_https

Config = Annotated[Path | None, typer.Option("--config", "-c", help="The running worker's file, for its address.")]
Url = Annotated[str | None, typer.Option("--url", help="Its address, as http://127.0.0.1:9464.")]
Token = Annotated[
    str | None, typer.Option("--token-env", help="Variable with the bearer token, where the worker is not on loopback.")
]
Route = Annotated[str, typer.Argument(help="The route's name.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, pause, resume, rotate):
        app.command(command.__name__)(command)


def status(config: Config = None, url: Url = None, token_env: Token = None, json: Json = False) -> None:
    """Show a running worker: routes, positions, lag, what is paused and why, keys, pins; exit 1 unless all is ready."""
    told = _ask("GET", "status", config, url, token_env)
    if json:
        typer.echo(json_.dumps(told, indent=2))
    else:
        _show(told)
    if not all(route["ready"] for route in told["routes"]):
        raise typer.Exit(1)


def pause(route: Route, config: Config = None, url: Url = None, token_env: Token = None) -> None:
    """Let a running worker read nothing more in a route until `resume`, or until it is started again."""
    _ask("POST", f"admin/pause/{route}", config, url, token_env)


def resume(route: Route, config: Config = None, url: Url = None, token_env: Token = None) -> None:
    """Let a paused route go on."""
    _ask("POST", f"admin/resume/{route}", config, url, token_env)


def rotate(config: Config = None, url: Url = None, token_env: Token = None) -> None:
    """Let a running worker drop every key held and fetch new ones, as SIGHUP does."""
    _ask("POST", "admin/rotate", config, url, token_env)


def _ask(method: str, path: str, file: Path | None, url: str | None, token_env: str | None) -> dict[str, Any]:
    address, token = _address(file, url, token_env)
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    try:
        with open_client(timeout_s=10) as client:
            reply = client.request(method, f"{address}/{path}", headers=headers)
        told: dict[str, Any] = reply.json()
    except (httpx.HTTPError, json_.JSONDecodeError, UnicodeDecodeError) as exc:
        raise TransientError(f"no worker answers at {address} ({type(exc).__name__}); is it running?") from None
    if reply.status_code >= 400:
        choices = told.get("routes") or told.get("actions") or []
        one_of = f"; one of: {', '.join(choices)}" if choices else ""
        raise ConfigError(f"the worker at {address} refuses: {told.get('error', reply.status_code)}{one_of}")
    return told


def _address(file: Path | None, url: str | None, token_env: str | None) -> tuple[str, str | None]:
    listen = "127.0.0.1:9464"
    if file is not None:
        settings = config.load(file, environ=os.environ)
        listen, token_env = settings.http.listen, token_env or settings.http.token_env
    host, _, port = listen.rpartition(":")
    # What listens on every address is asked on loopback.
    host = "127.0.0.1" if host in ("0.0.0.0", "[::]", "::") else host  # noqa: S104
    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigError(f"--url {url!r} is not http://host:port")
    if token_env is not None:
        require_https(url or f"http://{host}:{port}", "a worker's address with a token")
    token = None if token_env is None else environment.require(os.environ, token_env, "the worker's token")
    return (url or f"http://{host}:{port}").rstrip("/"), token


def _show(told: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False)
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
