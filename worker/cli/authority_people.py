"""`worker authority block | unblock | blocked | provider | member`: the people of an identity provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.authority_options import AdminKey, Url
from worker.errors import ConfigError
from worker.textfile import read_text

Subject = Annotated[str, typer.Argument(help="A token's subject, as CS|<sub>, or CS|CSAK<id> of an access key.")]
Role = Annotated[str | None, typer.Option(help="admin, control, member, writer, auditor or monitor.")]
Client = Annotated[str | None, typer.Option(help="The one client, by uuid, that they derive keys for.")]
Id = Annotated[str, typer.Argument(help="As `list` shows it.")]

providers = typer.Typer(help="The identity provider that the workspace trusts.", no_args_is_help=True)
members = typer.Typer(help="Roles given to an identity provider's subjects.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (block, unblock, blocked):
        app.command()(command)
    app.add_typer(providers, name="provider")
    app.add_typer(members, name="member")


def block(subject: Subject, url: Url, access_key: AdminKey) -> None:
    """Refuse every token of a subject from the next request on, on every replica."""
    _call(url, access_key, "api/subjects/block", {"subject": subject})


def unblock(subject: Subject, url: Url, access_key: AdminKey) -> None:
    """Let a blocked subject in again."""
    _call(url, access_key, "api/subjects/unblock", {"subject": subject})


def blocked(url: Url, access_key: AdminKey) -> None:
    """List the blocked subjects, one JSON value a line."""
    _list(url, access_key, "api/subjects/blocked")


@providers.command("add")
def add_provider(
    issuer: Annotated[str, typer.Option(help="As its tokens name it.")],
    audience: Annotated[str, typer.Option(help="As its tokens for this workspace name it.")],
    url: Url,
    access_key: AdminKey,
    vendor: Annotated[str, typer.Option(help="auth0, okta, clerk, supabase or other.")] = "other",
    jwks_uri: Annotated[str | None, typer.Option(help="Where its public keys are, https.")] = None,
    jwks: Annotated[Path | None, typer.Option(help="A file with them, instead.")] = None,
    default_role: Role = None,
    default_client: Client = None,
) -> None:
    """Trust an identity provider; whoever names its keys can be any of its subjects."""
    if (jwks_uri is None) == (jwks is None):
        raise ConfigError("give either --jwks-uri or --jwks")
    keys = {"jwks_uri": jwks_uri} if jwks is None else {"jwks": _json_of(jwks)}
    body = {"issuer": issuer, "audience": audience, "vendor": vendor, **keys}
    _call(url, access_key, "api/oidc/providers", body | _default(default_role, default_client))


@providers.command("list")
def list_providers(url: Url, access_key: AdminKey) -> None:
    """List the trusted identity providers, one JSON value a line."""
    _list(url, access_key, "api/oidc/providers")


@providers.command("default")
def set_default(
    provider: Id, url: Url, access_key: AdminKey, default_role: Role = None, default_client: Client = None
) -> None:
    """Say what subjects without a role of their own are; without --default-role they are refused."""
    _call(url, access_key, f"api/oidc/providers/{provider}", _default(default_role, default_client), "PATCH")


@providers.command("remove")
def remove_provider(provider: Id, url: Url, access_key: AdminKey) -> None:
    """Trust a provider no longer; its users' tokens stop at the next request."""
    _call(url, access_key, f"api/oidc/providers/{provider}", None, "DELETE")


@members.command("add")
def add_member(
    subject: Subject,
    role: Annotated[str, typer.Option(help="admin, control, member, writer, auditor or monitor.")],
    url: Url,
    access_key: AdminKey,
    client: Client = None,
    keyset: Annotated[list[str] | None, typer.Option(help="All that they reach, by uuid; several may.")] = None,
) -> None:
    """Give a subject a role, with no more than the caller's own rights."""
    body: dict[str, Any] = {"subject": subject, "role": role}
    body |= {} if client is None else {"client": client}
    _call(url, access_key, "api/memberships", body | ({"keysets": keyset} if keyset else {}))


@members.command("list")
def list_members(url: Url, access_key: AdminKey) -> None:
    """List the roles given to subjects, one JSON value a line."""
    _list(url, access_key, "api/memberships")


@members.command("remove")
def remove_member(membership: Id, url: Url, access_key: AdminKey) -> None:
    """Take a role back at the next request; the subject falls to its provider's default, if that has one."""
    _call(url, access_key, f"api/memberships/{membership}", None, "DELETE")


def _json_of(path: Path) -> object:
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise ConfigError(
            f"--jwks {str(path)!r} is not JSON: give the provider's key set, as its jwks_uri has it"
        ) from None


def _default(role: str | None, client: str | None) -> dict[str, str]:
    given = {"default_role": role, "default_client": client}
    return {name: text for name, text in given.items() if text is not None}


def _call(url: str, access_key: str, endpoint: str, body: dict[str, Any] | None, method: str = "POST") -> None:
    from worker.authority.remote import Remote

    typer.echo(json.dumps(Remote(url, access_key)(endpoint, body, method) or {"done": endpoint}))


def _list(url: str, access_key: str, endpoint: str) -> None:
    from worker.authority.remote import Remote

    for row in Remote(url, access_key)(endpoint, None, "GET"):
        typer.echo(json.dumps(row))
