"""One region's worker with everything around it, for tests that run the whole of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.components import Kafka
from worker import config
from worker.demo.customers import SCHEMA, Population, customers, write

OUTPUT_ID = 1001
_TABLE = """
CREATE SCHEMA crm;
CREATE TABLE crm.customers (
  id text, country text, since date, name bytea, email bytea, phone bytea, address bytea,
  _topic text NOT NULL, _partition int NOT NULL, _offset bigint NOT NULL, _timestamp timestamptz,
  UNIQUE (_topic, _partition, _offset)
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """
    Topics, table and settings of a worker with a route into a topic and one into a table.

    Args:
        kafka, dsn, authority: running components; the database declares the region.
        directory: for files.
        region: the worker's.
        hosts: allowed besides the authority's.
    """

    kafka: Kafka
    dsn: str
    authority: Mapping[str, str]
    directory: Path
    region: str = "eu-central-1"
    hosts: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def source(self) -> str:
        return f"customers-{self.name}"

    @property
    def sink(self) -> str:
        return f"customers-{self.name}.enc"

    @property
    def dead(self) -> str:
        return f"{self.source}.dead"

    @property
    def environ(self) -> dict[str, str]:
        names = ("CS_CTS_HOST", "CS_ZEROKMS_HOST", "CS_WORKSPACE_CRN", "CS_CLIENT_ACCESS_KEY", "CS_CLIENT_ID")
        own = {name: self.authority[name] for name in (*names, "CS_CLIENT_KEY")}
        return {**own, "DATABASE_URL": self.dsn, "WORKER_INSTANCE": f"test-{self.name}"}

    def prepare(self, *, partitions: int = 2) -> None:
        """Create topics and table."""
        for topic in (self.source, self.sink):
            self.kafka.create_topic(topic, partitions=partitions)
        self.kafka.create_topic(self.dead, config={"max.message.bytes": str(2 << 20)})
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(_TABLE)

    def head(self, cluster_id: str | None = None) -> str:
        """The part of the settings that every file has: region, authority, cluster, a port of its own."""
        named = {urlsplit(self.authority[name]).netloc for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")}
        security = self.kafka.properties.get("security.protocol", "PLAINTEXT")
        return f"""
region = "{self.region}"
[authority]
allow_hosts = {sorted(named | set(self.hosts))!r}
[kafka]
bootstrap = "{self.kafka.bootstrap}"
cluster_id = "{cluster_id or self.kafka.cluster_id}"
properties = {{ "security.protocol" = "{security}" }}
[http]
listen = "127.0.0.1:0"
"""

    def settings(self, schema_id: int, *, changes: str = "", cluster_id: str | None = None) -> Path:
        """Write the settings file; `changes` is TOML that goes before the routes."""
        schema, path = self.directory / "customer.avsc", self.directory / "worker.toml"
        schema.write_text(SCHEMA, encoding="utf-8")
        path.write_text(
            f"""{self.head(cluster_id)}
[schemas]
local = {{ "{schema_id}" = {{ input = "{schema}", output_id = {OUTPUT_ID} }} }}
required = ["acme.crm.Customer/email"]
{changes}
[[routes]]
name = "topic"
group = "topic-{self.name}"
source = {{ topics = ["{self.source}"], static_membership = true, session_timeout_s = 6 }}
sink = {{ kind = "kafka", topic = "{self.sink}" }}
[[routes]]
name = "table"
group = "table-{self.name}"
source = {{ topics = ["{self.source}"], static_membership = true, session_timeout_s = 6 }}
sink = {{ kind = "postgres", table = "crm.customers", create = true }}
""",
            encoding="utf-8",
        )
        return path

    def load(self, schema_id: int, *, changes: str = "") -> config.Settings:
        """Return the validated settings."""
        return config.load(self.settings(schema_id, changes=changes), environ={})

    def write_customers(self, seed: int, count: int) -> tuple[int, set[str]]:
        """Write customers whose ids begin with the seed; returns their schema's id and their own."""
        population = customers(Population({"DE": "de_DE"}, seed=seed), count)
        renamed = ({**record, "id": f"{seed}-{record['id']}"} for record in population)
        client = {name: str(value) for name, value in self.kafka.client.items()}
        schema_id, written = write(renamed, self.source, client, registry=self.name, progress=lambda: None)
        return schema_id, set(written)

    def read(self, topic: str) -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]:
        """Return every committed record of a topic: key, value, headers."""
        options = {"group.id": f"reader-{uuid.uuid4().hex}", "enable.partition.eof": True, "enable.auto.commit": False}
        consumer = Consumer({**self.kafka.client, **options, "isolation.level": "read_committed"})
        found: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]] = []
        try:
            partitions = consumer.list_topics(topic, 10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
            left = len(partitions)
            while left:
                for message in consumer.consume(1000, 1.0):
                    error = message.error()
                    if error is None:
                        headers: list[tuple[str, bytes | None]] = list(message.headers() or [])  # type: ignore[arg-type]
                        found.append((message.key(), message.value(), headers))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        left -= 1
                    else:
                        raise AssertionError(error)
        finally:
            consumer.close()
        return found

    def rows(self) -> list[tuple[object, ...]]:
        """Return every row of the table."""
        with psycopg.connect(self.dsn) as connection:
            return connection.execute("SELECT * FROM crm.customers").fetchall()
