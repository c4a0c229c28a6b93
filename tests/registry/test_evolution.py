"""What a real registry accepts of the input's evolution it accepts of the output's."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema

from tests.registry.conftest import Registry
from worker.avro import DeclarationOptions, SchemaRef, compile_schema
from worker.errors import DeclarationError

pytestmark = [pytest.mark.heavy, pytest.mark.integration]

SEALED = {"encrypted": True}
HIDDEN = {"encrypted": {"null": "encrypt"}}
LEASED = {"encrypted": {"format": "leased"}}


def a(kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": "a", "type": kind, **more}


def item(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "Item", "fields": list(fields)}


def enum(*symbols: str) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), "default": symbols[0]}


B = {"name": "b", "type": "string", "default": "x", **SEALED}
C = {"name": "c", "type": ["null", "string"], "default": None, **SEALED}
# Each row: versions of one record's fields that a team may go between, in any order.
VERSIONS: list[list[list[dict[str, Any]]]] = [
    [[a("int", **SEALED)], [a("long", **SEALED)], [a("double", **SEALED)]],
    [[a("string", **SEALED)], [a("string", default="x", **SEALED)], [a(["null", "string"], default=None, **SEALED)]],
    [[a(["string", "null"], default="x", **SEALED)], [a(["null", "string"], default=None, **SEALED)]],
    [[a(["null", "string"], **SEALED)], [a(["null", "string", "long"], **SEALED)], [a(["string", "long"], **SEALED)]],
    [[a(["null", "string"], **HIDDEN)], [a(["null", "string"], default=None, **HIDDEN)], [a("string", **HIDDEN)]],
    [[a("string", **LEASED)], [a("string", **LEASED), B], [a("string", **LEASED), C], [C, B, a("string", **LEASED)]],
    [[a(enum("P", "Q"), **SEALED)], [a(enum("P", "Q", "R"), **SEALED)]],
    [[a({"type": "array", "items": "int"}, **SEALED)], [a({"type": "array", "items": "long"}, **SEALED)]],
    [[a({"type": "array", "items": item(B)})], [a({"type": "array", "items": item(B, C)})]],
    [[a({"type": "map", "values": item(C)})], [a({"type": "map", "values": item(C, B)})]],
    [[a(["null", item(B)], default=None)], [a(["null", item(C, B)], default=None)]],
    [[a(item(B), **SEALED)], [a(item(C), **SEALED)], [a(item(B, C), **SEALED)]],
    [[a("bytes", **SEALED)], [a({"type": "bytes", "logicalType": "decimal", "precision": 9}, **SEALED)]],
    [[B], [{**B, "name": "renamed", "aliases": ["b"]}], [{**B, "doc": "told", "order": "descending"}]],
]


def text(fields: list[dict[str, Any]]) -> str:
    return json.dumps({"type": "record", "name": "R", "namespace": "n", "fields": fields})


@pytest.mark.parametrize("level", ["BACKWARD", "FORWARD", "FULL"])
def test_what_the_input_may_the_output_may(registry: Registry, subject: str, level: str) -> None:
    """For each pair of versions that the registry accepts of the input, it accepts and registers the output."""
    schemas, accepted, refused = registry.schemas(), 0, []
    for row, versions in enumerate(VERSIONS):
        for n, (old, new) in enumerate(permutations(versions, 2)):
            source, sink = f"{row}-{n}-{subject}", f"enc-{row}-{n}-{subject}"
            registry.register(source, json.loads(text(old)))
            registry.client.set_compatibility(source, level)
            if not registry.client.test_compatibility(source, Schema(text(new), "AVRO")):
                continue
            accepted += 1
            before, after = (compile_schema(text(f), DeclarationOptions()).plan.output_schema for f in (old, new))
            schemas.output_id(SchemaRef(id=0), sink, before)
            registry.client.set_compatibility(sink, level)
            try:
                schemas.output_id(SchemaRef(id=0), sink, after)
            except DeclarationError as exc:
                refused.append((text(old), text(new), str(exc)))

    assert refused == []
    assert accepted >= 20
