"""The watch and the judge are proven on real brokers and a real database: each finds what was planted there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.faults.records import PARTITIONS, Input
from tests.faults.stand import REGION, TOPOLOGIES, Place, Stand, prepare
from tests.faults.verdict import Judge
from tests.faults.watch import TableWatch, TopicWatch, Watch

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(120)]
COUNT = 600


@pytest.fixture
def stand(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Stand:
    return Stand(kafka, new_database(region=REGION), authority, tmp_path)


def filled(stand: Stand, place: Place) -> Input:
    """Produce `COUNT` records."""
    given = Input(stand.kafka.client, place.source, seed=1, lanes=30)
    given.allow(COUNT)
    thread = threading.Thread(target=given.run, args=(1e6,))
    thread.start()
    while given.produced < COUNT:
        thread.join(0.01)
    given.stop()
    thread.join()
    return given


def copy(stand: Stand, place: Place, given: Input, *, skip: int) -> None:
    """Write to the sink what a worker without any encryption would, leaving out the last records."""
    producer = Producer(stand.kafka.client)
    for i in given.of("good")[: -skip or None]:
        lane = given.lane[i]
        producer.produce(place.target, given.value(i), str(lane), lane % PARTITIONS)
    assert producer.flush(30) == 0


def commit(stand: Stand, place: Place, given: Input) -> None:
    consumer = Consumer({**stand.kafka.client, "group.id": place.group})
    consumer.commit(offsets=[TopicPartition(place.source, p, at) for p, at in given.ends().items()], asynchronous=False)
    consumer.close()


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let it look at least once."""
    watch.start()
    yield
    watch.close()
    assert watch.looks


def test_a_position_ahead_of_the_topic_is_seen(stand: Stand) -> None:
    """Offsets that are committed for records which the sink's topic does not hold are a finding."""
    place = prepare(stand, TOPOLOGIES["kafka-at-least-once"], "ahead")
    given = filled(stand, place)
    copy(stand, place, given, skip=7)
    commit(stand, place, given)

    with watching(watch := TopicWatch(stand, place, given)):
        pass

    assert any("committed before they were durable" in each for each in watch.findings)


@pytest.mark.parametrize("topology", ["postgres-append", "postgres-upsert"])
def test_a_position_ahead_of_the_table_is_seen(stand: Stand, topology: str) -> None:
    """A position in `worker.offsets` whose rows are not in the same snapshot is a finding."""
    place = prepare(stand, TOPOLOGIES[topology], topology)
    given = filled(stand, place)
    with psycopg.connect(stand.dsn) as connection:
        for p, at in given.ends().items():
            connection.execute(
                "INSERT INTO worker.offsets (group_id, topic, partition, topic_id, cluster_id, next_offset, owner) "
                "VALUES (%s, %s, %s, 't', 'c', %s, 'w')",
                [place.group, place.source, p, at],
            )

    with watching(watch := TableWatch(stand, place, given)):
        pass

    assert any("missing" in each for each in watch.findings)


def test_the_judge_finds_everything_that_a_copy_without_encryption_does_wrong(stand: Stand) -> None:
    """Plaintexts, values that do not decrypt, missing poison, a doubled record and an empty ledger are each named."""
    place = prepare(stand, TOPOLOGIES["kafka-exactly-once"], "clear")
    given = filled(stand, place)
    copy(stand, place, given, skip=0)
    copy(stand, place, given, skip=COUNT - 9)

    wrong = Judge(stand, place, given, {}, sample=10).judge().findings

    for words in ("in the clear: topic", "does not decrypt", "dead letters: 1 missing", "more than once", "the ledger"):
        assert any(words in each for each in wrong), (words, wrong)
