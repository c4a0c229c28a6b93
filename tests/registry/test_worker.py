"""A whole worker between a real Kafka and a real registry."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.deployment import Deployment
from tests.registry.conftest import Registry
from tests.registry.front import Front
from tests.running import Running, until
from worker import config
from worker.app import Worker
from worker.assembly.run import RunOptions
from worker.avro import encode_value, frame, open_schema
from worker.errors import DeclarationError
from worker.sdk import Encryption

pytestmark = [pytest.mark.heavy, pytest.mark.integration, pytest.mark.timeout(240)]

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "long"},
    {"name": "email", "type": ["null", "string"], "default": None, "encrypted": True},
    {"name": "tags", "type": {"type": "array", "items": "string"}, "encrypted": {"format": "leased", "bind": ["id"]}},
]


@pytest.fixture
def deployment(kafka: Kafka, authority: dict[str, str], tmp_path: Path) -> Deployment:
    made = Deployment(kafka=kafka, dsn="", authority=authority, directory=tmp_path)
    for topic in (made.source, made.sink):
        kafka.create_topic(topic)
    kafka.create_topic(made.dead, config={"max.message.bytes": str(2 << 20)})
    return made


def settings(deployment: Deployment, url: str) -> config.Settings:
    path = deployment.directory / "worker.toml"
    hosts = sorted({urlsplit(deployment.authority[name]).netloc for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")})
    path.write_text(f"""
region = "{deployment.region}"
authority = {{ allow_hosts = {hosts!r} }}
http = {{ listen = "127.0.0.1:0" }}
[kafka]
bootstrap = "{deployment.kafka.bootstrap}"
cluster_id = "{deployment.kafka.cluster_id}"
properties = {{ "security.protocol" = "{deployment.kafka.properties.get("security.protocol", "PLAINTEXT")}" }}
[schemas]
registry = "{url}"
allow_hosts = ["127.0.0.1"]
properties = {{ timeout = 5 }}
secrets = {{ "basic.auth.user.info" = "REGISTRY_LOGIN" }}
[[routes]]
name = "topic"
group = "topic-{deployment.name}"
source = {{ topics = ["{deployment.source}"] }}
sink = {{ kind = "kafka", topic = "{deployment.sink}" }}
""")
    return config.load(path, environ={})


def produce(deployment: Deployment, values: list[bytes]) -> None:
    producer = Producer(deployment.kafka.client)
    for value in values:
        producer.produce(deployment.source, value, b"k")
    assert producer.flush(30) == 0


def worker(deployment: Deployment, front: Front) -> Worker:
    environ = {**deployment.environ, "REGISTRY_LOGIN": "user:secret"}
    return Worker(settings(deployment, front.url), environ)


def test_from_topic_to_topic(registry: Registry, deployment: Deployment) -> None:
    """Schemas come from the registry and go there; a poison id is a dead letter; outages pause; a loss stops."""
    source, sink = f"{deployment.source}-value", f"{deployment.sink}-value"
    schema = {"type": "record", "name": "Customer", "namespace": f"a.t{uuid.uuid4().hex[:8]}", "fields": FIELDS}
    number = registry.register(source, schema)
    text = json.dumps(schema)
    rows = [{"id": i, "email": f"ada{i}@example.org", "tags": ["vip", "new"]} for i in range(20)]
    produce(deployment, [*(frame(number) + encode_value(text, row) for row in rows), frame(999_999) + b"x"])

    with Front(registry.url, authorization="Basic dXNlcjpzZWNyZXQ=") as front:
        with worker(deployment, front) as first:
            first.run(RunOptions(until_end=True))

        latest = registry.client.get_latest_version(sink)
        found = deployment.read(deployment.sink)
        assert {value[:5] for _, value, _ in found if value} == {frame(int(latest.schema_id or 0))}
        output = str(latest.schema.schema_str)
        assert [f.format for f in open_schema(output).fields] == ["record", "leased"]
        with Encryption.from_env(environ=deployment.environ) as opened:
            datums = [value[5:] for _, value, _ in found if value]
            assert opened.decrypt_records(datums, schema=output, keys=[b"k"] * len(datums)) == rows
        assert len(deployment.read(deployment.dead)) == 1

        evolved = {**schema, "fields": [*FIELDS, {"name": "phone", "type": "string", "default": "", "encrypted": True}]}
        later = registry.register(source, evolved)
        value = frame(later) + encode_value(json.dumps(evolved), {**rows[0], "phone": "1"})
        _survives_an_outage(deployment, front, value)
        assert len(registry.client.get_versions(sink)) == 2

        clear = [FIELDS[0], {**FIELDS[1], "encrypted": False}, FIELDS[2]]
        _stops_at_a_loss(deployment, front, registry, {**schema, "fields": clear}, encode_value(text, rows[1]))
        with worker(deployment, front) as again, pytest.raises(DeclarationError, match="email was encrypted"):
            again.run(RunOptions(until_end=True))
    assert len(deployment.read(deployment.sink)) == 21
    assert len(deployment.read(deployment.dead)) == 1


def _survives_an_outage(deployment: Deployment, front: Front, value: bytes) -> None:
    """A schema that is new to a running worker arrives while the registry is away: paused, then delivered."""
    with worker(deployment, front) as made, Running(made) as running:
        until(lambda: made.health[0].assigned > 0, "the group gives the partition")
        front.status = 503
        produce(deployment, [value])
        until(lambda: running.says("registry"), "the route says that the registry is away")
        front.status = 0
        until(lambda: len(deployment.read(deployment.sink)) == 21, "the record arrives")


def _stops_at_a_loss(
    deployment: Deployment, front: Front, registry: Registry, schema: dict[str, object], datum: bytes
) -> None:
    """A schema without its declaration appears in mid-stream: the route stops before its first record."""
    with worker(deployment, front) as made, Running(made) as running:
        until(lambda: made.health[0].assigned > 0, "the group gives the partition")
        lost = registry.register(f"{deployment.source}-value", schema)
        produce(deployment, [frame(lost) + datum])
        error = running.ended()
    assert isinstance(error, DeclarationError)
    assert f"{deployment.source}[0]@" in str(error)
