"""`worker encrypt`: single values, or a file whole, encrypted by hand."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from worker.avro.printed import value_of_text
from worker.cli import output, whole_files
from worker.cli.options import load
from worker.cli.readers import reader
from worker.cli.sources import schema_text
from worker.encryption import record
from worker.errors import ConfigError, RecordError
from worker.model import Format
from worker.sdk import Encryption, Regions


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("encrypt")(encrypt)


def encrypt(
    values: Annotated[list[str] | None, typer.Argument(help="Values; by default the lines of standard input.")] = None,
    field: Annotated[str, typer.Option("--field", help="The field, as acme.crm.Customer/email.")] = ...,  # type: ignore[assignment]
    schema: Annotated[
        Path | None,
        typer.Option("--schema", help="The field's Avro type; values are then JSON as decrypt prints it, else text."),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="record (base85) or leased (base64).")] = "record",
    keyset: Annotated[str | None, typer.Option("--keyset", help="Name or uuid; by default the client's own.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Encrypt a file whole, into --out.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the encrypted file is written.")] = None,
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="The region's TOML file.")] = None,
    env_prefix: Annotated[str, typer.Option("--env-prefix", help="Prefix of the credentials, as CS_EU_.")] = "CS_",
    region: Annotated[str | None, typer.Option("--region", help="Encrypt with that region's credentials.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the authority's audit.")] = None,
) -> None:
    """
    Print one envelope a value, as text that `worker decrypt -` and the SDK read; or encrypt a file whole.

    A value on the command line is seen by whoever lists this machine's processes: prefer standard input.
    """
    settings = None if config_file is None else load(config_file, None, log_level="warning")
    if (file is None) != (out is None) or (file is not None and values):
        raise ConfigError("give values, or --file with --out")
    if file is None:
        output.refuse_closed(reads=not values)
    text, chosen = None if schema is None else schema_text(schema), _format(format_)
    with reader(settings, env_prefix, [] if region is None else [region], reason or "worker encrypt") as found:
        encryption = found if isinstance(found, Encryption) else _only(found)
        if file is not None and out is not None:
            whole_files.encrypt(file, encryption, field, out)
            return
        for value in _values(values, text):
            envelope = encryption.encrypt(
                value,
                field=field,
                schema=text,
                keyset=keyset,
                format=chosen,
            )
            print(_text(envelope), flush=True)


def _format(name: str) -> Format:
    if name == "record":
        return "record"
    if name == "leased":
        return "leased"
    raise ConfigError(f"--format is record or leased, not {name!r}")


def _only(regions: Regions) -> Encryption:
    return regions[next(iter(regions))]


def _values(given: list[str] | None, schema: str | None) -> Iterator[object]:
    for number, text in enumerate(given or _lines()):
        if schema is None:
            yield text
            continue
        try:
            yield value_of_text(schema, text)
        except RecordError as exc:
            raise ConfigError(f"value {number}, which is JSON as `worker decrypt` prints it: {exc}") from None


def _lines() -> Iterator[str]:
    for number, line in enumerate(output.read_lines()):
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise ConfigError(
                f"value {number} is no text in UTF-8; bytes are encrypted whole, as --file, or in a program"
            ) from None


def _text(envelope: bytes) -> str:
    if envelope[:1] in (b"\x95", b"\x96"):
        return record.from_msgpack(envelope).to_base85()
    return base64.b64encode(envelope).decode("ascii")
