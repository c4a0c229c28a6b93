"""The reader of each type in which nothing is declared."""

from __future__ import annotations

from worker.avro import reader
from worker.avro.schema import Node

_PRIMITIVE: dict[str, reader.Read] = {
    "null": reader.skip_null,
    "boolean": reader.skip_boolean,
    "int": reader.skip_int,
    "long": reader.skip_long,
    "float": reader.fixed_reader(4),
    "double": reader.fixed_reader(8),
    "bytes": reader.skip_bytes,
    "string": reader.skip_string,
}


class Readers:
    """The readers of types in which nothing is declared, one per node however often it is used."""

    def __init__(self) -> None:
        self._made: dict[int, reader.Read] = {}
        self._nodes: list[Node] = []

    def of(self, node: Node) -> reader.Read:
        """The reader of a type; containers count their nesting."""
        if node.kind in _PRIMITIVE:
            return _PRIMITIVE[node.kind]
        made = self._made.get(id(node))
        if made is None:
            self._nodes.append(node)
            self._made[id(node)] = lambda data, position, state: self._made[id(node)](data, position, state)
            made = self._made[id(node)] = self._make(node)
        return made

    def _make(self, node: Node) -> reader.Read:
        if node.kind == "fixed":
            return reader.fixed_reader(node.attributes["size"])
        if node.kind == "enum":
            return reader.enum_reader(len(node.attributes["symbols"]))
        if node.kind == "union":
            return reader.union_reader([self.of(branch) for branch in node.inner])
        if node.kind == "record":
            return reader.nested(
                reader.record_reader([f.name for f in node.fields], [self.of(f.node) for f in node.fields])
            )
        item = self.of(node.inner[0])
        if node.kind == "map":
            return reader.nested(reader.block_reader("{}", reader.map_item(item), False, False))
        return reader.nested(reader.block_reader("[]", item, is_widthless(node.inner[0]), False))


def is_widthless(node: Node, opened: frozenset[int] = frozenset()) -> bool:
    """Whether every value of the type takes no bytes; a record that holds nothing but itself counts as such."""
    if id(node) in opened or node.kind == "null":
        return True
    if node.kind == "fixed":
        return bool(node.attributes["size"] == 0)
    if node.kind != "record":
        return False
    opened |= {id(node)}
    return all(is_widthless(f.node, opened) for f in node.fields)
