"""A schema walked occurrence by occurrence: where each declared field lies, and what it becomes in the other schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from worker.avro.canonical import canonical_fingerprint
from worker.avro.graph import each_once
from worker.avro.logical import logical
from worker.avro.schema import (
    MAX_NESTING,
    Field,
    Node,
    aliases,
    null_index,
)
from worker.errors import DeclarationError
from worker.model import FieldPlan, PlaintextKind

MAX_OCCURRENCES = 20_000
# Of one field: each alias of a field, a record or a branch above it doubles them.
MAX_IDENTITIES = 1024


@dataclass(eq=False, slots=True)
class Covered:
    """A declared field: its own type, what stands in its place when sealed, and its column."""

    plan: FieldPlan
    original: Node
    sealed: Node
    slot: int
    identities: tuple[str, ...] = ()
    item: Field | None = None


@dataclass(eq=False, slots=True)
class Shape:
    """One occurrence of a type that is not itself covered; `children` follow the node's fields or inner types."""

    node: Node
    path: str
    children: list[Shape | Covered] = field(default_factory=list)
    declares: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """
    The identities of one place in a schema.

    Args:
        plain: by the rule of docs/contracts.md, 1, with every alias; the first is the place's own.
        typed: naming each record entered, in a union or not; it stays when a union gets or loses branches.
    """

    plain: tuple[str, ...]
    typed: str

    def within(self, sign: str) -> Places:
        """The places of an array's items or a map's values."""
        return Places(tuple(p + sign for p in self.plain), self.typed + sign)

    def chosen(self, branch: Node) -> Places:
        """The places of one branch of a union of several."""
        return Places(tuple(f"{p}<{name}>" for p in self.plain for name in branch.names), self.typed)

    def entered(self, record: Node) -> Places:
        """The places of a record's fields."""
        return Places(self.plain, f"{self.typed}<{record.branch}>")

    def field(self, item: Field) -> Places:
        """The places of one field of a record entered."""
        names = (item.name, *aliases(item.attributes, self.plain[0]))
        plain = tuple(joined(p, name) for p in self.plain for name in names)
        if len(plain) > MAX_IDENTITIES:
            raise DeclarationError(f"{plain[0]} has more than {MAX_IDENTITIES} names by aliases", path=plain[0])
        return Places(plain, joined(self.typed, item.name))

    @property
    def all(self) -> tuple[str, ...]:
        """Every identity, the place's own first."""
        return tuple(dict.fromkeys((*self.plain, self.typed)))


def joined(path: str, name: str) -> str:
    """Return the path of a record's field."""
    return path + ("" if path.endswith("/") else ".") + name


Decide = Callable[[Field, tuple[str, ...], Node], "tuple[FieldPlan, Node, Node] | None"]


class Walker:
    """Builds the shape of a schema, asking `decide` of every field: its plan, or None where it is clear."""

    def __init__(self, decide: Decide) -> None:
        self.covered: list[Covered] = []
        self._decide = decide
        self._count = 0

    def root(self, node: Node) -> Shape:
        """The shape of a whole schema. Raises `DeclarationError` as `decide` does."""
        shapes = []
        for record in node.inner if node.kind == "union" else [node]:
            names = tuple(f"{name}/" for name in record.names)
            shapes.append(self._shape(record, Places(names, names[0]), {}, 0, root=True))
        top = shapes[0] if node.kind != "union" else Shape(node, "", list(shapes))
        _mark(top)
        return top

    def _shape(self, node: Node, places: Places, opened: dict[int, Shape], depth: int, *, root: bool = False) -> Shape:
        if id(node) in opened:
            return opened[id(node)]
        self._count += 1
        own = places.plain[0]
        if self._count > MAX_OCCURRENCES or depth > MAX_NESTING:
            raise DeclarationError(f"{own} nests too deep or has too many paths", path=own)
        shape = Shape(node, own)
        if node.kind == "record":
            opened = {**opened, id(node): shape}
            inside = places if root else places.entered(node)
            for item in node.fields:
                shape.children.append(self._field(item, node, inside.field(item), opened, depth))
        elif node.kind == "union":
            many = len([b for b in node.inner if b.kind != "null"]) > 1
            for branch in node.inner:
                shape.children.append(self._shape(branch, places.chosen(branch) if many else places, opened, depth))
        elif node.kind in ("array", "map"):
            inside = places.within("[]" if node.kind == "array" else "{}")
            shape.children.append(self._shape(node.inner[0], inside, opened, depth + 1))
        return shape

    def _field(
        self, item: Field, record: Node, places: Places, opened: dict[int, Shape], depth: int
    ) -> Shape | Covered:
        made = self._decide(item, places.all, record)
        if made is None:
            return self._shape(item.node, places, opened, depth + 1)
        self.covered.append(Covered(*made, len(self.covered), places.all, item))
        return self.covered[-1]


def _mark(top: Shape) -> None:
    shapes = list(occurrences(top))
    changed = True
    while changed:
        changed = False
        for shape in reversed(shapes):
            if not shape.declares and any(isinstance(c, Covered) or c.declares for c in shape.children):
                shape.declares = changed = True


def occurrences(top: Shape) -> Iterator[Shape]:
    """Every shape reachable from `top`, each once."""
    return each_once(top, lambda shape: (child for child in shape.children if isinstance(child, Shape)))


def exchanged(
    shape: Shape,
    make: Callable[[Field, Covered], Field],
    rename: Callable[[Shape], tuple[str, dict[str, Any]]],
    done: dict[str, Node] | None = None,
) -> Node:
    """
    The schema with every covered field exchanged for what `make` gives.

    Args:
        shape: of the whole schema.
        make: the field that stands in a covered one's place.
        rename: a record's name there, and its attributes.
        done: records made already, by their names.
    """
    node, done = shape.node, {} if done is None else done
    if node.kind == "record":
        name, attributes = rename(shape)
        if name in done:
            return done[name]
        result = done[name] = Node("record", name, attributes)
        for item, child in zip(node.fields, shape.children, strict=True):
            if isinstance(child, Covered):
                result.fields.append(make(item, child))
            else:
                rest = {k: v for k, v in item.attributes.items() if k != "encrypted"}
                result.fields.append(Field(item.name, exchanged(child, make, rename, done), rest))
        return result
    inner = [exchanged(c, make, rename, done) for c in shape.children if isinstance(c, Shape)]
    return Node(node.kind, node.name, node.attributes, inner=inner)


def kind_of(node: Node, hides_null: bool) -> tuple[PlaintextKind, int | None, tuple[str, ...]]:
    """The typed plaintext, the null branch and the symbols of a field's type (docs/contracts.md, 4)."""
    null = null_index(node) if len(node.inner) == 2 else None
    base = node.inner[1 - null] if node.kind == "union" and null is not None else node
    symbols = tuple(base.attributes["symbols"]) if base.kind == "enum" else ()
    kinds = {
        ("int", "date"): PlaintextKind.DATE,
        ("long", "timestamp-millis"): PlaintextKind.TIMESTAMP_MS,
        ("string", "uuid"): PlaintextKind.STRING,
    }
    word = logical(base)
    plain = {"boolean", "int", "long", "float", "double", "string", "enum"}
    kind = kinds.get((base.kind, word), PlaintextKind.AVRO)
    if not word and base.kind in plain:
        kind = PlaintextKind(base.kind)
    return (PlaintextKind.AVRO if hides_null else kind), null, symbols


def field_fingerprint(node: Node) -> bytes:
    """CRC-64-AVRO of the field's own type."""
    return canonical_fingerprint(node)
