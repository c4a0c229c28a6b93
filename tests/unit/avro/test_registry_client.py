"""The registry's client against the in-process registry."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.unit.pipeline.test_batch import SCHEMA
from worker.avro import DeclarationOptions, RegistrySchemas, SchemaRef, compile_schema
from worker.errors import DeclarationError


def test_registers_the_output_schema_once() -> None:
    """The same output schema gets the same id again, also where it may only be looked up."""
    url = f"mock://{uuid.uuid4()}"
    output = compile_schema(SCHEMA, DeclarationOptions()).plan.output_schema
    registering = RegistrySchemas({"url": url}, auto_register=True)

    first = registering.output_id(SchemaRef(id=1), "out-value", output)

    assert registering.output_id(SchemaRef(id=1), "out-value", output) == first
    assert registering.get(SchemaRef(id=first)).schema


def test_refuses_an_unregistered_output_schema_where_it_may_not_register() -> None:
    """With auto_register off an output schema must be there already."""
    schemas = RegistrySchemas({"url": f"mock://{uuid.uuid4()}"}, auto_register=False)

    with pytest.raises(DeclarationError, match="auto_register is off"):
        schemas.output_id(SchemaRef(id=1), "out-value", SCHEMA)


def test_knows_every_version_of_a_topics_values() -> None:
    """A file's schema is compared with all that the topic ever had; a topic without a subject has none."""
    schemas = RegistrySchemas({"url": f"mock://{uuid.uuid4()}"}, auto_register=True)
    for text in (SCHEMA, '"string"'):
        schemas.output_id(SchemaRef(id=1), "customers-value", text)

    assert [json.loads(version.schema) for version in schemas.history("customers")] == [json.loads(SCHEMA), "string"]
    assert schemas.history("orders") == []
