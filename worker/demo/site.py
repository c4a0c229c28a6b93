"""One region of the demonstration: its authority, broker, database, and the worker's own process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.authority.dev import DevAuthority
from worker.demo.customers import SCHEMA
from worker.local import LocalKafka, LocalPostgres
from worker.local.process import Program, free_ports

TOPIC, OUTPUT, DEAD = "customers", "customers.enc", "customers.dead"
OUTPUT_SCHEMA_ID = 1001
PARTITIONS = 3
_STOP_S = 40.0
_NO_COORDINATOR_YET = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._TIMED_OUT,
)

_TABLE = """
CREATE SCHEMA crm;
CREATE TABLE crm.customers (
  id text, country text, since date, name bytea, email bytea, phone bytea, address bytea,
  _topic text NOT NULL, _partition int NOT NULL, _offset bigint NOT NULL, _timestamp timestamptz,
  UNIQUE (_topic, _partition, _offset)
)
"""

_CONFIG = """region = "{region}"

[authority]
allow_hosts = [{hosts}]

[kafka]
bootstrap = "{bootstrap}"
cluster_id = "{cluster_id}"
properties = {{ "security.protocol" = "PLAINTEXT" }}

[schemas]
local = {{ "{schema_id}" = {{ input = "{schema}", output_id = {output_id} }} }}
required = ["acme.crm.Customer/email"]

[http]
listen = "127.0.0.1:{port}"

[[routes]]
name = "customers"
group = "worker-customers"
source = {{ topics = ["customers"] }}
sink = {{ kind = "kafka", topic = "customers.enc", partitioning = "same" }}

[[routes]]
name = "customers-table"
group = "worker-customers-table"
source = {{ topics = ["customers"] }}
sink = {{ kind = "postgres", dsn_env = "DATABASE_URL", table = "crm.customers", mode = "append", create = true }}
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """What the worker has committed, in records: into the topic and into the table."""

    topic: int
    table: int


class Site:
    """
    Starts everything of one region and stops it again; a context manager.

    Args:
        region: its name.
        directory: an existing directory for its files.
    """

    groups = ("worker-customers", "worker-customers-table")

    def __init__(self, region: str, directory: Path) -> None:
        self.region = region
        self._directory = directory
        self.schema_id = 0
        self._worker: Program | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.authority = stack.enter_context(DevAuthority(self.region, self._directory / "authority"))
            self.kafka = stack.enter_context(LocalKafka())
            self._postgres = stack.enter_context(LocalPostgres())
            self.client = {"bootstrap.servers": self.kafka.bootstrap, **self.kafka.properties}
            for name in (TOPIC, OUTPUT):
                self.kafka.create_topic(name, partitions=PARTITIONS)
            # A dead letter is its record and an envelope around it (docs/contracts.md, 5).
            self.kafka.create_topic(DEAD, config={"max.message.bytes": str((1 << 20) + 12 + 4096)})
            self.dsn = self._postgres.create_database("crm", region=self.region)
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                connection.execute(_TABLE)
            stack.callback(self._kill_worker)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def start_worker(self, schema_id: int) -> None:
        """Write the worker's settings and start `worker run` with this region's credentials and nothing else."""
        schema, settings = self._directory / "customer.avsc", self._directory / "worker.toml"
        schema.write_text(SCHEMA, encoding="utf-8")
        self.metrics_port = free_ports(1)[0]
        hosts = {urlsplit(self.env[name]).netloc for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")}
        text = _CONFIG.format(
            region=self.region,
            hosts=", ".join(f'"{host}"' for host in sorted(hosts)),
            bootstrap=self.kafka.bootstrap,
            cluster_id=self.kafka.cluster_id,
            schema=schema,
            schema_id=schema_id,
            output_id=OUTPUT_SCHEMA_ID,
            port=self.metrics_port,
        )
        settings.write_text(text, encoding="utf-8")
        names = ("CS_CTS_HOST", "CS_ZEROKMS_HOST", "CS_WORKSPACE_CRN", "CS_CLIENT_ACCESS_KEY", "CS_CLIENT_ID")
        environment = {name: self.env[name] for name in (*names, "CS_CLIENT_KEY")}
        environment |= {"DATABASE_URL": self.dsn, "WORKER_INSTANCE": f"demo-{self.region}", "PATH": os.environ["PATH"]}
        command = [sys.executable, "-c", "from worker.cli import main; main()", "run", "--config", str(settings)]
        self._worker = Program(command, self._directory / "worker.log", environment=environment)

    @property
    def env(self) -> Mapping[str, str]:
        """The authority's CS_* variables."""
        return dict(self.authority.env)

    @property
    def worker_log(self) -> str:
        """Everything the worker wrote."""
        return "" if self._worker is None else self._worker.output(1 << 30)

    def require_worker(self) -> None:
        """Raise `RuntimeError` with the log's end if the worker is not running."""
        if self._worker is None or not self._worker.is_running:
            raise RuntimeError(f"the worker of {self.region} has ended:\n{self.worker_log[-3000:]}")

    def delete_client(self, client_id: str) -> None:
        """Delete a client at the authority, as an administrator does."""
        self.authority.delete_client(client_id)

    def stop_worker(self) -> int:
        """Ask the worker to end, as SIGTERM does; returns its exit code."""
        assert self._worker is not None
        self._worker.stop(_STOP_S)
        return self._worker.wait(0)

    def progress(self) -> Progress:
        """Return what both groups have committed to the broker."""
        return Progress(*(self._committed(group) for group in self.groups))

    def messages(self, topic: str) -> list[tuple[str, bytes]]:
        """Read a topic from its beginning to its end: keys as text, values as bytes; committed records only."""
        settings = {"group.id": "demo-reader", "enable.auto.commit": False, "isolation.level": "read_committed"}
        consumer = Consumer({**self.client, **settings, "enable.partition.eof": True, "fetch.queue.backoff.ms": 10})
        found = consumer.list_topics(topic, 30).topics[topic].partitions
        open_partitions = len(found)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in found])
        messages: list[tuple[str, bytes]] = []
        try:
            while open_partitions:
                for message in consumer.consume(5_000, 1.0):
                    if (error := message.error()) is not None:
                        if error.code() != KafkaError._PARTITION_EOF:
                            raise KafkaException(error)
                        open_partitions -= 1
                        continue
                    messages.append(((message.key() or b"").decode(), message.value() or b""))
        finally:
            consumer.close()
        return messages

    def _committed(self, group: str) -> int:
        consumer = Consumer({**self.client, "group.id": group, "log_level": 2})
        try:
            offsets = consumer.committed([TopicPartition(TOPIC, n) for n in range(PARTITIONS)], 10)
        except KafkaException as exc:
            # The broker elects the group's coordinator when the first member asks for it.
            if exc.args[0].code() not in _NO_COORDINATOR_YET:
                raise
            return 0
        finally:
            consumer.close()
        return sum(max(0, each.offset) for each in offsets)

    def _kill_worker(self) -> None:
        if self._worker is not None:
            self._worker.stop(5)
