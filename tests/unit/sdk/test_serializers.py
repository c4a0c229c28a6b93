"""Serializers in confluent-kafka's protocol, over the registry that its client has in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.unit.sdk.services import Recording
from worker import Encryption, output_schema
from worker.avro import open_schema
from worker.errors import ConfigError, DeclarationError, DecodeError, DecryptionError, RecordError, RegistryUnavailable
from worker.sdk.serializers import EncryptedAvroDeserializer, EncryptedAvroSerializer, KeyedContext

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "acme.crm.Customer",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "email", "type": "string", "encrypted": {"format": "leased", "bind": ["id"]}},
        ],
    }
)
KEYED = SCHEMA.replace('["id"]', '["id", "$key"]')
CLEAR = json.dumps({"type": "record", "name": "acme.ops.Heartbeat", "fields": [{"name": "id", "type": "long"}]})
ROW = {"id": 1, "email": "ann@example.com"}


@dataclass
class Customer:
    id: int
    email: str


def context(headers: Any = None) -> SerializationContext:
    return SerializationContext("customers.enc", MessageField.VALUE, headers)


@pytest.fixture
def registry() -> Any:
    return SchemaRegistryClient.new_client({"url": f"mock://{id(object())}"})


def test_a_record_comes_back(registry: Any, encryption: Encryption, service: Recording) -> None:
    """Framed, encrypted, its output schema registered; many records share a lease and an opened key."""
    write = EncryptedAvroSerializer(registry, encryption, SCHEMA)
    read = EncryptedAvroDeserializer(registry, encryption)

    rows = [{"id": i, "email": f"ann{i}@example.com"} for i in range(20)]

    messages = [write(row, context()) for row in rows]

    assert [read(message, context()) for message in messages] == rows
    assert all(message is not None and b"@example.com" not in message for message in messages)
    registered = registry.get_latest_version("customers.enc-value").schema.schema_str
    assert json.loads(registered) == json.loads(output_schema(SCHEMA))
    assert [field.identity for field in open_schema(registered).fields] == ["acme.crm.Customer/email"]
    assert [asked.call for asked in service.asked] == ["generate", "retrieve"]
    assert write(None, context()) is None
    assert read(None, context()) is None


def test_the_id_may_stand_in_a_header(registry: Any, encryption: Encryption) -> None:
    """As confluent-kafka's own serializers write it; one that was there is replaced."""
    headers: list[tuple[str, Any]] = [("trace", b"1"), ("__value_schema_id", b"old")]
    write = EncryptedAvroSerializer(registry, encryption, SCHEMA, schema_id="header")

    datum = write(ROW, context(headers))

    assert [name for name, _ in headers] == ["trace", "__value_schema_id"]
    assert headers[1][1][:1] == b"\x01"
    assert len(headers[1][1]) == 17
    assert EncryptedAvroDeserializer(registry, encryption)(datum, context(headers)) == ROW
    with pytest.raises(ConfigError, match="headers"):
        write(ROW, context())


def test_objects_of_the_program(registry: Any, encryption: Encryption) -> None:
    """`to_dict` and `from_dict` are confluent-kafka's."""

    def from_dict(found: Mapping[str, Any], _: SerializationContext) -> Customer:
        return Customer(**found)

    write = EncryptedAvroSerializer(registry, encryption, SCHEMA, to_dict=lambda customer, _: asdict(customer))
    read = EncryptedAvroDeserializer(registry, encryption, from_dict=from_dict)

    customer = Customer(1, "ann@example.com")
    assert read(write(customer, context()), context()) == customer


def test_a_bound_key_comes_with_the_context(registry: Any, encryption: Encryption) -> None:
    """A field that binds `$key` needs a context that knows it, and opens beside that key alone."""
    write = EncryptedAvroSerializer(registry, encryption, KEYED)
    read = EncryptedAvroDeserializer(registry, encryption)
    keyed = {key: KeyedContext("customers.enc", MessageField.VALUE, key=key) for key in (b"k1", b"k2")}

    message = write(ROW, keyed[b"k1"])

    assert read(message, keyed[b"k1"]) == ROW
    with pytest.raises(DecryptionError):
        read(message, keyed[b"k2"])
    with pytest.raises(RecordError, match="key"):
        write(ROW, context())


def test_what_is_not_encrypted_is_not_read_as_if_it_were(registry: Any, encryption: Encryption) -> None:
    """A schema without `encryption`, a message without a frame, an unknown id."""
    number = registry.register_schema("beats-value", Schema(CLEAR, "AVRO"))
    read = EncryptedAvroDeserializer(registry, encryption)
    beat = b"\0" + number.to_bytes(4, "big") + b"\2"

    with pytest.raises(DeclarationError, match="no `encryption`"):
        read(beat, context())
    assert EncryptedAvroDeserializer(registry, encryption, clear=["acme.ops.Heartbeat"])(beat, context()) == {"id": 1}
    with pytest.raises(DecodeError):
        read(b"\x02hello", context())
    with pytest.raises(RecordError, match="not in the registry"):
        read(b"\0\0\0\xff\xff\2", context())
    with pytest.raises(DeclarationError, match="declares nothing"):
        EncryptedAvroSerializer(registry, encryption, CLEAR)


def test_a_registry_that_is_away_is_said_so(encryption: Encryption) -> None:
    """The registry client lets its HTTP library's errors through; a caller of ours catches one kind."""
    away = SchemaRegistryClient({"url": "http://127.0.0.1:1", "max.retries": 0})

    with pytest.raises(RegistryUnavailable, match="does not answer"):
        EncryptedAvroSerializer(away, encryption, SCHEMA)({"id": 1, "email": "ann@x"}, context())
    with pytest.raises(RegistryUnavailable, match="schema 7"):
        EncryptedAvroDeserializer(away, encryption)(b"\0\0\0\0\x07", context())


def test_a_schema_may_have_to_be_there_already(registry: Any, encryption: Encryption) -> None:
    """Without `auto_register` an output schema that nobody registered is refused, before any key is asked for."""
    write = EncryptedAvroSerializer(registry, encryption, SCHEMA, auto_register=False)

    with pytest.raises(RecordError, match="not in the registry"):
        write(ROW, context())

    registry.register_schema("customers.enc-value", Schema(output_schema(SCHEMA), "AVRO"))
    assert EncryptedAvroDeserializer(registry, encryption)(write(ROW, context()), context()) == ROW
