"""Keys pass in the clear, so nothing in a key's schema may be declared."""

from __future__ import annotations

import json

import pytest
from confluent_kafka.schema_registry import Schema

from worker.avro import DeclarationOptions, RegistrySchemas
from worker.avro.keys import KeySchema
from worker.errors import DeclarationError

DECLARED = {"type": "record", "name": "a.Key", "fields": [{"name": "email", "type": "string", "encrypted": True}]}


def test_a_declaration_in_a_key_is_refused_by_its_path() -> None:
    """The error names the field and the option."""
    schema = KeySchema(json.dumps(DECLARED), DeclarationOptions())

    with pytest.raises(DeclarationError, match=r'a\.Key/email.*key = "pseudonym"'):
        schema.refuse_declarations()


@pytest.mark.parametrize("schema", ['"string"', '{"type": "record", "name": "K", "fields": []}'])
def test_a_key_without_declarations_passes(schema: str) -> None:
    """A clear key is no error."""
    KeySchema(schema, DeclarationOptions()).refuse_declarations()


def test_a_topics_key_schema_is_found_by_its_subject() -> None:
    """The latest version of `<topic>-key` is the key's schema; a topic without one has none."""
    schemas = RegistrySchemas({"url": "mock://keys"}, auto_register=True)
    schemas._client.register_schema("customers-key", Schema(json.dumps(DECLARED), "AVRO"))

    found = schemas.key_schemas(["customers", "orders"])

    assert [(version.label, json.loads(version.schema)["name"]) for version in found] == [("customers", "a.Key")]
