"""Properties that look like a declaration: refused by name, and no foreign one is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.avro.test_declaration import NONE, field, refused, schema
from worker.avro import DeclarationOptions, SchemaVersion, compile_schema
from worker.avro.keys import KeySchema
from worker.avro.nearmiss import resembles
from worker.errors import DeclarationError

SLIPS = [
    "encryptd", "encrypt", "encripted", "is_encrypted", "isEncrypted", "Encryption", "ENCRYPTED", "Encrypted",
    "encrypred", "ecnrypted", "encyrpted", "encypted", "enrypted", "encrypted_", "x-encrypted", "confluent:encrypted",
    "shouldEncrypt", "encryptField", "encrypted2", "encryption_type", "pii.encrypted", "unencrypted", "encr",
    "Encripted", "field_encripted", "must-encript", "еncrypted",
    "еnсrурtеd", "ｅｎｃｒｙｐｔｅｄ", "ēncrypted", "encr\u200bypted", "ᴇncrypted",
]  # fmt: skip

# Met in the field: 677 public schemas, and what registries, connectors and code generators add to theirs.
FOREIGN = [
    "declared", "java-type", "java-class", "java-key-class", "java-element", "java-type-args", "java-type-params",
    "date", "supertypes", "event-arg", "attributes_json", "modifiers", "compliance", "avro.java.string", "deprecated",
    "optional", "version", "recursive_fields", "meta", "symbolDocs", "minLength", "maxLength", "enum-key-fieldname",
    "connect.name", "connect.version", "connect.doc", "connect.default", "connect.parameters", "connect.type",
    "connect.decimal.precision", "io.confluent.connect.avro.Enum", "confluent:tags", "confluent:version",
    "__debezium.source.column.type", "__debezium.source.column.length", "sqlType", "sqlCode", "dbColumnName", "length",
    "logicalType", "precision", "scale", "order", "doc", "aliases", "default", "symbols", "props", "javaAnnotation",
    "pii", "PII", "sensitive", "sensitivity", "classification", "class", "description", "prescription", "script",
    "transcript", "inscription", "subscription", "entry", "entity", "encoding", "encoded", "encoder", "excerpt",
    "crypto", "hash", "hashed", "masked", "mask", "tokenized", "secret", "cipher", "key", "keyset", "protected",
    "private", "enabled", "encounter", "enumerated", "excluded", "exported", "expected", "accepted", "corrupted",
    "interrupted", "created", "updated", "typed", "nullable", "__originalname", "__source_data_type",
    "Searchable", "Relationship", "UrnValidation", "validate", "sortOrder", "x-extension", "owner", "since",
    "KjKSOYAUB", "VcUiGwMnmuBE", "описание", "加密字段", "naïveté", "größe", "prénom", "имя_поля", "id_клиента",
]  # fmt: skip


@pytest.mark.parametrize("word", SLIPS)
@pytest.mark.parametrize("place", ["field", "type", "record", "root", "within", "nested"])
def test_a_slip_is_refused_by_name(word: str, place: str) -> None:
    """Wherever it stands, the message names the property and what was meant."""
    text = {
        "field": schema(field("a", **{word: True})),
        "type": schema(field("a", {"type": "string", word: True})),
        "record": schema(field("i", {"type": "record", "name": "I", "fields": [field("x")], word: True})),
        "root": schema(field("a"), **{word: True}),
        "within": schema(field("a", **{"connect.parameters": {word: "true"}})),
        "nested": schema(field("l", {"type": "array", "items": ["null", {"type": "int", word: True}]})),
    }[place]

    message = refused(text)

    assert f"`{word}`" in message or f".{word}`" in message
    assert "did you mean `encrypted`" in message


@pytest.mark.parametrize("word", FOREIGN)
def test_a_foreign_property_is_nobodys_slip(word: str) -> None:
    """Properties of others, and words that are merely near, compile."""
    assert not resembles(word)
    compile_schema(schema(field("a", {"type": "string"}, encrypted=True, x={word: True})), NONE)


def test_the_right_word_in_another_property_protects_nothing_and_is_refused() -> None:
    """Connect carries a field's parameters in an object of its own; a declaration there is none."""
    assert "connect.parameters.encrypted" in refused(
        schema(field("a", **{"connect.parameters": {"encrypted": "true"}}))
    )


def test_the_operator_can_ignore_a_foreign_property() -> None:
    """A listed name is nobody's slip; the others stay slips."""
    options = DeclarationOptions(ignore_properties=("encryptedAtRest",))

    compile_schema(schema(field("a", encryptedAtRest=True)), options)
    assert "encryptd" in refused(schema(field("a", encryptd=True)), options)


def test_defaults_and_documentation_are_no_properties() -> None:
    """A value that happens to hold the word is data."""
    kind = {"type": "map", "values": "boolean"}

    compile_schema(schema(field("a", kind, default={"encryptd": True}, doc="encryptd")), NONE)


def test_a_slip_in_a_keys_schema_is_refused() -> None:
    """Keys pass in the clear just as easily."""
    with pytest.raises(DeclarationError, match="encryptd"):
        KeySchema(schema(field("a", encryptd=True)), NONE)


def test_what_an_earlier_version_meant_counts() -> None:
    """A version that slipped meant the field to be protected, so the next one may not leave it in the clear."""
    old = SchemaVersion(schema(field("a", encryptd=True)), label="version 1")

    assert "n.A/a was encrypted in version 1" in refused(schema(field("a")), earlier=[old])


@pytest.mark.parametrize("word", ["encrypted", "Encrypted", "encripted", "x-encrypted"])
def test_a_logical_type_is_no_declaration(word: str) -> None:
    """Readers ignore one that they don't know: the value would pass as it is."""
    assert f"`{word}`" in refused(schema(field("a", {"type": "string", "logicalType": word})))
    compile_schema(schema(field("a", {"type": "string", "logicalType": "prescription"})), NONE)


def test_an_arriving_encryption_is_known_where_it_may_pass() -> None:
    """Our own property on a pass route, and on a copied record, is no slip."""
    told: dict[str, Any] = {"version": 1, "type": "string", "format": "record", "keyset": None, "null": "keep"}
    text = schema(field("a", "bytes", encryption=told))

    plan = compile_schema(text, DeclarationOptions(already_encrypted="pass")).plan

    assert not plan.is_clear


CLEAR = DeclarationOptions(clear=())


def test_a_schema_that_declares_nothing_is_refused() -> None:
    """Unless the route names it, every value of it would be written in the clear."""
    text = schema(field("a"), field("i", {"type": "record", "name": "I", "fields": [field("x", encrypted=False)]}))

    assert "n.A declares nothing" in refused(text, CLEAR)
    assert compile_schema(text, DeclarationOptions(clear=("n.A",))).plan.is_clear
    assert compile_schema(text, NONE).plan.is_clear
    assert not compile_schema(schema(field("a", encrypted=True)), CLEAR).plan.is_clear


def test_every_record_of_a_union_that_declares_nothing_is_named() -> None:
    """A declaration of one record says nothing of another: each that declares nothing must be listed."""
    one, two = json.loads(schema(field("a"))), {"type": "record", "name": "n.B", "fields": [field("b")]}
    mixed = {**two, "fields": [field("b", encrypted=True)]}

    assert "n.B" in refused(json.dumps([one, two]), DeclarationOptions(clear=("n.A",)))
    compile_schema(json.dumps([one, two]), DeclarationOptions(clear=("n.A", "n.B")))
    assert "n.A declares nothing" in refused(json.dumps([one, mixed]), CLEAR)
    assert "n.A" in refused(json.dumps([mixed, one]), DeclarationOptions(clear=("n.B",)))
    assert not compile_schema(json.dumps([one, mixed]), DeclarationOptions(clear=("n.A",))).plan.is_clear


def test_a_topic_of_bare_values_is_named_by_its_type() -> None:
    """A root that is no record has its type's word for a name."""
    assert "string declares nothing" in refused('"string"', CLEAR)
    compile_schema('"string"', DeclarationOptions(clear=("string",)))


@pytest.mark.parametrize("descriptor", ["zk-canary", "dead/customers", "key/customers", "dead/", "key/"])
def test_the_workers_own_descriptors_are_refused(descriptor: str) -> None:
    """A value under the canary's, a letter's or a key's descriptor could stand for one of them."""
    assert "another" in refused(schema(field("a", encrypted={"descriptor": descriptor})))


def test_half_a_character_in_a_declaration_is_refused() -> None:
    """JSON's escapes can say what UTF-8 can't carry; the refusal itself can be carried."""
    half = "a\ud800"
    for said in ({"descriptor": half}, {"keyset": half}, {"context": [half]}, {half: 1}):
        refused(schema(field("a", encrypted=said))).encode()
    refused(schema(field("a", **{f"encrypted{half}": True}))).encode()


@pytest.mark.parametrize("name", ["dead", "key"])
def test_a_records_name_can_make_a_reserved_descriptor(name: str) -> None:
    """An identity is a descriptor too: fields of a record named `dead` need another one."""
    text = json.dumps({"type": "record", "name": name, "fields": [field("customers", encrypted=True)]})

    assert f"'{name}/customers'" in refused(text)
    compile_schema(text.replace("true", '{"descriptor": "mine"}'), NONE)
