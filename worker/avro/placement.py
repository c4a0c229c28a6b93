"""Declarations where none may stand, or malformed, anywhere in a schema."""

from __future__ import annotations

from worker.avro.declaration import (
    DeclarationOptions,
    read_property,
    refuse_misplaced,
    refuse_near_misses,
)
from worker.avro.schema import Node


def refuse_everywhere(root: Node, options: DeclarationOptions) -> list[str]:
    """Refuse declarations that stand on types, and malformed ones wherever they stand; every `record.field` met."""
    names: list[str] = []
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        refuse_misplaced(node, options)
        for item in node.fields:
            names.append(f"{node.name}.{item.name}")
            where = f"{node.name}/{item.name}"
            refuse_near_misses(item.attributes, where, {"encrypted", "encryption"}, options)
            if "encrypted" in item.attributes:
                read_property(item.attributes["encrypted"], where)
        stack += [*node.inner, *(f.node for f in node.fields)]
    return names
