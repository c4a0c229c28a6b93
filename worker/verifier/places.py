"""Where a declared field's values are: in a record by its schema, in a table by the column of its root."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from worker.avro.decode import value_reader
from worker.avro.schema import Node, parse

_STEP = re.compile(r"\[\]|\{\}|<[^>]*>|[^.\[\]{}<>]+")


def declared_values(schema: str, datum: bytes, paths: Collection[str]) -> Iterator[tuple[str, Any]]:
    """
    Yield every value of the declared fields, with its path; of branches and types that hold themselves too.

    A record's name is not looked at: under another one what is declared is declared all the same.

    Args:
        schema: what a reader of the datum goes by.
        datum: bare Avro binary.
        paths: identities without their record (docs/contracts.md, 1).

    Raises:
        DecodeError: the bytes are not of the schema.
    """
    reader = value_reader(schema)
    reader.verify(datum)
    yield from _Walk(paths).of(parse(schema), reader.base(datum), "")


class _Walk:
    def __init__(self, paths: Collection[str]) -> None:
        self._paths = paths
        self._open: dict[int, str] = {}

    def of(self, node: Node, value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if value is None:
            return
        if node.kind == "record":
            yield from self._record(node, value, path)
        elif node.kind == "array":
            for item in value:
                yield from self.of(node.inner[0], item, f"{path}[]")
        elif node.kind == "map":
            for item in value.values():
                yield from self.of(node.inner[0], item, f"{path}{{}}")
        elif node.kind == "union":
            yield from self._union(node, value, path)

    def _record(self, node: Node, value: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
        # A type that is open already goes on from where it was first opened.
        own = path if id(node) in self._open else None
        path = self._open.setdefault(id(node), path)
        for field in node.fields:
            inner = f"{path}.{field.name}" if path else field.name
            if inner in self._paths:
                yield inner, value[field.name]
            else:
                yield from self.of(field.node, value[field.name], inner)
        if own is None:
            del self._open[id(node)]

    def _union(self, node: Node, value: Any, path: str) -> Iterator[tuple[str, Any]]:
        branches = [branch for branch in node.inner if branch.kind != "null"]
        if len(branches) == 1:
            yield from self.of(branches[0], value, path)
            return
        # The reader tells a wider union's branch by its place.
        ((index, inner),) = value.items()
        branch = node.inner[int(index)]
        # A record of the root, one of several, is no step of a path.
        yield from self.of(branch, inner, f"{path}<{branch.branch}>" if path else "")


def root_of(path: str) -> str:
    """Return the name of the record's own field that a field is, or lies in."""
    return str(_STEP.findall(path)[0])


def stored_at(value: object, path: str) -> Iterator[object]:
    """
    Yield every value of a field in the column of its root, where what lies deeper is JSON, with bytes in base64.

    JSON does not tell a union's branch: what is within one is not looked at here.

    Args:
        value: as the database gives it.
        path: as for `declared_values`.
    """
    _, *steps = _STEP.findall(path)
    if not steps:
        yield value
    elif not any(step.startswith("<") for step in steps):
        for found in _values(_of_json(value), steps):
            yield _of_base64(found)


def _of_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _of_base64(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        return value


def _values(value: object, steps: Sequence[str]) -> Iterator[object]:
    if not steps:
        yield value
        return
    step, rest = steps[0], steps[1:]
    if step == "[]":
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            for item in value:
                yield from _values(item, rest)
    elif step == "{}":
        if isinstance(value, Mapping):
            for item in value.values():
                yield from _values(item, rest)
    elif isinstance(value, Mapping) and step in value:
        yield from _values(value[step], rest)
