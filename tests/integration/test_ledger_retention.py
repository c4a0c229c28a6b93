"""A ledger that is trimmed goes on, verifies, and shows who cut it short instead."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.conftest import DatabaseFactory, TopicFactory
from tests.deployment import Deployment
from tests.program import worker
from worker.errors import FatalError
from worker.sink.base import LedgerRow
from worker.sink.checkpoint import ChainReport
from worker.sink.kafka.retention import LedgerTopic
from worker.sink.ledger import Chain

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

KEYSET = uuid.uuid4()
NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=1)


def row(first: int) -> LedgerRow:
    """One batch of ten records under two keys."""
    return LedgerRow(uuid.uuid4(), (uuid.uuid4(),), KEYSET, "leased", 2, 10, "t", 0, first, first + 9, "1")


def key_of(keyset: uuid.UUID) -> bytes:
    """The region's index keys."""
    return keyset.bytes * 2


@pytest.fixture
def table(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    """A worker with a route into a table only."""
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    made.prepare()
    return made


def settings(site: Deployment, schema_id: int) -> str:
    """The settings, without the route into a topic: its ledger is one with that of other tests."""
    path = site.settings(schema_id)
    head, _, tail = path.read_text().partition("[[routes]]")
    path.write_text(head + "[[routes]]" + tail.split("[[routes]]")[1], encoding="utf-8")
    return str(path)


def run(site: Deployment, path: str) -> None:
    """Read what lies there now."""
    ended = worker(site.environ, "run", "--config", path, "--until-end", "--json")
    assert ended.returncode == 0, ended.stderr[-3000:]


def test_a_table_is_trimmed_verified_and_goes_on(table: Deployment) -> None:
    """By the commands: what is removed stays counted, later batches link to it, and a cut by hand is found."""
    schema_id, _ = table.write_customers(1, 40)
    path = settings(table, schema_id)
    run(table, path)
    table.write_customers(2, 40)
    run(table, path)
    before = json.loads(worker(table.environ, "ledger", "verify", "--config", path, "--json").stdout)

    trimmed = worker(table.environ, "ledger", "trim", "--config", path, "--before", LATER.strftime("%Y-%m-%dT%H:%M:%S"))
    table.write_customers(3, 40)
    run(table, path)
    after = json.loads(worker(table.environ, "ledger", "verify", "--config", path, "--json").stdout)

    assert trimmed.returncode == 0, trimmed.stderr
    assert "removed behind a checkpoint" in trimmed.stdout.decode()
    assert [c["removed"] for c in before] == [0, 0]
    assert all(c["removed"] >= 1 for c in after)
    assert sum(c["values"] for c in after) > sum(c["values"] for c in before)
    with psycopg.connect(table.dsn, autocommit=True) as connection:
        connection.execute(
            "DELETE FROM worker.ledger l WHERE NOT EXISTS "
            "(SELECT FROM worker.ledger m WHERE m.chain = l.chain AND m.sequence < l.sequence)"
        )
    cut = worker(table.environ, "ledger", "verify", "--config", path)
    assert cut.returncode == 3
    assert "is broken before entry" in cut.stderr.decode()


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE worker.ledger_checkpoint SET values = values - 1",
        "UPDATE worker.ledger_checkpoint SET sequence = sequence + 1",
        "DELETE FROM worker.ledger_checkpoint",
    ],
)
def test_a_checkpoint_is_not_made_by_who_has_no_keys(table: Deployment, tampering: str) -> None:
    """The database's administrator can't cut a chain short behind a checkpoint of their own."""
    schema_id, _ = table.write_customers(1, 40)
    path = settings(table, schema_id)
    run(table, path)
    table.write_customers(2, 40)
    run(table, path)
    worker(table.environ, "ledger", "trim", "--config", path, "--before", LATER.strftime("%Y-%m-%dT%H:%M:%S"))
    with psycopg.connect(table.dsn, autocommit=True) as connection:
        connection.execute(tampering.replace("values", '"values"'))

    found = worker(table.environ, "ledger", "verify", "--config", path)

    assert found.returncode == 3
    assert (
        "checkpoint is not this region's" in found.stderr.decode() or "is broken before entry" in found.stderr.decode()
    )


def write(kafka: Kafka, topic: str, chain: Chain, firsts: range, at: datetime = NOW) -> None:
    """Append entries as a sink does."""
    producer = Producer({**kafka.client, "enable.idempotence": True})
    for first in firsts:
        entries = chain.link([row(first)])
        for entry in entries:
            stamp = int(at.timestamp() * 1000)
            producer.produce(topic, entry.as_json(), chain.name.encode(), timestamp=stamp)
        chain.kept(entries)
    assert producer.flush(30) == 0


def ledger(kafka: Kafka, topic: str) -> LedgerTopic:
    return LedgerTopic(topic, kafka.client, kafka.cluster_id, key_of)


def test_a_topic_is_trimmed_twice_verified_and_goes_on(kafka: Kafka, topic: TopicFactory) -> None:
    """A chain that goes on links to what was removed, one that has ended stays counted, over several trims."""
    name = topic()
    ended, living = Chain(), Chain()
    write(kafka, name, ended, range(3))
    write(kafka, name, living, range(5))
    kept = ledger(kafka, name)

    list(kept.trim(LATER, KEYSET))
    write(kafka, name, living, range(5, 7))
    list(kept.trim(LATER, KEYSET))
    write(kafka, name, living, range(7, 9))
    found = {report.chain: report for report in kept.verify()}

    assert found[ended.name] == ChainReport(ended.name, 0, 3, 6, 30)
    assert found[living.name] == ChainReport(living.name, 2, 7, 18, 90)


def test_a_topic_is_cut_at_a_time(kafka: Kafka, topic: TopicFactory) -> None:
    """Only what is older goes."""
    name = topic()
    chain = Chain()
    write(kafka, name, chain, range(3), NOW - timedelta(hours=2))
    write(kafka, name, chain, range(3, 5))

    reports = list(ledger(kafka, name).trim(NOW - timedelta(hours=1), KEYSET))

    assert reports == [ChainReport(chain.name, 2, 3, 10, 50)]


def test_nothing_old_is_nothing_removed(kafka: Kafka, topic: TopicFactory) -> None:
    """Where no entry is older, the topic stays as it is, without a checkpoint."""
    name = topic()
    chain = Chain()
    write(kafka, name, chain, range(3))

    reports = list(ledger(kafka, name).trim(NOW - timedelta(hours=1), KEYSET))

    assert reports == [ChainReport(chain.name, 3, 0, 6, 30)]
    assert [link["sequence"] for link in documents(ledger(kafka, name))] == [0, 1, 2]


def documents(kept: LedgerTopic) -> list[dict[str, object]]:
    """Every message of the topic."""
    return [json.loads(record.value or b"") for record in kept._records()]


def test_a_topic_that_others_cut_does_not_verify(kafka: Kafka, topic: TopicFactory) -> None:
    """A checkpoint signed with other keys, or none, is no beginning of a chain."""
    name = topic()
    chain = Chain()
    write(kafka, name, chain, range(3))
    forger = LedgerTopic(name, kafka.client, kafka.cluster_id, lambda _: bytes(32))
    list(forger.trim(LATER, KEYSET))

    with pytest.raises(FatalError, match="checkpoint is not this region's"):
        list(ledger(kafka, name).verify())


def test_what_does_not_verify_is_not_removed(kafka: Kafka, topic: TopicFactory) -> None:
    """A broken chain stays as the evidence that it is."""
    name = topic()
    chain = Chain()
    write(kafka, name, chain, range(2))
    chain.kept(chain.link([row(7)]))
    write(kafka, name, chain, range(3, 5))
    kept = ledger(kafka, name)

    with pytest.raises(FatalError, match="is broken before entry 2"):
        list(kept.trim(LATER, KEYSET))

    assert len(documents(kept)) == 4
