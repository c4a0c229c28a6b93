"""Records of an output schema of which a row has some fields, in Python's own types."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from worker.avro.encode import encode_value
from worker.avro.logical import logical, logical_values
from worker.avro.opened import OutputSchema, open_schema
from worker.avro.schema import Node, dump, parse, to_json
from worker.column_names import column_name
from worker.errors import ConfigError, RecordError

Sealed = Callable[[object], bytes]
"""Makes an envelope's bytes of what stands in a column: bytes, or an EQL payload."""
_FLOAT = struct.Struct("<f")
_OF_TEXT: Mapping[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "time-millis": time.fromisoformat,
    "time-micros": time.fromisoformat,
    "uuid": UUID,
    "decimal": Decimal,
    "big-decimal": Decimal,
}


class Projection:
    """
    The fields of an output schema that a row has.

    Args:
        schema: the whole output schema, JSON text.
        names: the row's columns; those that are no fields are left alone.

    `columns` has the column of each field that the row has, `missing` the fields that it has not.

    Raises:
        ConfigError: the schema's root is no record, or an encrypted field is bound to a column that the row lacks.
    """

    def __init__(self, schema: str, names: Sequence[str]) -> None:
        root = parse(schema)
        if root.kind != "record":
            raise ConfigError("a table's rows are records of one type; the schema's root is another")
        whole = open_schema(schema)
        _refuse_missing(whole, root.name, names)
        fields = [field for field in root.fields if _column(field.name, names) is not None]
        self.schema = dump(to_json(Node("record", root.name, root.attributes, fields, [], root.original)))
        self.plans = {plan.identity: plan for plan in whole.fields}
        self.names = [field.name for field in fields]
        self.columns = {name: str(_column(name, names)) for name in self.names}
        self.missing = [field.name for field in root.fields if field.name not in self.columns]
        self.encrypted = [field.name for field in fields if _holds_sealed(field.node, field.attributes)]
        self._nodes = {field.name: (field.node, "encryption" in field.attributes) for field in fields}

    def datum(self, row: Mapping[str, object], sealed: Sealed) -> bytes:
        """Return a row's datum; raises `RecordError` naming the column that is of another type than its field."""
        values = {}
        for name, (node, is_sealed) in self._nodes.items():
            try:
                values[name] = (_sealed if is_sealed else _value)(node, row[self.columns[name]], sealed)
            except (ValueError, TypeError, ArithmeticError):
                message = f"column {name}: the value is not of the type that its field has in the schema"
                raise RecordError(message, code="union_mismatch", path=name) from None
        return encode_value(self.schema, values)


@lru_cache(maxsize=256)
def projection(schema: str, names: tuple[str, ...]) -> Projection:
    """Return the projection of a schema onto columns, made once."""
    return Projection(schema, names)


def _column(field: str, names: Collection[str]) -> str | None:
    """Return what a row calls a field: its name, or the shorter one of a column whose field's name is too long."""
    return next((name for name in (field, column_name(field)) if name in names), None)


def _refuse_missing(whole: OutputSchema, record: str, names: Sequence[str]) -> None:
    for plan in whole.fields:
        path = plan.identity.removeprefix(f"{record}/")
        if _column(path, names) is None:
            continue
        missing = [name for name in (*plan.context, *plan.bind) if name != "$key" and _column(name, names) is None]
        if missing:
            raise ConfigError(f"column {path} is bound to {', '.join(missing)}, which the row lacks: select it too")


def _holds_sealed(node: Node, attributes: Mapping[str, Any]) -> bool:
    return "encryption" in attributes or _reaches(node, set())


def _reaches(node: Node, seen: set[int]) -> bool:
    if id(node) in seen:
        return False
    seen.add(id(node))
    inside = any("encryption" in field.attributes or _reaches(field.node, seen) for field in node.fields)
    return inside or any(_reaches(inner, seen) for inner in node.inner)


def _sealed(node: Node, value: object, sealed: Sealed) -> object:
    if value is None and node.kind == "union":
        return None
    return sealed(value)


def _value(node: Node, value: Any, sealed: Sealed) -> object:
    if node.kind == "union":
        if value is None:
            return None
        some = [branch for branch in node.inner if branch.kind != "null"]
        return _value(some[0], value, sealed) if len(some) == 1 else value
    found = logical_values(node)
    if found is not None:
        return _logical(node, logical(node), value, found.read)
    return _plain(node, value, sealed)


def _logical(node: Node, word: str, value: Any, read: Callable[[Any], object]) -> object:
    if isinstance(value, str) and node.kind != "string":
        value = _OF_TEXT.get(word, datetime.fromisoformat)(value)
    elif isinstance(value, str) or (isinstance(value, int) and node.kind in ("int", "long")):
        value = read(value)
    elif isinstance(value, memoryview):
        value = read(bytes(value))
    if isinstance(value, datetime):
        if word.startswith("local-"):
            return value.replace(tzinfo=None)
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return Decimal(value) if word == "decimal" and isinstance(value, int) else value


def _plain(node: Node, value: Any, sealed: Sealed) -> object:
    kind = node.kind
    if kind in ("bytes", "fixed"):
        return base64.b64decode(value, validate=True) if isinstance(value, str) else bytes(value)
    if kind in ("int", "long"):
        return int(value) if isinstance(value, Decimal) and value == int(value) else value
    if kind in ("float", "double"):
        number = float(value)
        return _FLOAT.unpack(_FLOAT.pack(number))[0] if kind == "float" else number
    if kind in ("string", "enum"):
        return value if isinstance(value, str) else str(value)
    if kind == "record":
        step = {f.name: (_sealed if "encryption" in f.attributes else _value, f.node) for f in node.fields}
        return {name: step[name][0](step[name][1], inner, sealed) for name, inner in value.items()}
    if kind == "array":
        return [_value(node.inner[0], item, sealed) for item in value]
    if kind == "map":
        return {name: _value(node.inner[0], item, sealed) for name, item in value.items()}
    return value
