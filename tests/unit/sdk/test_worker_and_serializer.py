"""The worker and the serializers, each reading what the other wrote."""

from __future__ import annotations

import json
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.unit.encryption.authority import InMemoryAuthority
from worker import Encryption, output_schema
from worker.avro import DeclarationOptions, compile_schema, encode_value, frame
from worker.encryption import BatchEncryptor
from worker.sdk.serializers import EncryptedAvroDeserializer, EncryptedAvroSerializer

CONTEXT = SerializationContext("customers.enc", MessageField.VALUE)
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "acme.crm.Customer",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "email", "type": ["null", "string"], "default": None, "encrypted": {"format": "record"}},
            {"name": "name", "type": "string", "encrypted": {"format": "leased", "context": ["id"]}},
        ],
    }
)
ROWS: list[dict[str, Any]] = [{"id": 1, "email": "ann@x", "name": "Ann"}, {"id": 2, "email": None, "name": "Bob"}]


def registry() -> Any:
    return SchemaRegistryClient.new_client({"url": f"mock://{id(object())}"})


def test_the_deserializer_reads_what_the_worker_wrote() -> None:
    """Records that the worker's stages split, sealed and framed."""
    authority, known = InMemoryAuthority(), registry()
    compiled = compile_schema(SCHEMA, DeclarationOptions())
    number = known.register_schema("customers.enc-value", Schema(compiled.plan.output_schema, "AVRO"))
    split = compiled.split([encode_value(SCHEMA, row) for row in ROWS], [None, None])
    (sealed,) = BatchEncryptor(authority).seal([(split, frame(number))])

    read = EncryptedAvroDeserializer(known, Encryption.over(authority))

    assert [read(message, CONTEXT) for message in sealed.data] == ROWS


def test_the_worker_passes_what_the_serializer_wrote() -> None:
    """With `already_encrypted = "pass"` its stages take the records as they are: nothing is left to seal."""
    authority = InMemoryAuthority()
    write = EncryptedAvroSerializer(registry(), Encryption.over(authority), SCHEMA)
    messages = [write(row, CONTEXT) for row in ROWS]
    datums = [message[5:] for message in messages if message is not None]

    compiled = compile_schema(output_schema(SCHEMA), DeclarationOptions(already_encrypted="pass"))
    split = compiled.split(datums, [None, None])
    (sealed,) = BatchEncryptor(authority).seal([(split, b"")])

    assert split.errors == {}
    assert list(sealed.data) == datums
