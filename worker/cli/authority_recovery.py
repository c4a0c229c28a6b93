"""`worker authority backup | restore | drill | unlock | status`: for the day on which a store is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.authority_options import AdminKey, Url
from worker.errors import ConfigError, why

if TYPE_CHECKING:
    from worker.authority.recovery.restore import Source
    from worker.authority.seal import Sealer

Identity = Annotated[Path, typer.Option(help="The age identity that opens the backup.")]
JournalFile = Annotated[Path | None, typer.Option("--journal", help="The journal that serve --journal wrote.")]
AnchorFile = Annotated[
    list[Path] | None,
    typer.Option("--anchor", help="The anchor, of each replica: how far the journal must reach, at the least."),
]
RootFile = Annotated[Path | None, typer.Option(help="The lost store's root key.")]
RootCommand = Annotated[str | None, typer.Option(help="Prints the lost store's root key.")]
KeyCommand = Annotated[
    str | None, typer.Option(help="As serve's: has the keys that erasable keysets' trees are under.")
]
RegionName = Annotated[str, typer.Option(help="The backup's region.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (backup, restore, drill, unlock, status):
        app.command()(command)


def backup(
    url: Url,
    access_key: AdminKey,
    output: Annotated[Path, typer.Option(help="The file to write.")],
    recipient: Annotated[list[str], typer.Option(help="An age public key, age1...; several may open it.")],
) -> None:
    """Write a backup of the whole store while it serves, encrypted to age recipients."""
    from worker.authority.files import write_whole
    from worker.authority.remote import Remote

    data = Remote(url, access_key)("api/backup", {"recipients": recipient})
    write_whole(output, data)
    typer.echo(f"written: {output} ({len(data)} bytes)")


def restore(
    source: Annotated[Path, typer.Argument(help="The backup.")],
    region: RegionName,
    data: Annotated[Path, typer.Option(help="An empty data directory.")],
    identity: Identity,
    journal: JournalFile = None,
    anchor: AnchorFile = None,
    root_key_file: RootFile = None,
    root_key_command: RootCommand = None,
    epoch_key_command: KeyCommand = None,
    person: Annotated[
        list[str] | None, typer.Option(help="Who unlocks it; two are four eyes. Each gets a credential.")
    ] = None,
    store_url_env: Annotated[
        str, typer.Option(help="Variable with the postgresql+psycopg:// URL of an empty database, for replicas.")
    ] = "AUTHORITY_STORE_URL",
) -> None:
    """Make a store from a backup and the journal since; it refuses everything until it is unlocked."""
    from worker.authority.recovery.restore import restore as make
    from worker.region import Region

    people = person or ["operator"]
    if len(set(people)) != len(people):
        raise ConfigError("--person names somebody twice")
    root = _root(root_key_file, root_key_command)
    place = os.environ.get(store_url_env) or data / "authority.sqlite"
    origin = _source(source, identity, journal, anchor, epoch_key_command)
    made = make(place, Region(region), root, origin, people)
    typer.echo(
        f"restored: {made.rows} rows, version {made.version}, incarnation {made.incarnation}, {made.took_s:.2f} s"
    )
    typer.echo("start it (worker authority serve), then each of these once (worker authority unlock):")
    for name, credential in made.credentials.items():
        typer.echo(f"  {name}: {credential}")
    typer.echo("make a backup now: the one that you used does not go with what is written from here on")


def drill(
    source: Annotated[Path, typer.Argument(help="The backup.")],
    region: RegionName,
    identity: Identity,
    journal: JournalFile = None,
    anchor: AnchorFile = None,
    root_key_file: RootFile = None,
    root_key_command: RootCommand = None,
    epoch_key_command: KeyCommand = None,
) -> None:
    """Restore into a directory that is thrown away, and prove that every keyset gives the keys that it gave."""
    from worker.authority.recovery.restore import drill as rehearse
    from worker.region import Region

    root = _root(root_key_file, root_key_command)
    found = rehearse(Region(region), root, _source(source, identity, journal, anchor, epoch_key_command))
    typer.echo(json.dumps(found))
    if found["wrong"]:
        raise typer.Exit(1)


def unlock(
    url: Url,
    credential: Annotated[str, typer.Option(envvar="AUTHORITY_UNLOCK", prompt=True, hide_input=True)],
) -> None:
    """Present one credential that a restore printed; the last of them lets the authority answer again."""
    from worker.authority.remote import Remote

    missing = Remote(url, "").without_token("api/unlock", {"credential": credential})["missing"]
    typer.echo("unlocked" if not missing else f"{missing} more to present")


def status(url: Url, access_key: AdminKey) -> None:
    """Print how the authority is; 1 where it can't derive."""
    from worker.authority.remote import Remote

    found = Remote(url, access_key)("api/status", None, "GET")
    typer.echo(json.dumps(found))
    if not found["ready"]:
        raise typer.Exit(1)


def _root(file: Path | None, command: str | None) -> Sealer:
    from worker.authority import seal

    return seal.Sealer(seal.root_key(file, os.environ.get("AUTHORITY_ROOT_KEY"), command))


def _source(path: Path, identity: Path, journal: Path | None, anchor: list[Path] | None, command: str | None) -> Source:
    from worker.authority.audit.verify import read_anchor
    from worker.authority.erasure.keyholder import CommandKeys
    from worker.authority.recovery.restore import Anchored, Source

    anchored = Anchored.of([head for each in anchor for head in read_anchor(each)]) if anchor else None
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"the backup {path} can't be read: {why(exc)}") from exc
    return Source(data, identity, journal, anchored, None if command is None else CommandKeys(command))
