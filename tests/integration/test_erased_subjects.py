"""A subject is erased while its records still come: the worker goes on, and the report says where it still stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.program import worker
from worker.authority.dev import DevAuthority
from worker.avro import encode_value

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
SCHEMA = {
    "type": "record",
    "name": "Customer",
    "namespace": "acme.crm",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "email", "type": "string", "encrypted": {"context": ["id"], "index": ["unique"]}},
    ],
}
_TABLE = """
CREATE SCHEMA crm;
CREATE TABLE crm.customers (id bigint PRIMARY KEY, email jsonb, _topic text, _partition int, _offset bigint,
  _timestamp timestamptz)
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority with an erasable keyset."""
    with DevAuthority("eu-central-1", tmp_path / "authority") as running:
        running.admin("create-keyset", {"name": "people", "description": "people", "erasable": True})
        running.grant(running.env["CS_CLIENT_ID"], "people")
        yield running


def settings(site: Deployment, erased: str) -> str:
    """Two routes of one topic: into a topic and into a table with search terms."""
    schema, path = site.directory / "customer.avsc", site.directory / "worker.toml"
    schema.write_text(json.dumps(SCHEMA))
    table = 'mode = "upsert", key = ["id"], columns = { email = "eql" }'
    path.write_text(
        f"""{site.head()}
[schemas]
local = {{ "1" = {{ input = "{schema}", output_id = 1001 }} }}
[encryption]
keyset = "people"
[[routes]]
name = "topic"
group = "topic-{site.name}"
source = {{ topics = ["{site.source}"] }}
sink = {{ kind = "kafka", topic = "{site.sink}" }}
erased = "{erased}"
[[routes]]
name = "table"
group = "table-{site.name}"
source = {{ topics = ["{site.source}"] }}
sink = {{ kind = "postgres", table = "crm.customers", {table} }}
"""
    )
    return str(path)


def ran(site: Deployment, *arguments: str, code: int = 0) -> Any:
    ended = worker(site.environ, *arguments)
    assert ended.returncode == code, (arguments, ended.stdout[-2000:], ended.stderr[-3000:])
    return ended.stdout.decode()


def test_the_route_goes_on_and_the_report_lists_what_is_left(
    kafka: Kafka, new_database: DatabaseFactory, own: DevAuthority, tmp_path: Path
) -> None:
    """Dropped by one route and sealed by the other; rows with terms of before and letters are what the report finds."""
    site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=own.env, directory=tmp_path)
    for topic in (site.source, site.sink):
        kafka.create_topic(topic, partitions=1)
    kafka.create_topic(site.dead, config={"max.message.bytes": str(2 << 20)})
    with psycopg.connect(site.dsn, autocommit=True) as connection:
        connection.execute(_TABLE)
    producer = Producer(kafka.client)

    def produce(*ids: int) -> None:
        for each in ids:
            value = encode_value(json.dumps(SCHEMA), {"id": each, "email": f"{each}@example.org"})
            producer.produce(site.source, b"\0\0\0\0\1" + value, str(each).encode())
        assert producer.flush(30) == 0

    config = settings(site, "dead")
    produce(1, 2, 3)
    ran(site, "check", "--config", config, "--create")
    ran(site, "run", "--config", config, "--until-end")
    own.admin("api/erase", {"keyset_id": {"Name": "people"}, "values": [["id", "2"]]})
    produce(1, 2, 4)
    ran(site, "run", "--config", config, "--until-end")

    assert [m.key() for m in site.messages(site.sink)] == [b"1", b"2", b"3", b"1", b"4"]
    with psycopg.connect(site.dsn) as connection:
        assert connection.execute("SELECT id FROM crm.customers ORDER BY id").fetchall() == [(1,), (2,), (3,), (4,)]
    report = json.loads(ran(site, "erase-report", "--config", config, "--context", "id=2", "--json", code=1))
    assert [(r["kind"], r["route"]) for r in report] == [("dead letter", "topic"), ("terms", "table")]
    assert (report[0]["code"], report[0]["whose"]) == ("subject_erased", "subject")
    assert (report[1]["columns"], report[1]["rows"]) == ("email", 1)
    assert json.loads(ran(site, "erase-report", "--config", config, "--context", "id=9", "--json")) == []
