"""One region's worker with everything around it, for tests that run the whole of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tests.components import Kafka
from worker import config
from worker.demo.customers import SCHEMA, Population, customers, write
from worker.model import Header

OUTPUT_ID = 1001
_TABLE = """
CREATE SCHEMA crm;
CREATE TABLE crm.customers (
  id text, country text, since date, name bytea, email bytea, phone bytea, address bytea,
  _topic text NOT NULL, _partition int NOT NULL, _offset bigint NOT NULL, _timestamp timestamptz,
  UNIQUE (_topic, _partition, _offset)
)
"""


def headers(message: Message) -> list[Header]:
    """A record's headers in order, none as an empty list."""
    found: list[Header] = list(message.headers() or [])  # type: ignore[arg-type]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """
    Topics, table and settings of a worker with a route into a topic and one into a table.

    Args:
        kafka, dsn, authority: running components; the database declares the region.
        directory: for files.
        region: the worker's.
        hosts: allowed besides the authority's.
        connection: TOML of `[kafka]` but the cluster's id; None for what `kafka` has.
        secrets: variables of the worker's besides its usual ones.
    """

    kafka: Kafka
    dsn: str
    authority: Mapping[str, str]
    directory: Path
    region: str = "eu-central-1"
    hosts: tuple[str, ...] = ()
    connection: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
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
        return {**own, "DATABASE_URL": self.dsn, "WORKER_INSTANCE": f"test-{self.name}", **self.secrets}

    def prepare(self, *, partitions: int = 2) -> None:
        """Create topics and table."""
        for topic in (self.source, self.sink):
            self.kafka.create_topic(topic, partitions=partitions)
        self.kafka.create_topic(self.dead, config={"max.message.bytes": str(2 << 20)})
        self.prepare_table()

    def prepare_table(self) -> None:
        """Create the table alone."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(_TABLE)

    def head(self, cluster_id: str | None = None) -> str:
        """The part of the settings that every file has: region, authority, cluster, a port of its own."""
        named = {urlsplit(self.authority[name]).netloc for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")}
        security = self.kafka.properties.get("security.protocol", "PLAINTEXT")
        connection = self.connection or (
            f'bootstrap = "{self.kafka.bootstrap}"\nproperties = {{ "security.protocol" = "{security}" }}'
        )
        return f"""
region = "{self.region}"
[authority]
allow_hosts = {sorted(named | set(self.hosts))!r}
[kafka]
{connection}
cluster_id = "{cluster_id or self.kafka.cluster_id}"
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

    def messages(self, topic: str) -> list[Message]:
        """Return every committed record of a topic, up to each partition's present end."""
        options = {"group.id": f"reader-{uuid.uuid4().hex}", "enable.partition.eof": True, "enable.auto.commit": False}
        consumer = Consumer({**self.kafka.client, **options, "isolation.level": "read_committed"})
        found: list[Message] = []
        try:
            # A set: a partition that is written to meanwhile ends more than once.
            left = set(consumer.list_topics(topic, 10).topics[topic].partitions)
            consumer.assign([TopicPartition(topic, p, 0) for p in left])
            while left:
                for message in consumer.consume(1000, 1.0):
                    error = message.error()
                    if error is None:
                        found.append(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        left.discard(message.partition() or 0)
                    else:
                        raise AssertionError(error)
        finally:
            consumer.close()
        return found

    def read(self, topic: str) -> list[tuple[bytes | None, bytes | None, list[Header]]]:
        """Return every committed record of a topic: key, value, headers."""
        return [(m.key(), m.value(), headers(m)) for m in self.messages(topic)]

    def rows(self) -> list[tuple[object, ...]]:
        """Return every row of the table."""
        with psycopg.connect(self.dsn) as connection:
            return connection.execute("SELECT * FROM crm.customers").fetchall()
