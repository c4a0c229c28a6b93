"""Names that break Avro's rule and whose meaning is clear all the same: accepted, and told."""

from __future__ import annotations

from worker.avro.graph import each_once, inner
from worker.avro.schema import AMBIGUOUS, Node
from worker.avro.shape import Covered, Shape, occurrences
from worker.avro.words import NAME
from worker.errors import DeclarationError


def odd_names(root: Node) -> list[str]:
    """A sentence for each name that breaks Avro's rule, and for each enum's default that is no symbol."""
    found: list[str] = []
    for node in each_once(root, inner):
        if any(NAME.match(part) is None for part in node.name.split(".") if node.name):
            found.append(f"{node.name}: the name breaks Avro's rule; some tools refuse it")
        found += [
            f"{node.name}: the field {item.name!r} breaks Avro's rule; some tools refuse it"
            for item in node.fields
            if NAME.match(item.name) is None
        ]
        found += [
            f"{node.name}: the logicalType of {item.name!r} stands on the field, where Avro does not read it"
            for item in node.fields
            if "logicalType" in item.attributes
        ]
        symbols = node.attributes.get("symbols", [])
        if node.kind == "enum" and "default" in node.attributes and node.attributes["default"] not in symbols:
            found.append(f"{node.name}: the enum's default is no symbol, and counts as none")
    return found


def refuse_ambiguous(top: Shape) -> None:
    """Raise `DeclarationError` where a declared field's path holds a name that can't stand in one."""
    for shape in occurrences(top):
        for item, child in zip(shape.node.fields, shape.children, strict=False):
            if (isinstance(child, Covered) or child.declares) and AMBIGUOUS.search(item.name):
                raise DeclarationError(
                    f"{shape.node.name}: the field {item.name!r} is declared, or holds what is, and its name can't "
                    "stand in a path; rename it",
                    path=item.name,
                )
