"""The local Kafka is a real one: it authenticates, keeps what it acknowledged, and comes back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from tests.components import Kafka
from tests.conftest import TopicFactory
from worker.errors import ConfigError
from worker.local import LocalKafka, provision

Setting = str | int | float | bool
pytestmark = pytest.mark.integration


def produce(client: Mapping[str, Setting], topic: str, values: list[bytes]) -> None:
    producer = Producer({**client, "acks": "all", "enable.idempotence": True, "log_level": 2})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def consume(client: Mapping[str, Setting], topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({**client, "group.id": "reader", "auto.offset.reset": "earliest", "log_level": 2})
    consumer.subscribe([topic])
    try:
        return [message.value() for message in consumer.consume(count, 30)]
    finally:
        consumer.close()


def test_cluster_id_is_what_clients_see(kafka: Kafka) -> None:
    """The fixture's cluster id is the one the broker tells."""
    seen = AdminClient(kafka.client).list_topics(timeout=30).cluster_id

    assert seen == kafka.cluster_id


def test_topics_are_fresh(topic: TopicFactory) -> None:
    """Two topics of one test do not share a name."""
    assert topic() != topic(partitions=3)


@pytest.mark.fault
def test_killed_node_comes_back_with_what_it_acknowledged() -> None:
    """A record acknowledged before SIGKILL is there after the restart."""
    with LocalKafka() as local:
        client: dict[str, Setting] = {"bootstrap.servers": local.bootstrap, **local.properties}
        local.create_topic("kept")
        produce(client, "kept", [b"1", b"2"])

        local.kill()
        local.restart()

        assert consume(client, "kept", 2) == [b"1", b"2"]


@pytest.mark.fault
def test_scram_over_tls_refuses_a_wrong_password() -> None:
    """With SASL and TLS the given properties work and a wrong password does not."""
    with LocalKafka(sasl=True, tls=True) as local:
        client: dict[str, Setting] = {"bootstrap.servers": local.bootstrap, **local.properties}
        wrong = AdminClient({**client, "sasl.password": "wrong", "log_level": 0})

        assert AdminClient(client).list_topics(timeout=30).cluster_id == local.cluster_id
        with pytest.raises(KafkaException):
            wrong.list_topics(timeout=2)


def test_altered_jar_is_refused(tmp_path: Path) -> None:
    """A directory whose jars are not byte for byte the locked ones is not used."""
    for name in provision.locked_digests():
        (tmp_path / name).write_bytes(b"not a jar")

    with pytest.raises(ConfigError, match="kafka-clients"):
        provision.verify(tmp_path)
