"""Where declared values are found, by the schema that their reader goes by, and in a table's columns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.avro import encode_value
from worker.errors import DecodeError
from worker.verifier.places import declared_values, root_of, stored_at

PERSON = {"type": "record", "name": "Person", "fields": [{"name": "name", "type": "bytes"}]}
FIRM = {"type": "record", "name": "Firm", "fields": [{"name": "name", "type": "bytes"}]}
TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [{"name": "note", "type": "bytes"}, {"name": "next", "type": ["null", "Tree"]}],
}


def schema(field: object) -> str:
    return json.dumps({"type": "record", "name": "acme.Order", "fields": [{"name": "f", "type": field}]})


@pytest.mark.parametrize(
    ("field", "value", "path", "expected"),
    [
        (["null", "bytes"], b"x", "f", [b"x"]),
        (["null", "bytes"], None, "f", [None]),
        ({"type": "array", "items": PERSON}, [{"name": b"a"}, {"name": b"b"}], "f[].name", [b"a", b"b"]),
        ({"type": "map", "values": PERSON}, {"k": {"name": b"a"}}, "f{}.name", [b"a"]),
        ([PERSON, FIRM], ("acme.Person", {"name": b"a"}), "f<acme.Person>.name", [b"a"]),
        ([PERSON, FIRM], ("acme.Firm", {"name": b"a"}), "f<acme.Person>.name", []),
        (["null", PERSON], {"name": b"a"}, "f.name", [b"a"]),
        (
            TREE,
            {"note": b"a", "next": {"note": b"b", "next": {"note": b"c", "next": None}}},
            "f.note",
            [b"a", b"b", b"c"],
        ),
        ("bytes", b"x", "other", []),
    ],
)
def test_a_value_is_found_where_its_path_says(field: object, value: Any, path: str, expected: list[object]) -> None:
    """Items, map values, the branch that was written and no other, and a type within itself at every depth."""
    datum = encode_value(schema(field), {"f": value})

    assert [found for _, found in declared_values(schema(field), datum, {path})] == expected


def test_what_is_declared_of_one_record_is_looked_for_in_any() -> None:
    """A record in a union of the root, and one of another name."""
    root = json.dumps([PERSON, FIRM])

    for name in ("Person", "Firm"):
        found = list(declared_values(root, encode_value(root, (name, {"name": b"a"})), {"name"}))
        assert found == [("name", b"a")]


def test_bytes_that_are_not_of_the_schema_are_told() -> None:
    """They are no values of any field."""
    with pytest.raises(DecodeError):
        list(declared_values(schema("bytes"), b"\x09", {"f"}))


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        (b"x", "f", [b"x"]),
        ([{"n": "eA=="}, {"n": "clear"}], "f[].n", [b"x", "clear"]),
        ('{"k": {"n": "eA=="}}', "f{}.n", [b"x"]),
        ({"n": "eA=="}, "f<acme.Person>.n", []),
        (None, "f.n", []),
    ],
)
def test_a_column_holds_what_lies_within_as_json(value: object, path: str, expected: list[object]) -> None:
    """As `jsonb` or as text; what can't be told there is not guessed."""
    assert root_of(path) == "f"
    assert list(stored_at(value, path)) == expected
