"""`worker keyset`: keysets of an authority, and which client may use them."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

import typer

from worker.cli.authority_options import AccessKey, Json, Url
from worker.errors import ConfigError

app = typer.Typer(help="Keysets of an authority, and who may use them.", no_args_is_help=True)

Keyset = Annotated[str, typer.Argument(help="A keyset's name or uuid.")]
Client = Annotated[str, typer.Argument(help="A client's uuid.")]


@app.command()
def create(
    keyset: Keyset,
    url: Url,
    access_key: AccessKey,
    description: str = "",
    erasable: Annotated[
        bool, typer.Option("--erasable", help="Let subjects be erased from it (worker authority erase); for good.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a keyset; nobody may use it until it is granted."""
    body: dict[str, Any] = {"name": keyset, "description": description or keyset}
    # Left out where it is not asked for: an authority of before, and the public service, refuse what they don't know.
    _call(url, access_key, "create-keyset", body | ({"erasable": True} if erasable else {}), as_json)


@app.command("list")
def list_keysets(url: Url, access_key: AccessKey, as_json: Json = False) -> None:
    """List the workspace's keysets, disabled ones included."""
    from worker.authority.remote import Remote

    for row in Remote(url, access_key)("list-keysets", {"show_disabled": True}):
        _say(row, as_json)


@app.command()
def grant(keyset: Keyset, client: Client, url: Url, access_key: AccessKey, as_json: Json = False) -> None:
    """Let a client use a keyset."""
    _call(url, access_key, "grant-keyset", {"client_id": _client(client), "keyset_id": ref(keyset)}, as_json)


@app.command()
def revoke(keyset: Keyset, client: Client, url: Url, access_key: AccessKey, as_json: Json = False) -> None:
    """Take a keyset from a client; effective at the next request."""
    _call(url, access_key, "revoke-keyset", {"client_id": _client(client), "keyset_id": ref(keyset)}, as_json)


@app.command()
def enable(keyset: Keyset, url: Url, access_key: AccessKey, as_json: Json = False) -> None:
    """Let a disabled keyset be used again."""
    _call(url, access_key, "enable-keyset", {"keyset_id": ref(keyset)}, as_json)


@app.command()
def disable(keyset: Keyset, url: Url, access_key: AccessKey, as_json: Json = False) -> None:
    """Refuse every use of a keyset; effective at the next request."""
    _call(url, access_key, "disable-keyset", {"keyset_id": ref(keyset)}, as_json)


def _client(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ConfigError(f"CLIENT {text!r} is no client's id; `worker client list` shows them") from None


def ref(keyset: str) -> dict[str, str]:
    """Return a keyset's name or uuid as the wire has it."""
    try:
        return {"Uuid": str(UUID(keyset))}
    except ValueError:
        return {"Name": keyset}


def _call(url: str, access_key: str, endpoint: str, body: dict[str, Any], as_json: bool) -> None:
    from worker.authority.remote import Remote

    _say(Remote(url, access_key)(endpoint, body) or {"done": endpoint}, as_json)


def _say(answer: dict[str, Any], as_json: bool) -> None:
    typer.echo(json.dumps(answer) if as_json else "  ".join(f"{k}={v}" for k, v in answer.items()))
