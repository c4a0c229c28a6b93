"""`worker plan`: what a schema says about encryption, what a change of it does, and what was forgotten."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from worker.assembly.schemas import Planned, open_schemas, review
from worker.avro import Compatibility, DeclarationOptions, SchemaVersion, compile_once, compile_schema
from worker.avro.clear import clear_fields
from worker.avro.keys import KeySchema
from worker.avro.references import in_order
from worker.avro.review import changes, lint
from worker.cli.planned import PlanFormat, Shown, show
from worker.errors import ConfigError, DeclarationError
from worker.region import Region
from worker.textfile import read_text

if TYPE_CHECKING:
    from worker.config import RouteSettings, Settings

PSEUDONYM = (
    "A pseudonym shows which keys are equal and how often; whoever holds the keyset's index key can try values against "
    "it. A key that declares nothing is replaced whole."
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    schemas: Annotated[
        list[Path] | None,
        typer.Argument(help="Schemas; with --diff the old and the new one; none with --config: the registry's latest."),
    ] = None,
    form: Annotated[PlanFormat, typer.Option("--format", help="How the plan is printed.")] = "table",
    json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Compare two schemas; exit 1 if protection is lost.")] = False,
    lint_: Annotated[bool, typer.Option("--lint", help="Exit 1 if a clear field looks like personal data.")] = False,
    require: Annotated[
        bool, typer.Option("--require-encrypted", help="Exit 1 if a schema has nothing that is encrypted.")
    ] = False,
    format_: Annotated[
        Literal["record", "leased"] | None,
        typer.Option("--default-format", help="Format of encrypted fields that name none."),
    ] = None,
    required: Annotated[list[str] | None, typer.Option(help="An identity that must be encrypted.")] = None,
    key: Annotated[
        bool, typer.Option("--key", help='The schemas are those of keys: show what key = "pseudonym" makes of them.')
    ] = False,
    clear: Annotated[list[str] | None, typer.Option(help="A record whose schema may declare nothing.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Demand a declaration of every leaf.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Use this region's policies, and ask its registry.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", help="A schema that they refer to: NAME=FILE, a file, or a directory of .avsc."),
    ] = None,
    route: Annotated[str | None, typer.Option("--route", help="Which route of --config; needed with several.")] = None,
) -> None:
    """
    Show which field gets which key, format and output type; prove it before the first record.

    Exit 1 where protection is lost, a field looks forgotten, or the registry finds the output incompatible.
    """
    form = "json" if json else form
    json = form == "json"
    settings = _settings(config) if config is not None else None
    chosen = _route(settings, route)
    options = _options(settings, chosen, format_, required or [], strict=strict)
    if settings is None and not (lint_ or diff or key or require):
        options = options.model_copy(update={"clear": ()})
    if options.clear is not None:
        options = options.model_copy(update={"clear": None if diff else (*options.clear, *(clear or ()))})
    files = [str(path) for path in schemas or []]
    texts = [read_text(path) for path in schemas or []]
    references = in_order(_references(reference or []))
    if references and (diff or lint_ or key or settings is not None):
        raise ConfigError("--reference is for planning files; a registry knows its references itself")
    if diff:
        if len(texts) != 2:
            raise ConfigError("--diff takes the old schema and the new one")
        for file, text in zip(files, texts, strict=True):
            with _named(file):
                compile_once(SchemaVersion(text), options)
        said, lost = changes(texts[0], texts[1], options)
        _print({"changes": said, "lost": lost}, said or ["nothing changes"], json)
        raise typer.Exit(1 if lost else 0)
    if key:
        if not texts:
            raise ConfigError("--key takes the files of key schemas")
        for file, text in zip(files, texts, strict=True):
            with _named(file):
                _show_key(KeySchema(text, options), json)
        return
    failed = False
    for planned in _planned(texts, options, settings, chosen, files, references):
        warnings = lint(planned.plan.input_schema, options) if lint_ else []
        for warning in planned.warnings:
            typer.echo(f"warning: {planned.label}: {warning}", err=True)
        empty = require and not planned.plan.fields
        failed = failed or empty or bool(warnings) or planned.compatibility is Compatibility.INCOMPATIBLE
        show(Shown(planned, clear_fields(planned.plan.input_schema, options), warnings), form)
        if empty:
            typer.echo(f"{planned.plan.name} has nothing that is encrypted (--require-encrypted)", err=True)
    raise typer.Exit(1 if failed else 0)


def _settings(config: Path) -> Settings:
    # Here, since most plans are of a file alone, and reading settings takes longer than all of that.
    from worker.cli.options import load

    return load(config, None)


def _route(settings: Settings | None, name: str | None) -> RouteSettings | None:
    if settings is None:
        if name is not None:
            raise ConfigError("--route names a route of --config")
        return None
    found = [r for r in settings.routes if name in (None, r.name)]
    if len(found) != 1:
        names = ", ".join(r.name for r in settings.routes)
        raise ConfigError(f"--route takes one of {names}")
    return found[0]


def _options(
    settings: Settings | None, route: RouteSettings | None, format_: str | None, required: list[str], *, strict: bool
) -> DeclarationOptions:
    base = DeclarationOptions() if settings is None or route is None else settings.declaration(route)
    said = {"format": format_ or base.format, "required": (*base.required, *required), "strict": strict or base.strict}
    return base.model_copy(update=said)


def _planned(
    texts: list[str],
    options: DeclarationOptions,
    settings: Settings | None,
    route: RouteSettings | None,
    files: Sequence[str],
    references: Sequence[str],
) -> Iterator[Planned]:
    """Plan each text, or each topic's latest version, as the route would see it."""
    if settings is None or route is None or not settings.schemas.registry:
        if not texts:
            raise ConfigError("give a schema's file; without one, --config must name a registry")
        for file, text in zip(files, texts, strict=True):
            yield _planned_file(file, text, options, references)
        return
    from worker.checks import pins
    from worker.checks.findings import enforce

    with contextlib.closing(open_schemas(settings.schemas, os.environ)) as source:
        # Whoever is asked gets the schemas and the credentials, so it must be the region's.
        enforce(pins.registry(Region(settings.region), source, settings.schemas.allow_hosts))
        yield from review(source, route, options, texts)


def _planned_file(file: str, text: str, options: DeclarationOptions, references: Sequence[str]) -> Planned:
    with _named(file):
        compiled = compile_schema(SchemaVersion(text, tuple(references)), options)
    return Planned(compiled.plan, file, warnings=compiled.warnings)


@contextlib.contextmanager
def _named(file: str) -> Iterator[None]:
    try:
        yield
    except DeclarationError as exc:
        raise DeclarationError(f"{file}: {exc}", path=exc.path) from exc


def _references(given: Sequence[str]) -> dict[str, str]:
    """Return the texts of `--reference`, by file."""
    paths: list[Path] = []
    for item in given:
        path = Path(item)
        if not path.exists():
            path = Path(item.partition("=")[2] or item)
        paths += sorted(path.glob("*.avsc")) if path.is_dir() else [path]
    return {str(path): read_text(path) for path in paths}


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
