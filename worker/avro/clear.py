"""What of a schema stays in the clear: what a reviewer reads beside what is encrypted."""

from __future__ import annotations

from dataclasses import dataclass

from worker.avro.compiler import Compiler
from worker.avro.declaration import DeclarationOptions
from worker.avro.schema import dump, parse, to_json
from worker.avro.shape import Covered, Shape, occurrences


@dataclass(frozen=True, slots=True)
class ClearField:
    """A field that is written as it is; `said` where the schema says `"encrypted": false`, so that it is meant."""

    identity: str
    type: str
    said: bool


def clear_fields(schema: str, options: DeclarationOptions) -> list[ClearField]:
    """Return the fields with nothing encrypted within and no fields of their own, in the schema's order."""
    compiled = Compiler(parse(schema), options, {})
    found = [
        ClearField(child.path, dump(to_json(item.node)), item.attributes.get("encrypted") is False)
        for shape in occurrences(compiled.top)
        for item, child in zip(shape.node.fields, shape.children, strict=False)
        if isinstance(child, Shape) and not child.declares and not _holds_fields(child, set())
    ]
    return list({field.identity: field for field in found}.values())


def _holds_fields(shape: Shape | Covered, seen: set[int]) -> bool:
    if isinstance(shape, Covered) or id(shape) in seen:
        return False
    seen.add(id(shape))
    return bool(shape.node.fields) or any(_holds_fields(child, seen) for child in shape.children)
