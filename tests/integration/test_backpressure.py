"""A sink far slower than the source: the worker waits with what it holds, and what it holds is bounded."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.program import start, worker
from tests.proxy import Proxy
from worker import config
from worker.avro.reader import zigzag
from worker.config import Settings

pytestmark = pytest.mark.integration
PARTITIONS = 4
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "acme.Event",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "body", "type": "string", "encrypted": {"format": "leased"}},
        ],
    }
)


@dataclass(frozen=True, slots=True)
class Load:
    """
    What runs through the worker.

    Args:
        records: how many.
        body_bytes: of each record's encrypted field.
        sink_bytes_s: what the way to the database lets through.
        options: TOML of `[delivery]` and of the route's source.
    """

    records: int
    body_bytes: int
    sink_bytes_s: float
    delivery: str = ""
    source: str = ""


SMALL = Load(
    12_000, 6_000, 8e6, "max_records = 1_000\nmax_bytes = 1_048_576", "queue_bytes = 1_048_576, fetch_bytes = 262_144, "
)
MILLION = Load(1_000_000, 24, 600_000)
LARGE = Load(10_000, 30_000, 2e7)


def bound_bytes(settings: Settings, record_bytes: int) -> float:
    """The bound that docs/delivery.md states, from the options."""
    delivery, source = settings.delivery, settings.routes[0].source
    batch = delivery.max_records * 3_000 + (delivery.max_bytes + source.queue_bytes) * 3
    ahead = min(100_000, source.queue_bytes / record_bytes)
    return 140e6 + 2 * batch + 2 * source.queue_bytes + ahead * 500


def fill(kafka: Kafka, topic: str, load: Load) -> None:
    producer = Producer({**kafka.client, "linger.ms": 20, "queue.buffering.max.messages": 200_000})
    for n in range(load.records):
        body = f"{n:08}".encode().ljust(load.body_bytes, b".")
        producer.produce(topic, b"\0\0\0\0\1" + zigzag(n) + zigzag(len(body)) + body, str(n).encode(), n % PARTITIONS)
        if not n % 10_000:
            producer.flush(60)
    assert producer.flush(60) == 0


def drain_s(kafka: Kafka, topic: str, records: int) -> float:
    """Seconds until a plain consumer has the last record of the topic: the source's speed."""
    consumer = Consumer({**kafka.client, "group.id": "plain"})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    started, left = time.monotonic(), records
    while left:
        left -= sum(message.error() is None for message in consumer.consume(1_000, 0.1))
    took = time.monotonic() - started
    consumer.close()
    return took


def peak_bytes(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; returns the most memory that it ever had resident, as the kernel counts it."""
    peak = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status")
        try:
            lines = status.read_text().splitlines()
        except OSError:
            continue
        peak = max([peak, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.1)
    return peak


def settings_of(site: Deployment, load: Load) -> Path:
    (site.directory / "event.avsc").write_text(SCHEMA, encoding="utf-8")
    path = site.directory / "worker.toml"
    path.write_text(
        f"""{site.head()}
[schemas.local]
1 = {{ input = "{site.directory}/event.avsc", output_id = 2 }}
[delivery]
{load.delivery}
[[routes]]
name = "table"
group = "table-{site.name}"
source = {{ {load.source}topics = ["{site.source}"] }}
sink = {{ kind = "postgres", table = "crm.events", timeout_s = 600 }}
""",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(SMALL, id="small", marks=pytest.mark.timeout(120)),
        pytest.param(LARGE, id="large", marks=[pytest.mark.heavy, pytest.mark.timeout(600)]),
        pytest.param(MILLION, id="million", marks=[pytest.mark.heavy, pytest.mark.timeout(3600)]),
    ],
)
def test_memory_is_bounded_however_slow_the_sink(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path, load: Load
) -> None:
    """Behind a sink ten times slower than the source every record arrives once, and the peak stays under the bound."""
    dsn = new_database(region="eu-central-1")
    place = urlsplit(dsn)
    with Proxy(place.port or 5432, place.hostname or "127.0.0.1") as proxy:
        through = dsn.replace(f"{place.hostname}:{place.port}", proxy.address)
        site = Deployment(kafka=kafka, dsn=through, authority=authority, directory=tmp_path)
        kafka.create_topic(site.source, partitions=PARTITIONS)
        kafka.create_topic(site.dead, config={"max.message.bytes": str(2 << 20)})
        fill(kafka, site.source, load)
        source_s = drain_s(kafka, site.source, load.records)
        path = settings_of(site, load)
        made = worker(site.environ, "check", "--config", str(path), "--create")
        assert made.returncode == 0, made.stdout
        proxy.bytes_per_s = load.sink_bytes_s

        started = time.monotonic()
        process = start(site.environ, "run", "--config", str(path), "--until-end", "--log-level", "warning")
        peak = peak_bytes(process)
        sink_s = time.monotonic() - started

    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT count(*), count(DISTINCT id) FROM crm.events").fetchone()
    assert process.returncode == 0
    assert rows == (load.records, load.records)
    bound = bound_bytes(config.load(path, environ={}), load.body_bytes)
    print(
        f"{load.records:,} records: source {source_s:.1f} s, worker {sink_s:.1f} s, peak {peak:,}, bound {bound:,.0f}"
    )
    assert sink_s > 10 * source_s
    assert peak < bound
