"""What people's schemas hold that strict JSON or Avro does not: kept where it is clear, named where it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.avro.test_declaration import field, refused, schema
from tests.unit.avro.test_field_schemas import NONE, SECRET, round_trip, warnings
from worker.avro import compile_schema, open_schema


def strict(text: str) -> Any:
    """Read JSON as Java does: in UTF-8, without NaN."""

    def refuse(word: str) -> Any:
        raise AssertionError(word)

    return json.loads(text.encode().decode(), parse_constant=refuse)


def output(text: str) -> Any:
    return strict(compile_schema(text, NONE).plan.output_schema)


@pytest.mark.parametrize(
    "text",
    [
        schema(SECRET) + " // the end",
        schema(SECRET) + "\n/* of\nall */",
        schema(SECRET).replace('"fields"', '/* inside */ "fields"'),
        schema(field("u", doc="http://x // no /* comment */"), SECRET).replace('"fields"', '// one\n"fields"'),
    ],
)
def test_comments_are_skipped_wherever_they_stand(text: str) -> None:
    """As Java's parser does; what looks like one within a text is kept."""
    found = output(text)

    assert found["name"] == "A"
    assert "doc" not in found["fields"][0] or found["fields"][0]["doc"] == "http://x // no /* comment */"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_has_not_become_their_text(number: str) -> None:
    """Python's tools write them bare, which no registry takes."""
    text = schema(field("n", "double", default=float(number)), SECRET)

    assert number in text
    assert output(text)["fields"][0]["default"] == number
    assert output(schema(field("n", "double"), SECRET).replace('"double"', '"double", "default": -1e400'))["fields"][0][
        "default"
    ] == "-Infinity"  # fmt: skip


def test_half_a_character_in_a_text_is_kept() -> None:
    """A doc that was cut within an emoji: the output is valid UTF-8 and says the same."""
    found = output(schema(field("n", "string", doc="cut \ud83d", default="\ud83d"), SECRET))

    assert (found["fields"][0]["doc"], found["fields"][0]["default"]) == ("cut \ud83d", "\ud83d")
    assert "each field has a name" in refused(schema(field("n\ud83d"), SECRET))


def test_an_enum_without_symbols_and_empty_properties_pass() -> None:
    """No value is of such an enum; null stands for no aliases and no tags."""
    kind = {"type": "enum", "name": "E", "symbols": []}
    text = schema(
        field("e", ["null", kind]),
        field("n", **{"aliases": None, "confluent:tags": None}),
        field("m"),
        SECRET,
    )

    assert warnings(text) == ()
    assert round_trip(text, {"e": None, "n": "a", "m": "b", "email": "c"}) == {
        "e": None,
        "n": "a",
        "m": "b",
        "email": "c",
    }
    assert [f.identity for f in open_schema(compile_schema(text, NONE).plan.output_schema).fields] == ["n.A/email"]


def test_a_logical_type_on_the_field_is_told() -> None:
    """Avro reads it on the type alone, so a table gets a bigint where its author thinks of a timestamp."""
    (warning,) = warnings(schema(field("t", "long", logicalType="timestamp-millis"), SECRET))

    assert warning == "n.A: the logicalType of 't' stands on the field, where Avro does not read it"


def test_what_is_no_schema_is_refused_in_words() -> None:
    """Neither a traceback nor a guess."""
    assert "a namespace is a text" in refused(json.dumps({"type": "record", "name": "A", "namespace": 5, "fields": []}))
    assert "thousands of digits" in refused(schema(SECRET).replace('"fields"', f'"n": {"9" * 5000}, "fields"'))
