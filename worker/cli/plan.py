"""`worker plan`: what a schema says about encryption, what a change of it does, and what was forgotten."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from worker.avro import DeclarationOptions, compile_schema
from worker.avro.keys import KeySchema
from worker.avro.review import changes, lint, output_types
from worker.errors import ConfigError
from worker.model import EncryptionPlan

CANNOT_DETECT = (
    "`record` can't detect: a row's ciphertext moved to another row (use `leased` with `bind`), an old value put back, "
    "a value replaced by null (use `null: encrypt`)."
)
KAFKA = (
    "Kafka keys pass in the clear, and a declaration in a key's schema is refused, unless the route says "
    'key = "pseudonym" (see --key); headers pass as the sink\'s `headers`.'
)
PSEUDONYM = (
    "A pseudonym shows which keys are equal and how often; whoever holds the keyset's index key can try values against "
    "it. A key that declares nothing is replaced whole."
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    schemas: Annotated[list[Path], typer.Argument(help="A schema; with --diff the old and the new one.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Compare two schemas; exit 1 if protection is lost.")] = False,
    lint_: Annotated[bool, typer.Option("--lint", help="Exit 1 if a clear field looks like personal data.")] = False,
    format_: Annotated[str, typer.Option("--format", help="Format of fields that name none.")] = "record",
    required: Annotated[list[str] | None, typer.Option(help="An identity that must be encrypted.")] = None,
    key: Annotated[
        bool, typer.Option("--key", help='The schemas are those of keys: show what key = "pseudonym" makes of them.')
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Demand a declaration of every leaf.")] = False,
) -> None:
    """Show which field gets which key, format and output type; prove it before the first record."""
    if format_ not in ("record", "leased"):
        raise ConfigError("--format is record or leased")
    options = DeclarationOptions(
        format="leased" if format_ == "leased" else "record", required=tuple(required or ()), strict=strict
    )
    if diff:
        if len(schemas) != 2:
            raise ConfigError("--diff takes the old schema and the new one")
        said, lost = changes(_read(schemas[0]), _read(schemas[1]), options)
        _print({"changes": said, "lost": lost}, said or ["nothing changes"], json)
        raise typer.Exit(1 if lost else 0)
    if key:
        for path in schemas:
            _show_key(KeySchema(_read(path), options), json)
        return
    failed = False
    for path in schemas:
        warnings = lint(_read(path), options) if lint_ else []
        failed = failed or bool(warnings)
        _show(compile_schema(_read(path), options).plan, warnings, json)
    raise typer.Exit(1 if failed else 0)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} can't be read as text: {type(exc).__name__}") from exc


def _print(value: object, lines: list[str], json: bool) -> None:
    for line in [orjson.dumps(value).decode()] if json else lines:
        typer.echo(line)


def _show_key(key: KeySchema, json: bool) -> None:
    written = key.written(True)
    replaced = [
        {"identity": f.identity, "descriptor": f.descriptor, "keyset": f.keyset, "null": f.null} for f in key.fields
    ]
    value = {"fields": replaced, "output_schema": orjson.loads(written), "notes": [PSEUDONYM]}
    keysets = {f.identity: f.keyset or "the client's own keyset" for f in key.fields}
    named = [f"{f.identity}: pseudonym under {keysets[f.identity]}, null {f.null}" for f in key.fields]
    _print(value, [*(named or ["the whole key: pseudonym"]), f"output schema: {written}", PSEUDONYM], json)


def _show(plan: EncryptionPlan, warnings: list[str], json: bool) -> None:
    types = output_types(plan.output_schema)
    if json:
        fields = [
            {
                **asdict(f),
                "fingerprint": f.fingerprint.hex(),
                "schema": orjson.loads(f.schema),
                "output": types[f.identity],
            }
            for f in plan.fields
        ]
        notes = [CANNOT_DETECT, KAFKA]
        value = {"name": plan.name, "fields": fields, "output_schema": orjson.loads(plan.output_schema)}
        typer.echo(orjson.dumps({**value, "warnings": warnings, "notes": notes}).decode())
        return
    table = Table("field", "keyset", "format", "as", "context", "bind", "null", "output type", title=plan.name)
    for column in table.columns:
        column.overflow = "fold"
    for f in plan.fields:
        bound = (", ".join(f.context), ", ".join(f.bind))
        table.add_row(f.identity, f.keyset or "the client's own", f.format, f.kind, *bound, f.null, types[f.identity])
    # Off a terminal a width that no identity is cut at; on one, cells fold.
    width = None if sys.stdout.isatty() else 200
    console = Console(width=width, soft_wrap=True, markup=False, highlight=False)
    console.print(table)
    console.print(f"output schema: {plan.output_schema}")
    for path in warnings:
        console.print(f"warning: {path} is clear and looks like personal data")
    console.print(CANNOT_DETECT)
    console.print(KAFKA)
