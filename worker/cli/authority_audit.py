"""`worker authority audit`: the trail read, exported, and checked."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.authority_options import Url
from worker.cli.moments import moment
from worker.errors import ConfigError, KeyAccessDenied

if TYPE_CHECKING:
    from worker.authority.remote import Remote

app = typer.Typer(help="The audit trail: read, exported, checked.", no_args_is_help=True)

AccessKey = Annotated[
    str, typer.Option(envvar=["CS_ADMIN_ACCESS_KEY", "CS_CLIENT_ACCESS_KEY"], help="An auditor's access key.")
]
Subject = Annotated[str | None, typer.Option(help="A token's subject, as CS|CSAK<id>.")]
Client = Annotated[str | None, typer.Option(help="A client's uuid.")]
Keyset = Annotated[str | None, typer.Option(help="A keyset's uuid or name.")]
Field = Annotated[str | None, typer.Option(help="A descriptor.")]
Operation = Annotated[str | None, typer.Option(help="generate, retrieve, load, grant-keyset, ...")]
Outcome = Annotated[str | None, typer.Option(help="allowed, refused, malformed or failed.")]
Since = Annotated[str | None, typer.Option(help="Not before, as 2026-01-31T12:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Before.")]
_PAGE = 5000
_KEY_BYTES = 32


@app.command()
def tail(url: Url, access_key: AccessKey, count: Annotated[int, typer.Option("-n", min=1, max=_PAGE)] = 20) -> None:
    """Print the newest entries, one JSON object a line."""
    from worker.authority.remote import Remote

    for entry in Remote(url, access_key)("api/audit/query", {"newest": True, "limit": count}):
        typer.echo(json.dumps(entry))


@app.command()
def query(
    url: Url,
    access_key: AccessKey,
    subject: Subject = None,
    client: Client = None,
    keyset: Keyset = None,
    field: Field = None,
    operation: Operation = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Print the entries found, oldest first, one JSON object a line."""
    wanted = {"subject": subject, "client": client, "keyset": keyset, "field": field, "operation": operation}
    for entry in _pages(url, access_key, {**wanted, "outcome": outcome, "since": since, "until": until}):
        typer.echo(json.dumps(entry))


@app.command()
def export(
    url: Url,
    access_key: AccessKey,
    output: Annotated[Path, typer.Option(help="The file to write.")],
    form: Annotated[str, typer.Option("--format", help="jsonl, csv or ocsf.")] = "jsonl",
    since: Since = None,
    until: Until = None,
) -> None:
    """Write the workspace's entries for a SIEM or a spreadsheet."""
    from worker.authority.audit.export import FORMS
    from worker.authority.files import whole

    if form not in FORMS:
        raise ConfigError(f"--format is one of {', '.join(FORMS)}, not {form!r}")
    with whole(output, mode=0o666) as file:
        file.writelines(
            line.encode() for line in FORMS[form](_pages(url, access_key, {"since": since, "until": until}))
        )
    typer.echo(f"written: {output}")


@app.command()
def verify(
    directory: Annotated[
        list[Path],
        typer.Argument(help="The directory of the trail's files; of several processes and hosts, all of them."),
    ],
    anchor: Annotated[list[Path] | None, typer.Option(help="Signed heads that an anchor kept; several may.")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="The audit's public key, base64, as the authority serves it; another since each restore."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="What clients kept: what `worker ledger audited` prints, or JSON Lines of chain, seq, hash."),
    ] = None,
    retention_days: Annotated[
        float | None, typer.Option(min=0, help="What `serve --audit-retention-days` was; what was let go was older.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value on standard output.")] = False,
) -> None:
    """Check a trail's chain, and that what an anchor or a ledger saw is there as it was; 1 where it is not."""
    from worker.authority.audit.verify import read_heads, read_ledger, verify
    from worker.authority.sibling import trails

    keys = [_public_key(text) for text in key or ()]
    seen = [place for path in anchor or () for place in read_heads(path, keys)]
    seen += [place for path in against or () for place in read_ledger(path)]
    keep_s = None if retention_days is None else retention_days * 86_400.0
    verdict = verify(trails(directory), seen, keep_s=keep_s)
    found = {
        "entries": verdict.entries,
        "anchored": verdict.anchored,
        "chains": verdict.chains,
        "expired": verdict.expired,
    }
    if as_json:
        typer.echo(json.dumps({**found, "findings": verdict.findings}))
    else:
        typer.echo(
            f"{verdict.entries} entries in {len(verdict.chains)} chains; {verdict.anchored} seen elsewhere match"
        )
        if verdict.expired:
            typer.echo(
                f"{verdict.expired} seen elsewhere are not here: the chain says that it let them go by their age"
            )
        if not seen:
            typer.echo("without --anchor or --against a trail that was rewritten whole is not told from a true one")
        for finding in verdict.findings:
            typer.echo(f"FOUND {finding}")
    if verdict.findings or not verdict.entries:
        raise typer.Exit(1)


def _public_key(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise ConfigError(f"--key is no Ed25519 public key: {_KEY_BYTES} bytes in base64, as the authority serves it")
    return raw


def _pages(url: str, access_key: str, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from worker.authority.remote import Remote

    for option in ("since", "until"):
        read = moment(f"--{option}", wanted[option])
        wanted[option] = None if read is None else read.isoformat()
    call, body = Remote(url, access_key), {k: v for k, v in wanted.items() if v is not None}
    try:
        chains = call("api/status", None, "GET")["chains"]
    except KeyAccessDenied:
        # Who may read the audit alone is told of one chain, or that it has to be named.
        chains = [None]
    for chain in chains:
        yield from _chain(call, body if chain is None else {**body, "chain": chain})


def _chain(call: Remote, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    after = -1
    while True:
        page = call("api/audit/query", {**body, "after": after, "limit": _PAGE})
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]["seq"]
