"""`worker rekey`: what is encrypted already, under other keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from worker.cli import rekey_files, rekey_table, rekey_topic
from worker.cli.options import LogFormat, LogLevel, Set
from worker.cli.rekey_call import Call
from worker.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rekey")(rekey)


def rekey(
    files: Annotated[list[str] | None, typer.Argument(help="Container files, directories or patterns.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="The topic that the worker wrote.")] = None,
    into: Annotated[
        str | None, typer.Option("--into", help="The new topic; as many partitions as the old one.")
    ] = None,
    handover: Annotated[
        Path | None, typer.Option("--handover", help="Where to write at which offsets readers change over.")
    ] = None,
    table: Annotated[str | None, typer.Option("--table", help="The table that the worker wrote.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="The table's key columns, by commas; else found.")] = None,
    dsn: Annotated[str | None, typer.Option("--dsn", envvar="DATABASE_URL", help="The table's database.")] = None,
    schema: Annotated[Path | None, typer.Option("--schema", help="The output schema of what is stored.")] = None,
    to_keyset: Annotated[str | None, typer.Option("--to-keyset", help="The new keyset, of every field.")] = None,
    to_format: Annotated[
        Literal["record", "leased"] | None, typer.Option("--to-format", help="The new format, of every field.")
    ] = None,
    to_descriptor: Annotated[
        list[str] | None, typer.Option("--to-descriptor", help="A field's new descriptor: identity=descriptor.")
    ] = None,
    to_schema: Annotated[
        Path | None, typer.Option("--to-schema", help="The declared schema that says how fields are to be encrypted.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The region's TOML file.")] = None,
    set_: Set = None,
    env_prefix: Annotated[str, typer.Option("--env-prefix", help="Prefix of the credentials.")] = "CS_",
    from_env_prefix: Annotated[
        str | None, typer.Option("--from-env-prefix", help="Prefix of those that open what is stored, if others.")
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the authority's audit.")] = None,
    on_error: Annotated[
        Literal["stop", "keep"], typer.Option("--on-error", help="What does not open stops the run, or stays as it is.")
    ] = "stop",
    max_errors: Annotated[int, typer.Option("--max-errors", min=0, help="Stop where more than these stay.")] = 1_000,
    rate: Annotated[float | None, typer.Option("--rate", min=0.1, help="Records a second at most.")] = None,
    page: Annotated[int, typer.Option("--page", min=1, max=100_000, help="Rows of one transaction.")] = 2_000,
    pseudonyms: Annotated[
        Literal["refuse", "keep"],
        typer.Option("--pseudonyms", help="`keep` writes record keys that are pseudonyms as they are."),
    ] = "refuse",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", "--estimate", help="Encrypt a sample anew, write nothing; say how long all takes."),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Count values by keyset, write nothing; exit 1 unless all are as wanted.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "auto",
) -> None:
    """
    Encrypt a table's rows, a topic's records or files anew, under another keyset, format or descriptor.

    A table and files are changed in place, a topic goes into a new one. A run that was interrupted is continued by
    calling it again. Each value is opened under its new key and compared before the old one is replaced.
    """
    named = {"--topic": topic, "--table": table, "files": files or None}
    chosen = [name for name, value in named.items() if value is not None]
    if len(chosen) != 1:
        raise ConfigError("give one of --topic, --table or files: what is to be encrypted anew?")
    if dry_run and verify:
        raise ConfigError("--dry-run goes without --verify")
    call = Call.of(
        config=config,
        assignments=set_,
        env_prefix=env_prefix,
        from_env_prefix=from_env_prefix,
        reason=reason,
        schema=schema,
        wanted=(to_keyset, to_format, to_descriptor or [], to_schema),
        keep=on_error == "keep",
        most=max_errors,
        rate=rate,
        mode="verify" if verify else "estimate" if dry_run else "rekey",
        keeps_pseudonyms=pseudonyms == "keep",
        json=json,
        log=(log_level, log_format),
    )
    with call:
        if table is not None:
            done = rekey_table.run(call, table, [] if key is None else key.split(","), dsn, page)
        elif topic is not None:
            done = rekey_topic.run(call, topic, into, handover)
        else:
            done = rekey_files.run(call, files or [])
    if not done:
        raise typer.Exit(1)
