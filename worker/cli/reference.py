"""The reference of this very version, in Markdown: options, commands and metrics, from the code that knows them."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.core import TyperArgument, TyperGroup, TyperOption

from worker import errors as worker_errors
from worker.cli.described import describe
from worker.config import Settings
from worker.config.known import models
from worker.metrics import CATALOGUE, Metric
from worker.metrics.catalogue import VERIFIER
from worker.metrics.metric import OWN_WORDS, WORDS

_WORDS = {str: "text", int: "whole number", float: "number", bool: "boolean"}


def options() -> str:
    """One table a section: each option with its type, its bounds, its default and what it does."""
    describe(Settings)
    return "\n\n".join(_sections(Settings, "", {}))


def _sections(model: type[BaseModel], path: str, told: dict[type[BaseModel], str]) -> Iterator[str]:
    if model in told:
        yield f"{_heading(model, path)}\n\nAs `[{told[model]}]`."
        return
    told[model] = path
    rows, below = [], list[tuple[type[BaseModel], str]]()
    for name, field in model.model_fields.items():
        place = f"{path}.{name}" if path else name
        nested = list(models(field.annotation))
        if not nested:
            rows.append(_row(name, field))
        elif get_origin(field.annotation) is dict:
            rows.append(_row(name, field))
            below += [(found, f"{place}.NAME") for found in nested]
        else:
            below += [(found, place) for found in nested]
    if rows:
        yield _heading(model, path) + "\n\n" + _table(("option", "type", "default", "what it does"), rows)
    for found, place in below:
        yield from _sections(found, place, told)


def _heading(model: type[BaseModel], path: str) -> str:
    kind = model.model_fields.get("kind")
    chosen = f', `kind = "{kind.default}"`' if kind is not None else ""
    return f"### `[{path}]`{chosen}" if path else "### At the top"


def _row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    described = " ".join((field.description or "").split())
    return f"`{name}`", _type(field.annotation) + _bounds(field), _default(field), described


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in parts if part is not type(None)))
    if origin is tuple:
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return "table"
    return _WORDS.get(annotation, "time with its zone")


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(part, name):,}"
        for part in field.metadata
        for name, sign in signs.items()
        if getattr(part, name, None) is not None
    ]
    return f" {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:,}`".replace(",", "_") if isinstance(value, int) else f"`{value}`"


def commands(app: typer.Typer) -> str:
    """Every command with its arguments, its options and what it does."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    return _table(("command", "what it does", "options"), list(_commands(root, "worker")))


def _commands(group: TyperGroup, path: str) -> Iterator[tuple[str, str, str]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{path} {name}")
            continue
        arguments = [_argument(p) for p in command.params if isinstance(p, TyperArgument)]
        flags = [f"`{p.opts[0]}`" for p in command.params if isinstance(p, TyperOption) and p.name != "help"]
        said = (command.help or "").split("\n\n")[0].replace("\n", " ")
        yield f"`{' '.join((path, name, *arguments))}`", said, " ".join(flags)


def _argument(parameter: TyperArgument) -> str:
    name = str(parameter.name).upper() + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def errors() -> str:
    """Every error with its exit code and what it means; those without one cost a record, never the run."""
    rows = []
    for name, kind in vars(worker_errors).items():
        if (
            isinstance(kind, type)
            and issubclass(kind, worker_errors.WorkerError)
            and kind is not worker_errors.WorkerError
        ):
            code = "" if issubclass(kind, worker_errors.RecordError) else str(kind.exit_code)
            said = " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())
            rows.append((f"`{name}`", _code(kind, code), said))
    return _table(("error", "exit code", "what it means"), rows)


def _code(kind: type[worker_errors.WorkerError], code: str) -> str:
    if issubclass(kind, worker_errors.ProcessFailed):
        return "that process's own"
    return code or "none: a dead letter"


def metrics(catalogue: Sequence[Metric] = CATALOGUE + VERIFIER) -> str:
    """Every metric with its kind, its labels and their words, and what it counts; `region` stands on each besides."""
    rows = [(f"`{m.name}`", m.kind, ", ".join(_label(m, label) for label in m.labels), m.help) for m in catalogue]
    return _table(("metric", "kind", "labels", "what it says"), rows)


def _label(metric: Metric, label: str) -> str:
    words = OWN_WORDS.get((metric.name, label)) or WORDS.get(label, ())
    return f"`{label}`" + (f" ({', '.join(words)})" if words else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
