"""Datums as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.avro.decode import ValueReader
from worker.avro.logical import decimal_digits, logical
from worker.avro.schema import Node, null_index, parse
from worker.errors import ConfigError
from worker.model.rows import ColumnType, Indexed, Row, RowType

_SCALARS = frozenset({"boolean", "int", "long", "float", "double", "string", "bytes", "fixed", "enum"})


class RowReader:
    """
    Reads rows of one type.

    Args:
        node: a record, or any other type, whose values are then rows of one column without a name.

    Raises:
        ConfigError: it is a union of records, which no table has columns for.
    """

    def __init__(self, node: Node) -> None:
        self._is_record = node.kind == "record"
        if node.kind == "union" and any(branch.kind == "record" for branch in node.inner):
            raise ConfigError("a table takes records of one type; the schema's root is a union")
        if self._is_record:
            columns = [column_type(f.name, f.node, f.attributes.get("encryption")) for f in node.fields]
        else:
            columns = [column_type("", node, None)]
        self.type = RowType(tuple(columns))
        self._reader = ValueReader(node)
        nested = [c.name for c in columns if self._is_record and c.kind == "json"]
        self._steps = [(name, step) for name in nested if (step := self._reader.of_field(name)) is not None]

    def row(self, data: bytes) -> Row:
        """The row of a datum that is known to be of the type."""
        if not self._is_record:
            only = self._reader.read if self.type.columns[0].kind == "json" else self._reader.base
            return Row(self.type, (only(data),))
        value = self._reader.base(data)
        for name, step in self._steps:
            value[name] = step(value[name])
        return Row(self.type, tuple(value.values()))

    def checked(self, data: bytes) -> Row:
        """The row of any bytes. Raises `DecodeError` where they are not of the type."""
        self._reader.verify(data)
        return self.row(data)


def indexed(row: Row, terms: Mapping[bytes, Mapping[str, object]]) -> Row:
    """The row with each envelope that has search terms carrying them."""
    values = (
        Indexed(value, terms[value]) if kind.index and isinstance(value, bytes) and value in terms else value
        for kind, value in zip(row.type.columns, row.values, strict=True)
    )
    return Row(row.type, tuple(values))


def row_type(schema: str) -> RowType:
    """The columns of a schema's rows. Raises as `RowReader`."""
    return RowReader(parse(schema)).type


def column_type(name: str, node: Node, encryption: Mapping[str, Any] | None) -> ColumnType:
    """A field's type as a table needs to know it."""
    nullable = null_index(node) is not None or node.kind == "null"
    branches: tuple[bool, ...] = ()
    if node.kind == "union":
        branches = tuple(branch.kind == "null" for branch in node.inner)
        some = [branch for branch in node.inner if branch.kind != "null"]
        if len(some) != 1:
            return ColumnType(name, "json", nullable=nullable)
        node = some[0]
    if node.kind == "array":
        items = column_type("", node.inner[0], None)
        if items.kind in _SCALARS:
            return ColumnType(name, "array", items=items, nullable=nullable, branches=branches)
    if node.kind not in _SCALARS:
        return ColumnType(name, "json", nullable=nullable)
    told = encryption or {}
    word = logical(node)
    precision, scale = decimal_digits(node) if word == "decimal" else (0, 0)
    return ColumnType(
        name,
        node.kind,
        word,
        precision,
        scale,
        int(node.attributes.get("size", 0)) if node.kind == "fixed" else 0,
        tuple(node.attributes["symbols"]) if node.kind == "enum" else (),
        encrypted=told.get("format"),
        index=tuple(told.get("index", ())),
        nullable=nullable,
        branches=branches,
    )
