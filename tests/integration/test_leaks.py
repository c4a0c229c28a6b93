"""Nothing that is declared encrypted leaves in the clear: everything a run wrote is read back and searched."""

from __future__ import annotations

import io
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer
from prometheus_client import generate_latest

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.leaks import scan
from worker import log
from worker.app import Worker
from worker.assembly.run import RunOptions
from worker.demo.customers import ENCRYPTED, Population, customers, write

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
RECORDS = 300


def flat(records: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]) -> bytes:
    parts: list[bytes] = []
    for key, value, headers in records:
        parts += [key or b"", value or b"", *(name.encode() + (content or b"") for name, content in headers)]
    return b"\0".join(parts)


def dump(dsn: str) -> bytes:
    """Every table of the database as bytes: bytea as it is, everything else as text."""
    parts: list[bytes] = []
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('crm', 'worker')"
        ).fetchall()
        for (table,) in tables:
            for row in connection.execute(f"SELECT * FROM {table}".encode()):
                parts += [v if isinstance(v, bytes) else str(v).encode() for v in row]
    return b"\0".join(parts)


def test_no_plaintext_in_anything_that_a_run_wrote(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """Topics, tables, dead letters, ledger, logs and metrics hold no declared value in any form."""
    site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    site.prepare()
    population = customers(Population({"DE": "de_DE"}, seed=7), RECORDS)
    schema_id, written = write(
        population, site.source, {k: str(v) for k, v in kafka.client.items()}, registry=site.name, progress=lambda: None
    )
    secrets = [str(record[name]) for record in written.values() for name in ENCRYPTED if record[name] is not None]
    _poison(kafka, site.source, schema_id, secrets[0])
    logs = io.StringIO()
    log.configure(region="eu-central-1", level="debug", form="json", stream=logs)

    with Worker(site.load(schema_id), site.environ) as worker:
        worker.run(RunOptions(until_end=True))
        metrics = generate_latest(worker.metrics.registry)

    output, dead = site.read(site.sink), site.read(site.dead)
    places = {
        "topic": flat(output),
        "dead letters": flat(dead),
        "ledger": flat(site.read("worker.ledger.eu-central-1")),
        "database": dump(site.dsn),
        "logs": logs.getvalue().encode(),
        "metrics": metrics,
    }
    assert len(output) == len(site.rows()) == RECORDS
    assert len(dead) == 6
    assert scan(secrets, places) == []
    control = scan(secrets, {"source": flat(site.read(site.source)), "planted": places["topic"] + secrets[5].encode()})
    assert {leak.place for leak in control} == {"source", "planted"}


def _poison(kafka: Kafka, topic: str, schema_id: int, secret: str) -> None:
    """Three records that can't be processed, each with a plaintext in its key or value."""
    producer = Producer(kafka.client)
    frame = b"\0" + schema_id.to_bytes(4, "big")
    producer.produce(topic, b"\7 wrong magic " + secret.encode(), key=b"poison-1")
    producer.produce(topic, frame + b"\x10" + secret.encode(), key=secret.encode())
    producer.produce(topic, b"\0\0\0\xff\xff unknown schema " + secret.encode(), headers=[("note", secret.encode())])
    assert producer.flush(30) == 0
