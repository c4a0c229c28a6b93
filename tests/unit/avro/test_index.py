"""Which fields can have which search terms."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.avro.test_declaration import field, refused, schema
from worker.avro import DeclarationOptions, compile_schema

ENUM = {"type": "enum", "name": "K", "symbols": ["A"]}
TEXTS: list[Any] = ["string", ["null", "string"], {"type": "string", "logicalType": "uuid"}, ENUM]
OTHERS: list[Any] = ["long", "boolean", {"type": "int", "logicalType": "date"}, ["null", "double"]]


@pytest.mark.parametrize("kind", TEXTS, ids=str)
def test_a_text_is_found_by_equality_and_by_its_parts(kind: Any) -> None:
    """Both terms are made of every type that is text."""
    text = schema(field("a", kind, encrypted={"index": ["unique", "match"]}))

    assert compile_schema(text, DeclarationOptions()).plan.fields[0].index == ("unique", "match")


@pytest.mark.parametrize("kind", OTHERS, ids=str)
def test_what_is_no_text_has_no_parts(kind: Any) -> None:
    """`match` would write nothing, and so is refused by its path; `unique` finds equal values of any of them."""
    assert "n.A/a: the index `match`" in refused(schema(field("a", kind, encrypted={"index": ["match"]})))
    text = schema(field("a", kind, encrypted={"index": ["unique"]}))
    assert compile_schema(text, DeclarationOptions()).plan.fields[0].index == ("unique",)
