"""`worker verify` finds what is no envelope in the sinks, and needs neither keys nor an identity."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import OUTPUT_ID, Deployment
from tests.program import worker
from tests.running import Running, arrived, until
from worker import config
from worker.app import Worker
from worker.avro import DeclarationOptions, compile_schema, encode_value, frame
from worker.demo.customers import SCHEMA

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    made.prepare()
    return made


def test_plaintext_in_a_sink_is_found(site: Deployment) -> None:
    """What the worker wrote is clean; what others put beside it is found by place, and no value is told."""
    schema_id, _ = site.write_customers(1, 60)
    settings = site.settings(schema_id)
    with Worker(config.load(settings, environ={}), site.environ) as running, Running(running):
        until(lambda: arrived(site, 60), "all are there")
    secrets = {"DATABASE_URL": site.dsn}

    clean = worker(secrets, "verify", "--config", str(settings), "--json")
    _produce(site, b'{"email": "hidden@mail.example"}')
    odd = worker(secrets, "verify", "--config", str(settings))
    _write_clear_record(site)
    with psycopg.connect(site.dsn) as connection:
        connection.execute(
            "INSERT INTO crm.customers (id, email, _topic, _partition, _offset)"
            " VALUES ('x', 'hidden@mail.example', 't', 9, 1)"
        )
    found = worker(secrets, "verify", "--config", str(settings), "--json")

    assert clean.returncode == 0, clean.stderr
    assert odd.returncode == 1, odd.stderr
    assert [line.strip().partition("[")[0] for line in odd.stdout.decode().splitlines() if line.startswith(" ")] == [
        f"unreadable: {site.sink}"
    ]
    assert found.returncode == 1, found.stderr
    looked = {seen["route"]: seen for seen in json.loads(clean.stdout)}
    assert looked["topic"]["values"] == {"envelope": 60 * 4 - 6, "null": 6}
    assert looked["table"]["values"] == {"envelope": 60 * 4 - 6, "null": 6}
    told = {seen["route"]: seen["plaintext"] for seen in json.loads(found.stdout)}
    assert told["table"] == ["crm.customers.email"]
    assert [place.rpartition(" ")[2] for place in told["topic"]] == ["acme.crm.Customer/email"]
    assert b"hidden@mail.example" not in found.stdout + found.stderr + odd.stdout + odd.stderr


def _write_clear_record(site: Deployment) -> None:
    """Write a record whose frame names the output schema, with an address in the clear where an envelope belongs."""
    schema = compile_schema(SCHEMA, DeclarationOptions()).plan.output_schema
    sealed = b"\x01\x00" + bytes(32) + b"\x01t" + b"\x01f" + bytes(8 + 12 + 16)
    record = {"id": "x", "country": "DE", "since": date(2024, 1, 1), "name": sealed, "phone": None, "address": sealed}
    value = frame(OUTPUT_ID) + encode_value(schema, {**record, "email": b"hidden@mail.example"})
    _produce(site, value)


def _produce(site: Deployment, value: bytes) -> None:
    client: dict[str, str | int | float | bool] = site.kafka.client
    producer = Producer(client)
    producer.produce(site.sink, value)
    assert producer.flush(30) == 0
