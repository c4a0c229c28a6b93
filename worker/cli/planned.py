"""A schema's plan as people and programs read it: what is encrypted and how, and what stays in the clear."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import orjson
import typer
from rich.table import Table

from worker.assembly.schemas import Planned
from worker.avro.clear import ClearField
from worker.avro.review import output_types
from worker.cli.consoles import PlainConsole
from worker.model import FieldPlan

PlanFormat = Literal["table", "json", "markdown"]
CANNOT_DETECT = (
    "`record` can't detect: a row's ciphertext moved to another row (use `leased` with `bind`), an old value put back, "
    "a value replaced by null (use `null: encrypt`)."
)
KAFKA = (
    "Kafka keys pass in the clear, and a declaration in a key's schema is refused, unless the route says "
    'key = "pseudonym" (see --key); headers pass as the sink\'s `headers`.'
)
ERASABLE = (
    "erasable by: any one of these values, where the keyset was made erasable (worker keyset create --erasable). Never "
    "erased are search terms (`index`), pseudonyms of record keys, dead letters, and fields without a context."
)
_COLUMNS = ("field", "keyset", "format", "as", "context", "bind", "null", "output type", "erasable by")


@dataclass(frozen=True, slots=True)
class Shown:
    """
    What is shown of one schema.

    Args:
        planned: its plan.
        clear: its fields that stay as they are.
        warnings: identities of clear fields that look like personal data.
    """

    planned: Planned
    clear: Sequence[ClearField]
    warnings: Sequence[str]

    @property
    def findings(self) -> list[str]:
        """Sentences on clear fields that look forgotten, and on the registry's verdict."""
        said = [f"warning: {path} is clear and looks like personal data" for path in self.warnings]
        if self.planned.compatibility is not None:
            said.insert(0, f"compatibility: under {self.planned.subject}: {self.planned.compatibility}")
        return said

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row for each field, those encrypted first."""
        plan = self.planned.plan
        types = output_types(plan.output_schema)
        found: list[tuple[str, ...]] = [
            (
                f.identity,
                f.keyset or "the client's own",
                f.format,
                f.kind,
                ", ".join(f.context),
                ", ".join(f.bind),
                f.null,
                types[f.identity],
                _erasable_by(f),
            )
            for f in plan.fields
        ]
        return found + [(f.identity, "", "clear", "", "", "", "", f.type, "") for f in self.clear]


def _erasable_by(field: FieldPlan) -> str:
    if not field.context:
        return "nothing: no context"
    return ", ".join(field.context) + ("; its terms are not" if field.index else "")


def show(shown: Shown, form: PlanFormat) -> None:
    """Print a plan."""
    if form == "json":
        typer.echo(orjson.dumps(_as_json(shown)).decode())
    elif form == "markdown":
        typer.echo(_as_markdown(shown))
    else:
        _print_table(shown)


def _print_table(shown: Shown) -> None:
    plan = shown.planned.plan
    table = Table(*_COLUMNS, title=plan.name)
    for column in table.columns:
        column.overflow = "fold"
    for row in shown.rows():
        table.add_row(*row)
    # Off a terminal a width that no identity is cut at; on one, cells fold.
    width = None if sys.stdout.isatty() else 200
    console = PlainConsole(width=width, soft_wrap=True, markup=False, highlight=False)
    console.print(table)
    console.print(f"output schema: {plan.output_schema}")
    for text in (*shown.findings, CANNOT_DETECT, KAFKA, ERASABLE):
        console.print(text)


def _as_markdown(shown: Shown) -> str:
    plan = shown.planned.plan
    encrypted, clear = len(plan.fields), len(shown.clear)
    lines = [f"### {plan.name}: {encrypted} encrypted, {clear} in the clear", ""]
    for row in (_COLUMNS, ("---",) * len(_COLUMNS), *shown.rows()):
        lines.append("| " + " | ".join(_cell(cell) for cell in row) + " |")
    lines += ["", *(f"- {text}" for text in (*shown.findings, CANNOT_DETECT, KAFKA, ERASABLE))]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _as_json(shown: Shown) -> dict[str, object]:
    plan, verdict = shown.planned.plan, shown.planned.compatibility
    types = output_types(plan.output_schema)
    fields = [
        {
            **asdict(f),
            "fingerprint": f.fingerprint.hex(),
            "schema": orjson.loads(f.schema),
            "output": types[f.identity],
            "erasable_by": list(f.context),
        }
        for f in plan.fields
    ]
    subject = shown.planned.subject
    return {
        "name": plan.name,
        "fields": fields,
        "clear": [{"identity": f.identity, "type": orjson.loads(f.type), "said": f.said} for f in shown.clear],
        "output_schema": orjson.loads(plan.output_schema),
        "compatibility": None if verdict is None else {"subject": subject, "verdict": verdict.name.lower()},
        "warnings": list(shown.warnings),
        "notes": [CANNOT_DETECT, KAFKA, ERASABLE],
    }
