"""Avro binary as Python values: every value exactly, or its marked base value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any

import fastavro

from worker.avro.graph import each_once, inner
from worker.avro.logical import logical_values
from worker.avro.native import reader
from worker.avro.reader import Read, State, located
from worker.avro.readers import Readers
from worker.avro.schema import Node, parse
from worker.avro.words import PRIMITIVES
from worker.errors import DecodeError
from worker.native import IS_LOADED

Convert = Callable[[Any], Any]


@lru_cache(maxsize=1024)
def value_reader(schema: str) -> ValueReader:
    """The reader of a schema's values, made once."""
    return ValueReader(parse(schema))


def decode_value(schema: str, data: bytes) -> object:
    """A bare Avro value as Python's. Raises `DecodeError` where the bytes are not what the schema says."""
    return value_reader(schema).checked(data)


def decode_values(schema: str, several: Sequence[bytes | None]) -> list[Any]:
    """Bare Avro values as Python's, None for None; a `DecodeError` in place of what is not as the schema says."""
    return value_reader(schema).all(several)


class ValueReader:
    """
    Reads values of one type.

    The library reads a twin of the type, which has the same bytes: without logical types, whose readings are ours, with
    plain names, and with each branch of a wider union wrapped in a record, which takes no bytes and tells the branch.
    """

    def __init__(self, node: Node) -> None:
        self._twin = fastavro.parse_schema(_Twin().of(node))
        self._converters = _Converters(node)
        self._fields = {f.name: f.node for f in node.fields}
        self._convert = self._converters.of(node)
        self._walk: Read = Readers().of(node)
        self._native = reader(node) if IS_LOADED else None

    def read(self, data: bytes) -> Any:
        """A value of bytes that are known to be of the type."""
        value = self.base(data)
        return value if self._convert is None else self._convert(value)

    def base(self, data: bytes) -> Any:
        """The value as the twin has it; `of_field` makes a field's own value of it."""
        return fastavro.schemaless_reader(BytesIO(data), self._twin, None)

    def of_field(self, name: str) -> Convert | None:
        """What makes a field's value of the twin's; None where it is the same."""
        return self._converters.of(self._fields[name])

    def checked(self, data: bytes) -> Any:
        """A value of any bytes. Raises `DecodeError` where they are not of the type."""
        (value,) = self.all([data])
        if isinstance(value, DecodeError):
            raise value
        return value

    def all(self, several: Sequence[bytes | None]) -> list[Any]:
        """Values of any bytes, None for None; a `DecodeError` in the place of each that is not of the type."""
        if self._native is None:
            return [None if data is None else self._attempt(data) for data in several]
        values, refused = self._native.read(several)
        convert = self._convert
        if convert is not None:
            # No conversion makes anything of None, which stands for a null, nothing given, and what was refused.
            values = [None if value is None else convert(value) for value in values]
        for i in refused:
            # The twin says why.
            values[i] = self._attempt(several[i] or b"")
        return values

    def _attempt(self, data: bytes) -> Any:
        try:
            self.verify(data)
        except DecodeError as exc:
            return exc
        return self.read(data)

    def verify(self, data: bytes) -> None:
        """Raise `DecodeError` where bytes are not of the type."""
        try:
            end = self._walk(data, 0, State([], [], [], []))
        except (IndexError, DecodeError) as exc:
            raise located("", exc) from None
        if end != len(data):
            raise DecodeError("bytes follow the value's end", code="trailing_bytes")


def is_wide(node: Node) -> bool:
    """Whether a union has more than one branch beside null."""
    return node.kind == "union" and sum(branch.kind != "null" for branch in node.inner) > 1


class _Twin:
    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._count = 0

    def of(self, node: Node) -> Any:
        if node.kind in PRIMITIVES:
            return node.kind
        if node.kind == "union":
            wide = is_wide(node)
            inner = enumerate(map(self.of, node.inner))
            return [self._tagged(i, t) if wide and t != "null" else t for i, t in inner]
        if node.kind in ("array", "map"):
            return {"type": node.kind, "items" if node.kind == "array" else "values": self.of(node.inner[0])}
        if id(node) in self._names:
            return self._names[id(node)]
        name = self._names[id(node)] = self._fresh()
        if node.kind == "record":
            fields = [{"name": f.name, "type": self.of(f.node)} for f in node.fields]
            return {"type": "record", "name": name, "fields": fields}
        word = "size" if node.kind == "fixed" else "symbols"
        return {"type": node.kind, "name": name, word: node.attributes[word]}

    def _tagged(self, index: int, twin: Any) -> Any:
        return {"type": "record", "name": self._fresh(), "fields": [{"name": str(index), "type": twin}]}

    def _fresh(self) -> str:
        self._count += 1
        return f"T{self._count}"


class _Converters:
    """What is still to be done with values of the twin, by type; None where nothing is."""

    def __init__(self, root: Node) -> None:
        nodes = list(each_once(root, inner))
        self._changed = {id(n) for n in nodes if is_wide(n) or logical_values(n) is not None}
        grown = True
        while grown:
            more = {id(n) for n in nodes if any(id(i) in self._changed for i in inner(n))} - self._changed
            self._changed |= more
            grown = bool(more)
        self._made: dict[int, Convert] = {}

    def of(self, node: Node) -> Convert | None:
        key = id(node)
        if key not in self._changed:
            return None
        if key not in self._made:
            self._made[key] = lambda value: self._made[key](value)
            self._made[key] = self._make(node)
        return self._made[key]

    def _make(self, node: Node) -> Convert:
        found = logical_values(node)
        if found is not None:
            return found.read
        if node.kind == "record":
            return _of_record([(f.name, c) for f in node.fields if (c := self.of(f.node)) is not None])
        if node.kind == "union":
            branches = [self.of(branch) for branch in node.inner]
            return _of_wide(branches) if is_wide(node) else _of_optional(next(b for b in branches if b is not None))
        inner = self.of(node.inner[0])
        assert inner is not None
        return _of_items(inner) if node.kind == "array" else _of_values(inner)


def _of_record(steps: list[tuple[str, Convert]]) -> Convert:
    def convert(value: Any) -> Any:
        for name, step in steps:
            value[name] = step(value[name])
        return value

    return convert


def _of_wide(branches: list[Convert | None]) -> Convert:
    def convert(value: Any) -> Any:
        if value is None:
            return None
        ((index, inner),) = value.items()
        step = branches[int(index)]
        return inner if step is None else step(inner)

    return convert


def _of_optional(some: Convert) -> Convert:
    return lambda value: None if value is None else some(value)


def _of_items(item: Convert) -> Convert:
    return lambda value: [item(v) for v in value]


def _of_values(inner: Convert) -> Convert:
    return lambda value: {k: inner(v) for k, v in value.items()}
