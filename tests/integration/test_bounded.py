"""Runs that end by themselves: where they end, and what they say of it."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource

from tests.components import Kafka
from tests.conftest import DatabaseFactory, TopicFactory
from tests.deployment import Deployment
from tests.integration.test_delivery_kafka import Member, produce, read_all
from tests.program import said
from worker.pipeline.options import Bounds

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def ids(kafka: Kafka, topic: str, count: int) -> list[int]:
    return sorted(i for _, i in read_all(kafka, topic, lambda found: len(found) >= count))


def until_stable(kafka: Kafka, topic: str, ends: dict[int, int]) -> None:
    """Wait until the last stable offsets are these."""
    consumer = Consumer({**kafka.client, "group.id": f"ends-{topic}", "isolation.level": "read_committed"})
    deadline = time.monotonic() + 30
    try:
        while {p: (consumer.get_watermark_offsets(TopicPartition(topic, p), 10) or (0, -1))[1] for p in ends} != ends:
            assert time.monotonic() < deadline
    finally:
        consumer.close()


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_a_run_ends_behind_markers_aborted_records_and_empty_partitions(
    kafka: Kafka, topic: TopicFactory, mode: str
) -> None:
    """Offsets without a record are no records to wait for: the run ends, complete, with what was committed."""
    source, sink = topic(partitions=4), topic(partitions=4)
    producer = Producer({**kafka.client, "transactional.id": f"input-{source}"})
    producer.init_transactions(30)
    for first in (0, 10, 20):
        producer.begin_transaction()
        for i in range(first, first + 10):
            # Partition 0 ends in aborted records and a marker, 1 in a marker, 2 has aborted records only, 3 nothing.
            producer.produce(source, str(i).encode(), b"k", 0 if i % 2 else 1 if first < 20 else 2)
        assert producer.flush(30) == 0
        if first < 20:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    # The markers are written after the transaction's end was answered.
    until_stable(kafka, source, {0: 18, 1: 12, 2: 6, 3: 0})
    member = Member(kafka, source, sink, mode=mode, bounded=True).start()

    member.join()

    progress = member.runner.progress()
    assert member.error is None
    assert ids(kafka, sink, 20) == list(range(20))
    assert progress.is_complete
    assert progress.outcomes == {"encrypted": 20}
    assert {p.partition: (s.start, s.end) for p, s in progress.spans.items()} == {
        0: (0, 18), 1: (0, 12), 2: (0, 6), 3: (0, 0)
    }  # fmt: skip


@pytest.mark.heavy
def test_a_run_passes_the_gaps_of_compaction(kafka: Kafka, topic: TopicFactory) -> None:
    """A partition whose records were compacted away in the middle is read to its end."""
    admin = AdminClient(dict(kafka.client))
    broker = ConfigResource(ConfigResource.Type.BROKER, str(next(iter(admin.list_topics(timeout=30).brokers))))
    often = ConfigEntry("log.cleaner.backoff.ms", "200", incremental_operation=AlterConfigOpType.SET)
    broker.add_incremental_config(often)
    admin.incremental_alter_configs([broker])[broker].result(30)
    rolling = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    source, sink = topic(config=rolling), topic()
    producer = Producer(dict(kafka.client))
    producer.produce(source, b"1000000", b"a key of its own", 0)
    assert producer.flush(30) == 0
    produced = 0
    deadline = time.monotonic() + 100
    # What is cleaned lies in rolled segments only, so that records must go on coming.
    while (kept := offsets(kafka, source))[-1] - kept[0] == len(kept) - 1:
        assert time.monotonic() < deadline, kept
        produce(kafka, source, range(produced, produced + 21), partitions=1)
        produced += 21
    member = Member(kafka, source, sink, bounded=True).start()

    member.join()

    progress = member.runner.progress()
    assert progress.is_complete
    assert 0 < progress.records < produced
    found = ids(kafka, sink, progress.records)
    assert (len(found), found[-2:]) == (progress.records, [produced - 1, 1_000_000])


def offsets(kafka: Kafka, topic: str) -> list[int]:
    """Return the offsets that partition 0 has records at."""
    options = {"group.id": f"raw-{topic}", "enable.partition.eof": True, "enable.auto.commit": False}
    consumer = Consumer({**kafka.client, **options})
    found: list[int] = []
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while True:
            for message in consumer.consume(1000, 0.2):
                if message.error() is not None:
                    return found
                found.append(message.offset() or 0)
    finally:
        consumer.close()


def test_a_run_to_a_time_past_the_end_ends_at_the_end(kafka: Kafka, topic: TopicFactory) -> None:
    """A bound that nothing has reached yet is the present end, not something to wait for."""
    source, sink = topic(partitions=4), topic(partitions=4)
    produce(kafka, source, range(100))
    tomorrow = int((time.time() + 86_400) * 1000)
    member = Member(kafka, source, sink, bounds=Bounds(until_ms=tomorrow)).start()

    member.join()

    assert ids(kafka, sink, 100) == list(range(100))
    assert member.runner.progress().is_complete


def test_members_that_share_a_bounded_run_read_everything_once(kafka: Kafka, topic: TopicFactory) -> None:
    """Two members, four partitions, one run: whoever gets what, nothing is left out and nothing doubled."""
    source, sink = topic(partitions=4), topic(partitions=4)
    produce(kafka, source, range(4000))
    members = [Member(kafka, source, sink, instance=f"w{i}", bounded=True).start() for i in range(2)]

    for member in members:
        member.join()

    assert [member.error for member in members] == [None, None]
    assert ids(kafka, sink, 4000) == list(range(4000))


def test_the_command_ends_before_a_time_and_says_what_it_did(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """`--to` leaves what came later to the next run; the summary counts, and no bar is drawn off a terminal."""
    site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    site.prepare(partitions=2)
    schema_id, first = site.write_customers(1, 300)
    border = int(time.time()) + 1
    while time.time() < border:
        time.sleep(0.01)
    _, second = site.write_customers(2, 200)
    settings = site.settings(schema_id)
    to = datetime.fromtimestamp(border, UTC).strftime("%Y-%m-%dT%H:%M:%S")

    # A machine's own zone must not move the border.
    early = run(site, settings, "--to", to, "--json", TZ="Asia/Tokyo")
    rest = run(site, settings, "--until-end")

    told = json.loads(early.stdout)
    assert (early.returncode, rest.returncode) == (0, 0), (early.stderr[-2000:], rest.stderr[-2000:])
    assert (told["records"], told["encrypted"], told["dead"], told["complete"]) == (600, 600, 0, True)
    assert all(p["start"] == 0 and p["next"] == p["end"] for route in told["routes"] for p in route["positions"])
    assert "400 records in" in rest.stdout
    assert "━" not in early.stderr + rest.stderr
    assert sorted((key or b"").decode() for key, _, _ in site.read(site.sink)) == sorted(first | second)


def run(site: Deployment, settings: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return said({**site.environ, **environ}, "run", "--config", str(settings), *arguments)
