"""What happens once in years, each once on real components: clocks that leap, topics made anew, disks that fill."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fastavro
import pytest
from confluent_kafka import ElectionType, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment, headers
from tests.faults.stand import Clock, make_clock
from tests.integration.test_delivery_kafka import REGION, Member, produce, read_all
from tests.integration.test_processes import running
from tests.program import worker
from tests.running import arrived, each_once, until
from worker.demo.customers import SCHEMA, Population, customers
from worker.kafka.properties import connection_properties
from worker.local import LocalKafka
from worker.metrics import Metrics
from worker.sink.base import SinkRoute
from worker.sink.kafka import KafkaSink, KafkaSinkOptions

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(300)]

_LARGE = 40 << 20


def site_on(kafka: Kafka, dsn: str, authority: dict[str, str], directory: Path, **more: object) -> Deployment:
    made = Deployment(kafka=kafka, dsn=dsn, authority=authority, directory=directory, **more)  # type: ignore[arg-type]
    made.prepare()
    return made


@pytest.fixture
def dsn(new_database: DatabaseFactory) -> str:
    return new_database(region="eu-central-1")


@pytest.fixture
def leaping(kafka: Kafka, dsn: str, authority: dict[str, str], tmp_path: Path) -> tuple[Clock, Deployment, int]:
    """A clock that leaps, a site whose workers go by it, and its schema's id, of which 200 records lie ready."""
    clock = make_clock(tmp_path)
    if clock is None:
        pytest.skip("there is no C compiler: apt-get install gcc")
    site = site_on(kafka, dsn, authority, tmp_path, secrets=clock.environ)
    return clock, site, site.write_customers(1, 200)[0]


def test_a_wall_clock_that_leaps_by_hours_stops_nothing(leaping: tuple[Clock, Deployment, int]) -> None:
    """Five hours ahead, then ten back, in mid-stream: each record once, no route paused for long, no restart."""
    clock, site, schema_id = leaping

    with running(site, site.settings(schema_id)) as worker:
        worker.until(lambda: arrived(site, 200), "before")
        for seed, leap in enumerate((5, -5, 0), start=2):
            clock.leap(leap)
            site.write_customers(seed, 200)
            worker.until(lambda seed=seed: arrived(site, 200 * seed), f"{leap:+} h")  # type: ignore[misc]
        worker.process.terminate()
        code = worker.process.wait(60)

    assert code == 0, worker.text()[-3000:]
    each_once(site, 800)


def members(admin: AdminClient, group: str) -> set[str]:
    """The ids of a group's members, as its coordinator has them."""
    described = admin.describe_consumer_groups([group])[group].result(30)
    return {member.member_id for member in described.members}


_JOINS = """
import json, sys
from confluent_kafka import Consumer
consumer = Consumer(json.loads(sys.argv[1]))
consumer.subscribe([sys.argv[2]], on_assign=lambda *_: print("joined", flush=True))
while True:
    consumer.poll(1)
"""


def outlast_a_session(kafka: Kafka, topic: str, session_s: int) -> None:
    """Return once the brokers have given up a member of a group of its own, which died with a session so long."""
    group = f"dead-{topic}"
    settings = {**kafka.client, "group.id": group, "session.timeout.ms": session_s * 1000}
    command = [sys.executable, "-c", _JOINS, json.dumps(settings), topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as dying:
        assert dying.stdout is not None
        assert dying.stdout.readline() == b"joined\n"
        dying.kill()
    admin = AdminClient(kafka.client)
    until(lambda: not members(admin, group), "a session is over")


def test_a_wall_clock_that_leaps_back_takes_no_member_out_of_a_group_at_rest(
    kafka: Kafka, leaping: tuple[Clock, Deployment, int]
) -> None:
    """librdkafka waits until times of day: no heartbeat would be sent for six hours, and nothing read."""
    clock, site, schema_id = leaping
    groups, admin = (f"topic-{site.name}", f"table-{site.name}"), AdminClient(kafka.client)

    with running(site, site.settings(schema_id), "--processes", "2") as worker:
        worker.until(lambda: arrived(site, 200), "before")
        worker.until(lambda: all(len(members(admin, group)) == 2 for group in groups), "both processes have joined")
        before = [members(admin, group) for group in groups]
        clock.leap(-6)
        outlast_a_session(kafka, site.source, 12)
        assert [members(admin, group) for group in groups] == before
        assert worker.get("/healthz").status_code == 200
        site.write_customers(2, 200)
        worker.until(lambda: arrived(site, 400), "after")

    each_once(site, 400)
    assert {event["seconds"] for event in worker.events("clock_leapt")} == {-21_600.0}


def remade(site: Deployment) -> None:
    """Delete the source's topic, and make another one of its name."""
    admin = AdminClient(site.kafka.client)
    admin.delete_topics([site.source])[site.source].result(30)
    until(lambda: site.source not in admin.list_topics(timeout=10).topics, "the topic is gone")
    site.kafka.create_topic(site.source, partitions=2)


def test_a_topic_made_again_stops_a_running_worker(
    kafka: Kafka, dsn: str, authority: dict[str, str], tmp_path: Path
) -> None:
    """Another topic of the same name has other offsets: the worker stops, and what it had written stays."""
    site = site_on(kafka, dsn, authority, tmp_path)
    schema_id, _ = site.write_customers(1, 100)

    with running(site, site.settings(schema_id, changes="[delivery]\nverify_interval_s = 1\n")) as worker:
        worker.until(lambda: arrived(site, 100), "before")
        remade(site)
        code = worker.process.wait(90)

    assert code == 3
    assert "OffsetLost" in worker.text()
    each_once(site, 100)


def test_a_topic_made_again_meanwhile_is_not_read(
    kafka: Kafka, dsn: str, authority: dict[str, str], tmp_path: Path
) -> None:
    """A table's positions name the topic they are of; those of another one start nothing, and move nothing."""
    site = site_on(kafka, dsn, authority, tmp_path)
    schema_id, _ = site.write_customers(1, 100)
    settings = site.settings(schema_id)
    with running(site, settings) as before:
        before.until(lambda: arrived(site, 100), "before")
        before.process.terminate()
        assert before.process.wait(60) == 0
    remade(site)
    site.write_customers(2, 100)

    again = worker(site.environ, "run", "--config", str(settings), timeout_s=120)

    assert again.returncode == 3, again.stderr[-3000:]
    assert b"OffsetLost" in again.stderr
    assert len(site.rows()) == 100


def test_a_record_beyond_the_bound_becomes_a_letter(
    kafka: Kafka, dsn: str, authority: dict[str, str], tmp_path: Path
) -> None:
    """A record of 17 MiB, over `max_record_bytes`, is sealed and told; those before and after it are delivered."""
    site = Deployment(kafka=kafka, dsn=dsn, authority=authority, directory=tmp_path)
    site.prepare_table()
    for topic, room in ((site.source, 0), (site.sink, 0), (site.dead, 1 << 20)):
        kafka.create_topic(topic, partitions=2, config={"max.message.bytes": str(_LARGE + room)})
    schema_id, _ = site.write_customers(1, 50)
    producer = Producer({**kafka.client, "message.max.bytes": _LARGE})
    large = io.BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
    large.seek(5)
    record = next(iter(customers(Population({"DE": "de_DE"}, seed=3), 1)))
    fastavro.schemaless_writer(large, json.loads(SCHEMA), {**record, "name": "n" * (17 << 20)})
    producer.produce(site.source, large.getvalue(), b"large", 0)
    assert producer.flush(60) == 0
    site.write_customers(2, 50)

    with running(site, site.settings(schema_id)) as worker:
        worker.until(lambda: arrived(site, 100), "all but one")
        worker.until(lambda: len(site.messages(site.dead)) >= 2, "a letter a route")

    codes = {value for message in site.messages(site.dead) for name, value in headers(message) if "code" in name}
    assert codes == {b"too_large"}
    each_once(site, 100)


@pytest.fixture
def three() -> Iterator[LocalKafka]:
    with LocalKafka(3) as local:
        yield local


def cluster(local: LocalKafka) -> Kafka:
    return Kafka(local.bootstrap, local.cluster_id, dict(local.properties))


def coordinators(admin: AdminClient) -> dict[tuple[str, int], int]:
    """Who leads the partitions of the coordinators' topics."""
    topics = admin.list_topics(timeout=20).topics
    return {
        (name, number): partition.leader
        for name in ("__consumer_offsets", "__transaction_state")
        for number, partition in topics[name].partitions.items()
    }


def test_coordinators_that_move_cost_nothing(
    three: LocalKafka, dsn: str, authority: dict[str, str], tmp_path: Path
) -> None:
    """The group's and the transactions' coordinators go with a broker, and come back by an election, under load."""
    site = site_on(cluster(three), dsn, authority, tmp_path)
    schema_id, _ = site.write_customers(1, 200)
    admin = AdminClient(site.kafka.client)

    with running(site, site.settings(schema_id)) as worker:
        worker.until(lambda: arrived(site, 200), "before")
        before = coordinators(admin)
        three.kill(0)
        site.write_customers(2, 200)
        worker.until(lambda: arrived(site, 400), "one broker less")
        three.restart(0)
        until(lambda: _elected(admin, before), "the coordinators are back where they were")
        site.write_customers(3, 200)
        worker.until(lambda: arrived(site, 600), "moved back")
        worker.process.terminate()
        code = worker.process.wait(60)

    assert code == 0, worker.text()[-3000:]
    each_once(site, 600)


def test_a_groups_coordinator_that_dies_between_batches_is_not_waited_for(three: LocalKafka) -> None:
    """A producer that had it for its group's takes another one as soon as there is one, long before its timeout."""
    kafka = cluster(three)
    source, sink = kafka.create_topic(partitions=4), kafka.create_topic(partitions=4)
    member = Member(kafka, source, sink)
    member.sink.close()
    patient = KafkaSinkOptions(topic=sink, create=True, timeout_s=250)
    route, connection = SinkRoute("r", REGION, topics=(source,)), connection_properties(kafka.bootstrap, {})
    member.use(KafkaSink(patient, route, connection, transactional_id=f"worker.{source}", metrics=Metrics(REGION)))
    member.start()
    produce(kafka, source, range(200))
    read_all(kafka, sink, lambda ids: len(ids) >= 200)
    admin = AdminClient(kafka.client)
    coordinator = admin.describe_consumer_groups([f"group-{source}"])[f"group-{source}"].result(30).coordinator.id
    three.kill(coordinator - 1)
    until(lambda: coordinator not in admin.list_topics(timeout=20).brokers, "the brokers have given it up")
    produce(kafka, source, range(200, 400))

    found = read_all(kafka, sink, lambda ids: len(ids) >= 400)
    member.stop()

    assert sorted(i for _, i in found) == list(range(400))


def _elected(admin: AdminClient, wanted: dict[tuple[str, int], int]) -> bool:
    admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(*place) for place in wanted]).result(30)
    return coordinators(admin) == wanted


@contextlib.contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A file system of its own, of a given size."""
    directory = Path(os.environ.get("TMPDIR", "/tmp")) / f"disk-{os.getpid()}"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        directory.rmdir()
        pytest.skip("mounting a small file system needs root")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)
        directory.rmdir()


def test_a_full_disk_of_the_broker_is_waited_out(
    dsn: str, authority: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A broker that dies of a full disk is an outage: the worker waits, and goes on once there is room.

    Where the only replica lost what it had of the group, a static member is refused, and one started again is not.
    """
    with small_disk("400m") as disk:
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        with LocalKafka() as local:
            monkeypatch.undo()
            site = site_on(cluster(local), dsn, authority, tmp_path)
            schema_id, _ = site.write_customers(1, 200)
            with running(site, site.settings(schema_id)) as worker:
                worker.until(lambda: arrived(site, 200), "before")
                worker.process.send_signal(signal.SIGSTOP)
                site.write_customers(2, 2_000)
                _fill(disk)
                worker.process.send_signal(signal.SIGCONT)
                worker.until(lambda: not local.is_running(), "the broker is dead of it")
                assert worker.process.poll() is None
                (disk / "ballast").unlink()
                local.restart()
                until(lambda: arrived(site, 2_200) or worker.process.poll() == 5, "there is room again")
                worker.process.terminate()
                assert worker.process.wait(60) in (0, 5), worker.text()[-3000:]
            with running(site, site.settings(schema_id)) as worker:
                worker.until(lambda: arrived(site, 2_200), "started again")
            each_once(site, 2_200)


def _fill(disk: Path) -> None:
    with (disk / "ballast").open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
            file.flush()
