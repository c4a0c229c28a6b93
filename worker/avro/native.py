"""A compiled schema as a program for the extension module, which walks over datums as `worker.avro.batch` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from worker.avro.logical import decimal_digits, logical, logical_values
from worker.avro.reader import zigzag
from worker.avro.readers import is_widthless
from worker.avro.schema import Node, null_index
from worker.avro.shape import Covered, Shape
from worker.model import FieldPlan, PlaintextKind
from worker.native import extension

_Spec = tuple[Any, ...]


def program(top: Shape, covered: Sequence[Covered], extract: Sequence[str], *, sealed: bool) -> extension.Program:
    """Return the walk over a schema's datums; `sealed` says that they hold envelopes."""
    writer = _Writer(top, extract, sealed)
    root = writer.of(top)
    return extension.Program(writer.nodes, [slot_of(c.plan) for c in covered], root, len(extract))


def reader(node: Node) -> extension.Reader:
    """Return what reads a type's values as the library does: a wider union's under the branch's number."""
    return extension.Reader(*_shapes(node, lambda _node: None))


def json_writer(node: Node) -> extension.JsonWriter:
    """Return what writes a type's values as JSON; those of a logical type that it does not know are for the twin."""
    return extension.JsonWriter(*_shapes(node, _logical))


def _shapes(node: Node, own: Callable[[Node], _Spec | None]) -> tuple[list[_Spec], int]:
    """Each type once, under a number; `own` is what is said of one beside what its base says."""
    shapes: list[_Spec] = []
    numbers: dict[int, int] = {}

    def of(node: Node) -> int:
        number = numbers.get(id(node))
        if number is None:
            number = numbers[id(node)] = len(shapes)
            shapes.append(("null",))
            shapes[number] = own(node) or spec(node)
        return number

    def spec(node: Node) -> _Spec:
        kind = node.kind
        if kind == "fixed":
            return ("fixed", node.attributes["size"])
        if kind == "enum":
            return ("enum", list(node.attributes["symbols"]))
        if kind == "union":
            wide = sum(branch.kind != "null" for branch in node.inner) > 1
            names = [str(i) if wide and branch.kind != "null" else None for i, branch in enumerate(node.inner)]
            return ("union", [(of(branch), name) for branch, name in zip(node.inner, names, strict=True)])
        if kind == "record":
            return ("record", [(f.name, of(f.node)) for f in node.fields])
        if kind == "array":
            return ("array", of(node.inner[0]), is_widthless(node.inner[0]))
        return ("map", of(node.inner[0])) if kind == "map" else (kind,)

    return shapes, of(node)


def _logical(node: Node) -> _Spec | None:
    """How a logical type's values are written; None for the base's own."""
    if logical_values(node) is None:
        return None
    word = logical(node)
    if word == "decimal":
        return ("decimal", node.attributes.get("size"), decimal_digits(node)[1])
    if word == "uuid":
        return ("uuid-bytes",) if node.kind == "fixed" else ("uuid",)
    units = {"timestamp-millis": 1000, "timestamp-micros": 1}
    unit = units.get(word.removeprefix("local-"))
    if unit is not None:
        return ("timestamp", unit, "" if word.startswith("local-") else "+00:00")
    return (word,) if word in ("date", "time-millis", "time-micros") else ("twin",)


class _Writer:
    """Writes each type once, under a number, so that a type within itself is a number that leads back."""

    def __init__(self, top: Shape, extract: Sequence[str], sealed: bool) -> None:
        self.nodes: list[_Spec] = []
        self._top, self._extract, self._sealed = top, tuple(extract), sealed
        self._numbers: dict[int, int] = {}

    def of(self, shape: Shape | Covered) -> int:
        """Return the number of a shape: of its plain type where nothing is wanted of it."""
        if isinstance(shape, Covered):
            return self._once(shape, lambda: self._covered(shape))
        root = shape is self._top or (self._top.node.kind == "union" and shape in self._top.children)
        if not shape.declares and not (root and self._extract):
            return self._plain(shape.node)
        return self._once(shape, lambda: self._shape(shape, self._extract if root else ()))

    def _once(self, item: object, make: Any) -> int:
        number = self._numbers.get(id(item))
        if number is None:
            number = self._numbers[id(item)] = len(self.nodes)
            self.nodes.append(("null",))
            self.nodes[number] = make()
        return number

    def _shape(self, shape: Shape, extract: tuple[str, ...]) -> _Spec:
        children = [self.of(child) for child in shape.children]
        kind = shape.node.kind
        if kind == "union":
            return ("union", children)
        if kind in ("array", "map"):
            return ("blocks", children[0], kind == "map", False, True)
        wanting = [
            _wanting(shape, i, child)
            for i, child in enumerate(shape.children)
            if isinstance(child, Covered) and (child.plan.context or child.plan.bind)
        ]
        if not wanting and not extract:
            return ("record", children)
        return ("beside", children, wanting, [_field_text(shape, name) for name in extract])

    def _covered(self, covered: Covered) -> _Spec:
        here = covered.sealed if self._sealed else covered.original
        there = covered.original if self._sealed else covered.sealed
        null, null_there = null_index(here), null_index(there)
        kept = None if null is None or null_there is None else (null, zigzag(null_there))
        prefix = b"" if self._sealed or there.kind != "union" else zigzag(1 - (null_there or 0))
        return ("covered", covered.slot, self._plain(here), kept, prefix, self._sealed)

    def _plain(self, node: Node) -> int:
        return self._once(node, lambda: self._plain_spec(node))

    def _plain_spec(self, node: Node) -> _Spec:
        kind = node.kind
        if kind == "fixed":
            return ("fixed", node.attributes["size"])
        if kind in ("float", "double"):
            return ("fixed", 4 if kind == "float" else 8)
        if kind == "enum":
            return ("enum", len(node.attributes["symbols"]))
        if kind == "union":
            return ("union", [self._plain(branch) for branch in node.inner])
        if kind == "record":
            return ("record", [self._plain(f.node) for f in node.fields])
        if kind in ("array", "map"):
            widthless = kind == "array" and is_widthless(node.inner[0])
            return ("blocks", self._plain(node.inner[0]), kind == "map", widthless, False)
        return (kind,)


def _wanting(shape: Shape, at: int, covered: Covered) -> _Spec:
    plan = covered.plan
    numbers = {f.name: i for i, f in enumerate(shape.node.fields)}
    context = [_field_text(shape, name) for name in plan.context]
    return (at, covered.slot, context, [None if name == "$key" else numbers[name] for name in plan.bind])


def _field_text(shape: Shape, name: str) -> _Spec | None:
    found = next(((i, f.node) for i, f in enumerate(shape.node.fields) if f.name == name), None)
    text = None if found is None else _text(found[1])
    return None if found is None or text is None else (found[0], text)


def _text(node: Node) -> _Spec | None:
    """How a sibling reads as text; the twin is `worker.avro.siblings.text_reader`."""
    null, kind, word = null_index(node), node.kind, logical(node)
    if kind == "union":
        inner = _text(node.inner[1 - null]) if len(node.inner) == 2 and null is not None else None
        return None if inner is None else ("nullable", null, inner)
    if kind == "string":
        return ("lower",) if word else ("verbatim",)
    if kind == "enum":
        return ("symbols", node.attributes["symbols"])
    if kind == "fixed":
        return ("uuid",) if word == "uuid" else None
    plain = {"int": "number", "long": "number", "boolean": "boolean"}
    return (plain[kind],) if kind in plain else None


def slot_of(plan: FieldPlan) -> tuple[Any, ...]:
    """Return what the extension has to know of a field."""
    hides = plan.null == "encrypt" and plan.null_branch is not None
    kind: PlaintextKind = plan.kind
    return (
        plan.format == "leased",
        kind.value,
        list(plan.symbols),
        plan.null_branch,
        hides,
        plan.fingerprint,
        list(plan.context),
        list(plan.bind),
    )
