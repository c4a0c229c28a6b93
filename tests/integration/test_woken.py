"""A route that waits for records hears at once what else there is to hear."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.integration.test_delivery_holes import Told
from worker.kafka.properties import Property
from worker.native import IS_LOADED
from worker.source import confirmation
from worker.source.kafka import KafkaSource
from worker.source.options import SourceOptions
from worker.source.properties import GroupMember

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not IS_LOADED, reason="needs the native module: cargo, then `pip install -e .`"),
]
FOR_EVER_S = 3600.0


def member(kafka: Kafka, topic: str, instance: str, **properties: Property) -> tuple[KafkaSource, Told]:
    connection = {**kafka.client, **properties}
    source = KafkaSource(SourceOptions(topics=(topic,)), GroupMember(f"group-{topic}", instance), connection)
    told = Told()
    source.subscribe(told)
    return source, told


def place(source: KafkaSource, told: Told) -> None:
    """Let a group's only member begin to read its partitions."""
    seek(source, told)
    source.resume(source.partitions())


def seek(source: KafkaSource, told: Told) -> None:
    """Let a group's only member know where its partitions begin."""
    while "assigned" not in told.events:
        source.poll(1, 0.05)
    positions = dict.fromkeys(source.partitions(), 0)
    while positions:
        for placed in source.seek(positions):
            del positions[placed]
        source.poll(1, 0.05)


@pytest.fixture
def reader(kafka: Kafka) -> Iterator[tuple[KafkaSource, Told, str]]:
    """The only member of its group, which has placed its partitions and waits."""
    topic = kafka.create_topic(partitions=2)
    source, told = member(kafka, topic, "w0")
    place(source, told)
    yield source, told, topic
    source.close()


def test_a_wait_ends_when_it_is_woken(reader: tuple[KafkaSource, Told, str]) -> None:
    """One that is under way, or the next one."""
    source, _, _ = reader

    source.wake()
    assert source.poll(1, FOR_EVER_S) is None
    threading.Timer(0.2, source.wake).start()
    assert source.poll(1, FOR_EVER_S) is None


def test_a_wait_ends_when_the_group_moves(kafka: Kafka, reader: tuple[KafkaSource, Told, str]) -> None:
    """A member that joins gets its share although the other one has nothing to read."""
    source, told, topic = reader
    other, given = member(kafka, topic, "w1")
    done = threading.Event()

    def poll() -> None:
        while "assigned" not in given.events and not done.is_set():
            other.poll(1, 0.05)

    joining = threading.Thread(target=poll)
    joining.start()
    while "revoked" not in told.events:
        source.poll(1, FOR_EVER_S)
    while joining.is_alive():
        source.poll(1, 0.05)
    done.set()
    other.close()

    assert given.events[0] == "assigned"


def test_no_batch_waits_for_a_fetch_under_way(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who the cluster is was asked before the first fetch; the next one is under way for half a minute."""
    # A broker that is busy takes longer than a worker would wait for, which then asks before its first batch.
    monkeypatch.setattr(confirmation, "_AHEAD_S", 20.0)
    topic = kafka.create_topic()
    source, told = member(kafka, topic, "w0", **{"fetch.wait.max.ms": 30_000})
    seek(source, told)
    # A fetch that went out before the partition was paused has an answer now, and no other one follows.
    producer = Producer(kafka.client)
    producer.produce(topic, b"v")
    assert producer.flush(30) == 0
    source.resume(source.partitions())
    while source.poll(10, 0.05) is None:
        continue
    # Longer than a broker takes for the next fetch to arrive there.
    assert source.poll(10, 0.5) is None

    source.confirm()

    source.close()
