"""`worker client`: clients of an authority; their keys are made here and never sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from worker.cli.authority_options import AccessKey, Json, Url
from worker.errors import ConfigError
from worker.textfile import read_text

if TYPE_CHECKING:
    from worker.authority.enrol import Existing, Proposal
    from worker.authority.remote import Remote

app = typer.Typer(help="Clients of an authority; their keys are made here and never sent.", no_args_is_help=True)

OldId = Annotated[str, typer.Option(envvar="CS_CLIENT_ID", help="The existing client.")]
OldKey = Annotated[str, typer.Option(envvar="CS_CLIENT_KEY", help="Its key; better as a variable than an argument.")]
OwnAccessKey = Annotated[
    str,
    typer.Option(envvar="CS_CLIENT_ACCESS_KEY", help="An access key bound to the existing client, or to the new one."),
]
Role = Annotated[str, typer.Option(help="What the new client's own access key may: member, writer, ...")]
Prefix = Annotated[str, typer.Option(help="Of the variables in the file, as CS_EU_.")]
Export = Annotated[bool, typer.Option("--export", help="Write them for a shell to source.")]
EnvFile = Annotated[Path | None, typer.Option(help="Where the new client's variables go, readable by you alone.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="A name for the client, and for its access key.")],
    region: Annotated[str, typer.Option(help="The region it belongs to.")],
    url: Url,
    access_key: AccessKey,
    env_file: EnvFile = None,
    via: Annotated[bool, typer.Option("--via", help="Enrol through CS_CLIENT_ID and CS_CLIENT_KEY.")] = False,
    old_id: OldId = "",
    old_key: OldKey = "",
    own_access_key: OwnAccessKey = "",
    role: Role = "member",
    proposal: Annotated[Path | None, typer.Option(help="Only propose, and write what the new client needs.")] = None,
    accept_from: Annotated[
        Path | None, typer.Option("--accept", help="Finish an approved proposal with an access key bound to it.")
    ] = None,
    prefix: Prefix = "CS_",
    export: Export = False,
    as_json: Json = False,
) -> None:
    """
    Enrol a client and make its access key: the workspace's first, or one through an existing client (`--via`).

    The file has everything that a worker or an SDK of this client needs: workspace, addresses, client, both keys.
    """
    from worker.authority.dev import as_lines
    from worker.authority.enrol import Proposal, accept, propose
    from worker.authority.files import reserved
    from worker.authority.remote import Remote

    call = Remote(url, access_key)
    if accept_from is not None:
        proposed = Proposal.from_json(read_text(accept_from))
        with reserved(_needed(env_file)) as file:
            key = accept(Remote(url, own_access_key or access_key), proposed)
            env = {"CS_CLIENT_ID": str(proposed.client_id), "CS_CLIENT_KEY": key.to_hex()}
            file.write(as_lines(_place(call, url, region) | env, prefix=prefix, export=export).encode())
        return _say({"client_id": str(proposed.client_id), "state": "active"}, as_json=as_json)
    source = _existing(url, old_id, old_key, own_access_key) if via else None
    if proposal is not None:
        if proposal.exists():
            raise ConfigError(f"{proposal} is there already; name another file")
        with reserved(proposal) as file:
            proposed = propose(call, name=name, region=region, via=source)
            file.write(proposed.to_json().encode())
        return _say({"client_id": str(proposed.client_id), "state": "proposed"}, as_json=as_json)
    with reserved(_needed(env_file)) as file:
        proposed = propose(call, name=name, region=region, via=source)
        call("approve-client", {"client_id": str(proposed.client_id)})
        env = _place(call, url, region) | _finish(call, url, proposed, name, role)
        file.write(as_lines(env, prefix=prefix, export=export).encode())
    return _say({"client_id": str(proposed.client_id), "access_key": name, "state": "active"}, as_json=as_json)


@app.command()
def approve(
    client_id: str,
    url: Url,
    access_key: AccessKey,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Consent, as an admin, to a proposed client, after seeing what it is."""
    from worker.authority.remote import Remote

    call = Remote(url, access_key)
    if not yes:
        row = next((r for r in call("list-clients", {}) if r["id"] == client_id), None)
        if row is None:
            raise ConfigError(f"there is no client {client_id} in this workspace")
        shown = ("name", "description", "region", "via", "created_by", "state")
        typer.confirm("approve " + "  ".join(f"{k}={row[k]}" for k in shown), abort=True, err=True)
    _say(call("approve-client", {"client_id": client_id}), as_json=as_json)


@app.command("list")
def list_clients(url: Url, access_key: AccessKey, as_json: Json = False) -> None:
    """List the workspace's clients and the keysets each may use."""
    from worker.authority.remote import Remote

    for row in Remote(url, access_key)("list-clients", {}):
        _say(row, as_json=as_json)


@app.command()
def limit(
    client_id: str,
    url: Url,
    access_key: AccessKey,
    generate_per_minute: Annotated[int | None, typer.Option(min=1, help="Keys it may make in a minute.")] = None,
    retrieve_per_minute: Annotated[int | None, typer.Option(min=1, help="Keys it may retrieve in a minute.")] = None,
    no_quota: Annotated[bool, typer.Option("--no-quota", help="Back to the authority's own quotas.")] = False,
    needs_reason: Annotated[
        bool | None, typer.Option("--needs-reason/--needs-no-reason", help="Refuse to retrieve without a reason.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold a client to quotas of its own, or to saying why it retrieves. Effective at the next request."""
    from worker.authority.remote import Remote

    quotas = {"generate_per_minute": generate_per_minute, "retrieve_per_minute": retrieve_per_minute}
    said = {**quotas, "needs_reason": needs_reason}
    body = {k: v for k, v in said.items() if v is not None} | (dict.fromkeys(quotas) if no_quota else {})
    _say(Remote(url, access_key)("api/clients/limits", {"client_id": client_id, **body}), as_json=as_json)


@app.command()
def delete(
    client_id: str,
    url: Url,
    access_key: AccessKey,
    cascade: Annotated[bool, typer.Option("--cascade", help="Delete the clients enrolled through it too.")] = False,
    keep_descendants: Annotated[bool, typer.Option(hidden=True)] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    last: Annotated[str, typer.Option(help="The client's name, where it is the workspace's last.")] = "",
    as_json: Json = False,
) -> None:
    """Delete a client; those enrolled through it stay. Effective at the next request."""
    from worker.authority.remote import Remote

    if keep_descendants:
        raise ConfigError("--keep-descendants is gone: it is what delete does; --cascade deletes them too")
    call = Remote(url, access_key)
    rows = call("list-clients", {})
    doomed = [client_id, *(_descendants(rows, client_id) if cascade else ())]
    names = {row["id"]: row["name"] for row in rows}
    left = [row for row in rows if row["state"] == "active" and row["id"] not in doomed]
    if not left and not last and not yes:
        last = typer.prompt(
            "This is the workspace's last client: everything that was ever encrypted in it is lost for ever, to all. "
            f"To go on, type its name ({names.get(client_id, '?')})",
            err=True,
        )
    elif not yes:
        typer.confirm("delete " + ", ".join(f"{names.get(c, '?')} ({c})" for c in doomed), abort=True, err=True)
    body = {"client_id": client_id, "cascade": cascade, **({"last": last} if last else {})}
    _say(call("delete-client", body), as_json=as_json)


@app.command()
def rotate(
    name: Annotated[str, typer.Argument(help="A name for the new client, and for its access key.")],
    region: Annotated[str, typer.Option(help="The region it belongs to.")],
    env_file: Annotated[Path, typer.Option(help="Where the new client's variables go.")],
    url: Url,
    access_key: AccessKey,
    old_id: OldId,
    old_key: OldKey,
    own_access_key: OwnAccessKey,
    role: Role = "member",
    prefix: Prefix = "CS_",
    export: Export = False,
    as_json: Json = False,
) -> None:
    """Enrol this client anew with another key and access key, then delete the old ones; data stays readable."""
    from worker.authority.dev import as_lines
    from worker.authority.enrol import propose
    from worker.authority.files import reserved
    from worker.authority.remote import Remote

    call = Remote(url, access_key)
    before = next((row for row in call("list-clients", {}) if row["id"] == old_id), None)
    with reserved(env_file) as file:
        proposed = propose(call, name=name, region=region, via=_existing(url, old_id, old_key, own_access_key))
        new_id = str(proposed.client_id)
        call("approve-client", {"client_id": new_id})
        env = _finish(call, url, proposed, name, role)
        file.write(as_lines(_place(call, url, region) | env, prefix=prefix, export=export).encode())
    held = next(row for row in call("list-clients", {}) if row["id"] == new_id)["keyset_id"]
    for keyset in before["keyset_id"] if before else ():
        if keyset not in held:
            call("grant-keyset", {"client_id": new_id, "keyset_id": {"Uuid": keyset}})
    call("delete-client", {"client_id": old_id})
    gone = [row["keyName"] for row in call("api/access-keys", None, "GET") if row["client"] == old_id]
    for each in gone:
        call("api/access-key", {"keyName": each}, "DELETE")
    _say({"client_id": new_id, "access_key": name, "deleted": old_id, "deleted_access_keys": gone}, as_json=as_json)


def _existing(url: str, client_id: str, key: str, access_key: str) -> Existing:
    from worker.authority.enrol import Existing
    from worker.authority.remote import Remote
    from worker.zerokms.derive import ClientKey

    if not client_id or not key or not access_key:
        raise ConfigError("an existing client is CS_CLIENT_ID, CS_CLIENT_KEY and CS_CLIENT_ACCESS_KEY, bound to it")
    return Existing(UUID(client_id), ClientKey.parse(key), Remote(url, access_key))


def _finish(call: Remote, url: str, proposed: Proposal, name: str, role: str) -> dict[str, str]:
    """Make the new client's access key and enrol with it; returns its variables."""
    from worker.authority.enrol import accept
    from worker.authority.remote import Remote

    made = {"keyName": name, "role": role, "client": str(proposed.client_id)}
    access_key = call("api/access-keys", made)["accessKey"]
    key = accept(Remote(url, access_key), proposed)
    variables = {"CS_CLIENT_ID": str(proposed.client_id), "CS_CLIENT_KEY": key.to_hex()}
    return {**variables, "CS_CLIENT_ACCESS_KEY": access_key}


def _place(call: Remote, url: str, region: str) -> dict[str, str]:
    """Return the variables that lead to this authority and its workspace."""
    from worker.region import Region, WorkspaceCrn

    crn = WorkspaceCrn(Region(region), call.workspace())
    return {"CS_WORKSPACE_CRN": str(crn), "CS_CTS_HOST": url, "CS_ZEROKMS_HOST": url}


def _needed(env_file: Path | None) -> Path:
    if env_file is None:
        raise ConfigError("--env-file says where the client key goes; it exists nowhere else")
    return env_file


def _descendants(rows: list[dict[str, Any]], client_id: str) -> list[str]:
    found = [row["id"] for row in rows if row["via"] == client_id]
    return [each for child in found for each in (child, *_descendants(rows, child))]


def _say(value: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(value) if as_json else "  ".join(f"{k}={v}" for k, v in value.items()))
