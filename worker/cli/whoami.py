"""`worker whoami`: the identity that the key service sees, and what it may do."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer

from worker import environment
from worker.cli.consoles import PlainConsole
from worker.cli.options import Json
from worker.zerokms.factory import client_from_environment, local_hosts


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("whoami")(whoami)


def whoami(
    prefix: Annotated[str, typer.Option(help="Prefix of the variables, as CS_EU_.")] = "CS_",
    allow_host: Annotated[
        list[str] | None, typer.Option(help="host:port that may stand in for the region's own; loopback may anyway.")
    ] = None,
    json: Json = False,
) -> None:
    """Exchange the credential and show workspace, region, subject, client and default keyset."""
    environ = environment.with_prefix(os.environ, prefix)
    with client_from_environment(environ, allow_hosts=(*(allow_host or ()), *local_hosts(environ))) as client:
        token = client.tokens.token()
        keyset = client.load_keyset(None)
        facts = {
            "workspace": str(client.credentials.workspace),
            "region": str(client.credentials.workspace.region),
            "issuer": token.issuer,
            "subject": token.subject,
            "zerokms": client.zerokms or token.zerokms,
            "client_id": str(client.credentials.client_id),
            "keyset": keyset.name,
            "keyset_id": str(keyset.id),
            "token_expires": int(token.expiry),
        }
    if json:
        typer.echo(orjson.dumps(facts))
        return
    facts["token_expires"] = datetime.fromtimestamp(token.expiry, UTC).isoformat(timespec="seconds")
    console = PlainConsole(highlight=False)
    for name, value in facts.items():
        console.print(f"{name:<14}{value}", markup=False)
