"""What may be declared, what is refused, and what the output schema says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.avro import DeclarationOptions, FieldOptions, SchemaVersion, compile_schema, open_schema
from worker.errors import DeclarationError
from worker.model import PlaintextKind

NONE = DeclarationOptions()


def schema(*fields: dict[str, Any], **more: Any) -> str:
    return json.dumps({"type": "record", "name": "A", "namespace": "n", "fields": list(fields), **more})


def field(name: str, kind: Any = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def refused(text: str, options: DeclarationOptions = NONE, **more: Any) -> str:
    with pytest.raises(DeclarationError) as caught:
        compile_schema(text, options, **more)
    return str(caught.value)


INNER = {"type": "record", "name": "I", "fields": [field("x", encrypted=True)]}

REFUSALS = [
    (schema(field("a", encrypted="yes")), "n.A/a"),
    (schema(field("a", encrypted={"colour": "red"})), "colour"),
    (schema(field("a", encrypted={"format": "rot13"})), "format"),
    (schema(field("a", Encrypted=True)), "Encrypted"),
    (schema(field("a", {"type": "string", "encrypted": True})), "stands on a type"),
    (schema(field("a", {**INNER, "encrypted": True})), "stands on a type"),
    (schema(field("a", "null", encrypted=True)), "nothing to encrypt"),
    (schema(field("a", {"type": "fixed", "name": "F", "size": 0}, encrypted=True)), "nothing to encrypt"),
    (schema(field("a", {"type": "record", "name": "I", "fields": [field("x", "null")]}, encrypted=True)), "nothing to"),
    (schema(field("a", encrypted=True, aliases="b")), "aliases"),
    (schema(field("a", encrypted={"bind": ["b"]}), field("b")), "leased"),
    (schema(field("a", encrypted={"format": "leased", "bind": ["b"]}), field("b", encrypted=True)), "'b'"),
    (schema(field("a", encrypted={"context": ["z"]})), "'z'"),
    (schema(field("a", encrypted={"context": ["b"]}), field("b", "double")), "no text"),
    (schema(field("a", encrypted={"context": ["$key"]})), "$key"),
    (schema(field("a", encrypted={"descriptor": ""})), "descriptor"),
    (schema(field("a", encrypted={"descriptor": "d"}), field("b", encrypted={"descriptor": "d"})), "n.A/b"),
    (schema(field("a", INNER, default={"x": "secret"})), "default"),
    (schema(field("a", "bytes", encryption={"version": 1})), "already"),
    (schema(field("a", encrypted={"index": ["unique"], "format": "leased"})), "index"),
    ('{"type":"record","name":"A","name":"B","fields":[]}', "twice"),
    ('"nothing"', "not defined"),
    ("{", "JSON"),
    ('{"type":"record","name":"A","fields":[{"name":"a","type":["int","int"]}]}', "union"),
    ('{"type":"enum","name":"A","symbols":["x","x"]}', "'x' stands twice"),
    ('{"type":"fixed","name":"A","size":-1}', "size"),
]


@pytest.mark.parametrize(("text", "words"), REFUSALS)
def test_refuses_by_name(text: str, words: str) -> None:
    """What can't be kept is refused, and the message says where or which."""
    assert words in refused(text)


def test_refuses_a_property_and_a_policy_that_differ() -> None:
    """A field's property and a policy that differ are refused, both named."""
    options = DeclarationOptions(tags={"PII": FieldOptions(format="leased")})

    message = refused(schema(field("a", encrypted=False, **{"confluent:tags": ["PII"]})), options)

    assert "`encrypted`" in message
    assert "'PII'" in message


def test_required_path_that_a_version_forgets_is_refused() -> None:
    """A required path in the clear refuses to compile; by alias or within a covered field it is satisfied."""
    options = DeclarationOptions(required=("n.A/email",))

    assert "n.A/email" in refused(schema(field("email")), options)
    compile_schema(schema(field("email", encrypted=True)), options)
    compile_schema(schema(field("mail", aliases=["email"], encrypted=True)), options)


def test_lost_declaration_is_refused() -> None:
    """A path that an earlier version encrypted may not become clear."""
    old = schema(field("email", encrypted=True))

    assert "n.A/email" in refused(schema(field("email")), earlier=[SchemaVersion(old)])


LOSSES = [
    # What was encrypted, and the version that forgets it.
    ([field("a", encrypted=True)], [field("b")]),
    ([field("a", encrypted=True)], [field("a")]),
    ([field("a", encrypted=True)], [field("b", aliases=["a"])]),
    ([field("a", **{"confluent:tags": ["PII"]})], [field("a")]),
    ([field("a", encrypted="malformed")], [field("a")]),
    ([field("i", INNER)], [field("i", {**INNER, "fields": [field("x")]})]),
    ([field("i", INNER, encrypted=True)], [field("i", {**INNER, "fields": [field("x")]})]),
    ([field("i", INNER)], [field("i", ["null", {**INNER, "fields": [field("x")]}])]),
    # A union that gets a second branch gives its fields other identities.
    ([field("i", ["null", INNER])], [field("i", ["null", {**INNER, "fields": [field("x")]}, "string"])]),
    ([field("i", ["string", INNER])], [field("i", {**INNER, "fields": [field("x")]})]),
]


@pytest.mark.parametrize(("old", "new"), LOSSES)
def test_a_declaration_is_lost_by_name_alias_tag_and_type(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    """However an earlier version said it, what it encrypted may not stand in the clear, and the message names it."""
    tags = DeclarationOptions(tags={"PII": FieldOptions()})

    assert "encrypted in version 1" in refused(
        schema(*new), tags, earlier=[SchemaVersion(schema(*old), label="version 1")]
    )


def test_a_loss_that_the_operator_lists_is_allowed() -> None:
    """`allow_lost` lets the paths it names become clear, and no other."""
    old = [SchemaVersion(schema(field("a", encrypted=True), field("b", encrypted=True)))]
    options = DeclarationOptions(allow_lost=("n.A/a",))

    compile_schema(schema(field("a"), field("b", encrypted=True)), options, earlier=old)
    assert "n.A/b" in refused(schema(field("a"), field("b")), options, earlier=old)


def test_a_declaration_is_lost_under_a_records_alias() -> None:
    """A record that was renamed, with its old name as an alias, still owes what it declared."""
    old = schema(field("a", encrypted=True))

    assert "n.A/a" in refused(schema(field("a"), name="B", aliases=["A"]), earlier=[SchemaVersion(old)])


KEPT = [
    ([field("a", encrypted=True)], [field("b", aliases=["a"], encrypted=True)]),
    ([field("i", INNER)], [field("i", {**INNER, "fields": [field("x")]}, encrypted=True)]),
    ([field("i", ["null", INNER])], [field("i", ["null", INNER, "string"])]),
    ([field("a", encrypted=False)], [field("a")]),
]


@pytest.mark.parametrize(("old", "new"), KEPT)
def test_nothing_is_lost_where_a_field_stays_covered(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    """A field that is renamed with its declaration, or covered from outside, loses nothing."""
    compile_schema(schema(*new), NONE, earlier=[SchemaVersion(schema(*old))])


def test_a_version_in_the_registrys_metadata_counts() -> None:
    """What an earlier version declared by the registry's metadata is lost like any other declaration."""
    tags = DeclarationOptions(tags={"PII": FieldOptions()})
    old = SchemaVersion(schema(field("a")), metadata_tags={"**.a": ["PII"]})

    assert "n.A/a" in refused(schema(field("a")), tags, earlier=[old])


def test_a_version_that_cannot_be_read_is_refused_with_the_remedy() -> None:
    """An earlier version that is no Avro may have protected anything."""
    assert "delete that version" in refused(schema(field("a")), earlier=[SchemaVersion("{")])


def test_aliases_all_the_way_down_are_bounded() -> None:
    """An alias at each of ten levels gives a field all its names; one level more is refused."""

    def nested(levels: int) -> str:
        inner: Any = "string"
        for n in range(levels):
            inner = {"type": "record", "name": f"R{n}", "fields": [field("a", inner, aliases=["b"])]}
        return json.dumps(inner)

    options = DeclarationOptions(required=("R9/" + ".".join("b" * 10),))
    assert "must be encrypted" in refused(nested(10), options)
    assert "names by aliases" in refused(nested(11))


def test_unknown_keyset_is_refused() -> None:
    """A schema names only keysets that the config lists."""
    assert "other" in refused(schema(field("a", encrypted={"keyset": "other"})), DeclarationOptions(keysets=("mine",)))


def test_strict_demands_a_word_on_every_leaf() -> None:
    """In strict mode an undeclared leaf is refused and an explicitly clear one is not."""
    assert "n.A/a" in refused(schema(field("a")), DeclarationOptions(strict=True))
    compile_schema(schema(field("a", encrypted=False)), DeclarationOptions(strict=True))


def test_metadata_tags_and_path_policies_declare() -> None:
    """A registry's tag and a path in the config encrypt as the property does."""
    options = DeclarationOptions(tags={"PII": FieldOptions()}, paths={"n.A/b": FieldOptions(format="leased")})

    plan = compile_schema(SchemaVersion(schema(field("a"), field("b")), metadata_tags={"**.a": ["PII"]}), options).plan

    assert [(f.identity, f.format) for f in plan.fields] == [("n.A/a", "record"), ("n.A/b", "leased")]


def test_defaults_are_emptied_in_the_output() -> None:
    """No clear default stands where an envelope belongs; the original is kept beside it and restored."""
    text = schema(field("a", default="clear-text", encrypted=True))

    plan = compile_schema(text, NONE).plan
    out = json.loads(plan.output_schema)["fields"][0]

    assert (out["type"], out["default"], out["encryption"]["default"]) == ("bytes", "", "clear-text")
    assert json.loads(open_schema(plan.output_schema).writer_schema)["fields"][0]["default"] == "clear-text"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ({"type": "int", "logicalType": "date"}, PlaintextKind.DATE),
        ({"type": "string", "logicalType": "uuid"}, PlaintextKind.STRING),
        ({"type": "string", "logicalType": "date"}, PlaintextKind.STRING),
        ({"type": "long", "logicalType": "timestamp-millis"}, PlaintextKind.TIMESTAMP_MS),
        ({"type": "long", "logicalType": "timestamp-micros"}, PlaintextKind.AVRO),
        (["null", "int"], PlaintextKind.INT),
        (["null", "int", "string"], PlaintextKind.AVRO),
        ("bytes", PlaintextKind.AVRO),
        ({"type": "array", "items": "int"}, PlaintextKind.AVRO),
    ],
)
def test_plaintext_kind(kind: Any, expected: PlaintextKind) -> None:
    """Each type has the typed plaintext that carries it exactly, else the fallback."""
    assert compile_schema(schema(field("a", kind, encrypted=True)), NONE).plan.fields[0].kind is expected
