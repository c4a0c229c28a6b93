"""The places of a shape: its records, their fields, and the kinds of value that each can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worker.avro.schema import Field, Node, aliases
from worker.avro.shape import Shape, joined

_ALIKE = {"string": "text", "bytes": "text", "int": "number", "long": "number", "float": "number", "double": "number"}


def places_in(top: Shape) -> Iterator[tuple[str, Shape]]:
    """Yield every field within a shape's records, by its own identity."""
    for record in _all_records(records_at(top)):
        yield from ((joined(record.path, item.name), inside) for item, inside in fields_of(record))


def fields_of(record: Shape) -> Iterator[tuple[Field, Shape]]:
    """Yield a record's fields and what stands in each."""
    for item, child in zip(record.node.fields, record.children, strict=True):
        assert isinstance(child, Shape)
        yield item, child


def counterparts(item: Field, record: Shape) -> Iterator[tuple[Field, Shape]]:
    """Yield the fields of a record that have a field's name or share an alias with it."""
    known = {item.name, *aliases(item.attributes, item.name)}
    for target, below in fields_of(record):
        if target.name in known or not known.isdisjoint(aliases(target.attributes, target.name)):
            yield target, below


def records_at(shape: Shape) -> list[Shape]:
    """Return the records that stand at a place, looked at through arrays, maps and unions."""
    if shape.node.kind == "record":
        return [shape]
    return [record for child in shape.children if isinstance(child, Shape) for record in records_at(child)]


def pairs_of(there: Sequence[Shape], here: Sequence[Shape]) -> Iterator[tuple[Shape, Shape]]:
    """Yield the records of two versions that correspond: those that share a name, of the rest any with any."""
    alike = [(a, b) for a in there for b in here if not _simple_names(a.node).isdisjoint(_simple_names(b.node))]
    yield from alike
    known = {id(shape) for pair in alike for shape in pair}
    yield from ((a, b) for a in there if id(a) not in known for b in here if id(b) not in known)


def _simple_names(node: Node) -> set[str]:
    """Return a record's names and aliases without namespaces: to move to another one is no new name."""
    return {name.rpartition(".")[2] for name in node.names}


def _all_records(records: Sequence[Shape]) -> Iterator[Shape]:
    seen: set[int] = set()
    stack = list(records)
    while stack:
        shape = stack.pop()
        if id(shape) not in seen:
            seen.add(id(shape))
            yield shape
            stack += [record for _, child in fields_of(shape) for record in records_at(child)]


def kinds_at(shape: Shape) -> set[str]:
    """Return the kinds of value that a place can hold, those that Avro promotes into one another as one."""
    if shape.node.kind == "record":
        return {
            kind for record in _all_records([shape]) for _, child in fields_of(record) for kind in _bare_kinds(child)
        }
    return _bare_kinds(shape) | {k for record in records_at(shape) for k in kinds_at(record)}


def _bare_kinds(shape: Shape) -> set[str]:
    kind = shape.node.kind
    if kind in ("union", "array", "map"):
        return {k for child in shape.children if isinstance(child, Shape) for k in _bare_kinds(child)}
    return set() if kind in ("null", "record") else {_ALIKE.get(kind, kind)}
