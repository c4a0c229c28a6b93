"""JSON defaults: whether one is a value of its field's type, and whether it holds one of a declared field."""

from __future__ import annotations

from typing import Any

from worker.avro.schema import Node
from worker.avro.shape import Covered, Shape

_INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")


def fits(value: Any, node: Node) -> bool:
    """Whether a JSON default is a value of the type (a union's: of any branch)."""
    kind = node.kind
    if kind == "union":
        return any(fits(value, branch) for branch in node.inner)
    if kind in ("int", "long"):
        low, high = _INT32 if kind == "int" else _INT64
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    if kind in ("float", "double"):
        return (isinstance(value, int | float) and not isinstance(value, bool)) or value in _NO_NUMBERS
    if kind == "array":
        return isinstance(value, list) and all(fits(item, node.inner[0]) for item in value)
    if kind == "map":
        return isinstance(value, dict) and all(fits(item, node.inner[0]) for item in value.values())
    if kind == "record":
        return isinstance(value, dict) and all(
            fits(value[f.name], f.node) if f.name in value else "default" in f.attributes for f in node.fields
        )
    if kind == "enum":
        return value in node.attributes["symbols"]
    if kind in ("bytes", "fixed", "string"):
        return isinstance(value, str) and (kind != "fixed" or len(value) == node.attributes["size"])
    return value is None if kind == "null" else isinstance(value, bool)


def holds_declared(default: object, shape: Shape | Covered) -> bool:
    """Whether a default, where it is used, gives a value to a field that is declared."""
    if default is None:
        return False
    if isinstance(shape, Covered):
        return True
    if shape.node.kind == "record" and isinstance(default, dict):
        fields = zip(shape.node.fields, shape.children, strict=True)
        return any(f.name in default and holds_declared(default[f.name], c) for f, c in fields)
    items = default if isinstance(default, list) else list(default.values()) if isinstance(default, dict) else []
    if shape.node.kind == "union":
        return any(holds_declared(default, c) for c in shape.children)
    return any(holds_declared(item, c) for item in items for c in shape.children)
