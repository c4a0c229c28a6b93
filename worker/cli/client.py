"""`worker client`: clients of an authority; their keys are made here and never sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from worker.errors import ConfigError

app = typer.Typer(help="Clients of an authority; their keys are made here and never sent.", no_args_is_help=True)

Url = Annotated[str, typer.Option(envvar="CS_ZEROKMS_HOST", help="The authority's address.")]
AccessKey = Annotated[
    str,
    typer.Option(envvar=["CS_ADMIN_ACCESS_KEY", "CS_CLIENT_ACCESS_KEY"], help="An access key that may do this."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON value on standard output.")]
OldId = Annotated[str, typer.Option(envvar="CS_CLIENT_ID", help="The existing client.")]
OldKey = Annotated[str, typer.Option(envvar="CS_CLIENT_KEY", help="Its key; better as a variable than an argument.")]
EnvFile = Annotated[Path | None, typer.Option(help="Where the new client's variables go, readable by you alone.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="A name for the client.")],
    region: Annotated[str, typer.Option(help="The region it belongs to.")],
    url: Url,
    access_key: AccessKey,
    env_file: EnvFile = None,
    via: Annotated[bool, typer.Option("--via", help="Enrol through CS_CLIENT_ID and CS_CLIENT_KEY.")] = False,
    old_id: OldId = "",
    old_key: OldKey = "",
    proposal: Annotated[Path | None, typer.Option(help="Only propose, and write what the new client needs.")] = None,
    accept_from: Annotated[Path | None, typer.Option("--accept", help="Finish an approved proposal.")] = None,
    as_json: Json = False,
) -> None:
    """Enrol a client: the workspace's first, or a further one through an existing client (`--via`)."""
    from worker.authority.dev import write_env
    from worker.authority.enrol import Proposal, accept, propose
    from worker.authority.remote import Remote
    from worker.zerokms.derive import ClientKey

    call = Remote(url, access_key)
    if accept_from is not None:
        proposed = Proposal.from_json(accept_from.read_text(encoding="utf-8"))
    else:
        source = (UUID(old_id), ClientKey.parse(old_key)) if via else None
        proposed = propose(call, name=name, region=region, via=source)
        if proposal is not None:
            _write_secret(proposal, proposed.to_json())
            _say({"client_id": str(proposed.client_id), "state": "proposed"}, as_json=as_json)
            return
        call("approve-client", {"client_id": str(proposed.client_id)})
    if env_file is None:
        raise ConfigError("--env-file says where the client key goes; it exists nowhere else")
    key = accept(call, proposed)
    write_env(env_file, {"CS_CLIENT_ID": str(proposed.client_id), "CS_CLIENT_KEY": key.to_hex()})
    _say({"client_id": str(proposed.client_id), "state": "active"}, as_json=as_json)


@app.command()
def approve(client_id: str, url: Url, access_key: AccessKey, as_json: Json = False) -> None:
    """Consent, as an admin, to a proposed client."""
    from worker.authority.remote import Remote

    Remote(url, access_key)("approve-client", {"client_id": client_id})
    _say({"client_id": client_id, "state": "approved"}, as_json=as_json)


@app.command("list")
def list_clients(url: Url, access_key: AccessKey, as_json: Json = False) -> None:
    """List the workspace's clients and the keysets each may use."""
    from worker.authority.remote import Remote

    for row in Remote(url, access_key)("list-clients", {}):
        _say(row, as_json=as_json)


@app.command()
def delete(
    client_id: str,
    url: Url,
    access_key: AccessKey,
    keep_descendants: Annotated[bool, typer.Option(help="Keep the clients enrolled through it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a client, and all enrolled through it unless told otherwise; effective at the next request."""
    from worker.authority.remote import Remote

    call = Remote(url, access_key)
    rows = call("list-clients", {})
    doomed = [client_id] if keep_descendants else [client_id, *_descendants(rows, client_id)]
    if not yes:
        typer.confirm("delete " + ", ".join(doomed), abort=True)
    _say(call("delete-client", {"client_id": client_id, "cascade": not keep_descendants}), as_json=as_json)


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="A name for the new client.")],
    region: Annotated[str, typer.Option(help="The region it belongs to.")],
    env_file: Annotated[Path, typer.Option(help="Where the new client's variables go.")],
    url: Url,
    access_key: AccessKey,
    old_id: OldId,
    old_key: OldKey,
    as_json: Json = False,
) -> None:
    """Enrol this client anew with another key, then delete the old one; data stays readable."""
    from worker.authority.dev import write_env
    from worker.authority.enrol import accept, propose
    from worker.authority.remote import Remote
    from worker.zerokms.derive import ClientKey

    call = Remote(url, access_key)
    before = next((row for row in call("list-clients", {}) if row["id"] == old_id), None)
    proposed = propose(call, name=name, region=region, via=(UUID(old_id), ClientKey.parse(old_key)))
    new_id = str(proposed.client_id)
    call("approve-client", {"client_id": new_id})
    key = accept(call, proposed)
    held = next(row for row in call("list-clients", {}) if row["id"] == new_id)["keyset_id"]
    for keyset in before["keyset_id"] if before else ():
        if keyset not in held:
            call("grant-keyset", {"client_id": new_id, "keyset_id": {"Uuid": keyset}})
    write_env(env_file, {"CS_CLIENT_ID": new_id, "CS_CLIENT_KEY": key.to_hex()})
    call("delete-client", {"client_id": old_id, "cascade": False})
    _say({"client_id": new_id, "deleted": old_id}, as_json=as_json)


def _descendants(rows: list[dict[str, Any]], client_id: str) -> list[str]:
    found = [row["id"] for row in rows if row["via"] == client_id]
    return [each for child in found for each in (child, *_descendants(rows, child))]


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text, encoding="utf-8")


def _say(value: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(value) if as_json else "  ".join(f"{k}={v}" for k, v in value.items()))
