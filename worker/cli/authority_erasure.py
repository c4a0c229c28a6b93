"""`worker authority erase | erased | end-epoch | backups | expire-backup`: one subject's keys, taken out for good."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.authority_options import AdminKey, Json, Url
from worker.errors import ConfigError
from worker.textfile import read_text

Keyset = Annotated[str, typer.Option(help="An erasable keyset's name or uuid.")]
Context = Annotated[
    str | None, typer.Option("--context", help="One value, as customer_id=42: its text as the worker sends it.")
]
File = Annotated[Path | None, typer.Option("--from", help="A file with such values, one a line.")]
_AT_ONCE = 1000
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (erase, erased, backups):
        app.command()(command)
    app.command("end-epoch")(end_epoch)
    app.command("expire-backup")(expire_backup)


def erase(
    keyset: Keyset,
    url: Url,
    access_key: AdminKey,
    context: Context = None,
    values: File = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: what is erased does not come back.")] = False,
    as_json: Json = False,
) -> None:
    """Erase every key of a keyset whose context has this value; when it returns, every replica refuses them."""
    found = _values(context, values)
    if not yes:
        what = f"{found[0][0]}={found[0][1]}" if len(found) == 1 else f"{len(found)} values"
        typer.confirm(
            f"erase {what} in {keyset}, for good? Nobody opens it again, and it is not written again", abort=True
        )
    _ask("api/erase", keyset, found, url, access_key, as_json)


def erased(
    keyset: Keyset,
    url: Url,
    access_key: AdminKey,
    context: Context = None,
    values: File = None,
    as_json: Json = False,
) -> None:
    """Say of each value whether it is kept, refused or gone, and which backups still hold it."""
    _ask("api/erased", keyset, _values(context, values), url, access_key, as_json)


def end_epoch(url: Url, access_key: AdminKey, as_json: Json = False) -> None:
    """Destroy the key that what was erased so far is still under: from then on it is gone, and not only refused."""
    from worker.authority.remote import Remote

    found = Remote(url, access_key)("api/epoch")
    said = "destroyed: " + ", ".join(found["destroyed"]) if found["destroyed"] else "nothing was erased in this epoch"
    typer.echo(json.dumps(found) if as_json else said)


def backups(url: Url, access_key: AdminKey) -> None:
    """List the keys that backups' trees are under, one JSON value a line."""
    from worker.authority.remote import Remote

    for row in Remote(url, access_key)("api/backups", None, "GET"):
        typer.echo(json.dumps(row))


def expire_backup(
    name: Annotated[str, typer.Argument(help="The name of its key, as `backups` lists it.")],
    url: Url,
    access_key: AdminKey,
) -> None:
    """Destroy the key of a backup's trees: what was erased since is gone from it too."""
    from worker.authority.remote import Remote

    found = Remote(url, access_key)("api/backups/expire", {"name": name})
    typer.echo(f"destroyed: {found['name']} at {_time(found['destroyed_at'])}")


def _values(context: str | None, file: Path | None) -> list[list[str]]:
    if (context is None) == (file is None):
        raise ConfigError("give either --context name=value or --from FILE")
    # By line feeds alone: any other break may stand within a value, and half of one is somebody else's.
    lines = read_text(file, f"--from {str(file)!r}").removesuffix("\n").split("\n") if file else [str(context)]
    found = []
    for number, line in enumerate(lines, 1):
        name, sign, text = line.removesuffix("\r").partition("=")
        if not name or not sign:
            where = "--context" if file is None else f"{file}, line {number},"
            raise ConfigError(f"{where} is not name=value")
        found.append([name, text])
        if odd := _odd(text):
            typer.echo(f"note: {name}={text} {odd}; a context is compared as it stands", err=True)
    return found


def _odd(text: str) -> str | None:
    """Return why a value looks like one that no worker sent; erasing what was never written is no error."""
    if text != text.strip():
        return "has blanks around it"
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return "stands in quotes, which count"
    if _UUID.fullmatch(text) and text != text.lower():
        return "is a uuid in capitals, and the worker sends small letters for the type uuid"
    if _WHOLE.fullmatch(text) and text != str(int(text)):
        return "is a whole number in another form than the worker's, which has no sign + and no zeros in front"
    return None


def _ask(endpoint: str, keyset: str, values: list[list[str]], url: str, access_key: str, as_json: bool) -> None:
    from worker.authority.remote import Remote
    from worker.cli.keyset import ref

    call = Remote(url, access_key)
    for start in range(0, len(values), _AT_ONCE):
        some = values[start : start + _AT_ONCE]
        answer = call(endpoint, {"keyset_id": ref(keyset), "values": some})
        if as_json:
            typer.echo(json.dumps(answer))
            continue
        for (name, text), state in zip(some, answer["values"], strict=True):
            typer.echo(f"{name}={text}: {_said(state, answer)}")


def _said(state: dict[str, Any], answer: dict[str, Any]) -> str:
    if state["state"] == "kept":
        return "not erased"
    said = f"refused since {_time(state['refused_at'])}"
    if state["state"] == "gone":
        said += f", gone from the store since {_time(state['gone_at'])}"
    elif answer["claim"] == "gone":
        said += ", not gone before the epoch ends (worker authority end-epoch)"
    else:
        said += "; never gone: the keyset was made without --epoch-key-command, the root key opens old copies"
    if answer["backups"]:
        said += f"; backups that hold it until they expire: {', '.join(answer['backups'])}"
    return said


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
