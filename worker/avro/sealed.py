"""The types of a declared field: what stands in its place, and its own without declarations."""

from __future__ import annotations

from typing import Any

from worker.avro.schema import Field, Node, dump, null_index, to_json
from worker.model import FieldPlan


def sealed_type(item: Field, plan: FieldPlan) -> Node:
    """What stands in the output schema in a declared field's place."""
    null = null_index(item.node)
    if null is None or plan.null == "encrypt":
        return Node("bytes")
    nothing, some = Node("null"), Node("bytes")
    if len(item.node.inner) == 2:
        return Node("union", inner=[nothing, some] if null == 0 else [some, nothing])
    first = item.attributes.get("default") is None
    return Node("union", inner=[nothing, some] if first else [some, nothing])


def type_text(node: Node) -> str:
    """A type as self-contained JSON text, without declarations inside."""
    return dump(without_declarations(to_json(node)))


def without_declarations(value: object) -> object:
    """The JSON of a type without any `encrypted` property of its records' fields."""
    if isinstance(value, list):
        return [without_declarations(item) for item in value]
    if not isinstance(value, dict):
        return value
    out: dict[str, Any] = {
        k: without_declarations(v) if k in ("type", "items", "values") else v for k, v in value.items()
    }
    if isinstance(out.get("fields"), list):
        out["fields"] = [
            {k: without_declarations(v) if k == "type" else v for k, v in f.items() if k != "encrypted"}
            for f in out["fields"]
        ]
    return out
