"""A running worker, asked and told over HTTP; what `status`, `pause`, `resume` and `rotate` share."""

from __future__ import annotations

import json as json_
import os
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from worker import config, environment
from worker.errors import ConfigError, TransientError
from worker.http_client import open_client, require_https, silence, url_parts, without_login

Config = Annotated[Path | None, typer.Option("--config", "-c", help="The running worker's file, for its address.")]
Url = Annotated[str | None, typer.Option("--url", help="Its address, as http://127.0.0.1:9464.")]
Token = Annotated[
    str | None, typer.Option("--token-env", help="Variable with the bearer token, where the worker is not on loopback.")
]
Route = Annotated[str, typer.Argument(help="The route's name.")]


def ask(method: str, path: str, file: Path | None, url: str | None, token_env: str | None) -> dict[str, Any]:
    """
    Send one request and return the answer.

    Raises:
        TransientError: no worker answers.
        ConfigError: it refuses; the message says what it knows instead.
    """
    address, token = _address(file, url, token_env)
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    try:
        with open_client(timeout_s=10) as client:
            reply = client.request(method, f"{address}/{path}", headers=headers)
        told: dict[str, Any] = reply.json()
    except (httpx.HTTPError, json_.JSONDecodeError, UnicodeDecodeError) as exc:
        raise TransientError(f"no worker answers at {address}: {silence(exc)}") from None
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
    if url is not None and url_parts(url, "--url").scheme not in ("http", "https"):
        raise ConfigError(f"--url {without_login(url)!r} is not http://host:port")
    if token_env is not None:
        require_https(url or f"http://{host}:{port}", "a worker's address with a token")
    token = None if token_env is None else environment.require(os.environ, token_env, "the worker's token")
    return (url or f"http://{host}:{port}").rstrip("/"), token
