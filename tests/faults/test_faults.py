"""SIGKILL at every named place, and members that come and go: nothing lost, nothing doubled where that is promised."""

from __future__ import annotations

import os
import random

import psycopg
import pytest

from tests.components import Kafka
from tests.conftest import DatabaseFactory, TopicFactory
from tests.faults.checker import findings
from tests.faults.member import REGION, Spec
from tests.faults.suite import FENCED, KILLED, LANES, PLACES, Drive
from worker.metrics import Metrics
from worker.sink.postgres import PostgresSink, PostgresSinkOptions

pytestmark = [pytest.mark.integration, pytest.mark.fault]

TOPOLOGIES = ("kafka-exactly-once", "kafka-at-least-once", "postgres")


def drive(topology: str, kafka: Kafka, topic: TopicFactory, new_database: DatabaseFactory, seed: int) -> Drive:
    source = topic(partitions=LANES)
    sink, dsn = (topic(partitions=LANES), "") if topology != "postgres" else ("copies", new_database(region=REGION))
    mode = "at-least-once" if topology == "kafka-at-least-once" else "exactly-once"
    if dsn:
        prepare(dsn)
    return Drive(
        kafka, Spec(kafka.bootstrap, kafka.cluster_id, kafka.properties, source, sink, "w0", mode, dsn=dsn), seed
    )


def prepare(dsn: str) -> None:
    sink = PostgresSink(
        PostgresSinkOptions(table="copies"),
        dsn=dsn,
        region=REGION,
        group="g",
        cluster_id="c",
        topic_ids=lambda name: name,
        instance="w0",
        route="r",
        metrics=Metrics(REGION),
    )
    sink.ensure_schema()
    sink.close()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE copies (id bigint, lane int, _topic text NOT NULL, _partition int NOT NULL, "
            "_offset bigint NOT NULL, _timestamp timestamptz)"
        )


def is_exact(topology: str) -> bool:
    return topology != "kafka-at-least-once"


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(2**31))
    print(f"SOAK_SEED={chosen}")
    return chosen


@pytest.mark.timeout(180)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_kills_at_named_places_lose_nothing(
    topology: str, kafka: Kafka, topic: TopicFactory, new_database: DatabaseFactory, seed: int
) -> None:
    """A worker that is killed twice at named places leaves, once it finishes, what the topology promises."""
    run = drive(topology, kafka, topic, new_database, seed)
    places = run.random.sample(PLACES, 2)
    print("places", places)
    for place in places:
        run.produce(1500)
        run.killed(place, run.random.randint(2, 4))

    run.finish()

    assert findings(range(run.produced), run.found(), exactly_once=is_exact(topology)) == [], (seed, places)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_soak(topology: str, kafka: Kafka, topic: TopicFactory, new_database: DatabaseFactory, seed: int) -> None:
    """Hundreds of thousands of records, every place, members that join, leave and die: the promise holds."""
    run = drive(topology, kafka, topic, new_database, seed)
    rounds = int(os.environ.get("SOAK_ROUNDS", "3"))
    for turn in range(rounds):
        for place in run.random.sample(PLACES, len(PLACES)):
            run.produce(10_000)
            hit = run.random.randint(1, 20)
            with run.member("w0", f"{place}=kill@{hit}") as dying, run.member("w1") as staying:
                run.produce(5_000)
                assert dying.wait(120) in (KILLED, FENCED), run.logs()
                staying.terminate()
                assert staying.wait(60) == 0, run.logs()
        run.finish()
        wrong = findings(range(run.produced), run.found(), exactly_once=is_exact(topology))
        print(f"{topology}: round {turn + 1}, {run.produced} records, findings {wrong}")
        assert wrong == [], seed
