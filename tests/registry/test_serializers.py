"""Programs with confluent-kafka's own producer and consumer, beside a worker, on a real broker and registry."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import DeserializingConsumer, SerializingProducer
from confluent_kafka.serialization import StringDeserializer, StringSerializer

from tests.deployment import Deployment
from tests.registry.conftest import Registry
from tests.registry.front import Front
from tests.registry.test_worker import deployment, produce, settings
from worker import Encryption, config
from worker.app import Worker
from worker.assembly.run import RunOptions
from worker.avro import encode_value, frame
from worker.errors import DeclarationError
from worker.sdk.serializers import EncryptedAvroDeserializer, EncryptedAvroSerializer

__all__ = ["deployment"]
pytestmark = [pytest.mark.heavy, pytest.mark.integration, pytest.mark.timeout(240)]

ROWS: list[dict[str, Any]] = [
    {"id": i, "email": f"ada{i}@example.org" if i % 3 else None, "tags": ["vip"]} for i in range(9)
]


@pytest.fixture
def schema() -> str:
    """Customers of a namespace of the test's own, with a value that is bound to its row."""
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "long"},
        {"name": "email", "type": ["null", "string"], "default": None, "encrypted": True},
        {
            "name": "tags",
            "type": {"type": "array", "items": "string"},
            "encrypted": {"format": "leased", "bind": ["id"]},
        },
    ]
    return json.dumps(
        {"type": "record", "name": "Customer", "namespace": f"a.t{uuid.uuid4().hex[:8]}", "fields": fields}
    )


@pytest.fixture
def encryption(deployment: Deployment) -> Iterator[Encryption]:
    with Encryption.from_env(environ=deployment.environ) as opened:
        yield opened


def consumed(deployment: Deployment, registry: Registry, encryption: Encryption, topic: str, count: int) -> list[Any]:
    """What a program's consumer makes of a topic."""
    conf = {
        **deployment.kafka.client,
        "group.id": uuid.uuid4().hex,
        "auto.offset.reset": "earliest",
        "key.deserializer": StringDeserializer(),
        "value.deserializer": EncryptedAvroDeserializer(registry.client, encryption),
    }
    consumer, found = DeserializingConsumer(conf), list[Any]()
    try:
        consumer.subscribe([topic])
        while len(found) < count:
            message = consumer.poll(10)
            assert message is not None, f"{len(found)} of {count} records"
            found.append(message.value())
    finally:
        consumer.close()
    return found


def produced(
    deployment: Deployment, registry: Registry, encryption: Encryption, schema: str, rows: Sequence[Any]
) -> None:
    """Write rows, and a tombstone, as a program's producer does."""
    conf = {
        **deployment.kafka.client,
        "key.serializer": StringSerializer(),
        "value.serializer": EncryptedAvroSerializer(registry.client, encryption, schema),
    }
    producer = SerializingProducer(conf)
    for row in [*rows, None]:
        producer.produce(deployment.source, key="k", value=row)
    assert producer.flush(30) == 0


def work(made: config.Settings, deployment: Deployment) -> None:
    """Run a worker to the end of its topic."""
    with Worker(made, {**deployment.environ, "REGISTRY_LOGIN": "user:secret"}) as worker:
        worker.run(RunOptions(until_end=True))


def test_a_program_reads_what_the_worker_wrote(
    registry: Registry, deployment: Deployment, encryption: Encryption, schema: str
) -> None:
    """With `DeserializingConsumer` and nothing but the registry's own schemas."""
    number = registry.register(f"{deployment.source}-value", json.loads(schema))
    produce(deployment, [frame(number) + encode_value(schema, row) for row in ROWS])
    with Front(registry.url, authorization="Basic dXNlcjpzZWNyZXQ=") as front:
        work(settings(deployment, front.url), deployment)

    assert consumed(deployment, registry, encryption, deployment.sink, len(ROWS)) == ROWS


def test_the_worker_passes_what_a_program_wrote(
    registry: Registry, deployment: Deployment, encryption: Encryption, schema: str, tmp_path: Path
) -> None:
    """Records and tombstone of `SerializingProducer` come through unchanged, and open before and after."""
    produced(deployment, registry, encryption, schema, ROWS)
    assert consumed(deployment, registry, encryption, deployment.source, len(ROWS) + 1) == [*ROWS, None]

    with Front(registry.url, authorization="Basic dXNlcjpzZWNyZXQ=") as front:
        with pytest.raises(DeclarationError, match="already"):
            work(settings(deployment, front.url), deployment)
        file = deployment.directory / "worker.toml"
        text = file.read_text().replace("[[routes]]", '[[routes]]\nalready_encrypted = "pass"', 1)
        file.write_text(text)
        work(config.load(file, environ={}), deployment)

    assert consumed(deployment, registry, encryption, deployment.sink, len(ROWS) + 1) == [*ROWS, None]
    before, after = (deployment.read(topic) for topic in (deployment.source, deployment.sink))
    assert [value and value[5:] for _, value, _ in before] == [value and value[5:] for _, value, _ in after]
    assert deployment.read(deployment.dead) == []
