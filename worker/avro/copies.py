"""
A named type that a path policy covers at one use and not at another: each further way gets a copy of its own name.

The copy is `<Name>_enc_<8 hex>`, of SHA-256 over what the policies say within it. A change of the type's own
declarations leaves that name as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from worker.avro.schema import dump
from worker.avro.shape import Covered, Shape, occurrences
from worker.errors import DeclarationError
from worker.model import FieldPlan

Rename = Callable[[Shape], tuple[str, dict[str, Any]]]


def renaming(top: Shape) -> Rename:
    """
    Return the function from a record to its name and attributes in the output schema.

    Raises:
        DeclarationError: a copy's name is taken.
    """
    names = _copies(top)

    def rename(shape: Shape) -> tuple[str, dict[str, Any]]:
        node, copy = shape.node, names.get(id(shape))
        if copy is None:
            return node.name, node.attributes
        # An alias that two types claim is nobody's; the copy keeps its own for the way back.
        rest = {k: v for k, v in node.attributes.items() if k not in ("aliases", "encryption")}
        kept = {"aliases": node.attributes["aliases"]} if "aliases" in node.attributes else {}
        return copy, {**rest, "encryption": {"version": 1, "name": node.branch, **kept}}

    return rename


def original(shape: Shape) -> tuple[str, dict[str, Any]]:
    """Return the name and attributes of the record that one of an output schema is, or is a copy of."""
    attributes = dict(shape.node.attributes)
    told = attributes.pop("encryption", {})
    return shape.node.branch, {**attributes, **({"aliases": told["aliases"]} if "aliases" in told else {})}


def _copies(top: Shape) -> dict[int, str]:
    """
    The new full name of each record that can't keep its own, by the shape's id.

    Raises:
        DeclarationError: a copy's name is taken.
    """
    records: dict[str, list[Shape]] = {}
    for shape in occurrences(top):
        if shape.node.kind == "record":
            records.setdefault(shape.node.name, []).append(shape)
    if all(len(shapes) == 1 for shapes in records.values()):
        return {}
    kinds, roots = _kinds(top), {id(top), *(id(c) for c in top.children)}
    found: dict[int, str] = {}
    for name, shapes in records.items():
        if len({kinds[id(s)] for s in shapes}) > 1:
            found |= _names(name, shapes, kinds, roots if top.node.kind == "union" else {id(top)})
    taken = {name for name in found.values() if name in records}
    if taken:
        raise DeclarationError(f"{min(taken)} is the name of a copy that a path policy needs; rename that type")
    return found


def _names(name: str, shapes: list[Shape], kinds: Mapping[int, int], roots: set[int]) -> dict[int, str]:
    said = {id(s): frozenset(_said(s)) for s in shapes}
    everywhere = frozenset.intersection(*said.values())
    # A root keeps its name; else the use that no policy touches; else the first one.
    order = sorted(shapes, key=lambda s: (id(s) not in roots, said[id(s)] != everywhere, s.path))
    keeper = kinds[id(order[0])]
    found: dict[int, str] = {}
    owners: dict[str, int] = {}
    for shape in shapes:
        if kinds[id(shape)] == keeper:
            continue
        told = "\n".join(sorted(said[id(shape)] - everywhere))
        copy = f"{name}_enc_{hashlib.sha256(told.encode()).hexdigest()[:8]}"
        if owners.setdefault(copy, kinds[id(shape)]) != kinds[id(shape)]:
            raise DeclarationError(f"{shape.path}: two policies within {name} need one name; declare the field itself")
        found[id(shape)] = copy
    return found


def _kinds(top: Shape) -> dict[int, int]:
    """Number the shapes so that two have one number exactly where one type can stand for both, recursion included."""
    shapes = list(occurrences(top))
    numbers = dict.fromkeys((id(s) for s in shapes), 0)
    count = 0
    while True:
        seen: dict[object, int] = {}
        told = {
            id(s): (numbers[id(s)], s.node.branch, *(_number(child, numbers) for child in s.children)) for s in shapes
        }
        numbers = {key: seen.setdefault(value, len(seen)) for key, value in told.items()}
        if len(seen) == count:
            return numbers
        count = len(seen)


def _number(child: Shape | Covered, numbers: Mapping[int, int]) -> object:
    return _options(child) if isinstance(child, Covered) else numbers[id(child)]


def _options(covered: Covered) -> str:
    plan: FieldPlan = covered.plan
    descriptor = plan.descriptor if plan.descriptor_is_explicit else None
    return dump([plan.format, plan.keyset, descriptor, plan.context, plan.bind, plan.null, plan.index])


def _said(start: Shape) -> Iterator[str]:
    """Every declared field that can be reached from a shape, spelled by the way to it, and its options."""
    seen = {id(start)}
    stack = [(start, "")]
    while stack:
        shape, way = stack.pop()
        for sign, child in zip(_signs(shape), shape.children, strict=True):
            if isinstance(child, Covered):
                yield f"{way}{sign} {_options(child)}"
            elif id(child) not in seen:
                seen.add(id(child))
                stack.append((child, way + sign))


def _signs(shape: Shape) -> list[str]:
    node = shape.node
    if node.kind == "record":
        return [f".{item.name}" for item in node.fields]
    if node.kind == "union":
        return [f"<{branch.branch}>" for branch in node.inner]
    return ["[]" if node.kind == "array" else "{}"] * len(shape.children)
