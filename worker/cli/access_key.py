"""`worker access-key`: access keys of an authority, each bound to one client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from worker.cli.authority_options import AdminKey, Json, Url
from worker.errors import ConfigError

app = typer.Typer(help="Access keys of an authority, each bound to one client.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The access key's name.")]


@app.command()
def create(
    name: Name,
    url: Url,
    access_key: AdminKey,
    role: Annotated[str, typer.Option(help="admin, control, member, writer, auditor or monitor.")],
    client: Annotated[str | None, typer.Option(help="The one client it derives keys for; none for an admin.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Narrows the role to these scopes.")] = None,
    keyset: Annotated[list[str] | None, typer.Option(help="Narrows it to keysets, by uuid.")] = None,
    env_file: Annotated[
        Path | None, typer.Option(help="Where it goes, as CS_CLIENT_ACCESS_KEY, readable by you alone.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an access key; it is shown this once."""
    from worker.authority.dev import as_lines
    from worker.authority.files import reserved
    from worker.authority.remote import Remote

    body: dict[str, Any] = {"keyName": name, "role": role, "client": None if client is None else _uuid(client)}
    body |= {"scopes": scope or None, "keysets": [_uuid(k) for k in keyset] if keyset else None}
    call, asked = Remote(url, access_key), {k: v for k, v in body.items() if v is not None}
    if env_file is None:
        return _say(call("api/access-keys", asked), as_json=as_json)
    with reserved(env_file) as file:
        made = call("api/access-keys", asked)
        file.write(as_lines({"CS_CLIENT_ACCESS_KEY": made["accessKey"]}, export=True).encode())
    return _say({"keyName": name, "env_file": str(env_file)}, as_json=as_json)


@app.command("list")
def list_keys(url: Url, access_key: AdminKey, as_json: Json = False) -> None:
    """List the workspace's access keys: role, client, last use."""
    from worker.authority.remote import Remote

    for row in Remote(url, access_key)("api/access-keys", None, "GET"):
        _say(row, as_json=as_json)


@app.command()
def bind(name: Name, client: str, url: Url, access_key: AdminKey, as_json: Json = False) -> None:
    """Give an access key that has none its one client; it can't be changed afterwards."""
    from worker.authority.remote import Remote

    bound = Remote(url, access_key)("api/access-keys/bind", {"keyName": name, "client": _uuid(client)})
    _say(bound, as_json=as_json)


@app.command()
def delete(name: Name, url: Url, access_key: AdminKey, as_json: Json = False) -> None:
    """Delete an access key; its tokens stop at the next request."""
    from worker.authority.remote import Remote

    _say(Remote(url, access_key)("api/access-key", {"keyName": name}, "DELETE"), as_json=as_json)


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ConfigError(f"--client {text!r} is no client's id, a uuid; `worker client list` shows them") from None


def _say(value: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(value) if as_json else "  ".join(f"{k}={v}" for k, v in value.items()))
