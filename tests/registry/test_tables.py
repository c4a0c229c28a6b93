"""Tables of a registry's schemas: made, compared and extended as those of files are, at the start and in mid-stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.registry.conftest import Registry
from tests.running import Running, until
from worker import config
from worker.app import Worker
from worker.assembly.run import RunOptions
from worker.avro import encode_value, frame
from worker.checks.start import verify
from worker.errors import ConfigError
from worker.finding import Finding

pytestmark = [pytest.mark.heavy, pytest.mark.integration, pytest.mark.timeout(240)]

ID: dict[str, Any] = {"name": "id", "type": "long"}
EMAIL: dict[str, Any] = {"name": "email", "type": "string", "encrypted": True}
CITY: dict[str, Any] = {"name": "city", "type": ["null", "string"], "default": None}
PHONE: dict[str, Any] = {"name": "phone", "type": ["null", "string"], "default": None, "encrypted": True}
SINCE: dict[str, Any] = {"name": "since", "type": ["null", {"type": "int", "logicalType": "date"}], "default": None}


class Site:
    """A route from a topic into a table, its schemas in a registry."""

    def __init__(self, deployment: Deployment, registry: Registry) -> None:
        self.deployment, self.registry = deployment, registry
        self.table = f"crm.customers_{deployment.name}"
        self.count = 0

    def register(self, *fields: dict[str, Any]) -> tuple[int, str]:
        """Register the next version; its number, and it as text."""
        schema = {
            "type": "record",
            "name": "Customer",
            "namespace": f"a.t{self.deployment.name}",
            "fields": list(fields),
        }
        return self.registry.register(f"{self.deployment.source}-value", schema), json.dumps(schema)

    def produce(self, version: tuple[int, str], **values: object) -> None:
        """Write a record of a version."""
        producer = Producer(self.deployment.kafka.client)
        value = encode_value(version[1], {"id": self.count, "email": "ann@example.com", **values})
        producer.produce(self.deployment.source, frame(version[0]) + value)
        assert producer.flush(30) == 0
        self.count += 1

    def worker(self, options: str = "") -> Worker:
        """A worker; `options` are the sink's."""
        path = self.deployment.directory / "worker.toml"
        path.write_text(f"""{self.deployment.head()}
[schemas]
registry = "{self.registry.url}"
allow_hosts = ["127.0.0.1"]
[[routes]]
name = "table"
group = "table-{self.deployment.name}"
source = {{ topics = ["{self.deployment.source}"] }}
sink = {{ kind = "postgres", table = "{self.table}"{options} }}
""")
        return Worker(config.load(path, environ={}), self.deployment.environ)

    def check(self, *, create: bool = False) -> list[Finding]:
        """What `worker check` finds wrong."""
        with self.worker() as made:
            return [finding for finding in verify(made.graph, create=create) if finding.is_broken]

    def run(self) -> None:
        """Run to the topic's end."""
        with self.worker() as made:
            made.run(RunOptions(until_end=True))

    def rows(self, columns: str) -> list[tuple[Any, ...]]:
        """The table's rows in the records' order."""
        with psycopg.connect(self.deployment.dsn) as connection:
            return connection.execute(f"SELECT {columns} FROM {self.table} ORDER BY id".encode()).fetchall()


@pytest.fixture
def site(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], registry: Registry, tmp_path: Path
) -> Site:
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    kafka.create_topic(made.source)
    kafka.create_topic(made.dead, config={"max.message.bytes": str(2 << 20)})
    return Site(made, registry)


def test_a_table_is_made_and_extended_from_the_registrys_latest(site: Site) -> None:
    """`check` misses table and columns, `check --create` makes them, and `run` fills them."""
    first = site.register(ID, EMAIL)
    assert any("worker check --create" in f.remedy for f in site.check())
    assert site.check(create=True) == site.check() == []
    site.produce(first)
    site.run()

    second = site.register(ID, EMAIL, CITY, PHONE)
    (missing,) = site.check()
    assert "city, phone" in missing.remedy
    assert site.check(create=True) == site.check() == []
    site.produce(second, city="Ulm", phone="+49 1")
    site.produce(first)
    site.run()

    assert site.rows("id, city, phone IS NULL") == [(0, None, True), (1, "Ulm", False), (2, None, True)]


def test_a_version_that_comes_in_mid_stream_adds_its_column_or_stops(site: Site) -> None:
    """With `evolve` the column is there with the version's first record; without it the worker says what is missing."""
    site.produce(site.register(ID, EMAIL))
    assert site.check(create=True) == []
    with site.worker(", evolve = true") as made, Running(made) as running:
        until(lambda: len(site.rows("id")) == 1, "the first row")
        site.produce(site.register(ID, EMAIL, CITY), city="Ulm")
        until(lambda: len(site.rows("id")) == 2, "a row of the second version")
        assert running.error is None
    assert site.rows("city") == [(None,), ("Ulm",)]

    with site.worker() as made, Running(made) as running:
        until(lambda: made.health[0].assigned > 0, "the group gives the partition")
        site.produce(site.register(ID, EMAIL, CITY, SINCE), city=None, since=None)
        error = running.ended()

    assert isinstance(error, ConfigError)
    assert "since" in str(error)
    assert "worker check --create" in str(error)
    assert len(site.rows("id")) == 2
    assert site.check(create=True) == []
    site.run()
    assert len(site.rows("since")) == 3
